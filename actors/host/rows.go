package host

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/internal/invariant"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/internal/slab"
)

// rows are the users that the shard knows something volatile of. Nothing in
// them is a pointer: the collector does not look inside, however many sessions
// sleep. The index compares ids in the rows themselves, because a Go map would
// need a string (a pointer) or a second copy of the id per user.
//
// An idle attached session costs 40 (row) + 32 (attachment) + 5 to 11 (index)
// bytes, see TestRowBudget.
type rows struct {
	seed    maphash.Seed
	index   *slab.Index
	list    slab.Slab[row]
	last    uint32 // found last: who looks for a user mostly does so twice
	used    int
	long    slab.Slab[[limits.UserID]byte] // ids that do not fit into a row
	att     slab.Slab[attachment]
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
	next                  uint32 // top bits: live, and not begun
}

const (
	liveBit = 1 << 31
	nextBit = 1 << 30
	nextAt  = nextBit - 1
)

func newRows() *rows {
	r := &rows{seed: maphash.MakeSeed()}
	r.index = slab.NewIndex(func(n uint32) uint32 { return r.list.At(n).hash })
	return r
}

func (r *rows) hash(id string) uint32 { return uint32(maphash.String(r.seed, id)) }

// at is the row of a number; valid until it is removed.
func (r *rows) at(n uint32) *row { return r.list.At(n) }

// id of a row, as a string of its own.
func (r *rows) id(n uint32) string { return string(r.bytes(n)) }

func (r *rows) bytes(n uint32) []byte {
	w := r.at(n)
	if w.size > inlineID {
		return r.long.At(w.longAt())[:w.size]
	}
	return w.id[:w.size]
}

// longAt is where the id is that does not fit.
func (w *row) longAt() uint32 { return binary.LittleEndian.Uint32(w.id[:]) }

// find the row of a user, or 0.
func (r *rows) find(id string) uint32 {
	if r.last == 0 || string(r.bytes(r.last)) != id {
		h := r.hash(id)
		r.last = r.index.Find(h, func(n uint32) bool { return r.at(n).hash == h && string(r.bytes(n)) == id })
	}
	return r.last
}

// add a row for a user that has none.
func (r *rows) add(id string) uint32 {
	invariant.Check(id != "" && len(id) <= limits.UserID, "row for an id of %d bytes", len(id))
	n, w := r.list.Take()
	w.hash, w.size = r.hash(id), uint8(len(id))
	if len(id) > inlineID {
		at, long := r.long.Take()
		copy(long[:], id)
		binary.LittleEndian.PutUint32(w.id[:], at)
	} else {
		copy(w.id[:], id)
	}
	r.used++
	r.index.Add(n)
	return n
}

// remove a row that nothing hangs on any more.
func (r *rows) remove(n uint32) {
	w := r.at(n)
	r.last = 0
	invariant.Check(w.first == 0 && w.live == 0 && w.timer == 0, "row removed while in use")
	r.index.Remove(n)
	if w.size > inlineID {
		r.long.Give(w.longAt())
	}
	r.list.Give(n)
	r.used--
}

// attach puts attachments at rest, behind none.
func (r *rows) attach(n uint32, list []user.Attachment) {
	invariant.Check(r.at(n).first == 0, "attachments put to rest twice")
	var next uint32
	for i := len(list) - 1; i >= 0; i-- {
		a := list[i]
		at, place := r.att.Take()
		*place = attachment{conn: a.Conn, session: a.Session, pushed: a.Pushed, device: a.Device, next: next}
		if a.Live {
			place.next |= liveBit
		}
		if a.Next {
			place.next |= nextBit
		}
		next = at
		r.usedAtt++
	}
	r.at(n).first = next
}

// attached appends the attachments of a row to list.
func (r *rows) attached(n uint32, list []user.Attachment) []user.Attachment {
	for at := r.at(n).first; at != 0; {
		a := r.att.At(at)
		list = append(list, user.Attachment{
			Conn: a.conn, Session: a.session, Pushed: a.pushed, Device: a.device, Live: a.next&liveBit != 0, Next: a.next&nextBit != 0,
		})
		at = a.next & nextAt
	}
	return list
}

// detach takes the attachments of a row out, appending to list.
func (r *rows) detach(n uint32, list []user.Attachment) []user.Attachment {
	list = r.attached(n, list)
	at := r.at(n).first
	r.at(n).first = 0
	for at != 0 {
		next := r.att.At(at).next & nextAt
		r.att.Give(at)
		r.usedAtt--
		at = next
	}
	return list
}

// size of the slabs and the index, bytes.
func (r *rows) size() int {
	return r.index.Bytes() + 40*r.list.Records() + 32*r.att.Records() + limits.UserID*r.long.Records()
}
