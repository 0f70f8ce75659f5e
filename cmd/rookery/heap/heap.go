// Package heap says when the process collects its garbage.
//
// Go collects when the heap has grown by as much as was live after the last
// collection. What a node keeps is small: under load that was three to four
// collections a second, 8% of its CPU. So under load that lasts the heap may
// grow to a floor before it is collected, whatever is live of it. The price is
// memory, while there is load, and some for good: what the runtime keeps of each
// page of the largest heap there was, 2 to 4% of it. That is why a burst, such
// as many connections at once, is collected sooner than Go would. Once there is
// none it is given back: a node that does little collects by itself, soon and
// then ever more rarely, until what was garbage is the system's again. Left alone
// the runtime would do so after two minutes and after four, for what it keeps for
// later follows the collection before.
package heap

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// DefaultFloor is four to five times what a node with little to do holds.
const DefaultFloor = 256 << 20

// Keep collects until the context ends; with the GOGC of the environment, where
// there is one, instead of a floor in bytes. One for a process.
func Keep(ctx context.Context, floor int64) {
	k := keeper{floor: uint64(floor), percent: defaultPercent} //nolint:gosec // above 0
	if os.Getenv("GOGC") != "" {
		k.floor = 0
	}
	samples := newSamples()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		do := k.step(read(samples))
		if do.percent != 0 {
			debug.SetGCPercent(do.percent)
		}
		if do.collect {
			debug.FreeOSMemory() // collects first; the runtime alone keeps a tenth
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

const (
	defaultPercent = 100
	// Of what counts as live, half or more is room that Badger has for rows to come.
	// Without load that lasts the heap grows by half, not as much again: many
	// connections at once would leave a peak behind that is twice what they need.
	burstPercent = 50
	// quietBytes allocated in a second at most are no load; what a scrape of the
	// metrics takes is a tenth of it.
	quietBytes = 4 << 20
	quietFor   = 2 // seconds
	// Load lasts from here on, and is over after so much quiet; seconds.
	loadLasts, loadOver = 8, 10
	// A collection is worth it for such a part of the heap, and above leastBytes.
	worthPart  = 64
	leastBytes = 1 << 20
	// Between two collections while it is quiet, at first and at last, in seconds.
	// The runtime itself collects every two minutes.
	firstWait, lastWait = 3, 96
)

// keeper is the pure half: a step each second.
type keeper struct {
	floor     uint64
	percent   int
	allocated uint64
	loaded    int // seconds with load, since it was over
	quiet     int // seconds without load
	wait      int // until the next collection may come
	next      int // wait after that
}

// sample of the heap, bytes: live after the last collection, used since then as
// well, free but not given back to the system, and allocated since the start.
type sample struct{ live, used, free, allocated uint64 }

// what to do: a percentage to set, unless 0, and whether to collect.
type what struct {
	percent int
	collect bool
}

func (k *keeper) step(s sample) (do what) {
	load := s.allocated-k.allocated > quietBytes
	k.allocated = s.allocated
	switch {
	case load:
		k.loaded++
	case k.quiet >= loadOver:
		k.loaded = 0
	}
	p := burstPercent
	if k.loaded >= loadLasts {
		p = k.goal(s.live)
	}
	if k.floor != 0 && (p > k.percent+k.percent/8 || p < k.percent-k.percent/8) {
		k.percent, do.percent = p, p
	}
	if load {
		k.quiet, k.wait, k.next = 0, 0, firstWait
		return do
	}
	k.quiet++
	if k.wait > 0 {
		k.wait--
	}
	worth := max(s.used/worthPart, leastBytes)
	if k.quiet < quietFor || k.wait > 0 || s.used-min(s.live, s.used)+s.free < worth {
		return do
	}
	k.wait, k.next = k.next, min(2*k.next, lastWait)
	do.collect = true
	return do
}

// goal is the percentage that lets the heap grow to the floor, and never less
// than Go's own.
func (k *keeper) goal(live uint64) int {
	const most = 10_000
	if live == 0 {
		live = 1
	}
	if k.floor/live > most/100 {
		return most
	}
	return max(defaultPercent, int(100*k.floor/live)-100) //nolint:gosec // bounded
}

func newSamples() []metrics.Sample {
	return []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/allocs:bytes"},
	}
}

func read(s []metrics.Sample) sample {
	metrics.Read(s)
	value := func(i int) uint64 {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0 // a Go without it
		}
		return s[i].Value.Uint64()
	}
	return sample{live: value(0), used: value(1), free: value(2), allocated: value(3)}
}
