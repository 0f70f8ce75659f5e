package host

import (
	"hash/maphash"

	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/internal/invariant"
	"github.com/rookery-im/rookery/internal/limits"
)

// rows are the users that the shard knows something volatile of. Nothing in
// them is a pointer: the collector does not look inside, however many sessions
// sleep. The index is an open-addressed table of row numbers, at most 3/4
// full, that compares ids in the rows themselves, because a Go map would
// need a string (a pointer) or a second copy of the id per user.
//
// An idle attached session costs 40 (row) + 32 (attachment) + 5 to 11 (index)
// bytes, see TestRowBudget.
type rows struct {
	seed    maphash.Seed
	index   []uint32 // row number, 0 for none; a power of two long
	list    []row    // index 0 is unused
	free    uint32   // chained through row.first
	used    int
	long    [][limits.UserID]byte // ids that do not fit into a row
	longs   []uint32              // free ones
	att     []attachment          // index 0 is unused
	freeAtt uint32
	usedAtt int
}

const inlineID = 23

// row of a user, by number.
type row struct {
	hash  uint32
	first uint32 // attachment
	live  uint32 // slot of the live actor
	timer uint32 // in the wheel
	size  uint8  // of the id; 0 where the row is free
	id    [inlineID]byte
}

// attachment is a user.Attachment at rest.
type attachment struct {
	conn, session, pushed uint64
	device                uint32
	next                  uint32 // top bit: live
}

const liveBit = 1 << 31

func newRows() *rows {
	return &rows{seed: maphash.MakeSeed(), index: make([]uint32, 16), list: make([]row, 1), att: make([]attachment, 1)}
}

func (r *rows) hash(id string) uint32 { return uint32(maphash.String(r.seed, id)) }

// at is the row of a number; valid until the next add.
func (r *rows) at(n uint32) *row { return &r.list[n] }

// id of a row, as a string of its own.
func (r *rows) id(n uint32) string { return string(r.bytes(n)) }

func (r *rows) bytes(n uint32) []byte {
	w := &r.list[n]
	if w.size > inlineID {
		return r.long[r.longAt(w)][:w.size]
	}
	return w.id[:w.size]
}

func (r *rows) longAt(w *row) uint32 {
	return uint32(w.id[0]) | uint32(w.id[1])<<8 | uint32(w.id[2])<<16 | uint32(w.id[3])<<24
}

// find the row of a user, or 0.
func (r *rows) find(id string) uint32 {
	h := r.hash(id)
	mask := uint32(len(r.index) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		n := r.index[i]
		if n == 0 {
			return 0
		}
		if r.list[n].hash == h && string(r.bytes(n)) == id {
			return n
		}
	}
}

// add a row for a user that has none.
func (r *rows) add(id string) uint32 {
	invariant.Check(id != "" && len(id) <= limits.UserID, "row for an id of %d bytes", len(id))
	if 4*(r.used+1) > 3*len(r.index) {
		r.grow()
	}
	n := r.free
	if n != 0 {
		r.free = r.list[n].first
	} else {
		n = uint32(len(r.list))
		r.list = append(r.list, row{})
	}
	w := row{hash: r.hash(id), size: uint8(len(id))}
	if len(id) > inlineID {
		at := r.addLong(id)
		w.id[0], w.id[1], w.id[2], w.id[3] = byte(at), byte(at>>8), byte(at>>16), byte(at>>24)
	} else {
		copy(w.id[:], id)
	}
	r.list[n] = w
	r.used++
	r.insert(n)
	return n
}

func (r *rows) addLong(id string) uint32 {
	var at uint32
	if k := len(r.longs); k > 0 {
		at, r.longs = r.longs[k-1], r.longs[:k-1]
	} else {
		at = uint32(len(r.long))
		r.long = append(r.long, [limits.UserID]byte{})
	}
	copy(r.long[at][:], id)
	return at
}

func (r *rows) insert(n uint32) {
	mask := uint32(len(r.index) - 1)
	i := r.list[n].hash & mask
	for r.index[i] != 0 {
		i = (i + 1) & mask
	}
	r.index[i] = n
}

func (r *rows) grow() {
	r.index = make([]uint32, 2*len(r.index))
	for n := range r.list {
		if r.list[n].size != 0 {
			r.insert(uint32(n))
		}
	}
}

// remove a row that nothing hangs on any more.
func (r *rows) remove(n uint32) {
	w := &r.list[n]
	invariant.Check(w.first == 0 && w.live == 0 && w.timer == 0, "row removed while in use")
	mask := uint32(len(r.index) - 1)
	i := w.hash & mask
	for r.index[i] != n {
		i = (i + 1) & mask
	}
	// Linear probing without tombstones: close the hole with what may move up.
	for j := (i + 1) & mask; r.index[j] != 0; j = (j + 1) & mask {
		home := r.list[r.index[j]].hash & mask
		if (j-home)&mask >= (j-i)&mask {
			r.index[i] = r.index[j]
			i = j
		}
	}
	r.index[i] = 0
	if w.size > inlineID {
		r.longs = append(r.longs, r.longAt(w))
	}
	*w = row{first: r.free}
	r.free = n
	r.used--
}

// attach puts attachments at rest, behind none.
func (r *rows) attach(n uint32, list []user.Attachment) {
	invariant.Check(r.list[n].first == 0, "attachments put to rest twice")
	var next uint32
	for i := len(list) - 1; i >= 0; i-- {
		a := list[i]
		at := r.freeAtt
		if at != 0 {
			r.freeAtt = r.att[at].next
		} else {
			at = uint32(len(r.att))
			r.att = append(r.att, attachment{})
		}
		r.att[at] = attachment{conn: a.Conn, session: a.Session, pushed: a.Pushed, device: a.Device, next: next}
		if a.Live {
			r.att[at].next |= liveBit
		}
		next = at
		r.usedAtt++
	}
	r.list[n].first = next
}

// attached appends the attachments of a row to list.
func (r *rows) attached(n uint32, list []user.Attachment) []user.Attachment {
	for at := r.list[n].first; at != 0; at = r.att[at].next &^ liveBit {
		a := r.att[at]
		list = append(list, user.Attachment{
			Conn: a.conn, Session: a.session, Pushed: a.pushed, Device: a.device, Live: a.next&liveBit != 0,
		})
	}
	return list
}

// detach takes the attachments of a row out, appending to list.
func (r *rows) detach(n uint32, list []user.Attachment) []user.Attachment {
	list = r.attached(n, list)
	at := r.list[n].first
	r.list[n].first = 0
	for at != 0 {
		a := r.att[at]
		r.att[at] = attachment{next: r.freeAtt}
		r.freeAtt = at
		r.usedAtt--
		at = a.next &^ liveBit
	}
	return list
}

// bytes held by the slabs and the index.
func (r *rows) size() int {
	return 4*cap(r.index) + 40*cap(r.list) + 32*cap(r.att) + limits.UserID*cap(r.long) + 4*cap(r.longs)
}
