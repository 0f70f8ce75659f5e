package machine

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// How much slower the same instructions are where the other processor works as
// well, and where a processor has just rested: on a virtual machine a rest may
// cost it its caches, and two processors may share one. CPU seconds a message
// at different loads can only be compared with these three in mind: see
// docs/performance.md. It needs a machine on which nobody else works.
func BenchmarkLoads(b *testing.B) {
	b.Run("alone", func(b *testing.B) { loads(b, newRing(1), 0) })
	b.Run("beside another", func(b *testing.B) {
		var stop atomic.Bool
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for r := newRing(2); !stop.Load(); {
				r.burst()
			}
		}()
		loads(b, newRing(1), 0)
		stop.Store(true)
		<-ended
	})
	b.Run("after rests", func(b *testing.B) { loads(b, newRing(1), 100*time.Microsecond) })
}

const burstLoads = 1000

// loads reports what one of a burst takes, each burst after a rest.
func loads(b *testing.B, r *ring, rest time.Duration) {
	var took time.Duration
	bursts := 0
	for b.Loop() {
		if rest > 0 {
			<-time.After(rest)
		}
		begin := time.Now()
		r.burst()
		took += time.Since(begin)
		bursts++
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(bursts*burstLoads), "ns/load")
}

// ring is 4 MiB, the size of what a node with some thousands of users goes
// through, in which each load says where the next is.
type ring struct {
	next []uint32
	at   uint32
}

func newRing(seed uint64) *ring {
	const words = 1 << 20
	order := rand.New(rand.NewPCG(seed, 0)).Perm(words)
	r := &ring{next: make([]uint32, words)}
	for i, n := range order {
		r.next[n] = uint32(order[(i+1)%words]) //nolint:gosec // below 1<<20
	}
	return r
}

func (r *ring) burst() {
	at := r.at
	for range burstLoads {
		at = r.next[at]
	}
	r.at = at
}
