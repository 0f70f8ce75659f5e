package raftlog

import (
	"encoding/binary"
	"math"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// The kinds of a frame's body, its first byte. Numbers are uvarints.
const (
	kindUpdate     = 1 // group, flags, [hard state], count, [first index, entries]
	kindState      = 2 // count, groups
	kindCheckpoint = 3 // count, checkpoints with flags; together or not at all
	kindSeal       = 4 // number of the next segment
)

const (
	withHardState  = 1 << 0
	withCheckpoint = 1 << 1
	// replaceLog: the group's entries are no continuation of the checkpoint.
	replaceLog = 1 << 2
	// resetGroup: nor is its hard state, and the checkpoint may be an earlier one.
	resetGroup = 1 << 3
)

// hardState is raftpb.HardState by value; the zero value is raft's empty one.
type hardState struct{ term, vote, commit uint64 }

func (h hardState) message() *raftpb.HardState {
	return &raftpb.HardState{Term: new(h.term), Vote: new(h.vote), Commit: new(h.commit)}
}

func appendHardState(b []byte, h hardState) []byte {
	b = binary.AppendUvarint(b, h.term)
	b = binary.AppendUvarint(b, h.vote)
	return binary.AppendUvarint(b, h.commit)
}

// appendUpdate appends the body of u.
func appendUpdate(b []byte, u *Update) []byte {
	b = append(b, kindUpdate)
	b = binary.AppendUvarint(b, uint64(u.Group))
	if u.HardState != nil {
		b = append(b, withHardState)
		b = appendHardState(b, hardState{u.HardState.GetTerm(), u.HardState.GetVote(), u.HardState.GetCommit()})
	} else {
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(u.Entries)))
	if len(u.Entries) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, u.Entries[0].GetIndex())
	for _, e := range u.Entries {
		b = binary.AppendUvarint(b, e.GetTerm())
		b = append(b, byte(e.GetType()))
		b = binary.AppendUvarint(b, uint64(len(e.GetData())))
		b = append(b, e.GetData()...)
	}
	return b
}

// appendCheckpoint appends c without kind and flags.
func appendCheckpoint(b []byte, c Checkpoint) ([]byte, error) {
	conf, err := proto.Marshal(c.ConfState)
	if err != nil {
		return nil, err
	}
	b = binary.AppendUvarint(b, uint64(c.Group))
	b = binary.AppendUvarint(b, c.Index)
	b = binary.AppendUvarint(b, c.Term)
	b = binary.AppendUvarint(b, uint64(len(conf)))
	b = append(b, conf...)
	b = binary.AppendUvarint(b, uint64(len(c.Data)))
	return append(b, c.Data...), nil
}

// cursor reads a body. After the first fault bad is set and everything read is
// zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) fail() {
	c.b = nil
	c.bad = true
}

func (c *cursor) number() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) small() uint32 {
	v := c.number()
	if v > math.MaxUint32 {
		c.fail()
		return 0
	}
	return uint32(v)
}

