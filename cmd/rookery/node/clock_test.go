package node

import (
	"log/slog"
	"testing"
	"time"
)

// The clock is set a day forward, and back; then slewed. Nothing may expire by
// the day, and everything may by the time that really passes. Whichever of the two
// times is right, what was stamped with a time to live has it, and is not over before.
func TestClockThatIsSet(t *testing.T) {
	start := reading{wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), steady: 42 * time.Second}
	r := start
	c := newClock(func() reading { return r }, slog.New(slog.DiscardHandler))
	const day, hour, minute = 24 * time.Hour, time.Hour, time.Minute
	for _, step := range []struct {
		what            string
		passes, set     time.Duration
		trusted, warned bool
	}{
		{"a minute passes", minute, 0, true, false},
		{"it is set a day forward", minute, day, false, true},
		{"it stays so for a week", 7 * day, 0, false, true},
		{"it is set back", minute, -day, true, false},
		{"it is set a day back", minute, -day, false, true},
		{"and forward again", minute, day, true, false},
		{"it is slewed by a minute", hour, minute, true, false},
		{"a month passes", 30 * day, 0, true, false},
	} {
		r.wall, r.steady = r.wall.Add(step.passes+step.set), r.steady+step.passes
		want := uint64(0)
		if step.trusted {
			want = uint64(r.wall.UnixMilli())
		}
		if got := c.expiry(); got != want || c.leaping.Load() != step.warned {
			t.Errorf("%s: expiry %d, want %d; leaping %v", step.what, got, want, c.leaping.Load())
		}
		stamp, due := r.wall, r.wall
		if unset := start.wall.Add(r.steady - start.steady); !step.trusted {
			stamp, due = later(stamp, unset), earlier(due, unset)
		}
		if got := c.millis(); got != uint64(stamp.UnixMilli()) {
			t.Errorf("%s: it stamps with %v, not %v", step.what, time.UnixMilli(int64(got)).UTC(), stamp)
		}
		if got := c.due(); !got.Equal(due) {
			t.Errorf("%s: due %v, not %v", step.what, got, due)
		}
		if left := time.Until(c.deadline(due.Add(hour))); left > hour || left < hour-minute {
			t.Errorf("%s: an hour takes %v", step.what, left)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
