//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"github.com/rookery-im/rookery/e2e/openapitest"
)

// Every call of docs/openapi.yaml, and every answer that it lists: each is
// brought about, and each is as the document says. An answer that cannot be
// brought about has no place in the document.
func TestOpenAPIWalk(t *testing.T) {
	w := &walk{t: t, witness: witness(t)}
	w.server = startServer(t, "--rate-login", "100000/100000", "--fruitless-per-address", "1000000")
	w.enter()
	t.Run("answers", w.answers)
	t.Run("refusals", w.refusals)
	t.Run("full", w.full)
	t.Run("elsewhere", w.elsewhere)
	t.Run("strangers", w.strangers)
	t.Run("often", w.often)
	t.Run("crowded", w.crowded)
	t.Run("draining", w.draining)
	t.Run("closed", w.closed)
	t.Run("issued", w.issued)
	for _, answer := range w.witness.Missing() {
		t.Errorf("docs/openapi.yaml lists an answer that was never seen: %s", answer)
	}
}

// walk is the scene.
type walk struct {
	t          *testing.T
	witness    *openapitest.Witness
	server     *server
	alice, bob string // tokens
}

// client whose exchanges are witnessed; each has connections of its own.
func (w *walk) client() *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: w.witness.Through(transport)}
}

// ask makes a request and wants the status; headers are "Name: value".
func (w *walk) ask(t *testing.T, want int, call, token, body string, headers ...string) map[string]any {
	t.Helper()
	status, out := w.try(t, w.client(), call, token, body, headers...)
	if status != want {
		t.Errorf("%s %s: status %d, want %d: %v", call, body, status, want, out)
	}
	return out
}

func (w *walk) try(t *testing.T, client *http.Client, call, token, body string, headers ...string) (int, map[string]any) {
	t.Helper()
	method, path, _ := strings.Cut(call, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.server.address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusSwitchingProtocols || answer.Header.Get("Content-Type") == "text/event-stream" {
		return answer.StatusCode, nil // no end is to be waited for
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatalf("%s: %v: %s", call, err, text)
		}
	}
	return answer.StatusCode, out
}

func (w *walk) login(t *testing.T, user string) string {
	t.Helper()
	out := w.ask(t, 201, "POST /v1/devices", "", fmt.Sprintf(`{"user":%q,"password":%q,"deviceName":"phone"}`, user, password))
	token, _ := out["token"].(string)
	return token
}

func (w *walk) register(t *testing.T, user string) {
	t.Helper()
	w.ask(t, 201, "POST /v1/users", "", fmt.Sprintf(`{"user":%q,"name":"Somebody","password":%q}`, user, password))
}

func (w *walk) enter() {
	w.register(w.t, "alice")
	w.register(w.t, "bob")
	w.alice, w.bob = w.login(w.t, "alice"), w.login(w.t, "bob")
}

