package session

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rookery-im/rookery/transport/frames"
)

// A device that connects anew goes on with what its rates had left, and is
// forgotten when that is everything.
func TestRatesOutliveConnections(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.Signals = Rate{1, 5} })
	signals := func(n int) (refused int) {
		for i := range n {
			s.say(fmt.Sprintf(`{"ref":%d,"signalTo":{"to":{"user":"bob"},"bytes":"AA=="}}`, i+1))
		}
		return s.count("< {\"ref\":")
	}
	s.attach()
	if n := signals(4); n != 0 {
		t.Fatalf("%d of the first four are refused", n)
	}
	s.g.Closed(7)
	s.attach()
	if n := signals(4); n != 3 {
		t.Errorf("after connecting anew %d of four are refused, want 3", n)
	}
	// The new connection of a takeover is there before the old one has gone.
	s.g.Opened(8, frames.JSON, "")
	s.g.Message(8, frames.JSON, []byte(`{"hello":{"token":"good"}}`+"\n"+`{"ping":{}}`))
	s.g.Closed(7)
	if n := len(s.g.allowances); n != 1 {
		t.Errorf("%d allowances of one device", n)
	}
	s.g.Closed(8)
	s.g.Sweep()
	if len(s.g.allowances) != 1 {
		t.Error("forgotten before it is full")
	}
	s.now = s.now.Add(time.Minute)
	s.g.Sweep()
	if len(s.g.allowances) != 0 || len(s.g.parted) != 0 {
		t.Errorf("%d allowances and %d parted ones are kept for nobody", len(s.g.allowances), len(s.g.parted))
	}
	s.attach()
	if n := signals(6); n != 1 {
		t.Errorf("after a minute %d of six are refused, want 1", n)
	}
}

// Of a rate no more is taken than its burst and what has come back since; what
// is refused takes nothing, and can be taken after the wait.
func TestBucket(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, r := range []Rate{{1, 5}, {128, 1024}, {0.5, 1}, {8, 64}} {
		b := bucket{}
		clock, from, taken, refused := int64(1), int64(1), 0, 0
		for range 20_000 {
			clock += rng.Int64N(int64(2e6/r.PerSecond) + 1)
			n := 1 + rng.IntN(2)
			n = min(n, r.Burst)
			wait := b.take(clock, n, r)
			if wait == 0 {
				taken += n
			} else {
				refused++
				if clock += wait.Microseconds() + 1; b.take(clock, n, r) != 0 {
					t.Fatalf("%v: not even after %v", r, wait)
				}
				taken += n
			}
			if most := float64(r.Burst) + float64(clock-from)/1e6*r.PerSecond; float64(taken) > most+1e-3 {
				t.Fatalf("%v: %d taken, at most %v", r, taken, most)
			}
		}
		if taken == 0 || refused == 0 {
			t.Errorf("%v: %d taken, %d refused", r, taken, refused)
		}
	}
	b := bucket{}
	if b.take(5, 1, Rate{1, 1}) != 0 || b.take(4, 1, Rate{1, 1}) == 0 {
		t.Error("a clock that goes back gives something")
	}
	if wait := b.take(1e6/4+5, 1, Rate{1, 1}); wait != 3*time.Second/4 {
		t.Errorf("a wait of %v", wait)
	}
}
