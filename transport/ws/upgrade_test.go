package ws

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
)

func TestNegotiate(t *testing.T) {
	for _, c := range []struct {
		offers []string
		want   Subprotocol
		name   string
		fails  bool
	}{
		{nil, JSON, "", false},
		{[]string{""}, JSON, "", false},
		{[]string{NameJSON}, JSON, NameJSON, false},
		{[]string{NameProtobuf}, Protobuf, NameProtobuf, false},
		{[]string{"mqtt, " + NameProtobuf + "," + NameJSON}, Protobuf, NameProtobuf, false},
		{[]string{"mqtt", NameJSON}, JSON, NameJSON, false},
		{[]string{"mqtt, wamp"}, JSON, "", true},
		{[]string{"ROOKERY.V1.JSON"}, JSON, "", true}, // names are compared as they are (RFC 6455, 4.1)
	} {
		sub, name, err := Negotiate(c.offers)
		if sub != c.want || name != c.name || (err != nil) != c.fails {
			t.Errorf("%q: %v, %q, %v", c.offers, sub, name, err)
		}
	}
}

func TestBearer(t *testing.T) {
	for header, want := range map[string]string{
		"": "", "Bearer abc": "abc", "bearer  abc ": "abc", "Basic abc": "", "Bearer": "", "abc": "",
	} {
		if got := Bearer(http.Header{"Authorization": {header}}); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

// dial sends raw requests to a server whose handler upgrades, and returns the
// response and what the handler got.
func dial(t *testing.T, extra string, after []byte) (*http.Response, chan *Handshake) {
	t.Helper()
	got := make(chan *Handshake, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hs, err := Upgrade(w, r, time.Minute)
		if err == nil {
			t.Cleanup(func() { _ = hs.Conn.Close() })
		}
		got <- hs
	}))
	t.Cleanup(srv.Close)
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	req := "GET / HTTP/1.1\r\nHost: here\r\n" + extra + "\r\n"
	if _, err := c.Write(append([]byte(req), after...)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res, got
}

const wanted = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func TestUpgrade(t *testing.T) {
	early := wire(text("already here"))
	res, got := dial(t, wanted+"Authorization: Bearer tok\r\n", early)
	hs := <-got
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%v %v", res.Status, res.Header)
	}
	if _, named := res.Header["Sec-Websocket-Protocol"]; named {
		t.Error("a subprotocol is named that nobody offered")
	}
	if hs.Subprotocol != JSON || hs.Token != "tok" {
		t.Errorf("%+v", hs)
	}
	// The frame came with the request or right after it.
	rest := make([]byte, len(early)-len(hs.Leftover))
	if _, err := io.ReadFull(hs.Conn, rest); err != nil || string(hs.Leftover)+string(rest) != string(early) {
		t.Errorf("left over %q, then %q, %v", hs.Leftover, rest, err)
	}
}

func TestUpgradeNamesTheSubprotocol(t *testing.T) {
	res, got := dial(t, wanted+"Sec-WebSocket-Protocol: mqtt, rookery.v1.protobuf\r\n", nil)
	if hs := <-got; hs == nil || hs.Subprotocol != Protobuf || res.Header.Get("Sec-WebSocket-Protocol") != NameProtobuf {
		t.Errorf("%+v %v", hs, res.Header)
	}
}

// Whatever is wrong with a handshake is said as a problem, by us: the engine
// below would say it in plain text, and some of it as an error of its own.
func TestUpgradeRefusals(t *testing.T) {
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for name, c := range map[string]struct {
		headers string
		status  int
		says    string
	}{
		"unknown subprotocols":   {wanted + "Sec-WebSocket-Protocol: mqtt\r\n", 400, NameProtobuf + " or " + NameJSON},
		"no upgrade":             {"", 426, `"status":426`},
		"another upgrade":        {strings.Replace(wanted, "WebSocket", "h2c", 1), 426, "WebSocket"},
		"no connection":          {strings.Replace(wanted, "keep-alive, Upgrade", "keep-alive", 1), 400, "Connection"},
		"no key":                 {strings.Replace(wanted, key, "", 1), 400, "Sec-WebSocket-Key"},
		"a short key":            {strings.Replace(wanted, "dGhlIHNhbXBsZSBub25jZQ==", "short", 1), 400, "Sec-WebSocket-Key"},
		"a key of 17 bytes":      {strings.Replace(wanted, "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWY=", 1), 400, "Sec-WebSocket-Key"},
		"a key that is none":     {strings.Replace(wanted, "dGhlIHNhbXBsZSBub25jZQ==", "%%%%%%%%%%%%%%%%%%%%%%==", 1), 400, "Sec-WebSocket-Key"},
		"two keys":               {wanted + key, 400, "Sec-WebSocket-Key"},
		"no version":             {strings.Replace(wanted, "Sec-WebSocket-Version: 13\r\n", "", 1), 400, "Sec-WebSocket-Version"},
		"old version":            {strings.Replace(wanted, "13", "8", 1), 426, "Sec-WebSocket-Version"},
		"two versions":           {wanted + "Sec-WebSocket-Version: 13\r\n", 400, "Sec-WebSocket-Version"},
		"malformed subprotocols": {wanted + "Sec-WebSocket-Protocol: \"a,\r\nSec-WebSocket-Protocol: (\r\n", 400, NameJSON},
	} {
		t.Run(name, func(t *testing.T) {
			res, got := dial(t, c.headers, nil)
			if hs := <-got; hs != nil || res.StatusCode != c.status {
				t.Fatalf("%v, %+v", res.Status, hs)
			}
			body, err := io.ReadAll(io.LimitReader(res.Body, 4096))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(body), c.says) {
				t.Errorf("%q is not in %s", c.says, body)
			}
			if ct := res.Header.Get("Content-Type"); ct != "application/problem+json" || !json.Valid(body) {
				t.Errorf("%s: %s", ct, body)
			}
			if c.status == 426 && (res.Header.Get("Upgrade") != "websocket" || res.Header.Get("Sec-WebSocket-Version") != "13") {
				t.Errorf("what is wanted is not said: %v", res.Header)
			}
			if res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%v", res.Header)
			}
		})
	}
}

// A subprotocol that is known is found beside ones that are no tokens.
func TestUpgradeAmongMalformedSubprotocols(t *testing.T) {
	res, got := dial(t, wanted+"Sec-WebSocket-Protocol: \"(\r\nSec-WebSocket-Protocol: rookery.v1.json\r\n", nil)
	if hs := <-got; hs == nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Protocol") != NameJSON {
		t.Errorf("%v %v %+v", res.Status, res.Header, hs)
	}
}

// REST and the handshake say alike how long to wait.
func TestRefuseSaysWhenToComeBack(t *testing.T) {
	for code, want := range map[fault.Code]string{fault.Unavailable: "1", fault.RateLimited: "1", fault.NotFound: ""} {
		w := httptest.NewRecorder()
		Refuse(w, 0, code, "x")
		if got := w.Header().Get("Retry-After"); got != want || strings.Contains(w.Body.String(), `"retryAfterMs":1000`) != (want != "") {
			t.Errorf("%s: Retry-After %q: %s", code, got, w.Body)
		}
	}
}
