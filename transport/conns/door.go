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
//
// A crowd may also come back to people who talk: a network was down, or another
// node is. Who is of it says who he is, and stays: for each that does some more
// may come in, so that the pace grows several times with every exchange of a
// hello. Whoever comes with a token again and again does not stay, and takes that
// back.
type door struct {
	// Immutable.
	perSecond, burst, credit float64
	now                      func() time.Time

	talk talk // owned by the loop, but for what it says

	mu    sync.Mutex // there may be several listeners
	taken float64    // of the burst; below 0 what those have earned who stay
	at    time.Time
}

func newDoor(cfg Config) *door {
	return &door{perSecond: float64(cfg.Newcomers), burst: float64(cfg.Newcomers) / newcomersBurst, credit: doorCredit * float64(cfg.Newcomers), now: cfg.Clock}
}

// What a newcomer who has said who it is earns, and takes back who has and leaves
// again; and for how many seconds' newcomers can be earned.
const (
	doorEarned = 4
	doorWasted = 6
	doorCredit = 8
)

// newcomersBurst is the part of a second whose newcomers come in at once.
const newcomersBurst = 4

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
	if passed := max(0, now.Sub(d.at).Seconds()) * d.perSecond; d.taken > 0 {
		d.taken = max(0, d.taken-passed)
	} else {
		d.taken = min(0, d.taken+passed) // what is not used is forgotten
	}
	d.at = now
	if d.talk.goesOn() && d.taken+1 > d.burst {
		return time.Duration((d.taken + 1 - d.burst) / d.perSecond * float64(time.Second))
	}
	d.taken = min(d.taken+1, d.burst)
	return 0
}

// known: one that came in has said who it is.
func (d *door) known() { d.earn(doorEarned) }

// left: one has gone. One who was known and came a moment ago has only used up time.
func (d *door) left(r *record, now tick) {
	if r.flags&isKnown != 0 && !r.pinged.after(talkHere).reached(now) {
		d.earn(-doorWasted)
	}
}

func (d *door) earn(n float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken = min(max(d.taken-n, -d.credit), max(d.taken, d.burst))
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
