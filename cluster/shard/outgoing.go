package shard

import (
	"bytes"
	"math/rand/v2"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// outgoing is a snapshot on its way to a replica that the log does not reach.
type outgoing struct {
	// immutable
	group   *Group
	term    uint64 // led here
	replica uint64
	node    string
	number  uint64 // of the transfer
	cut     Cut
	at      Checkpoint

	// owned by the loop
	wanted      bool
	reading     bool   // a chunk is being read
	over        bool   // the last one was read, or the transfer ended meanwhile
	from        []byte // where the next chunk begins
	sent, taken uint64 // chunks
	quiet       int    // ticks since anything was heard
}

// follow looks, now and then, which followers need a snapshot: those of which it
// is not known that their log reaches the own one's beginning. A leader that has
// committed nothing in its term does so as well: it may need that very follower's
// vote for its first entry.
func (g *Group) follow() {
	if g.role == Follower || len(g.members) < 2 || g.set.config.Rows == nil {
		return
	}
	first, err := g.set.config.Log.Storage(g.id).FirstIndex()
	if err != nil {
		return // the log says it elsewhere
	}
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if id != g.Replica() && pr.Match+1 < first {
			g.set.offer(g, id, first)
		}
	})
}

// offer a snapshot, unless one is on its way, or enough are.
func (s *Set) offer(g *Group, replica, first uint64) {
	node, ok := g.members[replica]
	to := 0
	for _, o := range s.outgoing {
		if o.node == node {
			to++
		}
	}
	if !ok || to >= s.config.Transfers || s.sending(g, replica) != nil {
		return
	}
	if g.cut == nil || g.cut.Index+1 < first {
		s.Checkpoint() // there is one to offer after it
		return
	}
	cut, ok := s.config.Rows.Cut(Space{g.id, g.version})
	if !ok {
		s.Checkpoint()
		return
	}
	o := &outgoing{group: g, term: g.term, replica: replica, node: node, number: rand.Uint64(), cut: cut, at: *g.cut} //nolint:gosec // a name
	held, err := decodeHolding(o.at.Data, s.config.Node)
	conf, confErr := proto.Marshal(o.at.ConfState)
	before, termErr := s.config.Log.Storage(g.id).Term(first - 1)
	if err != nil || confErr != nil || termErr != nil {
		cut.Close()
		return
	}
	s.outgoing = append(s.outgoing, o)
	s.ship(node, &shardpb.Parcel{Group: g.id, Replica: replica, Transfer: o.number, Body: &shardpb.Parcel_Offer{Offer: &shardpb.Offer{
		Term: g.term, Index: o.at.Index, CutTerm: o.at.Term, ConfState: conf, Members: encodeMembers(held.members), First: first, BeforeTerm: before,
	}}})
}

// sending finds the snapshot that is on its way to a replica.
func (s *Set) sending(g *Group, replica uint64) *outgoing {
	for _, o := range s.outgoing {
		if o.group == g && o.replica == replica {
			return o
		}
	}
	return nil
}

// outgoingOf finds the one that a parcel is about.
func (s *Set) outgoingOf(node string, p *shardpb.Parcel) *outgoing {
	for _, o := range s.outgoing {
		if o.number == p.GetTransfer() && o.replica == p.GetReplica() && o.group.id == p.GetGroup() && o.node == node {
			return o
		}
	}
	return nil
}

// end a transfer. What is being read at the moment is waited for, and dropped.
func (s *Set) end(o *outgoing) {
	s.outgoing = slices.DeleteFunc(s.outgoing, func(other *outgoing) bool { return other == o })
	o.over = true
	if !o.reading {
		o.cut.Close()
	}
}

func (s *Set) answered(node string, p *shardpb.Parcel, a *shardpb.Answer) {
	o := s.outgoingOf(node, p)
	if o == nil {
		return
	}
	switch a.GetVerdict() {
	case shardpb.Verdict_VERDICT_WANTED:
		o.wanted, o.quiet = true, 0
		s.read(o)
	case shardpb.Verdict_VERDICT_NEEDS_NOTHING:
		s.reached(o, a.GetIndex())
	default:
		s.end(o)
	}
}

func (s *Set) taken(node string, p *shardpb.Parcel, t *shardpb.Taken) {
	o := s.outgoingOf(node, p)
	switch {
	case o == nil:
	case t.GetBroken() || t.GetNumber() > o.sent:
		s.end(o)
	case t.GetIndex() > 0:
		s.config.Metrics.Snapshots.WithLabelValues("sent").Inc()
		s.reached(o, t.GetIndex())
	default:
		o.taken, o.quiet = max(o.taken, t.GetNumber()), 0
		s.read(o)
	}
}

// reached tells Raft up to where the replica has what was committed: it would not
// find out, for it asks about entries only that the log still has. The replica may
// know of a later term, and have applied in it what this one has not: it counts for
// no more than is committed here, or a leader that is none any more would commit
// what nobody else has.
func (s *Set) reached(o *outgoing, index uint64) {
	g := o.group
	s.end(o)
	index = min(index, g.applied)
	if g.role == Follower || g.term != o.term || index == 0 {
		return
	}
	kind := raftpb.MsgAppResp
	// An error says that the replica is not in the configuration any more.
	_ = g.node.Step(&raftpb.Message{Type: kind.Enum(), From: &o.replica, To: new(g.Replica()), Term: &o.term, Index: &index})
	g.touch()
}

// read the next chunk, while few enough are in flight.
func (s *Set) read(o *outgoing) {
	if !o.wanted || o.over || o.reading || o.sent-o.taken >= chunkWindow {
		return
	}
	o.reading = true
	from := o.from
	s.job(WorkSnapshot, func() func() {
		rows, next, err := readChunk(o.cut, from)
		return func() { s.chunkRead(o, rows, next, err) }
	})
}

// readChunk encodes rows from a key on, and says where the next chunk begins; nil
// after the last.
func readChunk(cut Cut, from []byte) (rows, next []byte, err error) {
	last := 0 // where the last row begins
	err = cut.Scan(from, func(key, value []byte) bool {
		if len(rows) >= chunkBytes {
			next = bytes.Clone(key)
			return false
		}
		last = len(rows)
		rows = appendRow(rows, key, value)
		return true
	})
	if mutantLostRow {
		rows = rows[:last]
	}
	return rows, next, err
}

func (s *Set) chunkRead(o *outgoing, rows, next []byte, err error) {
	o.reading = false
	switch {
	case o.over: // ended meanwhile
		o.cut.Close()
		return
	case err != nil:
		s.config.Logger.Error("a snapshot cannot be read", "group", o.group.id, "error", err)
		s.end(o)
		return
	}
	o.sent++
	o.from, o.over = next, next == nil
	s.ship(o.node, &shardpb.Parcel{Group: o.group.id, Replica: o.replica, Transfer: o.number, Body: &shardpb.Parcel_Chunk{
		Chunk: &shardpb.Chunk{Number: o.sent, Rows: rows, Last: o.over},
	}})
	s.read(o)
}

// tickOutgoing ends the transfers that lead nowhere.
func (s *Set) tickOutgoing() {
	for _, o := range slices.Clone(s.outgoing) {
		g := o.group
		patience := s.config.ElectionTicks // an offer is made again
		if o.wanted {
			patience = transferElections * s.config.ElectionTicks
		}
		if o.quiet++; o.quiet > patience || g.role == Follower || g.term != o.term || g.members[o.replica] != o.node {
			s.end(o)
		}
	}
}
