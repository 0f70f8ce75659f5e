package node

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// leap is how far the wall clock may part from the monotonic one, or from
	// what was kept at the last run, before it is no longer trusted.
	leap = time.Hour
	// grace is how long nothing expires after a start at which the clock is ahead
	// of what was kept by more than a leap. The node may have been down for so
	// long, or the clock is wrong: somebody has the time to look.
	grace = time.Hour
	// keepEvery is how often the time is kept.
	keepEvery = time.Minute
)

// clock is the wall clock, watched for leaps: nothing may expire because
// somebody set the time. Which of the two times is right after a leap nobody
// here can know, before it or since; so what has a time to live is stamped with
// the later, and tokens are judged by the earlier. Messages expire by neither.
//
// A start is compared with the time kept by the last run. Behind it, the clock
// has leapt back, until it is within a leap of that time. Ahead of it, messages wait for
// the grace to be over; tokens expire as the clock says, since a login mends
// one that was refused too early, and nothing one that was taken too late.
type clock struct {
	// Immutable.
	read func() reading
	log  *slog.Logger

	line    atomic.Pointer[line]
	leaping atomic.Bool
}

// reading is both clocks at one moment; steady is of any beginning.
type reading struct {
	wall   time.Time
	steady time.Duration
}

// line is what the wall clock is expected to say: from, and as much later as
// the steady clock is.
type line struct {
	from   reading
	behind time.Time     // that the clock has yet to come near; zero: none
	wait   time.Duration // of the steady clock; nothing expires before
}

// now reads the machine's clocks.
func now() func() reading {
	start := time.Now()
	return func() reading {
		t := time.Now()
		return reading{t.Round(0), t.Sub(start)}
	}
}

// newClock begins with the present reading; seen is what keep gave in the last
// run, or zero.
func newClock(read func() reading, seen time.Time, log *slog.Logger) *clock {
	c := &clock{read: read, log: log}
	r := read()
	l := &line{from: r}
	switch gap := r.wall.Sub(seen); {
	case seen.IsZero():
	case gap < -leap:
		l.from.wall, l.behind = seen, seen
		log.Error("the wall clock is behind the time of the last run; nothing expires until it is near that, or is accepted as it is (POST /v1/clock:accept)",
			"clock", r.wall, "kept", seen)
		c.leaping.Store(true)
	case gap > leap:
		l.wait = r.steady + grace
		log.Warn("the wall clock is far ahead of the time of the last run: either the node was down for so long, or the clock is wrong; messages do not expire for a while",
			"clock", r.wall, "kept", seen, "for", grace)
	}
	c.line.Store(l)
	return c
}

// look says what the wall clock says, and by how much it leapt: from a leap
// until the clock is set back, or accepted as it is.
func (c *clock) look() (r reading, l *line, leapt time.Duration) {
	r, l = c.read(), c.line.Load()
	if !l.behind.IsZero() && !r.wall.Before(l.behind.Add(-leap)) {
		// However far ahead it is now: so long the node may have been down.
		if c.line.CompareAndSwap(l, &line{from: r}) {
			c.leaping.Store(false)
			c.log.Info("the wall clock is not behind the time of the last run any more", "kept", l.behind)
		}
		l = c.line.Load()
	}
	drift := r.wall.Sub(l.from.wall) - (r.steady - l.from.steady)
	leaping := drift > leap || drift < -leap
	if c.leaping.Swap(leaping) != leaping {
		if leaping {
			c.log.Error("the wall clock leapt; nothing expires by that until it is back, or is accepted as it is (POST /v1/clock:accept)", "by", drift)
		} else {
			c.log.Info("the wall clock is back")
		}
	}
	if !leaping {
		drift = 0
	}
	return r, l, drift
}

// clockMetrics are for alerts.
func clockMetrics(c *clock) []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "rookery", Subsystem: "clock", Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("expiry_stopped", "1 while nothing expires because the wall clock is not trusted; /readyz says why.", func() float64 {
			if c.warning() != "" {
				return 1
			}
			return 0
		}),
		gauge("leapt_seconds", "By how much the wall clock has leapt; 0 while it is trusted.", func() float64 {
			_, _, leapt := c.look()
			return leapt.Seconds()
		}),
	}
}

// accept trusts the clock as it is now.
func (c *clock) accept() {
	r := c.read()
	c.line.Store(&line{from: r})
	c.leaping.Store(false)
	c.log.Info("the wall clock is accepted as it is", "clock", r.wall)
}

// stamp is the time for what is made now.
func (c *clock) stamp() time.Time {
	r, _, leapt := c.look()
	return r.wall.Add(max(0, -leapt))
}

// due is the time by which tokens and invites expire.
func (c *clock) due() time.Time {
	r, _, leapt := c.look()
	return r.wall.Add(-max(0, leapt))
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
	r, l, leapt := c.look()
	if leapt != 0 || r.steady < l.wait {
		return 0
	}
	return uint64(r.wall.UnixMilli()) //nolint:gosec // after 1970
}

// keep is the time to be kept for the next start, unless the one kept before
// still counts: a restart explains nothing.
func (c *clock) keep() (time.Time, bool) {
	r, l, leapt := c.look()
	if !l.behind.IsZero() || r.steady < l.wait {
		return time.Time{}, false
	}
	return r.wall.Add(-leapt), true
}

// warning says why nothing expires, for an operator; empty while all is well.
func (c *clock) warning() string {
	r, l, leapt := c.look()
	switch {
	case !l.behind.IsZero():
		return fmt.Sprintf("the clock is behind the time of the last run (%s): nothing expires until it is near that, or POST /v1/clock:accept", l.behind.UTC().Format(time.RFC3339))
	case leapt != 0:
		return fmt.Sprintf("the clock leapt by %v: nothing expires until it is back, or POST /v1/clock:accept", leapt.Round(time.Second))
	case r.steady < l.wait:
		return fmt.Sprintf("the clock was far ahead of the time of the last run at the start: nothing expires for another %v, or until POST /v1/clock:accept", (l.wait - r.steady).Round(time.Second))
	}
	return ""
}