// answers: what each call is for.
func (w *walk) answers(t *testing.T) {
	w.ask(t, 200, "GET /healthz", "", "")
	w.ask(t, 200, "GET /readyz", "", "")
	w.ask(t, 200, "GET /v1/nodes", "", "")
	w.ask(t, 200, "GET /v1/devices", w.alice, "")
	w.ask(t, 201, "POST /v1/tokens", w.alice, "")
	w.ask(t, 201, "POST /v1/tokens", "", fmt.Sprintf(`{"user":"alice","device":1,"password":%q}`, password))
	w.ask(t, 200, "PATCH /v1/users/alice", w.alice, `{"name":"Älice","picture":"p","about":"\u0000","privacy":{"lastSeen":"CONTACTS"}}`)
	w.ask(t, 200, "GET /v1/users/alice", w.alice, "")
	w.ask(t, 200, "GET /v1/users/alice", w.bob, "")

	id := newID()
	for range 2 { // the second one is a duplicate
		w.ask(t, 200, "POST /v1/messages", w.alice, `{"to":{"user":"bob"},"kind":"TEXT","payload":"aGVsbG8=","ttl":"60s","push":"URGENT","replyTo":"`+newID()+`"}`, "Idempotency-Key: "+id)
	}
	w.ask(t, 200, "GET /v1/messages?conversation=user:alice&limit=5&after=0&id="+id, w.bob, "")
	page := w.ask(t, 200, "GET /v1/messages", w.bob, "")
	w.ask(t, 204, "POST /v1/messages/ack", w.bob, fmt.Sprintf(`{"seq":%q}`, page["next"]))
	w.ask(t, 200, "GET /v1/messages", w.alice, "") // the receipt

	w.ask(t, 200, "GET /v1/messages?wait=0.1s&after=1", w.bob, "")
	w.ask(t, 200, "GET /v1/events?heartbeat=20s", w.bob, "", "Last-Event-ID: 1")
	w.ask(t, 204, "GET /v1/events", w.bob, "", "Last-Event-ID: displaced")

	w.ask(t, 204, "PUT /v1/users/bob/blocks/mallory", w.bob, "")
	w.ask(t, 204, "DELETE /v1/users/bob/blocks/mallory", w.bob, "")
	w.register(t, "carol")
	first, second := w.login(t, "carol"), w.login(t, "carol")
	w.ask(t, 200, "GET /v1/messages", first, "") // the device event
	w.ask(t, 204, "DELETE /v1/devices/1", second, "")
	w.ask(t, 401, "GET /v1/devices", first, "")
	w.ask(t, 204, "PUT /v1/users/carol/password", second, fmt.Sprintf(`{"old":%q,"new":"another password"}`, password))
	w.ask(t, 204, "DELETE /v1/users/carol", second, `{"password":"another password"}`)
	w.ask(t, 101, "GET /v1/ws", "", "", handshake...)
	w.ask(t, 101, "GET /v1/ws", "", "", append(handshake[:len(handshake):len(handshake)], "Sec-WebSocket-Protocol: mqtt, rookery.v1.protobuf")...)
}

var handshake = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}

// refusals: what each call says to a request that is wrong in itself, or for
// somebody else.
func (w *walk) refusals(t *testing.T) {
	for _, c := range []struct {
		status            int
		call, token, body string
	}{
		{400, "POST /v1/users", "", `{"user":"g_x","password":"long enough"}`},
		{409, "POST /v1/users", "", `{"user":"alice","password":"long enough"}`},
		{400, "POST /v1/devices", "", `{"user":"alice","password":7}`},
		{401, "POST /v1/devices", "", `{"user":"alice","password":"not the password"}`},
		{400, "POST /v1/tokens", "", `{"user":"alice"}`},
		{400, "GET /v1/users/g_x", w.alice, ""},
		{404, "GET /v1/users/nobody", w.alice, ""},
		{400, "PATCH /v1/users/alice", w.alice, `{"nme":"x"}`},
		{403, "PATCH /v1/users/bob", w.alice, `{"name":"x"}`},
		{400, "DELETE /v1/users/alice", w.alice, `{}`},
		{403, "DELETE /v1/users/alice", w.alice, `{"password":"not the password"}`},
		{403, "DELETE /v1/users/bob", w.alice, fmt.Sprintf(`{"password":%q}`, password)},
		{400, "PUT /v1/users/alice/password", w.alice, `{"old":"x","new":"short"}`},
		{403, "PUT /v1/users/alice/password", w.alice, `{"old":"not the password","new":"long enough"}`},
		{400, "PUT /v1/users/alice/blocks/g_x", w.alice, ""},
		{403, "PUT /v1/users/bob/blocks/alice", w.alice, ""},
		{400, "DELETE /v1/users/alice/blocks/g_x", w.alice, ""},
		{403, "DELETE /v1/users/bob/blocks/alice", w.alice, ""},
		{400, "DELETE /v1/devices/x", w.alice, ""},
		{404, "DELETE /v1/devices/77", w.alice, ""},
		{400, "POST /v1/messages", w.alice, `{"id":"1","to":{"user":"bob"}}`},
		{403, "POST /v1/messages", w.alice, `{"id":"` + newID() + `","to":{"group":"g_x"}}`},
		{404, "POST /v1/messages", w.alice, `{"id":"` + newID() + `","to":{"user":"nobody"}}`},
		{409, "POST /v1/messages", w.alice, `{"id":"` + newID() + `","to":{"user":"bob"},"payloads":[{"user":"bob","device":9,"payload":"eA=="}]}`},
		{400, "GET /v1/messages?limit=0", w.alice, ""},
		{400, "GET /v1/messages?wait=61s", w.alice, ""},
		{400, "GET /v1/events?heartbeat=x", w.alice, ""},
		{403, "GET /v1/messages?conversation=group:g_x", w.alice, ""},
		{400, "POST /v1/messages/ack", w.alice, `{"seq":"99999999"}`},
		{426, "GET /v1/ws", "", ""},
	} {
		w.ask(t, c.status, c.call, c.token, c.body)
	}
	w.ask(t, 400, "GET /v1/ws", "", "", append(handshake[:len(handshake):len(handshake)], "Sec-WebSocket-Protocol: mqtt")...)
	for _, c := range w.witness.Spec.Calls {
		if c.Body() != nil {
			w.ask(t, 413, w.line(c), w.alice, `{"x":"`+strings.Repeat("x", 600<<10)+`"}`)
		}
	}
}

