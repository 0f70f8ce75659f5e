package shard

import (
	"maps"
	"slices"
	"testing"
	"time"

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

// What three nodes with 256 groups cost when nobody says anything: one tick of
// all of them, with heartbeats and their answers encoded, carried and decoded. At
// ten ticks a second, 10 ms are a tenth of a core.
func BenchmarkIdleTick(b *testing.B) {
	const groups = 256
	type body struct {
		from, to string
		body     []byte
	}
	var queue []body
	names := []string{"a", "b", "c"}
	sets, couriers := map[string]*Set{}, map[string]*Courier{}
	for i, name := range names {
		c := newClock()
		couriers[name] = NewCourier(7, 8, func(node string, b []byte) { queue = append(queue, body{name, node, b[1:]}) })
		var found []uint32
		for id := range uint32(groups) {
			found = append(found, id)
		}
		set, err := New(Config{
			Log: newMemLog(&trace{}, c), Store: newMemStore(&trace{}), Node: name, Found: found, Machine: always(idle{}), Now: c.Now,
			Post: func(func()) bool { return false }, SyncWait: time.Hour, Send: couriers[name].Take,
			Bootstrap: func(uint32) (First, error) {
				return First{uint64(i + 1), map[uint64]string{1: "a", 2: "b", 3: "c"}}, nil
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		defer set.Close()
		sets[name] = set
	}
	settle := func() {
		for busy := true; busy; {
			for _, name := range names {
				if err := sets[name].Round(); err != nil {
					b.Fatal(err)
				}
				couriers[name].Flush()
			}
			now := queue
			queue = nil
			for _, l := range now {
				if err := sets[l.to].Hear(l.from, l.body); err != nil {
					b.Fatal(err)
				}
			}
			busy = len(now) > 0
		}
	}
	for id := range uint32(groups) {
		if err := sets[names[id%3]].Group(id).Campaign(); err != nil {
			b.Fatal(err)
		}
	}
	settle()
	for id := range uint32(groups) {
		if g := sets[names[id%3]].Group(id); !g.Leading() {
			b.Fatalf("group %d is %v", id, g.Role())
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, name := range names {
			sets[name].Tick()
		}
		settle()
	}
}
