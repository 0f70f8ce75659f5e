package conns

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
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
	g := newGuests(3, 2)
	if _, ok := g.arrive(netip.Addr{}); !ok {
		t.Error("a Unix socket has no address to limit")
	}
	a, _ := g.arrive(addr("2001:db8::1"))
	b, _ := g.arrive(addr("2001:db8::ffff:1"))
	if a != b {
		t.Error("two of one /64 count apart")
	}
	if _, ok := g.arrive(addr("2001:db8::2")); ok {
		t.Error("a third handshake")
	}
	if _, ok := g.arrive(addr("2001:db8:0:1::1")); !ok {
		t.Error("another /64 is refused")
	}
	v4, _ := g.arrive(addr("192.0.2.1"))
	if mapped, _ := g.arrive(addr("::ffff:192.0.2.1")); mapped != v4 {
		t.Error("an IPv4 address counts apart when it is mapped")
	}
	g.turnAway(a)
	g.enter(b)
	g.leave(b)
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
