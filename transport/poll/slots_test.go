package poll

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestSlotsNeverGiveAnIDTwice(t *testing.T) {
	var s Slots
	rng := rand.New(rand.NewPCG(1, 1))
	seen := map[ID]bool{}
	var held []ID
	for range 5000 {
		if len(held) > 0 && rng.IntN(2) == 0 {
			k := rng.IntN(len(held))
			s.Give(held[k])
			s.Give(held[k])
			if s.Holds(held[k]) {
				t.Fatal("held after it was given back")
			}
			held[k] = held[len(held)-1]
			held = held[:len(held)-1]
			continue
		}
		id, ok := s.Take()
		if !ok || seen[id] || id == 0 || !s.Holds(id) {
			t.Fatalf("%v, %v", id, ok)
		}
		seen[id] = true
		held = append(held, id)
	}
	if s.Taken() != len(held) || int(s.Fresh()) > 200 {
		t.Errorf("%d taken, %d held, %d slots", s.Taken(), len(held), s.Fresh())
	}
}

// A slot whose generations are used up is not used again: the next holder
// would have the first one's ID.
func TestSlotsRetire(t *testing.T) {
	var s Slots
	first, _ := s.Take()
	*s.generations.At(0) = maxGeneration // its last
	s.Give(MakeID(0, maxGeneration))
	second, _ := s.Take()
	if second.Index() == first.Index() {
		t.Errorf("%v after %v", second, first)
	}
}

func TestBuffers(t *testing.T) {
	b := Buffers{Keep: 8 << 10}
	for _, n := range []int{0, 1, 1024, 1025, 300_000} {
		if got := b.Get(n); len(got) != 0 || cap(got) < n {
			t.Errorf("%d: %d of %d", n, len(got), cap(got))
		}
	}
	kept := b.Get(100)
	b.Put(append(kept, "secret"...))
	if got := b.Get(1000); &got[:1][0] != &kept[:1][0] || len(got) != 0 {
		t.Error("what was put is not used again")
	}
	for range 10 {
		b.Put(make([]byte, 0, 4096))
	}
	if got := len(b.free[1]); got != 2 {
		t.Errorf("%d buffers are kept", got)
	}
	grown := b.Grow(append(b.Get(1000), "begin"...), 5000)
	if string(grown) != "begin" || cap(grown)-len(grown) < 5000 {
		t.Errorf("%q with room for %d", grown, cap(grown))
	}
	b.Put(make([]byte, 10)) // not the pool's
}

// The queue against a plain buffer: whatever the sizes, what comes out is what
// went in, and a discard keeps exactly the rest of the unit that has begun.
func TestQueue(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(2, seed))
		bufs := &Buffers{Keep: 1 << 20}
		var q queue
		var want []byte // what waits
		var units []int // lengths of what is left of them
		vec := make([][]byte, 0, 4)
		for range 300 {
			switch rng.IntN(7) {
			case 0, 1, 2:
				head, body := random(rng, 10), random(rng, 1<<rng.IntN(17))
				q.add(bufs, head, body)
				want = append(append(want, head...), body...)
				units = append(units, len(head)+len(body))
			case 6:
				if q.bytes == 0 || rng.IntN(4) > 0 {
					continue
				}
				rest := 0
				if q.cut > 0 {
					rest = units[0]
				}
				q.discard(bufs)
				want, units = want[:rest], units[:min(len(units), 1)]
				if rest == 0 {
					units = nil
				}
			default:
				var total int
				if vec, total = q.vector(vec); total == 0 {
					continue
				}
				if !bytes.HasPrefix(want, bytes.Join(vec, nil)) {
					t.Fatalf("seed %d: other bytes are to be written", seed)
				}
				n := rng.IntN(total + 1)
				q.wrote(bufs, n)
				want = want[n:]
				for n > 0 {
					k := min(n, units[0])
					if units[0] -= k; units[0] == 0 {
						units = units[1:]
					}
					n -= k
				}
			}
			if q.bytes != len(want) {
				t.Fatalf("seed %d: %d bytes wait, not %d", seed, q.bytes, len(want))
			}
		}
	}
}

func random(rng *rand.Rand, most int) []byte {
	b := make([]byte, 1+rng.IntN(most))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
