package conns

import (
	"net/netip"
	"sync"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

// guests counts, by address, who has not yet said who they are: handshakes
// under way, and open connections that are not authenticated; and how many of
// an address came to nothing, which is forgiven with time. A crowd that comes
// back to say hello, however large, regrets nothing.
type guests struct {
	// Immutable.
	unauthenticated, handshakes int
	fruitless                   int     // of an address, before it has to wait
	forgiven                    float64 // a second
	now                         func() time.Time

	mu      sync.Mutex
	byAddr  map[netip.Addr]uint32 // into entries
	entries []guest
	spare   []uint32
	regrets []uint32 // entries in which nobody is, but something is to be forgiven
}

type guest struct {
	addr                        netip.Addr
	unauthenticated, handshakes int
	fruitless                   float64 // at the time at
	at                          time.Time
	listed                      bool // among the regrets
}

// verdict on a handshake.
type verdict uint8

const (
	welcome  verdict = iota
	tooMany          // are here
	tooOften         // it came to nothing
)

func newGuests(cfg Config) *guests {
	return &guests{
		unauthenticated: cfg.Unauthenticated, handshakes: cfg.Handshakes,
		fruitless: cfg.Fruitless, forgiven: float64(cfg.Fruitless) / fruitlessTime.Seconds(),
		now: cfg.Clock, byAddr: map[netip.Addr]uint32{},
	}
}

// fruitlessTime is how long it takes until all is forgiven.
const fruitlessTime = 32 * time.Second

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

// arrive counts a handshake, or says why not. The handle is 0, and nothing
// counted, where there is no address.
func (g *guests) arrive(addr netip.Addr) (handle uint32, v verdict) {
	if !addr.IsValid() {
		return 0, welcome
	}
	addr = household(addr)
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgiveLocked(now)
	i, known := g.byAddr[addr]
	if !known {
		i = g.makeLocked(addr)
	}
	e := &g.entries[i]
	if e.handshakes >= g.handshakes || e.handshakes+e.unauthenticated >= g.unauthenticated {
		return 0, tooMany
	}
	if e.regret(now, g.forgiven) >= float64(g.fruitless) {
		return 0, tooOften
	}
	e.handshakes++
	return i + 1, welcome
}

// wearies says whether so much of an address came to nothing that it has to wait.
func (g *guests) wearies(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	i, known := g.byAddr[household(addr)]
	return known && g.entries[i].regret(now, g.forgiven) >= float64(g.fruitless)
}

// vain counts a request that came to nothing, as so many.
func (g *guests) vain(addr netip.Addr, n float64) {
	if !addr.IsValid() {
		return
	}
	addr = household(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgiveLocked(g.now())
	i, known := g.byAddr[addr]
	if !known {
		i = g.makeLocked(addr)
	}
	e := &g.entries[i]
	g.regretLocked(e, n)
	g.listLocked(e, i)
}

// regret is what is not forgiven yet.
func (e *guest) regret(now time.Time, forgiven float64) float64 {
	e.fruitless = max(0, e.fruitless-max(0, now.Sub(e.at).Seconds())*forgiven)
	e.at = now
	return e.fruitless
}

// forgiveLocked looks at two addresses that nobody is here of, so that they
// are forgotten faster than they can come.
func (g *guests) forgiveLocked(now time.Time) {
	for range min(2, len(g.regrets)) {
		i := g.regrets[0]
		g.regrets = g.regrets[1:]
		e := &g.entries[i]
		switch {
		case e.handshakes+e.unauthenticated > 0:
			e.listed = false
		case e.regret(now, g.forgiven) == 0 || len(g.regrets) >= limits.Regrets:
			g.freeLocked(i)
		default:
			g.regrets = append(g.regrets, i)
		}
	}
}

func (g *guests) freeLocked(i uint32) {
	delete(g.byAddr, g.entries[i].addr)
	g.entries[i] = guest{}
	g.spare = append(g.spare, i)
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

// turnAway ends a handshake that the node could not take.
func (g *guests) turnAway(handle uint32) {
	g.change(handle, func(e *guest) { e.handshakes-- })
}

// fail ends a handshake that was none.
func (g *guests) fail(handle uint32) {
	g.change(handle, func(e *guest) { e.handshakes--; g.regretLocked(e, 1) })
}

// enter turns a handshake into an open connection.
func (g *guests) enter(handle uint32) {
	g.change(handle, func(e *guest) { e.handshakes--; e.unauthenticated++ })
}

// known forgets an open connection that is authenticated.
func (g *guests) known(handle uint32) {
	g.change(handle, func(e *guest) { e.unauthenticated-- })
}

// leave forgets one that is closed, and never was.
func (g *guests) leave(handle uint32) {
	g.change(handle, func(e *guest) { e.unauthenticated--; g.regretLocked(e, 1) })
}

// regretLocked counts so much more, up to what is forgiven in twice fruitlessTime:
// an address that was held back and went on is not shut out for hours.
func (g *guests) regretLocked(e *guest, n float64) {
	e.fruitless = min(e.regret(g.now(), g.forgiven)+n, 2*float64(g.fruitless))
}

// listLocked has an address forgiven that nobody is here of.
func (g *guests) listLocked(e *guest, i uint32) {
	if e.handshakes+e.unauthenticated == 0 && !e.listed {
		e.listed = true
		g.regrets = append(g.regrets, i)
	}
}

func (g *guests) change(handle uint32, f func(*guest)) {
	if handle == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	e := &g.entries[handle-1]
	f(e)
	switch {
	case e.handshakes+e.unauthenticated > 0 || e.listed:
	case e.fruitless > 0:
		g.listLocked(e, handle-1)
	default:
		g.freeLocked(handle - 1)
	}
}
