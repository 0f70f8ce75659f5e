package host

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Timers at the edges of slots and levels: each fires once, in its tick.
func TestWheelEdges(t *testing.T) {
	const start = 1_750_000_000_000
	for _, after := range []uint64{
		0, 1, wheelTick - 1, wheelTick, 63 * wheelTick, 64 * wheelTick, 65 * wheelTick,
		4095 * wheelTick, 4096 * wheelTick, 4097 * wheelTick, 262_144*wheelTick + 1, 30 * 24 * 3_600_000,
	} {
		w := newWheel(start)
		w.arm(start+after, 9)
		fired := uint64(0)
		for now := uint64(start); fired == 0 && now < start+after+10*wheelTick; {
			if now+2*wheelTick < start+after { // jump close, as a loop that was away
				now = start + after - 2*wheelTick
			}
			now++
			w.advance(now, 10, func(key uint32) { fired = now })
		}
		if fired < start+after || fired > start+after+2*wheelTick {
			t.Errorf("due after %d ms, fired after %d", after, int64(fired)-start)
		}
		if w.armed != 0 {
			t.Errorf("due after %d ms: %d timers left", after, w.armed)
		}
	}
}

func TestWheelBudget(t *testing.T) {
	w := newWheel(0)
	for i := range uint32(10) {
		w.arm(100, i+1)
	}
	var got []int
	for range 4 {
		n := 0
		w.advance(10_000, 4, func(uint32) { n++ })
		got = append(got, n)
	}
	if want := []int{4, 4, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("fired %v, want %v", got, want)
	}
}

// Against a model: a list of due times.
func TestWheelModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := rapid.Uint64Range(0, 1<<42).Draw(t, "start")
		w := newWheel(now)
		due := map[uint32]uint64{}
		ids := map[uint32]uint32{}
		next := uint32(0)
		t.Repeat(map[string]func(*rapid.T){
			"arm": func(t *rapid.T) {
				next++
				bits := rapid.IntRange(0, 34).Draw(t, "bits")
				d := now + rapid.Uint64Range(0, 1<<bits).Draw(t, "in")
				due[next], ids[next] = d, w.arm(d, next)
			},
			"cancel": func(t *rapid.T) {
				if len(ids) == 0 {
					t.Skip()
				}
				keys := make([]uint32, 0, len(ids))
				for k := range ids {
					keys = append(keys, k)
				}
				slices.Sort(keys)
				k := rapid.SampledFrom(keys).Draw(t, "key")
				w.cancel(ids[k])
				delete(ids, k)
				delete(due, k)
			},
			"advance": func(t *rapid.T) {
				bits := rapid.IntRange(0, 22).Draw(t, "bits")
				now += rapid.Uint64Range(0, 1<<bits).Draw(t, "by")
				w.advance(now, 1<<30, func(k uint32) {
					if due[k] > now {
						t.Fatalf("timer %d fired %d ms early", k, due[k]-now)
					}
					delete(ids, k)
					delete(due, k)
				})
				for k, d := range due {
					if d+2*wheelTick < now {
						t.Fatalf("timer %d is %d ms late", k, now-d)
					}
				}
			},
			"": func(t *rapid.T) {
				if w.armed != len(due) {
					t.Fatalf("%d armed, %d due", w.armed, len(due))
				}
			},
		})
	})
}
