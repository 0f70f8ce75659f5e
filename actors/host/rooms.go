package host

import (
	"slices"

	"github.com/rookery-im/rookery/internal/limits"
)

// rooms is memory that batches of all shards are encoded in, to be used again:
// under load a batch is some hundred kilobytes, and to let each grow anew from
// nothing was a fifth of all that the node allocated. At most limits.BatchRooms
// bytes are kept, and none once no batch has needed more than its own for
// roomsIdle milliseconds.
type rooms struct {
	kept  [][]byte
	bytes int
	taken bool   // a batch needed one since it was last aired
	since uint64 // when it was last aired with something taken, milliseconds
}

const (
	// roomLeast is what a batch holds on to itself, and the least of a room.
	roomLeast = 32 << 10
	roomsIdle = 1000
)

// grow data, which nobody else has, so that n more bytes fit.
func (r *rooms) grow(data []byte, n int) []byte {
	need := len(data) + n
	if need <= cap(data) {
		return data
	}
	r.taken = r.taken || need > roomLeast
	for i := len(r.kept) - 1; i >= 0; i-- {
		if room := r.kept[i]; cap(room) >= need {
			r.kept = slices.Delete(r.kept, i, i+1)
			r.bytes -= cap(room)
			room = append(room, data...)
			r.keep(data)
			return room
		}
	}
	if need <= roomLeast {
		return slices.Grow(data, n)
	}
	// In as few steps as may be: each copies all there is.
	room := append(make([]byte, 0, max(4*roomLeast, 2*need)), data...)
	r.keep(data)
	return room
}

// keep the memory of a batch that is settled. It returns what the batch goes
// on with.
func (r *rooms) keep(data []byte) []byte {
	data = data[:0]
	if cap(data) <= roomLeast {
		return data
	}
	if r.bytes+cap(data) <= limits.BatchRooms {
		r.kept = append(r.kept, data)
		r.bytes += cap(data)
	}
	return nil
}

// air gives the memory back after a while without need for it.
func (r *rooms) air(now uint64) {
	if r.taken || now < r.since {
		r.taken, r.since = false, now
	}
	if now > r.since+roomsIdle {
		r.kept, r.bytes = nil, 0
	}
}