// line is a request line of the call, with somebody's own path.
func (w *walk) line(c *openapitest.Call) string {
	id := "alice"
	if strings.HasPrefix(c.Path, "/v1/devices/") {
		id = "77"
	}
	return c.Method + " " + strings.NewReplacer("{id}", id, "{user}", "mallory").Replace(c.Path)
}

// full: devices, blocks and a mailbox up to their bounds.
func (w *walk) full(t *testing.T) {
	w.register(t, "dave")
	const devices = 10
	var tokens []string
	for range devices {
		tokens = append(tokens, w.login(t, "dave"))
	}
	w.ask(t, 409, "POST /v1/devices", "", fmt.Sprintf(`{"user":"dave","password":%q}`, password))

	const blocks = 4096
	var hands sync.WaitGroup
	for i, token := range tokens[:8] {
		hands.Go(func() {
			client := w.client()
			for n := i; n < blocks; n += 8 {
				if status, out := w.try(t, client, fmt.Sprintf("PUT /v1/users/dave/blocks/u%d", n), token, ""); status != 204 {
					t.Errorf("block %d: %d %v", n, status, out)
					return
				}
			}
		})
	}
	hands.Wait()
	w.ask(t, 409, "PUT /v1/users/dave/blocks/one-more", tokens[8], "")

	payload := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 64<<10))
	client := w.client()
	const share = 64 << 20 / 4 / (64 << 10)
	for n := 0; ; n++ {
		status, out := w.try(t, client, "POST /v1/messages", w.alice, `{"id":"`+newID()+`","to":{"user":"bob"},"payload":"`+payload+`"}`)
		if status == 507 {
			return
		}
		if status != 200 || n > 2*share {
			t.Fatalf("message %d: %d %v", n, status, out)
		}
	}
}

// elsewhere: paths and methods that are none of the document's.
func (w *walk) elsewhere(t *testing.T) {
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/users", "/v1/users/", "/v1/users/alice/blocks", "/v2/users", "/v1/messages/ack/", "/metrics", "/debug/pprof/"} {
		if path != "/v1/users" {
			w.ask(t, 404, "GET "+path, w.alice, "")
		}
	}
	for _, c := range w.witness.Spec.Calls {
		_, path, _ := strings.Cut(w.line(c), " ")
		for _, method := range []string{"TRACE", "OPTIONS", "PROPFIND", "POST", "PUT", "DELETE", "PATCH", "GET"} {
			described := false
			for _, other := range w.witness.Spec.Calls {
				described = described || other.Path == c.Path && other.Method == method
			}
			if !described {
				w.ask(t, 405, method+" "+path, w.alice, "")
			}
		}
		if c.Method == http.MethodGet && c.Name != "connect" {
			w.try(t, w.client(), "HEAD "+path, w.alice, "")
		}
	}
}

// strangers: 401 wherever a token is wanted.
func (w *walk) strangers(t *testing.T) {
	for _, c := range w.witness.Spec.Calls {
		if c.Op.Responses.Status(401) == nil || c.Name == "login" {
			continue
		}
		for _, token := range []string{"", "x", w.alice[:len(w.alice)-3] + "abc"} {
			w.ask(t, 401, w.line(c), token, "")
		}
	}
}

// often: 429 for a device, for an address that logs in, and for one that
// connects and says nothing.
func (w *walk) often(t *testing.T) {
	client := w.client()
	for _, c := range w.witness.Spec.Calls {
		if c.Op.Responses.Status(429) == nil || c.Op.Security != nil && len(*c.Op.Security) == 0 || c.Name == "connect" || c.Name == "login" {
			continue
		}
		for n := 0; w.witness.Seen(c.Name, 429) == 0; n++ {
			w.try(t, client, w.line(c), w.alice, "")
			if n > 5000 {
				t.Fatalf("%s is not limited", c.Name)
			}
		}
	}
	const strangers = 1024
	for range strangers {
		defer w.silentWebSocket(t).Close()
	}
	w.ask(t, 429, "GET /v1/ws", "", "", handshake...)
}

