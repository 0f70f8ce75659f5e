package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchKey is shaped like mailbox's: shard, version, user, kind, number.
func benchKey(user int, kind byte, seq uint64) []byte {
	k := make([]byte, 0, 40)
	k = binary.BigEndian.AppendUint32(k, uint32(user%64+1))
	k = binary.BigEndian.AppendUint32(k, 1)
	name := fmt.Appendf(nil, "user-%06d", user)
	k = append(k, byte(len(name)))
	k = append(k, name...)
	k = append(k, kind)
	return binary.BigEndian.AppendUint64(k, seq)
}

func benchStore(b *testing.B) *Store {
	c := small(b.TempDir())
	c.Split = func(key []byte) int {
		if len(key) < 9 || len(key) < 9+int(key[8]) {
			return 0
		}
		return 9 + int(key[8])
	}
	c.MemTableBytes, c.BlockCacheBytes, c.ChunkBytes = 0, 0, 0
	s, err := Open(c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

const benchUsers = 2000

// resting fills the overlay with what nobody has fetched yet.
func resting(s *Store, rows int) {
	for i := range rows {
		s.PutNew(benchKey(i%benchUsers, 'e', uint64(i/benchUsers)), make([]byte, 150))
	}
}

func checkpoint(b testing.TB, s *Store) {
	b.Helper()
	f, ok := s.Freeze()
	if !ok {
		b.Fatal("a checkpoint is under way")
	}
	err := f.Write(context.Background())
	s.Thaw(f, err)
	if err != nil {
		b.Fatal(err)
	}
}

// One message that is delivered and acked at once: 4 puts, 2 deletes. Building
// the keys is part of it, as it is in the hot path.
func BenchmarkMessage(b *testing.B) {
	for _, rows := range []int{0, 100_000, 500_000} {
		for _, below := range []string{"empty", "used"} {
			b.Run(fmt.Sprintf("resting=%d/badger=%s", rows, below), func(b *testing.B) {
				s := benchStore(b)
				if below == "used" {
					s.Put(benchKey(0, 'x', 0), nil)
					checkpoint(b, s)
				}
				resting(s, rows)
				rng := rand.New(rand.NewPCG(1, 2))
				seq := uint64(1 << 32)
				value := make([]byte, 150)
				b.ReportAllocs()
				for b.Loop() {
					seq++
					user, peer := rng.IntN(benchUsers), rng.IntN(benchUsers)
					s.PutNew(benchKey(peer, 'e', seq), value)
					s.Put(benchKey(peer, 'h', 0), value[:40])
					s.PutNew(benchKey(user, 'o', seq), value[:60])
					s.Put(benchKey(peer, 'c', 0), value[:20])
					s.Delete(benchKey(user, 'o', seq))
					s.Delete(benchKey(peer, 'e', seq))
				}
			})
		}
	}
}

func BenchmarkKeys(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		for range 6 {
			benchKey(5, 'e', 7)
		}
	}
}

// A page of 50 entries of one user, in the overlay, in Badger, and in both.
func BenchmarkScan(b *testing.B) {
	for _, where := range []string{"overlay", "badger", "overlay over badger"} {
		b.Run(where, func(b *testing.B) {
			s := benchStore(b)
			switch where {
			case "badger":
				resting(s, 50*benchUsers)
				checkpoint(b, s)
			case "overlay over badger":
				s.Put(benchKey(0, 'x', 0), nil)
				checkpoint(b, s)
				resting(s, 50*benchUsers)
			default:
				resting(s, 50*benchUsers)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				key := benchKey(rng.IntN(benchUsers), 'e', 0)
				n := 0
				if err := s.Scan(key[:len(key)-8], nil, func(_, _ []byte) bool { n++; return true }); err != nil || n != 50 {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, where := range []string{"overlay", "badger", "absent"} {
		b.Run(where, func(b *testing.B) {
			s := benchStore(b)
			resting(s, 50*benchUsers)
			kind := byte('e')
			switch where {
			case "badger":
				checkpoint(b, s)
			case "absent":
				checkpoint(b, s)
				kind = 'x'
			}
			rng := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok, err := s.Get(benchKey(rng.IntN(benchUsers), kind, 3)); ok != (kind == 'e') || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

// 100,000 rows of 150 bytes into Badger and synced.
func BenchmarkCheckpoint(b *testing.B) {
	s := benchStore(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		resting(s, 100_000)
		b.StartTimer()
		checkpoint(b, s)
	}
}

// One message between two of many mailboxes that have long been at it: 64
// results of the sender's device, and a few rows that are overwritten each
// time; an entry that comes and goes; a step in the shard's outbox.
func BenchmarkMailboxes(b *testing.B) {
	s := benchStore(b)
	s.Put(benchKey(0, 'x', 0), nil)
	checkpoint(b, s)
	s.Replayed()
	s.Put(benchKey(0, 'x', 0), nil)
	checkpoint(b, s)
	names := make([][]byte, benchUsers)
	for i := range names {
		names[i] = benchKey(i, 0, 0)[:9+11]
	}
	own := func(user int) []byte { return append(binary.BigEndian.AppendUint64(nil, uint64(user%64+1)<<32|1), 0) }
	var key []byte
	at := func(prefix []byte, kind byte, suffix ...byte) []byte {
		key = append(append(append(key[:0], prefix...), kind), suffix...)
		return key
	}
	value, suffix := make([]byte, 180), make([]byte, 0, 32)
	message := func(user, peer int, seq uint64) {
		p := names[peer]
		suffix = append(append(suffix[:0], 11), names[user][9:]...)
		suffix = binary.BigEndian.AppendUint32(suffix, 1)
		s.Put(at(p, 's', suffix...), value[:16])
		s.Put(at(p, 'i', append(suffix, byte(seq/benchUsers%64))...), value[:30])
		s.Put(at(p, 'm'), value[:12])
		s.PutNew(binary.BigEndian.AppendUint64(at(p, 'e'), seq), value)
		s.Put(at(p, 'c', 0, 0, 0, 1), value[:6])
		s.Put(at(p, 'h'), value[:4])
		s.Put(at(p, 'w', suffix[:12]...), value[:18])
		s.Delete(binary.BigEndian.AppendUint64(at(p, 'e'), seq))
		o := own(peer)
		step := binary.BigEndian.AppendUint64(at(o, 'o', 0, 0, 0, byte(user%64)), seq)
		s.PutNew(step, value[:40])
		s.Put(at(o, 'n', 0, 0, 0, byte(user%64)), value[:6])
		s.Delete(binary.BigEndian.AppendUint64(at(o, 'o', 0, 0, 0, byte(user%64)), seq))
	}
	seq := uint64(0)
	for range 64 {
		for user := range benchUsers {
			seq++
			message(user, (user+1)%benchUsers, seq)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		seq++
		user := rng.IntN(benchUsers)
		message(user, (user+1)%benchUsers, seq)
	}
	b.ReportMetric(float64(s.Bytes())/benchUsers, "B/mailbox")
}
