package node

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// leap is how far the wall clock may part from the monotonic one before it is
// no longer trusted.
const leap = time.Hour

// clock is the wall clock, watched for leaps: nothing may expire because
// somebody set the time. Which of the two times is right after a leap nobody
// here can know, before it or since; so what has a time to live is stamped with
// the later, and tokens are judged by the earlier. Messages expire by neither.
type clock struct {
	// Immutable.
	read  func() reading
	start reading
	log   *slog.Logger

	leaping atomic.Bool
}

// reading is both clocks at one moment; steady is of any beginning.
type reading struct {
	wall   time.Time
	steady time.Duration
}

// now reads the machine's clocks.
func now() func() reading {
	start := time.Now()
	return func() reading {
		t := time.Now()
		return reading{t.Round(0), t.Sub(start)}
	}
}

func newClock(read func() reading, log *slog.Logger) *clock {
	return &clock{read: read, start: read(), log: log}
}

// look says what the wall clock says, and by how much it leapt: from a leap
// until the clock is set back, or the node is started with it as it is.
func (c *clock) look() (wall time.Time, leapt time.Duration) {
	r := c.read()
	drift := r.wall.Sub(c.start.wall) - (r.steady - c.start.steady)
	leaping := drift > leap || drift < -leap
	if c.leaping.Swap(leaping) != leaping {
		if leaping {
			c.log.Error("the wall clock leapt; nothing expires by that until it is back, or the node is started again", "by", drift)
		} else {
			c.log.Info("the wall clock is back")
		}
	}
	if !leaping {
		drift = 0
	}
	return r.wall, drift
}

// stamp is the time for what is made now.
func (c *clock) stamp() time.Time {
	wall, leapt := c.look()
	return wall.Add(max(0, -leapt))
}

// due is the time by which tokens and invites expire.
func (c *clock) due() time.Time {
	wall, leapt := c.look()
	return wall.Add(-max(0, leapt))
}

// deadline is when due will be t, by the monotonic clock.
func (c *clock) deadline(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Now().Add(t.Sub(c.due()))
}

// millis is stamp in Unix milliseconds.
func (c *clock) millis() uint64 { return uint64(c.stamp().UnixMilli()) } //nolint:gosec // after 1970

// expiry is millis while the clock is trusted, and 0 after a leap.
func (c *clock) expiry() uint64 {
	wall, leapt := c.look()
	if leapt != 0 {
		return 0
	}
	return uint64(wall.UnixMilli()) //nolint:gosec // after 1970
}
