package node

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The clock is set a day forward, and back; then slewed. Nothing may expire by
// the day, and everything may by the time that really passes. Whichever of the two
// times is right, what was stamped with a time to live has it, and is not over before.
func TestClockThatIsSet(t *testing.T) {
	start := reading{wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), steady: 42 * time.Second}
	r := start
	c := newClock(func() reading { return r }, time.Time{}, slog.New(slog.DiscardHandler))
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

// A start is compared with the last run. Behind it the clock is not trusted until
// it has passed that time, or an operator says so; ahead of it, messages wait for a
// while; and a restart before that explains nothing.
func TestClockAtStart(t *testing.T) {
	const day, hour, minute = 24 * time.Hour, time.Hour, time.Minute
	seen := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	type step struct {
		what        string
		passes, set time.Duration
		accept      bool
		expires     bool
		stamp, due  time.Duration // from the wall clock
		kept        time.Duration // from the wall clock, where expires or kept is not 0
	}
	for name, c := range map[string]struct {
		start time.Duration // from seen
		steps []step
	}{
		"no last run":      {0, []step{{what: "at once", expires: true}}},
		"a restart":        {10 * time.Second, []step{{what: "at once", expires: true}}},
		"an hour's outage": {hour, []step{{what: "at once", expires: true}}},
		"corrected by a little while it was down": {-10 * minute, []step{{what: "at once", expires: true}}},
		"a day behind": {-day, []step{
			{what: "at once", stamp: day},
			{what: "an hour later", passes: hour, stamp: day},
			{what: "set to almost then", set: day - 3*hour, stamp: 3 * hour},
			{what: "it comes near the last run", passes: hour, expires: true},
			{what: "and is watched from then on", set: -day, stamp: day, kept: day},
		}},
		"a day behind, and set right after three days": {-day, []step{
			{what: "at once", stamp: day},
			{what: "set", set: 4 * day, expires: true},
		}},
		"a day behind, and that is right": {-day, []step{
			{what: "at once", stamp: day},
			{what: "accepted", accept: true, expires: true},
			{what: "for good", passes: hour, expires: true},
		}},
		"a month's outage": {30 * day, []step{
			{what: "at once"},
			{what: "almost an hour later", passes: hour - minute},
			{what: "an hour later", passes: minute, expires: true},
		}},
		"a month's outage, which the operator knows of": {30 * day, []step{
			{what: "at once"},
			{what: "accepted", accept: true, expires: true},
		}},
		"a month ahead, and set back": {30 * day, []step{
			{what: "at once"},
			{what: "set back", set: -30 * day, stamp: 30 * day},
			{what: "and accepted", accept: true, expires: true},
		}},
		"a leap that is accepted": {0, []step{
			{what: "at once", expires: true},
			{what: "a day forward", set: day, due: -day, kept: -day},
			{what: "accepted", accept: true, expires: true},
			{what: "set back", set: -day, stamp: day, kept: day},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := reading{seen.Add(c.start), 42 * time.Second}
			before := seen
			if name == "no last run" {
				before = time.Time{}
			}
			clock := newClock(func() reading { return r }, before, slog.New(slog.DiscardHandler))
			for _, s := range c.steps {
				r.wall, r.steady = r.wall.Add(s.passes+s.set), r.steady+s.passes
				if s.accept {
					clock.accept()
				}
				if got := clock.expiry(); (got != 0) != s.expires || s.expires && got != uint64(r.wall.UnixMilli()) {
					t.Errorf("%s: expires by %d, want %v", s.what, got, s.expires)
				}
				if (clock.warning() == "") != s.expires {
					t.Errorf("%s: it warns %q", s.what, clock.warning())
				}
				if got := clock.stamp().Sub(r.wall); got != s.stamp {
					t.Errorf("%s: it stamps %v from the wall clock, not %v", s.what, got, s.stamp)
				}
				if got := clock.due().Sub(r.wall); got != s.due {
					t.Errorf("%s: tokens expire %v from the wall clock, not %v", s.what, got, s.due)
				}
				kept, ok := clock.keep()
				if ok != (s.expires || s.kept != 0) || ok && kept.Sub(r.wall) != s.kept {
					t.Errorf("%s: it keeps %v, %v, with the clock at %v", s.what, kept, ok, r.wall)
				}
			}
		})
	}
}

// What the last run kept is found by the next; an operator is told, may accept
// the clock, and that is kept as well.
func TestClockOfTheLastRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	data := t.TempDir()
	on := func(c *Config) { c.Data = data }
	drain := func(n *Node) {
		t.Helper()
		if err := n.Drain(); err != nil {
			t.Error(err)
		}
	}
	get := func(n *Node, path string) string {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "http://"+n.AdminAddr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, err)
		}
		return string(body)
	}
	n := startReady(t, on)
	if ready := get(n, "/readyz"); strings.Contains(ready, "warning") {
		t.Errorf("the first start: %s", ready)
	}
	drain(n)
	file := filepath.Join(data, "clock")
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := time.Parse(time.RFC3339, strings.TrimSpace(string(kept))); err != nil || time.Since(at) > time.Minute {
		t.Errorf("kept %q, %v", kept, err)
	}
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	if err := os.WriteFile(file, []byte(tomorrow+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n = startReady(t, on)
	if ready := get(n, "/readyz"); !strings.Contains(ready, tomorrow) {
		t.Errorf("behind the last run: %s", ready)
	}
	if metrics := get(n, "/metrics"); !strings.Contains(metrics, "\nrookery_clock_expiry_stopped 1\n") {
		t.Error("no metric says so")
	}
	drain(n)
	if kept, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(kept)) != tomorrow {
		t.Errorf("a restart explains it: kept %q, %v", kept, err)
	}
	n = startReady(t, on)
	if status, answer := post(t, "http://"+n.AdminAddr()+"/v1/clock:accept", "", ""); status != http.StatusNoContent {
		t.Errorf("accept: %d %s", status, answer)
	}
	if ready := get(n, "/readyz"); strings.Contains(ready, "warning") || !strings.Contains(get(n, "/metrics"), "\nrookery_clock_expiry_stopped 0\n") {
		t.Errorf("accepted: %s", ready)
	}
	drain(n)
	if kept, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(kept)) == tomorrow {
		t.Errorf("accepted, and forgotten: %q, %v", kept, err)
	}
	if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	n = startReady(t, on)
	drain(n)
	if kept, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(kept), "20") {
		t.Errorf("damaged, and left so: %q, %v", kept, err)
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
