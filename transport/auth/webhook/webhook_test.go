package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secretText = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func secretFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newWebhook is a Webhook of a service that a test plays.
func newWebhook(t testing.TB, serve http.HandlerFunc, change func(*Config)) *Webhook {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	cfg := Config{URL: server.URL + "/may?key=hush", SecretFile: secretFile(t, secretText+"\n")}
	if change != nil {
		change(&cfg)
	}
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// genuine checks a question as the specification says, without any of our code.
func genuine(r *http.Request, body []byte, secret string, now time.Time) error {
	key, err := base64.StdEncoding.DecodeString(strings.Split(secret, "_")[1])
	if err != nil {
		return err
	}
	id, at := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return fmt.Errorf("timestamp %q", at)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, signature := range strings.Split(r.Header.Get("webhook-signature"), " ") {
		if version, text, _ := strings.Cut(signature, ","); version == "v1" && hmac.Equal([]byte(text), []byte(want)) {
			return nil
		}
	}
	return fmt.Errorf("none of %q is %s", r.Header.Get("webhook-signature"), want)
}

// The signature of the specification's own example.
func TestSignature(t *testing.T) {
	keys, err := secrets(secretFile(t, secretText))
	if err != nil {
		t.Fatal(err)
	}
	got := signatures(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestQuestion(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	second := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	var ids []string
	var mu sync.Mutex
	w := newWebhook(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for _, secret := range []string{secretText, second} {
			if err := genuine(r, body, secret, now.Add(time.Second)); err != nil {
				t.Error(err)
			}
		}
		if genuine(r, append(body, ' '), secretText, now) == nil || genuine(r, body, secretText, now.Add(time.Hour)) == nil {
			t.Error("a changed or old question is genuine")
		}
		var got map[string]any
		if err := json.Unmarshal(body, &got); err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" || r.URL.RawQuery != "key=hush" {
			t.Errorf("%s %s %v: %s, %v", r.Method, r.URL, r.Header, body, err)
		}
		if want := map[string]any{"user": "alice", "name": "Al", "proof": "123456", "address": got["address"], "taken": false}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", got, want)
		}
		mu.Lock()
		ids = append(ids, r.Header.Get("webhook-id"))
		mu.Unlock()
		_, _ = io.WriteString(w, `{"allow":true}`)
	}, func(c *Config) {
		c.Now = func() time.Time { return now }
		c.SecretFile = secretFile(t, secretText+"\n"+second+"\n")
	})
	for _, address := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.2"} {
		if v, err := w.Ask(t.Context(), Registration{User: "alice", Name: "Al", Proof: "123456", Address: address}); err != nil || !v.Allow {
			t.Fatal(v, err)
		}
	}
	if ids[0] != ids[1] || ids[0] != ids[2] || len(ids[0]) < 20 {
		t.Errorf("the same registration has the ids %q", ids)
	}
	keys, err := secrets(w.cfg.SecretFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []Registration{{User: "alice", Name: "Al", Proof: "123457"}, {User: "alic", Name: "eAl", Proof: "123456"}, {User: "bob", Name: "Al", Proof: "123456"}} {
		if id(keys[0], other) == ids[0] {
			t.Errorf("%v has the id of another", other)
		}
	}
}

func TestAnswers(t *testing.T) {
	for answer, want := range map[string]Verdict{
		`{"allow":true}`:                                     {Allow: true},
		`{"allow":false}`:                                    {},
		`{"allow":false,"message":"Call us."}`:               {Message: "Call us."},
		`{"allow":false,"message":"  a\n\tb\u0000c\u202e "}`: {Message: "a b c"},
		`{"allow":false,"message":"größer 世界 👍"}`:            {Message: "größer 世界 👍"},
		`{"allow":true,"message":"x","more":[1]}`:            {Allow: true, Message: "x"},
	} {
		w := newWebhook(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, answer)
		}, nil)
		if got, err := w.Ask(t.Context(), Registration{User: "alice"}); err != nil || got != want {
			t.Errorf("%s: %+v, %v", answer, got, err)
		}
	}
	for _, c := range []string{strings.Repeat("x", 300), strings.Repeat("世", 100), strings.Repeat("x", 257), strings.Repeat("x", 256)} {
		got := shown(c)
		if len(got) > messageMax || !utf8.ValidString(got) || len(got) < messageMax-8 || strings.HasSuffix(got, "...") != (len(c) > messageMax) {
			t.Errorf("%d bytes become %d: %s", len(c), len(got), got)
		}
	}
}

