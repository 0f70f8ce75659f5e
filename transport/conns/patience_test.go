package conns

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

// tired is a guard in front of a server that refuses what has no token.
func tired(t *testing.T, fruitless int) (*hall, *Conns) {
	h := &hall{t: t}
	n := start(t, Config{Fruitless: fruitless}, &scribe{})
	h.lobby = n.conns.lobby
	srv := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer good" {
			fmt.Fprint(w, "yes")
			return
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "no")
	})}
	n.conns.Guard(srv)
	h.listen(srv)
	return h, n.conns
}

func ask(token string) string {
	return "GET /v1/x HTTP/1.1\r\nHost: here\r\nAuthorization: " + token + "\r\n\r\n"
}

// Whoever is refused and asks again as fast as it can waits before each further
// request; others do not, nor do those who are let in.
func TestRefusedRequestsHaveAnAddressWait(t *testing.T) {
	h, c := tired(t, 3)
	for range 20 { // nothing of this is in vain
		h.answer(h.from(1, ask("Bearer good")), "yes")
	}
	if c.guests.wearies(netip.MustParseAddr("127.0.0.1")) {
		t.Error("who is let in is had to wait")
	}
	greedy := h.from(1, "")
	again := func() {
		if _, err := io.WriteString(greedy, ask("Bearer bad")); err != nil {
			t.Fatal(err)
		}
	}
	for range 48 { // as much as three connections
		if c.guests.wearies(netip.MustParseAddr("127.0.0.1")) {
			t.Fatal("it has to wait too soon")
		}
		again()
		h.answer(greedy, "no")
	}
	if n := c.heldBack.Load(); n != 0 {
		t.Fatalf("%d are held back", n)
	}
	again()
	h.eventually("it is held back", func() bool { return c.heldBack.Load() == 1 })
	h.answer(h.from(2, ask("Bearer bad")), "no")
	if n := c.heldBack.Load(); n != 1 {
		t.Errorf("%d are held back", n)
	}
	h.answer(greedy, "no") // and is served
}

// A long body that is in vain counts as many requests.
func TestLongBodiesInVainCountMore(t *testing.T) {
	h, c := tired(t, 20)
	text := "POST /v1/x HTTP/1.1\r\nHost: here\r\nContent-Length: 524288\r\n\r\n" + strings.Repeat("x", 512<<10)
	h.answer(h.from(1, text), "no")
	again := h.from(1, ask("Bearer bad"))
	h.eventually("it is held back", func() bool { return c.heldBack.Load() == 1 })
	h.answer(again, "no")
}

// Who asks without a token, and is answered, has asked for something that is
// there for everybody.
func TestAnsweredRequestsAreNotInVain(t *testing.T) {
	n := start(t, Config{Fruitless: 1}, &scribe{})
	h := &hall{t: t, lobby: n.conns.lobby}
	srv := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "yes") })}
	n.conns.Guard(srv)
	h.listen(srv)
	conn := h.from(1, "")
	for range 40 {
		if _, err := io.WriteString(conn, "GET /v1/x HTTP/1.1\r\nHost: here\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		h.answer(conn, "yes")
	}
	if n.conns.guests.wearies(netip.MustParseAddr("127.0.0.1")) {
		t.Error("who was answered has to wait")
	}
}

// Only so many are held back, each of which has a goroutine and a connection.
func TestHeldBackRequestsAreBounded(t *testing.T) {
	h, c := tired(t, 1)
	for range 16 {
		h.answer(h.from(1, ask("Bearer bad")), "no")
	}
	c.heldBack.Store(limits.HeldRefusals)
	conn := h.from(1, ask("Bearer bad"))
	b, err := io.ReadAll(conn) // to its end: the connection is closed
	for _, want := range []string{"429 Too Many Requests", "Connection: close", "came to nothing"} {
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%q, %v, want %q", b, err, want)
		}
	}
	c.heldBack.Store(0)
}

// What came to nothing is bounded, and forgiven; the addresses are forgotten.
func TestVainRequestsAreForgiven(t *testing.T) {
	var now clock
	g := newGuests(Config{Fruitless: 4, Unauthenticated: 8, Handshakes: 8, Clock: now.now})
	a := netip.MustParseAddr("192.0.2.1")
	for range 1000 {
		g.vain(a, 1)
	}
	if !g.wearies(a) || g.wearies(netip.MustParseAddr("192.0.2.2")) {
		t.Error("the wrong one wearies")
	}
	now.advance(fruitlessTime + time.Second)
	g.vain(netip.MustParseAddr("192.0.2.3"), 1)
	if g.wearies(a) {
		t.Error("nothing is forgiven in the time of all that may be")
	}
	now.advance(2 * fruitlessTime)
	for range 8 {
		g.vain(netip.MustParseAddr("192.0.2.4"), 1)
	}
	if len(g.byAddr) > 2 {
		t.Errorf("%d addresses are remembered", len(g.byAddr))
	}
}

// A flood from many addresses, a request each, leaves no more behind than may be.
func TestVainRequestsOfManyAddresses(t *testing.T) {
	var now clock
	g := newGuests(Config{Fruitless: 4, Unauthenticated: 8, Handshakes: 8, Clock: now.now})
	for i := range 3 * limits.Regrets {
		g.vain(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
	}
	if n := len(g.byAddr); n > limits.Regrets+2 {
		t.Errorf("%d addresses are remembered", n)
	}
}
