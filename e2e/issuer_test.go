//go:build e2e

package e2e

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// issuer is an outside issuer of tokens: a server with its key set, and a hand
// that signs.
type issuer struct {
	t    *testing.T
	keys *httptest.Server

	mu      sync.Mutex
	set     []byte
	fetches int
	down    bool
}

// key of the issuer's.
type key struct {
	id      string
	private ed25519.PrivateKey
}

func newKey(t *testing.T, id string) key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key{id, private}
}

func newIssuer(t *testing.T, keys ...key) *issuer {
	i := &issuer{t: t}
	i.publish(keys...)
	i.keys = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.fetches++
		if i.down {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write(i.set)
	}))
	t.Cleanup(i.keys.Close)
	return i
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// publish replaces the key set.
func (i *issuer) publish(keys ...key) {
	var jwks []string
	for _, k := range keys {
		jwks = append(jwks, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","use":"sig","kid":%q,"x":%q}`, k.id, b64(k.private.Public().(ed25519.PublicKey))))
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.set = []byte(`{"keys":[` + strings.Join(jwks, ",") + `]}`)
}

func (i *issuer) fail(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

func (i *issuer) fetched() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

func (i *issuer) flags() []string {
	return []string{"--issuer", "https://login.example.org", "--issuer-audience", "chat", "--issuer-keys", i.keys.URL + "/certs"}
}

// token for a user, and a device where it is not 0.
func (i *issuer) token(k key, user string, device int, life time.Duration) string {
	i.t.Helper()
	claims := map[string]any{"iss": "https://login.example.org", "aud": []string{"account", "chat"}, "sub": user, "iat": time.Now().Unix(), "exp": time.Now().Add(life).Unix()}
	if device != 0 {
		claims["device"] = device
	}
	header, err1 := json.Marshal(map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": k.id})
	body, err2 := json.Marshal(claims)
	if err := errors.Join(err1, err2); err != nil {
		i.t.Fatal(err)
	}
	text := b64(header) + "." + b64(body)
	return text + "." + b64(ed25519.Sign(k.private, []byte(text)))
}

// rest makes a request with a token, and gives status and members of the answer.
func (s *server) rest(call, token, body string) (int, map[string]any) {
	s.t.Helper()
	method, path, _ := strings.Cut(call, " ")
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url(path), strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	var out map[string]any
	if answer.StatusCode != http.StatusNoContent {
		if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
			s.t.Fatalf("%s: %v", call, err)
		}
	}
	return answer.StatusCode, out
}

// hello connects with a token; it gives the welcome, or the close code and reason.
func (s *server) hello(token string) (*websocket.Conn, *welcomeFrame, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.ws(), &websocket.DialOptions{Subprotocols: []string{"rookery.v1.json"}})
	if err != nil {
		return nil, nil, err
	}
	s.t.Cleanup(func() { conn.CloseNow() })
	if err := conn.Write(ctx, websocket.MessageText, []byte(helloText(token, 0))); err != nil {
		return nil, nil, err
	}
	_, text, err := conn.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var f frame
	if err := json.Unmarshal([]byte(line), &f); err != nil || f.Welcome == nil {
		return nil, nil, fmt.Errorf("instead of welcome: %s", line)
	}
	return conn, f.Welcome, nil
}

func closed(t *testing.T, what string, err error, code websocket.StatusCode, reason string) {
	t.Helper()
	var with websocket.CloseError
	if !errors.As(err, &with) || with.Code != code || !strings.Contains(with.Reason, reason) {
		t.Errorf("%s: %v, want %d %q", what, err, code, reason)
	}
}

// Accounts, devices and sessions by an outside issuer's tokens alone; its keys
// change while the server runs, and its server fails.
func TestOutsideIssuer(t *testing.T) {
	one, two, three := newKey(t, "one"), newKey(t, "two"), newKey(t, "three")
	i := newIssuer(t, one)
	s := startServer(t, i.flags()...)

	for _, call := range []string{"POST /v1/users", "POST /v1/devices"} {
		if status, out := s.rest(call, "", `{"user":"alice","password":"correct horse"}`); status != 403 || out["reason"] != "outside_issuer" {
			t.Errorf("%s by password: %d %v", call, status, out)
		}
	}
	proof := i.token(one, "alice", 0, time.Minute)
	status, own := s.rest("POST /v1/devices", proof, `{"deviceName":"phone"}`)
	if status != 201 || own["user"] != "alice" || own["device"] != 1.0 {
		t.Fatalf("link a device: %d %v", status, own)
	}
	if status, out := s.rest("POST /v1/tokens", proof, `{"device":1}`); status != 201 || out["token"] == "" {
		t.Errorf("a token by the issuer's: %d %v", status, out)
	}
	_, _, err := s.hello(proof)
	closed(t, "hello without a device", err, 4101, "names no device")
	if _, w, err := s.hello(own["token"].(string)); err != nil || w.User != "alice" {
		t.Errorf("hello by Rookery's own token: %v %v", w, err)
	}
	old := i.token(one, "alice", 1, time.Hour)
	if _, w, err := s.hello(old); err != nil || w.User != "alice" || w.Device != 1 {
		t.Fatalf("hello by the issuer's token: %v %v", w, err)
	}
	if status, out := s.rest("GET /v1/devices", old, ""); status != 200 || len(out["devices"].([]any)) != 1 {
		t.Errorf("REST by the issuer's token: %d %v", status, out)
	}
	_, _, err = s.hello(i.token(one, "alice", 2, time.Hour))
	closed(t, "a device that is not linked", err, 4101, "")
	_, _, err = s.hello(i.token(key{"one", two.private}, "alice", 1, time.Hour))
	closed(t, "forged", err, 4101, "signature")

	// A session ends with its token.
	conn, _, err := s.hello(i.token(one, "alice", 1, 2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = conn.Read(t.Context())
	}
	closed(t, "after its token's end", err, 4101, "")

	// A new key: its first token makes the server look, and is never called bad.
	i.publish(one, two)
	fresh := i.token(two, "alice", 1, time.Hour)
	eventually(t, "a new key is known", func() error {
		_, _, err := s.hello(fresh)
		if err != nil && websocket.CloseStatus(err) != 1013 {
			t.Fatalf("before it is known: %v", err)
		}
		return err
	})
	if _, _, err := s.hello(old); err != nil {
		t.Errorf("the older key: %v", err)
	}
	// The old one is withdrawn, which the server sees when it looks next.
	i.publish(two, three)
	eventually(t, "a third key is known", func() error {
		_, _, err := s.hello(i.token(three, "alice", 1, time.Hour))
		return err
	})
	eventually(t, "the first key is not trusted any more", func() error {
		_, _, err := s.hello(old)
		if websocket.CloseStatus(err) != 4101 {
			return fmt.Errorf("%w", err)
		}
		return nil
	})
	if _, _, err := s.hello(own["token"].(string)); err != nil {
		t.Errorf("Rookery's own token: %v", err)
	}

	// Without the issuer's server all goes on, for known keys. After a restart
	// there are none: its tokens wait, and Rookery's own are good.
	i.fail(true)
	if _, _, err := s.hello(i.token(two, "alice", 1, time.Hour)); err != nil {
		t.Errorf("while the issuer is down: %v", err)
	}
	s.stop()
	s.start()
	eventually(t, "Rookery's own token after a restart", func() error {
		_, _, err := s.hello(own["token"].(string))
		return err
	})
	_, _, err = s.hello(i.token(two, "alice", 1, time.Hour))
	closed(t, "no keys yet", err, 1013, "")
	if status, _ := s.rest("GET /readyz", "", ""); status != 503 {
		t.Errorf("ready without keys: %d", status)
	}
	i.fail(false)
	s.waitReady()
	if _, _, err := s.hello(i.token(two, "alice", 1, time.Hour)); err != nil {
		t.Errorf("with keys again: %v", err)
	}

	if status, out := s.rest("DELETE /v1/users/alice", own["token"].(string), `{"token":"`+i.token(two, "bob", 0, time.Minute)+`"}`); status != 403 || out["reason"] != "wrong_password" {
		t.Errorf("delete by another's token: %d %v", status, out)
	}
	if status, out := s.rest("DELETE /v1/users/alice", own["token"].(string), `{"token":"`+i.token(two, "alice", 0, time.Minute)+`"}`); status != 204 {
		t.Errorf("delete: %d %v", status, out)
	}
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "eyJ") {
		t.Error("a token stands in the log")
	}
	t.Logf("%d fetches of the key set", i.fetched())
}

// issued brings about the answers that only a server with an issuer gives.
func (w *walk) issued(t *testing.T) {
	one := newKey(t, "one")
	i := newIssuer(t, one)
	w.server = startServer(t, i.flags()...)
	proof := i.token(one, "alice", 0, time.Minute)
	w.ask(t, 403, "POST /v1/users", "", `{"user":"alice","password":"long enough"}`)
	w.ask(t, 403, "POST /v1/devices", "", `{"user":"alice","password":"long enough"}`)
	w.ask(t, 403, "POST /v1/tokens", "", `{"user":"alice","device":1,"password":"long enough"}`)
	w.ask(t, 403, "POST /v1/devices", proof, `{"user":"bob"}`)
	own, _ := w.ask(t, 201, "POST /v1/devices", proof, "")["token"].(string)
	w.ask(t, 201, "POST /v1/devices", proof, `{"user":"alice","deviceName":"tablet"}`)
	w.ask(t, 201, "POST /v1/tokens", proof, `{"device":1}`)
	w.ask(t, 401, "POST /v1/tokens", proof, "")
	w.ask(t, 200, "GET /v1/devices", i.token(one, "alice", 1, time.Minute), "")
	w.ask(t, 403, "PUT /v1/users/alice/password", own, `{"old":"long enough","new":"longer still"}`)
	w.ask(t, 403, "DELETE /v1/users/alice", own, `{"password":"long enough"}`)
	w.ask(t, 400, "DELETE /v1/users/alice", own, `{}`)
	w.ask(t, 204, "DELETE /v1/users/alice", own, fmt.Sprintf(`{"token":%q}`, proof))
}