// No answer that decides, for whatever reason, is neither yes nor no.
func TestUnusableAnswers(t *testing.T) {
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = io.WriteString(w, body) }
	}
	release := make(chan struct{})
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"an error":          {text(500, `{"allow":true}`), "status 500"},
		"a refusal of HTTP": {text(403, `{"allow":false}`), "status 403"},
		"nothing":           {text(204, ""), "JSON"},
		"no JSON":           {text(200, "OK"), "JSON"},
		"half":              {text(200, `{"allow":true`), "JSON"},
		"an array":          {text(200, `[{"allow":true}]`), "JSON"},
		"no allow":          {text(200, `{"Allow":true}`), "no allow"},
		"allow a string":    {text(200, `{"allow":"true"}`), "neither"},
		"allow null":        {text(200, `{"allow":null}`), "neither"},
		"allow twice":       {text(200, `{"allow":false,"allow":true}`), "JSON"},
		"message a number":  {text(200, `{"allow":false,"message":7}`), "message"},
		"not UTF-8":         {text(200, "{\"allow\":false,\"message\":\"\xff\"}"), "JSON"},
		"more after it":     {text(200, `{"allow":true}{}`), "JSON"},
		"huge":              {text(200, `{"allow":true,"x":"`+strings.Repeat("x", 1<<20)+`"}`), "too long"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/yes" {
				_, _ = io.WriteString(w, `{"allow":true}`)
				return
			}
			http.Redirect(w, r, "/yes", http.StatusTemporaryRedirect)
		}, "redirects"},
		"cut off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"silence": {func(_ http.ResponseWriter, r *http.Request) { <-release }, "no answer in time"},
		"a body that does not end": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"allow":true`)
			_ = http.NewResponseController(w).Flush()
			<-release
		}, "no answer in time"},
	} {
		w := newWebhook(t, c.serve, func(c *Config) { c.Timeout = 300 * time.Millisecond })
		v, err := w.Ask(t.Context(), Registration{User: "alice", Proof: "123456"})
		if v != (Verdict{}) || !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v, want %q", name, v, err, c.want)
			continue
		}
		for _, hidden := range []string{"hush", "123456", "alice"} {
			if strings.Contains(err.Error(), hidden) {
				t.Errorf("%s: the error shows %q: %v", name, hidden, err)
			}
		}
	}
	close(release)
	w := newWebhook(t, nil, func(c *Config) { c.URL = "http://127.0.0.1:1/" })
	if _, err := w.Ask(t.Context(), Registration{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

// A service that hangs holds so many places and no more.
func TestAtOnce(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	w := newWebhook(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(w, `{"allow":true}`)
	}, func(c *Config) { c.AtOnce = 2 })
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			if v, err := w.Ask(t.Context(), Registration{User: "alice"}); err != nil || !v.Allow {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
	<-arrived
	<-arrived
	if _, err := w.Ask(t.Context(), Registration{User: "bob"}); !errors.Is(err, ErrBusy) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("a third: %v", err)
	}
	close(release)
	asking.Wait()
	go func() { <-arrived }()
	if _, err := w.Ask(t.Context(), Registration{User: "bob"}); err != nil {
		t.Errorf("later: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Ask(ctx, Registration{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("nobody waits for it any more: %v", err)
	}
}

// The secret can be replaced while the node runs; what is no secret is refused
// at the start, and never shown.
func TestSecretFile(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "blank": " \n", "bare": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "short": "whsec_AAAA", "not base64": "whsec_!!!!KQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"long": "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)), "five": strings.Repeat(secretText+"\n", 5),
		"huge": secretText + strings.Repeat(" ", 5000), "one bad": secretText + "\nMfKQ9r8G",
	} {
		_, err := New(Config{URL: "https://x/", SecretFile: secretFile(t, text)})
		if !errors.Is(err, ErrSecret) || strings.Contains(err.Error(), "KQ9r8G") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{URL: "http://x/", SecretFile: "/nonexistent", Timeout: -1}); !errors.Is(err, os.ErrNotExist) ||
		!strings.Contains(err.Error(), "loopback") || !strings.Contains(err.Error(), "negative") {
		t.Errorf("every fault: %v", err)
	}
	second := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 24))
	want := secretText
	w := newWebhook(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := genuine(r, body, want, time.Now()); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, `{"allow":true}`)
	}, nil)
	for range 2 {
		if _, err := w.Ask(t.Context(), Registration{User: "alice"}); err != nil {
			t.Fatal(err)
		}
		want = second
		if err := os.WriteFile(w.cfg.SecretFile, []byte(second), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(w.cfg.SecretFile); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Ask(t.Context(), Registration{User: "alice"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a secret: %v", err)
	}
}
