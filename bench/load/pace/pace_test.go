package pace

import (
	"math"
	"slices"
	"testing"
	"time"
)

// The server stalls for a second: what was due meanwhile is still sent, and
// each of it is as late as it is. A generator that waits for answers would send
// one message in that second and call the rest quick.
func TestAStallIsSeenByAllThatWasDue(t *testing.T) {
	const rate = 10_000
	s := New(rate, 100, 1)
	var late []time.Duration
	clock := func(now time.Duration) {
		for {
			at, _, ok := s.Take(now)
			if !ok {
				return
			}
			late = append(late, now-at)
		}
	}
	for now := time.Duration(0); now <= time.Second; now += 100 * time.Microsecond {
		clock(now)
	}
	before := len(late)
	clock(2 * time.Second) // nothing ran in between
	stalled := late[before:]
	if n := len(stalled); math.Abs(float64(n)-rate) > 5*math.Sqrt(rate) {
		t.Fatalf("%d were due in the stall, want about %d", n, rate)
	}
	slices.Sort(stalled)
	if p50 := stalled[len(stalled)/2]; p50 < 450*time.Millisecond || p50 > 550*time.Millisecond {
		t.Errorf("the median of a stall of 1 s is late by %v, want about half of it", p50)
	}
	if last := late[before-1]; last > 10*time.Millisecond {
		t.Errorf("before the stall one was late by %v", last)
	}
}

// The times do not depend on when they are asked for.
func TestTheScheduleIsFixed(t *testing.T) {
	type slot struct {
		at     time.Duration
		sender int
	}
	take := func(every time.Duration) (all []slot) {
		s := New(5000, 7, 42)
		for now := time.Duration(0); now <= time.Second; now += every {
			for {
				at, who, ok := s.Take(now)
				if !ok {
					break
				}
				all = append(all, slot{at, who})
			}
		}
		return all
	}
	often, rarely := take(time.Millisecond), take(250*time.Millisecond)
	if !slices.Equal(often, rarely) {
		t.Error("asking less often changes the schedule")
	}
	if slices.Equal(often, func() (all []slot) {
		s := New(5000, 7, 43)
		for at, who, ok := s.Take(time.Second); ok; at, who, ok = s.Take(time.Second) {
			all = append(all, slot{at, who})
		}
		return all
	}()) {
		t.Error("the seed changes nothing")
	}
}

// In any round everybody is due once; gaps are exponential.
func TestTurnsAndGaps(t *testing.T) {
	const n, rounds, rate = 50, 400, 1000
	s := New(rate, n, 3)
	counts := make([]int, n)
	var last time.Duration
	var gaps []float64
	for i := range n * rounds {
		at, who, ok := s.Take(time.Hour)
		if !ok {
			t.Fatal("nothing is due")
		}
		counts[who]++
		gaps = append(gaps, float64(at-last))
		last = at
		if i%n == n-1 {
			for w, c := range counts {
				if c != i/n+1 {
					t.Fatalf("after %d rounds sender %d had %d turns", i/n+1, w, c)
				}
			}
		}
	}
	mean := float64(last) / float64(len(gaps))
	var variance float64
	for _, g := range gaps {
		variance += (g - mean) * (g - mean) / float64(len(gaps))
	}
	// Of an exponential distribution the deviation is the mean.
	if ratio := math.Sqrt(variance) / mean; ratio < 0.95 || ratio > 1.05 {
		t.Errorf("deviation over mean is %.3f", ratio)
	}
	if want := float64(time.Second) / rate; math.Abs(mean-want) > 0.05*want {
		t.Errorf("mean gap %.0f ns, want %.0f", mean, want)
	}
}

func TestNobodyToSend(t *testing.T) {
	if _, _, ok := New(1, 0, 1).Take(time.Hour); ok {
		t.Error("nobody is due")
	}
}
