package slab

import (
	"math/rand/v2"
	"testing"
	"time"
)

type record struct{ key, value uint64 }

// table is how a slab and an index are used together.
type table struct {
	Slab[record]
	index *Index
	bits  uint // of the hash that are not always 0
}

func newTable(bits uint) *table {
	t := &table{bits: bits}
	t.index = NewIndex(func(n uint32) uint32 { return t.hash(t.At(n).key) })
	return t
}

func (t *table) hash(key uint64) uint32 {
	return uint32(key*0x9E3779B97F4A7C15>>32) << (32 - t.bits)
}

func (t *table) find(key uint64) uint32 {
	return t.index.Find(t.hash(key), func(n uint32) bool { return t.At(n).key == key })
}

func (t *table) put(key, value uint64) {
	n, r := t.Take()
	*r = record{key, value}
	t.index.Add(n)
}

func (t *table) drop(n uint32) {
	t.index.Remove(n)
	t.Give(n)
}

// Whatever is put, found and dropped, a table is what a map is; also where most
// hashes are the same.
func TestLikeAMap(t *testing.T) {
	for _, bits := range []uint{32, 12, 3, 1} {
		seed := uint64(time.Now().UnixNano())
		rng := rand.New(rand.NewPCG(seed, 0))
		steps, keys := 60_000, uint64(20_000)
		if bits < 32 {
			steps, keys = 10_000, 2000
		}
		got, want := newTable(bits), map[uint64]uint64{}
		for i := range steps {
			key := rng.Uint64N(keys)
			n := got.find(key)
			value, ok := want[key]
			if (n != 0) != ok || ok && got.At(n).value != value {
				t.Fatalf("seed %d, %d bits, step %d: key %d is record %d, want %d (%t)", seed, bits, i, key, n, value, ok)
			}
			switch {
			case n == 0:
				value = rng.Uint64()
				got.put(key, value)
				want[key] = value
			case rng.IntN(3) == 0:
				got.drop(n)
				delete(want, key)
			}
			if got.Len() != len(want) || got.index.Len() != len(want) {
				t.Fatalf("seed %d, %d bits, step %d: %d records, %d in the index, want %d", seed, bits, i, got.Len(), got.index.Len(), len(want))
			}
		}
		for key, value := range want {
			if n := got.find(key); n == 0 || got.At(n).value != value {
				t.Fatalf("seed %d, %d bits: key %d is lost", seed, bits, key)
			}
		}
	}
}

// A record that was given back comes again zero, and pointers stay good while
// others come.
func TestRecordsStay(t *testing.T) {
	var s Slab[record]
	n, first := s.Take()
	first.value = 7
	for range 10 * pageLen {
		s.Take()
	}
	if s.At(n) != first || first.value != 7 || n != 1 || int(s.Last()) != 10*pageLen+1 {
		t.Errorf("record %d moved, of %d", n, s.Last())
	}
	s.Give(n)
	if again, r := s.Take(); again != n || *r != (record{}) {
		t.Errorf("record %d with %v, want %d and zero", again, *r, n)
	}
}

// What a record costs beside itself, and that no call moves more than a part.
func TestIndexBudget(t *testing.T) {
	tab := newTable(32)
	for i := range uint64(200_000) {
		tab.put(i, i)
	}
	if each := float64(tab.index.Bytes()) / 200_000; each < 4 || each > 11.5 {
		t.Errorf("%.1f bytes for each record", each)
	}
	for _, p := range tab.index.dir {
		if len(p.places) > partLen {
			t.Fatalf("a part has %d places", len(p.places))
		}
	}
}

// The longest call while a million records come.
func BenchmarkIndexGrow(b *testing.B) {
	for range b.N {
		tab, longest := newTable(32), time.Duration(0)
		for i := range uint64(1_000_000) {
			begin := time.Now()
			tab.put(i, i)
			longest = max(longest, time.Since(begin))
		}
		b.ReportMetric(float64(longest.Microseconds()), "max-us")
	}
}

func BenchmarkFind(b *testing.B) {
	tab := newTable(32)
	for i := range uint64(1_000_000) {
		tab.put(i, i)
	}
	b.ReportAllocs()
	for i := range b.N {
		if tab.find(uint64(i*7919)%1_000_000) == 0 {
			b.Fatal("lost")
		}
	}
}

// The list of numbers given back shrinks with them.
func TestSlabForgetsWhatWasFree(t *testing.T) {
	var s Slab[int]
	const n = 10*pageLen + 3
	for range 2 {
		for range n {
			s.Take()
		}
		if pages := len(s.free); pages > 2 || s.Last() != n {
			t.Fatalf("%d pages for %d free numbers, of %d", pages, s.spare, s.Last())
		}
		for i := uint32(1); i <= n; i++ {
			s.Give(i)
		}
		if s.Len() != 0 {
			t.Fatalf("%d are taken", s.Len())
		}
	}
}
