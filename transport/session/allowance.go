package session

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/rookery-im/rookery/internal/limits"
)

// allowance is what a device has left of its rates. It is the device's, not
// its connection's: whoever connects anew goes on with what was left, or to
// reconnect would be the way around every rate.
type allowance struct {
	effort effort

	sends, typing, watch, signals, frames *rate.Limiter

	of    owner
	users int       // sessions that use it
	until time.Time // kept when none does
}

type owner struct {
	user   string
	device uint32
}

// allow gives a session its device's allowance.
func (g *Gateway) allow(s *session) *allowance {
	of := owner{s.user, s.device}
	a := g.allowances[of]
	if a == nil {
		limit := g.cfg.Limits
		l := func(r Rate) *rate.Limiter { return rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst) }
		a = &allowance{
			sends: l(limit.Sends), typing: l(limit.Typing), watch: l(limit.Watch), signals: l(limit.Signals), frames: l(limit.Frames),
			of: of,
		}
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
	a.until = g.now().Add(g.cfg.Limits.refill())
	g.parted = append(g.parted, a)
}

// forget the allowances that are full again.
func (g *Gateway) forget() {
	now, n := g.now(), 0
	for ; n < len(g.parted); n++ {
		a := g.parted[n]
		if a.users == 0 && now.Before(a.until) {
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