func (c *cursor) octet() byte {
	if len(c.b) == 0 {
		c.fail()
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) bytes() []byte {
	n := c.number()
	if n > uint64(len(c.b)) {
		c.fail()
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) hardState() hardState {
	return hardState{term: c.number(), vote: c.number(), commit: c.number()}
}

// checkpoint copies what it returns.
func (c *cursor) checkpoint() Checkpoint {
	ckpt := Checkpoint{Group: c.small(), Index: c.number(), Term: c.number(), ConfState: new(raftpb.ConfState)}
	if err := proto.Unmarshal(c.bytes(), ckpt.ConfState); err != nil {
		c.fail()
	}
	if data := c.bytes(); len(data) > 0 {
		ckpt.Data = append([]byte(nil), data...)
	}
	return ckpt
}

// updateBody is the read form of an update, its entries still encoded.
type updateBody struct {
	group        uint32
	hardState    hardState
	hasHardState bool
	count, first uint64
	entries      cursor
}

// minEntry is the least an encoded entry takes.
const minEntry = 3

func readUpdate(body []byte) (u updateBody, ok bool) {
	c := cursor{b: body}
	if c.octet() != kindUpdate {
		return u, false
	}
	u.group = c.small()
	flags := c.octet()
	if flags&^withHardState != 0 {
		return u, false
	}
	if u.hasHardState = flags&withHardState != 0; u.hasHardState {
		u.hardState = c.hardState()
	}
	if u.count = c.number(); u.count > 0 {
		u.first = c.number()
	}
	if u.count > uint64(len(c.b))/minEntry || u.first > math.MaxUint64-u.count ||
		u.count > 0 && u.first == 0 || u.count == 0 && len(c.b) > 0 {
		return u, false
	}
	u.entries = c
	return u, !c.bad
}

type rawEntry struct {
	term uint64
	kind raftpb.EntryType
	data []byte
}

// next reads the next entry; data aliases the body.
func (u *updateBody) next() rawEntry {
	return rawEntry{
		term: u.entries.number(),
		kind: raftpb.EntryType(u.entries.octet()),
		data: u.entries.bytes(),
	}
}

// decode appends the entries with lo <= index < hi. They alias the body. It
// returns false where an entry is malformed.
func (u *updateBody) decode(dst []*raftpb.Entry, lo, hi uint64) ([]*raftpb.Entry, bool) {
	// One allocation for all: messages of proto2 hold pointers to scalars.
	type slot struct {
		entry       raftpb.Entry
		term, index uint64
		kind        raftpb.EntryType
	}
	from, to := max(lo, u.first), min(hi, u.first+u.count)
	if from >= to {
		return dst, true
	}
	slots := make([]slot, to-from)
	for index := u.first; index < to; index++ {
		raw := u.next()
		if index < from {
			continue
		}
		s := &slots[index-from]
		s.term, s.index, s.kind = raw.term, index, raw.kind
		s.entry.Term, s.entry.Index, s.entry.Type = &s.term, &s.index, &s.kind
		if len(raw.data) > 0 {
			s.entry.Data = raw.data
		}
		dst = append(dst, &s.entry)
	}
	return dst, !u.entries.bad
}

// groupState is one group in a state frame.
type groupState struct {
	group      uint32
	hardState  hardState
	last       uint64
	checkpoint Checkpoint
	saved      bool // there is a checkpoint
}

func appendState(b []byte, groups []groupState) ([]byte, error) {
	b = append(b, kindState)
	b = binary.AppendUvarint(b, uint64(len(groups)))
	for i := range groups {
		g := &groups[i]
		flags := byte(0)
		if g.saved {
			flags = withCheckpoint
		}
		b = append(b, flags)
		b = binary.AppendUvarint(b, uint64(g.group))
		b = appendHardState(b, g.hardState)
		b = binary.AppendUvarint(b, g.last)
		if g.saved {
			var err error
			if b, err = appendCheckpoint(b, g.checkpoint); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

func readState(body []byte) ([]groupState, bool) {
	c := cursor{b: body}
	if c.octet() != kindState {
		return nil, false
	}
	const minGroup = 6
	count := c.number()
	if count > uint64(len(c.b))/minGroup {
		return nil, false
	}
	groups := make([]groupState, 0, count)
	for range count {
		flags := c.octet()
		g := groupState{group: c.small(), hardState: c.hardState(), last: c.number()}
		if g.saved = flags&withCheckpoint != 0; g.saved {
			g.checkpoint = c.checkpoint()
		}
		if c.bad || flags&^withCheckpoint != 0 || g.saved && g.checkpoint.Group != g.group ||
			g.checkpoint.Index > g.last {
			return nil, false
		}
		groups = append(groups, g)
	}
	return groups, len(c.b) == 0
}

// savedCheckpoint is one of a checkpoint frame.
type savedCheckpoint struct {
	Checkpoint
	replaces bool
}

func appendCheckpoints(b []byte, all []savedCheckpoint) ([]byte, error) {
	b = append(b, kindCheckpoint)
	b = binary.AppendUvarint(b, uint64(len(all)))
	for i := range all {
		flags := byte(0)
		if all[i].replaces {
			flags = replaceLog
		}
		if all[i].Reset {
			flags |= resetGroup
		}
		var err error
		if b, err = appendCheckpoint(append(b, flags), all[i].Checkpoint); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func readCheckpoints(body []byte) ([]savedCheckpoint, bool) {
	c := cursor{b: body}
	if c.octet() != kindCheckpoint {
		return nil, false
	}
	const minCheckpoint = 6
	count := c.number()
	if count > uint64(len(c.b))/minCheckpoint {
		return nil, false
	}
	all := make([]savedCheckpoint, 0, count)
	for range count {
		flags := c.octet()
		s := savedCheckpoint{c.checkpoint(), flags&replaceLog != 0}
		s.Reset = flags&resetGroup != 0
		if c.bad || flags&^(replaceLog|resetGroup) != 0 || s.Reset && !s.replaces {
			return nil, false
		}
		all = append(all, s)
	}
	return all, len(c.b) == 0
}

func readSeal(body []byte) (next uint32, ok bool) {
	c := cursor{b: body}
	kind, next := c.octet(), c.small()
	return next, kind == kindSeal && !c.bad && len(c.b) == 0
}

func appendSeal(b []byte, next uint32) []byte {
	return binary.AppendUvarint(append(b, kindSeal), uint64(next))
}
