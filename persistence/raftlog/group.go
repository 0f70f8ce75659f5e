package raftlog

import (
	"slices"
	"sort"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Group is one Raft group's part of the log. It is the group's raft.Storage.
//
// The storage answers even after the log broke: what it holds is still what
// was written, and raft panics where its storage fails. It is for Append and
// Sync to stop the node.
type Group struct {
	// Immutable.
	id  uint32
	log *Log

	// Guarded by log.mu.
	hardState  hardState
	checkpoint Checkpoint // ConfState is nil until there is one
	last       uint64
	places     []place     // where entries are, ascending: those after the checkpoint, and before it what is retained
	terms      []termStart // their terms, ascending
	tail       []*raftpb.Entry
	tailBytes  int
	staged     uint64 // last, with what is being appended in this round
	round      uint64
}

var _ raft.Storage = (*Group)(nil)

// place says in which frame the entries from index on are, up to those of the
// next place.
type place struct {
	index uint64
	at    position
}

// termStart says that the entries from index on have term, up to the next.
type termStart struct{ index, term uint64 }

// InitialState returns the hard state and the checkpoint's ConfState.
// A checkpoint implies a commit index and a term, so that one that begins a
// group, or was received from a leader, needs no hard state of its own.
func (g *Group) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	conf := new(raftpb.ConfState)
	if g.checkpoint.ConfState != nil {
		conf = proto.Clone(g.checkpoint.ConfState).(*raftpb.ConfState)
	}
	hs := g.effectiveHardState()
	if hs == (hardState{}) {
		return nil, conf, nil
	}
	return hs.message(), conf, nil
}

func (g *Group) effectiveHardState() hardState {
	hs := g.hardState
	if hs.term < g.checkpoint.Term {
		hs.term, hs.vote = g.checkpoint.Term, 0
	}
	hs.commit = max(hs.commit, g.checkpoint.Index)
	return hs
}

// Entries returns entries lo to hi-1, at least one, and no more than maxSize
// encoded bytes of them.
func (g *Group) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	switch {
	case lo < g.first():
		return nil, raft.ErrCompacted
	case lo > g.last || hi > g.last+1:
		return nil, raft.ErrUnavailable
	case lo >= hi:
		return nil, nil
	}
	if first := g.tailFirst(); lo >= first {
		ents := limitSize(g.tail[lo-first:hi-first], maxSize)
		return ents[:len(ents):len(ents)], nil
	}
	return g.readEntries(lo, hi, maxSize)
}

// Term returns the term of entry i, from the one before the first to the last.
func (g *Group) Term(i uint64) (uint64, error) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	switch {
	case i < g.first()-1:
		return 0, raft.ErrCompacted
	case i > g.last:
		return 0, raft.ErrUnavailable
	}
	return g.term(i), nil
}

func (g *Group) term(i uint64) uint64 {
	if i == g.checkpoint.Index {
		return g.checkpoint.Term
	}
	n := sort.Search(len(g.terms), func(n int) bool { return g.terms[n].index > i })
	if n == 0 {
		return 0
	}
	return g.terms[n-1].term
}

// LastIndex returns the index of the last entry, or the checkpoint's.
func (g *Group) LastIndex() (uint64, error) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	return g.last, nil
}

// FirstIndex returns the first index that there is an entry of, or would be: the
// first after the checkpoint, or one before it that is retained.
func (g *Group) FirstIndex() (uint64, error) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	return g.first(), nil
}

// first index of the entries. Raft asks for the term of the one before, which is
// the checkpoint's, or has to be retained as well.
func (g *Group) first() uint64 {
	if len(g.places) == 0 || g.places[0].index > g.checkpoint.Index || !g.shared() {
		return g.checkpoint.Index + 1
	}
	return g.places[0].index + 1
}

// shared says whether the group has replicas elsewhere, which may be behind.
func (g *Group) shared() bool {
	c := g.checkpoint.ConfState
	return len(c.GetVoters())+len(c.GetLearners())+len(c.GetVotersOutgoing()) > 1
}

// Snapshot returns the checkpoint's place without data.
func (g *Group) Snapshot() (*raftpb.Snapshot, error) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	conf := new(raftpb.ConfState)
	if g.checkpoint.ConfState != nil {
		conf = proto.Clone(g.checkpoint.ConfState).(*raftpb.ConfState)
	}
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		ConfState: conf,
		Index:     new(g.checkpoint.Index),
		Term:      new(g.checkpoint.Term),
	}}, nil
}

// tailFirst is the index of the first entry in memory, last+1 if none is.
func (g *Group) tailFirst() uint64 { return g.last + 1 - uint64(len(g.tail)) }

// findPlace returns the place that holds entry i.
func (g *Group) findPlace(i uint64) int {
	return sort.Search(len(g.places), func(n int) bool { return g.places[n].index > i }) - 1
}

