package client

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A call goes to another node where one cannot be reached, and one that may be made
// twice also where the node broke off.
func TestCallsFindAnotherNode(t *testing.T) {
	asked := map[string]int{}
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"token":"t"}`)) // the client judges
	}))
	defer good.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer cut.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name, at, method, path string
		found                  bool
	}{
		{"no node there", dead, http.MethodPost, "/v1/devices", true},
		{"a token, no node there", dead, http.MethodPost, pathTokens, true},
		{"a token, broken off", cut.URL, http.MethodPost, pathTokens, true},
		{"a question, broken off", cut.URL, http.MethodGet, "/v1/devices", true},
		{"a device, broken off", cut.URL, http.MethodPost, "/v1/devices", false},
	} {
		clear(asked)
		configured, err := parseBase(c.at)
		if err != nil {
			t.Fatal(err)
		}
		r := &rest{http: newHTTPClient(), nodes: newNodes(configured)}
		r.nodes.learn([]string{c.at, "ws" + strings.TrimPrefix(good.URL, "http") + "/v1/ws"})
		var out struct{ Token string }
		err = r.do(t.Context(), c.method, c.path, "", nil, &out)
		if (err == nil) != c.found || (asked[c.path] == 1) != c.found || (out.Token == "t") != c.found {
			t.Errorf("%s: %v, asked %v", c.name, err, asked)
		}
		if got := r.nodes.turns()[0] != configured; got != c.found {
			t.Errorf("%s: the next call goes to %v first", c.name, r.nodes.turns())
		}
		r.http.CloseIdleConnections()
	}
}

// An error that a node answers with is the answer, unless it cannot say anything
// for the moment.
func TestErrorsAreAnswers(t *testing.T) {
	for _, c := range []struct {
		method, problem string
		asked           int
	}{
		{http.MethodGet, `{"code":"unavailable","detail":"x"}`, 2},
		{http.MethodPost, `{"code":"unavailable","detail":"x"}`, 1},
		{http.MethodGet, `{"code":"unavailable","detail":"x","retryAfterMs":1000}`, 1},
		{http.MethodGet, `{"code":"not_found","detail":"x"}`, 1},
	} {
		asked := 0
		bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(c.problem)) // the client judges
		}))
		configured, err := parseBase(bad.URL)
		if err != nil {
			t.Fatal(err)
		}
		r := &rest{http: newHTTPClient(), nodes: newNodes(configured)}
		r.nodes.learn([]string{"ws" + strings.TrimPrefix(bad.URL, "http") + "/other/v1/ws"})
		var said *Error
		if err := r.do(t.Context(), c.method, "/v1/devices", "", nil, nil); !errors.As(err, &said) || asked != c.asked {
			t.Errorf("%s, %s: asked %d times: %v", c.method, c.problem, asked, err)
		}
		r.http.CloseIdleConnections()
		bad.Close()
	}
}
