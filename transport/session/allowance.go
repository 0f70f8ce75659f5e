package session

import (
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

// allowance is what a device has left of its rates. It is the device's, not
// its connection's: whoever connects anew goes on with what was left, or to
// reconnect would be the way around every rate.
type allowance struct {
	effort effort

	sends, typing, watch, signals, frames bucket

	of    owner
	users int       // sessions that use it
	until time.Time // kept when none does
}

type owner struct {
	user   string
	device uint32
}

// bucket of a Rate: what was taken and has not come back. The zero value is full.
type bucket struct {
	taken float64
	at    int64 // see Gateway.clock
}

// take says how long to wait until n could be taken; they are, where that is 0.
func (b *bucket) take(clock int64, n int, r Rate) time.Duration {
	b.taken = max(0, b.taken-float64(max(0, clock-b.at))/1e6*r.PerSecond)
	b.at = max(b.at, clock)
	if over := b.taken + float64(n) - float64(r.Burst); over > 0 {
		return max(1, time.Duration(over/r.PerSecond*float64(time.Second)))
	}
	b.taken += float64(n)
	return 0
}

// allow gives a session its device's allowance.
func (g *Gateway) allow(s *session) *allowance {
	of := owner{s.user, s.device}
	a := g.allowances[of]
	if a == nil {
		a = &allowance{of: of}
		g.allowances[of] = a
	}
	a.users++
	return a
}

// leave has one session fewer use it; it is forgotten once it is full again,
// when that makes no difference.
func (g *Gateway) leave(a *allowance) {
	if a.users--; a.users > 0 {
		return
	}
	a.until = g.at.Add(g.cfg.Limits.refill())
	g.parted = append(g.parted, a)
}

// forget the allowances that are full again.
func (g *Gateway) forget() {
	n := 0
	for ; n < len(g.parted); n++ {
		a := g.parted[n]
		if a.users == 0 && g.at.Before(a.until) {
			break // those behind it parted later
		}
		if a.users == 0 && g.allowances[a.of] == a {
			delete(g.allowances, a.of)
		}
	}
	kept := copy(g.parted, g.parted[n:])
	clear(g.parted[kept:])
	g.parted = g.parted[:kept]
}

// refill is how long it takes until every rate that was used up is whole.
func (l Limits) refill() (longest time.Duration) {
	for _, r := range []Rate{l.Sends, l.Typing, l.Watch, l.Signals, l.Frames} {
		longest = max(longest, time.Duration(float64(r.Burst)/r.PerSecond*float64(time.Second)))
	}
	perSecond, burst := l.effort()
	// Effort may be overdrawn by what one message costs.
	most := burst + brokenEffort*limits.Message
	return min(max(longest, time.Duration(most/perSecond*float64(time.Second))), refillMax)
}

// refillMax bounds how long allowances are kept, whatever the rates are.
const refillMax = time.Minute
