package conns

import (
	"testing"
	"time"
)

// Thousands who come at once do not keep those waiting who are here; all of
// them have their turn, in order, and none waits for an event.
func TestInboxIsRunInRounds(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c, err := New(Config{Clock: func() time.Time { return now }}, &scribe{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	const calls = 100
	var ran []int
	for i := range calls {
		if !c.Post(func() { ran = append(ran, i); now = now.Add(time.Millisecond) }) {
			t.Fatal("not taken")
		}
	}
	for round := range calls / 10 {
		if err := c.Poll(time.Second); err != nil {
			t.Fatal(err)
		}
		if want := 10 * (round + 1); len(ran) != want {
			t.Fatalf("after round %d %d calls were run, not %d", round, len(ran), want)
		}
	}
	for i, got := range ran {
		if got != i {
			t.Fatalf("out of order: %v", ran)
		}
	}
}
