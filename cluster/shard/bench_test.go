package shard

import (
	"maps"
	"slices"
	"testing"

	"github.com/rookery-im/rookery/persistence/raftlog"
)

// What one entry costs on the loop, with as many groups sharing a sync, over
// the real log. The machines apply nothing.
func BenchmarkRound(b *testing.B) {
	for name, groups := range map[string]uint32{"1 group": 1, "64 groups": 64} {
		b.Run(name, func(b *testing.B) {
			log, err := raftlog.Open(raftlog.Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer log.Close()
			machines := map[uint32]Machine{}
			for id := range groups {
				machines[id] = idle{}
			}
			set, err := New(Config{Log: SegmentLog{log}, Store: newMemStore(&trace{}), Found: slices.Collect(maps.Keys(machines)), Machine: among(machines),
				Post: func(func()) bool { return false }})
			if err != nil {
				b.Fatal(err)
			}
			defer set.Close()
			if err := set.Round(); err != nil {
				b.Fatal(err)
			}
			data := make([]byte, 200)
			b.ReportAllocs()
			for b.Loop() {
				for _, g := range set.order {
					if err := g.Propose(1, data); err != nil {
						b.Fatal(err)
					}
				}
				for !set.Idle() {
					if err := set.Round(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(groups), "ns/entry")
		})
	}
}

type idle struct{}

func (idle) Apply(uint64, uint64, []byte) error { return nil }
func (idle) Lead(uint64)                        {}
func (idle) Follow()                            {}
func (idle) Committed(uint64)                   {}
func (idle) Dropped(uint64)                     {}
func (idle) Confirmed(uint64)                   {}
