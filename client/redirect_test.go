package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// trusting dials as a client does whose HTTPClient trusts the servers of a test.
func trusting(t *testing.T) (*http.Client, dialer) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // their certificates are their own
	t.Cleanup(transport.CloseIdleConnections)
	h := Config{HTTPClient: &http.Client{Transport: transport}}.withDefaults().HTTPClient
	return h, dialWebSocket(Protobuf, h)
}

func dialAt(t *testing.T, dial dialer, url string) (socket, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return dial(ctx, url, func() {})
}

// A server that redirects for ever is given up, for the WebSocket too.
func TestRedirectsEnd(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 100 { // the test is lost: let it end
			http.Error(w, "enough", http.StatusTeapot)
			return
		}
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	_, dial := trusting(t)
	if _, err := dialAt(t, dial, "ws"+strings.TrimPrefix(s.URL, "http")+"/v1/ws"); err == nil {
		t.Error("no error")
	}
	if n := asked.Load(); n > 10 {
		t.Errorf("asked %d times", n)
	}
}

// Passwords and tokens do not go out in clear because a server of https says so.
func TestRedirectOutOfTLS(t *testing.T) {
	var asked atomic.Int64
	clear := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusCreated)
	}))
	defer clear.Close()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, clear.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	h, dial := trusting(t)
	if err := Register(t.Context(), Config{URL: s.URL, User: "alice", Password: "correct horse", HTTPClient: h}, "Alice"); !errors.Is(err, errInClear) {
		t.Errorf("register: %v", err)
	}
	if _, err := dialAt(t, dial, "ws"+strings.TrimPrefix(s.URL, "http")+"/v1/ws"); !errors.Is(err, errInClear) {
		t.Errorf("connect: %v", err)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests went out in clear", n)
	}
}

// A proxy that loses the header of the subprotocol is named as what is wrong:
// the server would go on in JSON.
func TestOtherSubprotocol(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := websocket.Accept(w, r, nil); err == nil {
			defer c.CloseNow()
			_, _, _ = c.Read(r.Context()) // until the client leaves
		}
	}))
	defer s.Close()
	_, dial := trusting(t)
	if _, err := dialAt(t, dial, "ws"+strings.TrimPrefix(s.URL, "http")); !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "rookery.v1.protobuf") {
		t.Error(err)
	}
}