// crowded: 503 where as many requests are being served as may. The one place
// is held by logins, which take their time over the password.
func (w *walk) crowded(t *testing.T) {
	w.server = startServer(t, "--concurrent-requests", "1", "--rate-login", "100000/100000", "--fruitless-per-address", "1000000")
	w.register(t, "alice")
	token := w.login(t, "alice")
	var hands sync.WaitGroup
	enough := make(chan struct{})
	for range 3 {
		hands.Go(func() {
			for client := w.client(); ; {
				select {
				case <-enough:
					return
				default:
					w.try(t, client, "POST /v1/devices", "", `{"user":"alice","password":"not the password"}`)
				}
			}
		})
	}
	defer hands.Wait()
	defer close(enough)
	client := w.client()
	for _, c := range w.witness.Spec.Calls {
		if c.Op.Responses.Status(503) == nil || c.Name == "connect" || c.Name == "readyz" {
			continue
		}
		for n := 0; w.witness.Seen(c.Name, 503) == 0; n++ {
			w.try(t, client, w.line(c), token, "")
			if n > 5000 {
				t.Fatalf("%s is served however much there is to do", c.Name)
			}
		}
	}
	w.ask(t, 200, "GET /healthz", "", "")
	w.ask(t, 200, "GET /readyz", "", "")
}

// draining: whoever connected in time and asks late hears that the node goes.
func (w *walk) draining(t *testing.T) {
	w.server = startServer(t, "--rate-login", "100000/100000", "--fruitless-per-address", "1000000")
	// Sessions are sent away spread over time; without any, the node would be
	// gone at once.
	for _, user := range []string{"alice", "bob", "carol"} {
		w.register(t, user)
		for range 8 {
			w.session(t, w.login(t, user))
		}
	}
	// net/http keeps connections that may be upgraded apart, hence the headers.
	client := w.client()
	if status, _ := w.try(t, client, "GET /readyz", "", "", handshake...); status != 200 {
		t.Fatal(status)
	}
	if err := w.server.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "/readyz says that the node goes", func() error {
		if status, _ := w.try(t, client, "GET /readyz", "", "", handshake...); status != 503 {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
	if status, out := w.try(t, client, "GET /v1/ws", "", "", handshake...); status != 503 {
		t.Errorf("a WebSocket while draining: %d %v", status, out)
	}
}

// session is one that has been welcomed, and says no more.
func (w *walk) session(t *testing.T, token string) {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), w.server.ws(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if err := c.Write(t.Context(), websocket.MessageText, []byte(helloText(token, 0))); err != nil {
		t.Fatal(err)
	}
	if _, data, err := c.Read(t.Context()); err != nil || !strings.Contains(string(data), `"welcome"`) {
		t.Fatalf("%s %v", data, err)
	}
}

// silentWebSocket is one that never says hello.
func (w *walk) silentWebSocket(t *testing.T) net.Conn {
	t.Helper()
	return w.begin(t, "GET /v1/ws HTTP/1.1\r\nHost: x\r\n"+strings.Join(handshake, "\r\n")+"\r\n\r\n", "HTTP/1.1 101")
}

func (w *walk) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", w.server.address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// begin says something on a connection of its own and wants an answer.
func (w *walk) begin(t *testing.T, text, want string) net.Conn {
	t.Helper()
	c := w.dial(t)
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
		t.Fatalf("%q %v", line, err)
	}
	return c
}

// closed: nobody may register, and few may try; anybody may log in too often.
func (w *walk) closed(t *testing.T) {
	w.server = startServer(t, "--registration", "closed")
	w.ask(t, 403, "POST /v1/users", "", `{"user":"alice","password":"long enough"}`)
	w.server = startServer(t, "--rate-login", "0.001/2")
	for _, call := range []string{"POST /v1/users", "POST /v1/devices"} {
		for range 2 {
			w.try(t, w.client(), call, "", `{}`)
		}
		w.ask(t, 429, call, "", `{}`)
	}
}
