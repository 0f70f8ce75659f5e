package node

import (
	"log/slog"
	"testing"
	"time"
)

// The clock is set a day forward, and back; then slewed. Nothing may expire by
// the day, and everything may by the time that really passes.
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
		if got := c.millis(); got != uint64(r.wall.UnixMilli()) {
			t.Errorf("%s: millis %d", step.what, got)
		}
	}
}
