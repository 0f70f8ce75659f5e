package session

import (
	"hash/maphash"
	"math"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
)

// arrivals says whether a device may begin a session now. To begin one costs
// many times what a send does: an actor is asked, the session before it ends,
// and rows are written. So who comes back without an end is turned away before.
//
// Of a device only the time is kept at which its bucket is whole again, and
// only until then (the generic cell rate algorithm, ITU-T I.371): a device that
// came once and stays costs nothing.
type arrivals struct {
	// Immutable; microseconds.
	every int64 // from one arrival to the next
	depth int64 // of the bucket

	// In two generations: when the young one has lasted for the depth of the
	// bucket, all that stands in the old one is whole. By a hash of the device,
	// without a pointer: after a storm there are as many as devices. Two that share
	// one, if there ever are two, share a bucket.
	young, old map[uint64]int64
	seed       maphash.Seed
	turn       int64 // when the young one becomes the old one
}

func newArrivals(limit Rate) *arrivals {
	every := max(1, int64(float64(time.Second.Microseconds())/limit.PerSecond))
	return &arrivals{every: every, depth: every * int64(limit.Burst), young: map[uint64]int64{}, seed: maphash.MakeSeed()}
}

// take counts an arrival, or says how long the device has to wait with it.
func (a *arrivals) take(of owner, now int64) time.Duration {
	a.forget(now)
	key := maphash.Comparable(a.seed, of)
	whole, known := a.young[key]
	if !known {
		whole = a.old[key]
	}
	whole = max(whole, now) + a.every
	if wait := whole - now - a.depth; wait > 0 {
		return time.Duration(wait) * time.Microsecond
	}
	if len(a.young) >= limits.Arrivals/2 {
		a.turn = now // the oldest lose their count, which is to their good
		a.forget(now)
	}
	a.young[key] = whole
	return 0
}

func (a *arrivals) forget(now int64) {
	if now < a.turn {
		return
	}
	a.turn = now + a.depth
	if len(a.young)+len(a.old) > 0 {
		a.old, a.young = a.young, map[uint64]int64{}
	}
}

// parting is a session that was turned away, and when it is to be closed.
type parting struct {
	conn uint64
	at   int64 // see Gateway.clock
}

// turnAway answers a hello that comes too soon. The connection is closed when
// the time has come at which another hello might be taken: whoever does not
// care about the answer would be back at once.
func (g *Gateway) turnAway(s *session, wait time.Duration) {
	g.metrics.TurnedAway.Inc()
	f := fault.New(fault.RateLimited, "", "hello: this device connected too often, more than %g times a second", g.cfg.Limits.Hellos.PerSecond)
	f.RetryAfterMs = uint32(min(wait.Milliseconds()+1, math.MaxUint32)) //nolint:gosec // bounded
	g.fault(s, s.ref, "", f)
	s.state = turnedAway
	g.conns.Read(s.conn, Pause)
	hold := min(max(wait, limits.TurnedAwayMin), limits.TurnedAwayMax)
	g.partings = append(g.partings, parting{s.conn, g.clock() + hold.Microseconds()})
}

// part closes those whose time has come. They are few: an address may have
// limits.Unauthenticated.
func (g *Gateway) part() {
	now, kept := g.clock(), g.partings[:0]
	for _, p := range g.partings {
		s := g.sessions[p.conn]
		switch {
		case s == nil || s.state == closing:
		case p.at <= now:
			g.close(s, CloseUnavailable, "this device connected too often; back off")
		default:
			kept = append(kept, p)
		}
	}
	g.partings = kept
}
