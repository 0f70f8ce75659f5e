package conns

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

func TestUnauthenticatedAreLimited(t *testing.T) {
	n := start(t, Config{Unauthenticated: 3}, &scribe{})
	var ids []ID
	var clients []*client
	for range 3 {
		c, id := n.open()
		ids, clients = append(ids, id), append(clients, c)
	}
	refused := func() {
		t.Helper()
		c := n.dialRaw()
		c.raw([]byte(request(Path)))
		if res := c.response(); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%v %v", res.Status, res.Header)
		}
	}
	refused()
	n.on(func() { n.conns.Authenticated(ids[0]); n.conns.Authenticated(ids[0]) })
	n.open() // one place, not two
	refused()
	_ = clients[1].conn.Close()
	n.next("closed")
	n.open()
	_ = clients[0].conn.Close() // gives no place: it had given it before
	n.next("closed")
	refused()
}

func TestConnectionsAreLimited(t *testing.T) {
	n := start(t, Config{Conns: 1}, &scribe{})
	first, _ := n.open()
	c := n.dialRaw()
	c.raw([]byte(request(Path)))
	if res := c.response(); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%v", res.Status)
	}
	_ = first.conn.Close()
	n.next("closed")
	n.open()
}

func TestGuests(t *testing.T) {
	addr := netip.MustParseAddr
	g := newGuests(Config{Unauthenticated: 3, Handshakes: 2, Fruitless: 1000, Clock: time.Now})
	if _, v := g.arrive(netip.Addr{}); v != welcome {
		t.Error("a Unix socket has no address to limit")
	}
	a, _ := g.arrive(addr("2001:db8::1"))
	b, _ := g.arrive(addr("2001:db8::ffff:1"))
	if a != b {
		t.Error("two of one /64 count apart")
	}
	if _, v := g.arrive(addr("2001:db8::2")); v != tooMany {
		t.Error("a third handshake")
	}
	if _, v := g.arrive(addr("2001:db8:0:1::1")); v != welcome {
		t.Error("another /64 is refused")
	}
	v4, _ := g.arrive(addr("192.0.2.1"))
	if mapped, _ := g.arrive(addr("::ffff:192.0.2.1")); mapped != v4 {
		t.Error("an IPv4 address counts apart when it is mapped")
	}
	g.turnAway(a)
	g.enter(b)
	g.known(b)
	if _, known := g.byAddr[addr("2001:db8::")]; known {
		t.Error("an address without connections is remembered")
	}
	for i := range 1000 { // entries are used again
		h, _ := g.arrive(addr(fmt.Sprintf("198.51.100.%d", i%250)))
		g.turnAway(h)
	}
	if len(g.entries) > 5 {
		t.Errorf("%d entries", len(g.entries))
	}
}

// What one address may waste, as the outcomes of its connections.
func TestFruitlessConnections(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	g := newGuests(Config{Unauthenticated: 100, Handshakes: 100, Fruitless: 64, Clock: func() time.Time { return now }})
	addr := netip.MustParseAddr("192.0.2.1")
	come := func(n int, end func(uint32)) (refused int) {
		for range n {
			h, v := g.arrive(addr)
			if v == tooOften {
				refused++
				continue
			}
			end(h)
		}
		return refused
	}
	silent := func(h uint32) { g.enter(h); g.leave(h) }
	honest := func(h uint32) { g.enter(h); g.known(h) }
	for i, step := range []struct {
		after   time.Duration
		times   int
		end     func(uint32)
		refused int
	}{
		{0, 19_000, honest, 0}, // a storm behind one address
		{0, 19_000, g.turnAway, 0},
		{0, 40, silent, 0},
		{0, 20, g.fail, 0},
		{0, 10, silent, 6},
		{0, 10, honest, 10}, // they share the address
		{time.Second, 5, silent, 3},
		{time.Second, 100, honest, 0}, // two are forgiven, and these need no more
		{time.Minute, 100, silent, 36},
	} {
		now = now.Add(step.after)
		if refused := come(step.times, step.end); refused != step.refused {
			t.Errorf("step %d: %d of %d are refused, want %d", i, refused, step.times, step.refused)
		}
	}
}

// Addresses are forgotten when everything is forgiven, and past the bound of
// them before that.
func TestRegretsAreBounded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	g := newGuests(Config{Unauthenticated: 1, Handshakes: 1, Fruitless: 8, Clock: func() time.Time { return now }})
	visit := func(i int) {
		h, _ := g.arrive(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		g.fail(h)
	}
	for i := range limits.Regrets + 5000 {
		visit(i)
	}
	if n := len(g.byAddr); n > limits.Regrets+2 {
		t.Errorf("%d addresses are remembered", n)
	}
	now = now.Add(fruitlessTime)
	for i := range limits.Regrets {
		visit(i % 10)
	}
	if n := len(g.byAddr); n > 20 {
		t.Errorf("%d addresses are remembered after all is forgiven", n)
	}
}

// Who is refused for that has to wait for the answer, and is told why.
func TestFruitlessIsAnswered(t *testing.T) {
	n := start(t, Config{Fruitless: 2}, &scribe{})
	for range 2 {
		c, _ := n.open()
		_ = c.conn.Close()
		n.next("closed")
	}
	c := n.dialRaw()
	before := time.Now()
	c.raw([]byte(request(Path)))
	res := c.response()
	if took := time.Since(before); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" || took < limits.FruitlessWait {
		t.Errorf("%v after %v, %v", res.Status, took, res.Header)
	}
}