// beginEntries notes that entries from first on are at that place; what the
// log held from there on is void. Terms and last follow by addTerm.
func (g *Group) beginEntries(first uint64, at position) {
	if first <= g.last {
		g.dropTail(first)
		n := sort.Search(len(g.places), func(n int) bool { return g.places[n].index >= first })
		g.places = g.places[:n]
		n = sort.Search(len(g.terms), func(n int) bool { return g.terms[n].index >= first })
		g.terms = g.terms[:n]
		g.last = first - 1
	}
	g.places = append(g.places, place{first, at})
}

// addTerm says that there is one more entry.
func (g *Group) addTerm(term uint64) {
	g.last++
	if n := len(g.terms); n == 0 || g.terms[n-1].term != term {
		g.terms = append(g.terms, termStart{g.last, term})
	}
}

// dropTail forgets what memory holds from first on. Slices of the tail are in
// raft's hands: elements are never overwritten, the next append copies.
func (g *Group) dropTail(first uint64) {
	keep := uint64(0)
	if from := g.tailFirst(); first > from {
		keep = min(first-from, uint64(len(g.tail)))
	}
	g.account(g.tail[keep:], -1)
	g.tail = g.tail[:keep:keep]
}

// addTail keeps entries in memory that follow what is there.
func (g *Group) addTail(ents []*raftpb.Entry) {
	g.tail = append(g.tail, ents...)
	g.account(ents, 1)
}

// evict drops the oldest entries from memory until at most keep bytes are left.
func (g *Group) evict(keep int) {
	n, left := 0, g.tailBytes
	for ; n < len(g.tail) && left > keep; n++ {
		left -= memorySize(g.tail[n])
	}
	g.account(g.tail[:n], -1)
	g.tail = slices.Clone(g.tail[n:])
}

func (g *Group) account(ents []*raftpb.Entry, sign int) {
	for _, e := range ents {
		g.tailBytes += sign * memorySize(e)
		g.log.tailBytes += sign * memorySize(e)
	}
}

// install moves the group's beginning to the checkpoint.
func (g *Group) install(s savedCheckpoint) {
	c := s.Checkpoint
	if c.Reset {
		g.hardState = hardState{}
	}
	c.Reset = false
	g.checkpoint = c
	if s.replaces {
		g.dropTail(0)
		g.places, g.terms, g.last = nil, nil, c.Index
		return
	}
	if over := c.Index + 1; over > g.tailFirst() {
		n := min(over-g.tailFirst(), uint64(len(g.tail)))
		g.account(g.tail[:n], -1)
		g.tail = slices.Clone(g.tail[n:])
	}
	if g.shared() {
		return // what stands before is for followers, until its segment goes
	}
	if c.Index >= g.last {
		g.places, g.terms = nil, nil
		return
	}
	g.forget(g.findPlace(c.Index + 1))
}

// trim forgets what is in segments before that one.
func (g *Group) trim(oldest uint32) {
	if len(g.places) > 0 && g.places[0].at.seg < oldest {
		g.forget(sort.Search(len(g.places), func(n int) bool { return g.places[n].at.seg >= oldest }))
	}
}

// forget the first places, and terms that are no longer asked for.
func (g *Group) forget(n int) {
	if n <= 0 {
		return
	}
	if g.places = slices.Clone(g.places[n:]); len(g.places) == 0 {
		g.places, g.terms = nil, nil
		return
	}
	first := g.places[0].index
	if n := sort.Search(len(g.terms), func(n int) bool { return g.terms[n].index > first }); n > 1 {
		g.terms = slices.Clone(g.terms[n-1:])
	}
}

// replaces reports whether the log is no continuation of the checkpoint: it
// ends before it, or differs from it there.
func (g *Group) replaces(c Checkpoint) bool {
	return c.Index > g.last || c.Index > g.checkpoint.Index && g.term(c.Index) != c.Term
}

// state is what the state frames say of the group.
func (g *Group) state() groupState {
	return groupState{
		group:      g.id,
		hardState:  g.hardState,
		last:       g.last,
		checkpoint: g.checkpoint,
		saved:      g.checkpoint.ConfState != nil,
	}
}

// entryOverhead is what an entry takes in memory besides its data: the
// message, its scalars, and its slot in the tail.
const entryOverhead = 136

func memorySize(e *raftpb.Entry) int { return entryOverhead + len(e.GetData()) }

// limitSize returns the longest beginning of at most maxSize encoded bytes,
// and at least one entry.
func limitSize(ents []*raftpb.Entry, maxSize uint64) []*raftpb.Entry {
	var size uint64
	for i, e := range ents {
		if size += entrySize(e); size > maxSize && i > 0 {
			return ents[:i]
		}
	}
	return ents
}

// entrySize is proto.Size of an entry whose fields are all set, as raft's are,
// without reflection.
func entrySize(e *raftpb.Entry) uint64 {
	n := uint64(2) // the type
	n += 1 + uvarintBytes(e.GetTerm()) + 1 + uvarintBytes(e.GetIndex())
	if d := uint64(len(e.GetData())); d > 0 {
		n += 1 + uvarintBytes(d) + d
	}
	return n
}

func uvarintBytes(v uint64) uint64 {
	n := uint64(1)
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
