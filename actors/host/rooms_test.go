package host

import (
	"bytes"
	"testing"

	"github.com/rookery-im/rookery/internal/limits"
)

// What a batch left is taken by the next, within the bound, until nobody needs it.
func TestRooms(t *testing.T) {
	var r rooms
	small := r.keep(r.grow(nil, roomLeast))
	if cap(small) == 0 || len(r.kept) != 0 {
		t.Errorf("%d bytes stay with the batch, %d are kept", cap(small), r.bytes)
	}
	data := bytes.Repeat([]byte("x"), roomLeast)
	big := r.grow(data, 1)
	if !bytes.Equal(big, data) || cap(big) < 2*roomLeast {
		t.Errorf("%d bytes became %d with room for %d", len(data), len(big), cap(big))
	}
	size := cap(big)
	if left := r.keep(big); left != nil || r.bytes != size {
		t.Errorf("%d bytes kept, %d left with the batch", r.bytes, cap(left))
	}
	again := r.grow(data, 1)
	if &again[0] != &big[0] || r.bytes != 0 || len(r.kept) != 0 {
		t.Error("the room was not used again")
	}
	if more := r.grow(again, size); cap(more) < 2*size || !bytes.Equal(more, data) || r.bytes != size {
		t.Errorf("%d bytes with room for %d, %d kept", len(more), cap(more), r.bytes)
	}
	r = rooms{taken: true}
	for range 10 {
		r.keep(make([]byte, limits.BatchRooms/3))
	}
	if r.bytes > limits.BatchRooms || len(r.kept) != 3 {
		t.Errorf("%d bytes kept in %d rooms", r.bytes, len(r.kept))
	}
	r.air(5000)
	r.air(5000 + roomsIdle)
	if len(r.kept) != 3 {
		t.Error("given back while in use")
	}
	if r.air(5001 + roomsIdle); r.bytes != 0 || r.kept != nil {
		t.Errorf("%d bytes kept for nobody", r.bytes)
	}
}

// A batch that is in flight, or came to nothing, lends its memory to nobody: Raft
// may still have it.
func TestLostBatchKeepsItsMemory(t *testing.T) {
	for _, end := range []func(*rig){(*rig).drop, (*rig).lose} {
		w := newWorld(t)
		w.lead(1)
		s := w.shards[1]
		tell := func(text string) {
			for n := range uint32(100) {
				_ = s.Tell("bob", sendTo(7, n, text))
			}
			s.Flush()
		}
		long := string(bytes.Repeat([]byte("y"), 1000))
		tell(long)
		proposed := s.data
		was := bytes.Clone(proposed)
		tell(long)
		end(s)
		s.term++
		s.Lead(s.term)
		tell(long)
		if len(proposed) <= roomLeast || !bytes.Equal(proposed, was) {
			t.Errorf("a proposal of %d bytes was written to", len(proposed))
		}
	}
}
