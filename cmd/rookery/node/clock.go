package node

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// leap is how far the wall clock may part from the monotonic one before it is
// no longer trusted.
const leap = time.Hour

// clock is the wall clock, watched for leaps: messages must not expire because
// somebody set the time.
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

// millis is the wall clock, Unix milliseconds.
func (c *clock) millis() uint64 { return uint64(c.read().wall.UnixMilli()) } //nolint:gosec // after 1970

// expiry is millis while the clock is trusted, and 0 while it is not: from a
// leap until the clock is set back, or the node is started with it as it is.
func (c *clock) expiry() uint64 {
	r := c.read()
	drift := r.wall.Sub(c.start.wall) - (r.steady - c.start.steady)
	leaping := drift > leap || drift < -leap
	if c.leaping.Swap(leaping) != leaping {
		if leaping {
			c.log.Error("the wall clock leapt; nothing expires until it is back, or the node is started again", "by", drift)
		} else {
			c.log.Info("the wall clock is back")
		}
	}
	if leaping {
		return 0
	}
	return uint64(r.wall.UnixMilli()) //nolint:gosec // after 1970
}
