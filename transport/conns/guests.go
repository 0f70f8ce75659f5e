package conns

import (
	"net/netip"
	"sync"
)

// guests counts, by address, who has not yet said who they are: handshakes
// under way, and open connections that are not authenticated.
type guests struct {
	// Immutable.
	unauthenticated, handshakes int

	mu      sync.Mutex
	byAddr  map[netip.Addr]uint32 // into entries
	entries []guest
	spare   []uint32
}

type guest struct {
	addr                        netip.Addr
	unauthenticated, handshakes int
}

func newGuests(unauthenticated, handshakes int) *guests {
	return &guests{unauthenticated: unauthenticated, handshakes: handshakes, byAddr: map[netip.Addr]uint32{}}
}

// household is what counts as one address: whoever has one of IPv6 has a /64.
func household(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// arrive counts a handshake, or says that there are too many. The handle is 0,
// and nothing counted, where there is no address.
func (g *guests) arrive(addr netip.Addr) (handle uint32, ok bool) {
	if !addr.IsValid() {
		return 0, true
	}
	addr = household(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	i, known := g.byAddr[addr]
	if !known {
		i = g.makeLocked(addr)
	}
	e := &g.entries[i]
	if e.handshakes >= g.handshakes || e.handshakes+e.unauthenticated >= g.unauthenticated {
		return 0, false
	}
	e.handshakes++
	return i + 1, true
}

func (g *guests) makeLocked(addr netip.Addr) uint32 {
	var i uint32
	if n := len(g.spare); n > 0 {
		i, g.spare = g.spare[n-1], g.spare[:n-1]
	} else {
		i = uint32(len(g.entries))
		g.entries = append(g.entries, guest{})
	}
	g.entries[i] = guest{addr: addr}
	g.byAddr[addr] = i
	return i
}

// turnAway ends a handshake that came to nothing.
func (g *guests) turnAway(handle uint32) {
	g.change(handle, func(e *guest) { e.handshakes-- })
}

// enter turns a handshake into an open connection.
func (g *guests) enter(handle uint32) {
	g.change(handle, func(e *guest) { e.handshakes--; e.unauthenticated++ })
}

// leave forgets an open connection: it is authenticated, or closed.
func (g *guests) leave(handle uint32) {
	g.change(handle, func(e *guest) { e.unauthenticated-- })
}

func (g *guests) change(handle uint32, f func(*guest)) {
	if handle == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	e := &g.entries[handle-1]
	f(e)
	if e.handshakes == 0 && e.unauthenticated == 0 {
		delete(g.byAddr, e.addr)
		*e = guest{}
		g.spare = append(g.spare, handle-1)
	}
}
