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
	start   time.Time // with its monotonic reading
	log     *slog.Logger
	leaping atomic.Bool
}

func newClock(log *slog.Logger) *clock { return &clock{start: time.Now(), log: log} }

// millis is the wall clock, Unix milliseconds.
func (c *clock) millis() uint64 { return uint64(time.Now().UnixMilli()) } //nolint:gosec // after 1970

// expiry is millis while the clock is trusted, and 0 while it is not.
func (c *clock) expiry() uint64 {
	now := time.Now()
	drift := now.Round(0).Sub(c.start.Round(0)) - now.Sub(c.start)
	leaping := drift > leap || drift < -leap
	if c.leaping.Swap(leaping) != leaping {
		if leaping {
			c.log.Error("the wall clock leapt; nothing expires until it is back", "by", drift)
		} else {
			c.log.Info("the wall clock is back")
		}
	}
	if leaping {
		return 0
	}
	return uint64(now.UnixMilli()) //nolint:gosec // after 1970
}
