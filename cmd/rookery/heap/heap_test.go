package heap

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

const mb = 1 << 20

// The percentage lets the heap reach the floor, and is Go's own above it.
func TestGoal(t *testing.T) {
	for _, c := range []struct {
		live, floor uint64
		want        int
	}{
		{0, 256 * mb, 10_000}, {1 * mb, 256 * mb, 10_000}, {64 * mb, 256 * mb, 300}, {128 * mb, 256 * mb, 100},
		{200 * mb, 256 * mb, 100}, {1 << 40, 256 * mb, 100}, {64 * mb, 1 * mb, 100},
	} {
		k := keeper{floor: c.floor}
		if got := k.goal(c.live); got != c.want {
			t.Errorf("%d MB live, floor %d MB: %d%%, want %d%%", c.live/mb, c.floor/mb, got, c.want)
		}
	}
}

// A burst is collected soon, lasting load at the floor, until it is over.
func TestFloorIsForLastingLoad(t *testing.T) {
	k := keeper{floor: 256 * mb, percent: defaultPercent}
	run := func(seconds int, rate uint64) {
		for range seconds {
			k.step(sample{live: 64 * mb, used: 64 * mb, allocated: k.allocated + rate})
		}
	}
	for _, stage := range []struct {
		seconds int
		rate    uint64
		want    int
	}{
		{loadLasts - 1, 1 << 30, burstPercent},
		{loadOver + 1, 0, burstPercent},
		{loadLasts, 1 << 30, 300},
		{loadOver - 1, 0, 300},
		{1, 1 << 30, 300},
		{loadOver + 1, 0, burstPercent},
	} {
		if run(stage.seconds, stage.rate); k.percent != stage.want {
			t.Errorf("after %d s of %d MB/s: %d%%, want %d%%", stage.seconds, stage.rate/mb, k.percent, stage.want)
		}
	}
}

// Small changes of what is live set nothing: to set it stops the world.
func TestPercentIsSetRarely(t *testing.T) {
	k := keeper{floor: 256 * mb, percent: defaultPercent, loaded: loadLasts}
	var set []int
	for _, live := range []uint64{64, 62, 66, 64, 32, 34, 300, 290} {
		if do := k.step(sample{live: live * mb, allocated: k.allocated + 1<<30}); do.percent != 0 {
			set = append(set, do.percent)
		}
	}
	if want := []int{300, 700, 100}; !slices.Equal(set, want) {
		t.Errorf("set %v, want %v", set, want)
	}
	k = keeper{percent: defaultPercent}
	if do := k.step(sample{live: mb}); do.percent != 0 {
		t.Errorf("set %d%% though the environment has one", do.percent)
	}
}

// Load is never collected by us; when it ends, garbage is soon, again while
// something comes of it, and ever more rarely.
func TestCollections(t *testing.T) {
	k := keeper{percent: defaultPercent}
	total := uint64(0)
	run := func(seconds int, s sample, rate uint64) (at []int) {
		for i := range seconds {
			total += rate
			s.allocated = total
			if k.step(s).collect {
				at = append(at, i)
			}
		}
		return at
	}
	dirty := sample{live: 60 * mb, used: 200 * mb}
	if at := run(60, dirty, 100*mb); at != nil {
		t.Errorf("collected under load at %v", at)
	}
	if at, want := run(60, dirty, mb/2), []int{1, 4, 10, 22, 46}; !slices.Equal(at, want) {
		t.Errorf("collected at %v, want %v", at, want)
	}
	if at := run(60, sample{live: 127 * mb, used: 128 * mb, free: mb / 2}, mb/2); at != nil {
		t.Errorf("collected a clean heap at %v", at)
	}
	run(1, dirty, 100*mb)
	if at := run(3, sample{live: 60 * mb, used: 64 * mb, free: 50 * mb}, 0); !slices.Equal(at, []int{1}) {
		t.Errorf("kept what is free, collected at %v", at)
	}
}

// What was garbage is the system's again at once: the runtime by itself gives it
// back by and by, and never a tenth of the heap.
func TestKeepGivesBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nobody else collects
	var garbage [][]byte
	for range 8192 {
		garbage = append(garbage, make([]byte, 8192))
	}
	runtime.KeepAlive(garbage)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { Keep(ctx, 256*mb); close(done) }()
		time.Sleep(10 * time.Second) // of the bubble's clock
		cancel()
		<-done
	})
	if s := read(newSamples()); s.free > 2*mb || s.used > 16*mb {
		t.Errorf("%d KB are free and kept, %d KB in use", s.free>>10, s.used>>10)
	}
}

// Keep ends with its context, and the metrics it reads exist.
func TestKeep(t *testing.T) {
	defer goleak.VerifyNone(t)
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	if s := read(newSamples()); s.used == 0 || s.allocated == 0 {
		t.Errorf("read %+v", s)
	}
	t.Setenv("GOGC", "100")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { Keep(ctx, mb); close(done) }()
		time.Sleep(3 * time.Second) // of the bubble's clock
		cancel()
		<-done
	})
}
