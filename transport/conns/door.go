package conns

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

// door is where connections come in. To take one costs a goroutine, a request
// and an answer, more than ten messages do, and whoever opens thousands a second
// has that work done by the processors which everybody's messages need. Where
// they all have addresses of their own nothing tells them from a crowd that
// comes back, but one thing does not depend on who they are: those who are here
// and talk go before those who come. So while people talk connections are taken
// at a pace; the rest waits in the kernel's queue. A node to which a crowd comes
// back after a restart has nobody who talks, and takes them as fast as it can.
type door struct {
	// Immutable.
	perSecond, burst float64
	now              func() time.Time

	talk talk // owned by the loop, but for what it says

	mu    sync.Mutex // there may be several listeners
	taken float64    // of the burst
	at    time.Time
}

func newDoor(cfg Config) *door {
	return &door{perSecond: float64(cfg.Newcomers), burst: float64(cfg.Newcomers) / newcomersBurst, now: cfg.Clock}
}

// newcomersBurst is the part of a second whose newcomers come in at once.
const newcomersBurst = 16

// doorLook is how often it is looked whether those waiting may come in.
const doorLook = 5 * time.Millisecond

// admit waits until one more may come in, or until closed.
func (d *door) admit(closed <-chan struct{}) {
	for d.wait() > 0 {
		timer := time.NewTimer(doorLook)
		select {
		case <-timer.C:
		case <-closed:
			timer.Stop()
			return
		}
	}
}

// wait is how long nobody may come in; 0 lets one in.
func (d *door) wait() time.Duration {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken = max(0, d.taken-max(0, now.Sub(d.at).Seconds())*d.perSecond)
	d.at = now
	if d.talk.goesOn() && d.taken+1 > d.burst {
		return time.Duration((d.taken + 1 - d.burst) / d.perSecond * float64(time.Second))
	}
	d.taken = min(d.taken+1, d.burst)
	return 0
}

// talk is whether people talk: messages of those who have been here for a
// while. What somebody says who has just come is a part of coming.
type talk struct {
	// Owned by the loop.
	messages int
	since    tick

	on atomic.Bool
}

const (
	talkLook   = 250 * time.Millisecond // how often it is judged
	talkHere   = 5 * time.Second        // for how long somebody has been here who is not new
	talkEnough = limits.Talk / 4        // messages in talkLook
)

// said counts a message. That a connection was pinged a moment ago, or has just
// begun, is the same to a record, so that some are missed who are not new.
func (t *talk) said(r *record, now tick) {
	if r.flags&isKnown != 0 && r.pinged.after(talkHere).reached(now) {
		t.messages++
	}
}

// judge looks at what was said lately.
func (t *talk) judge(now tick) {
	if !t.since.after(talkLook).reached(now) {
		return
	}
	t.on.Store(t.messages >= talkEnough)
	t.messages, t.since = 0, now
}

func (t *talk) goesOn() bool { return t.on.Load() }
