package shard

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// incoming is a snapshot that is being loaded.
type incoming struct {
	// immutable
	node    string
	parcel  *shardpb.Parcel // the offer
	offer   *shardpb.Offer
	conf    *raftpb.ConfState
	space   Space
	load    Load
	writing bool // a job has the load

	// owned by the loop
	queue []*shardpb.Chunk
	came  uint64 // chunks
	taken uint64 // of them that are written
	quiet int    // ticks since anything was heard
	over  bool   // given up, or handed on to be switched to
}

// offered decides about a snapshot that a leader offers.
func (s *Set) offered(node string, p *shardpb.Parcel, o *shardpb.Offer) {
	verdict, index := s.judge(node, p, o)
	if verdict == shardpb.Verdict_VERDICT_WANTED && !s.accept(node, p, o) {
		verdict = shardpb.Verdict_VERDICT_BUSY
	}
	s.ship(node, &shardpb.Parcel{Group: p.GetGroup(), Replica: p.GetReplica(), Transfer: p.GetTransfer(), Body: &shardpb.Parcel_Answer{
		Answer: &shardpb.Answer{Verdict: verdict, Index: index},
	}})
}

func (s *Set) judge(node string, p *shardpb.Parcel, o *shardpb.Offer) (shardpb.Verdict, uint64) {
	const busy, buried = shardpb.Verdict_VERDICT_BUSY, shardpb.Verdict_VERDICT_BURIED
	g := s.groups[p.GetGroup()]
	if s.isBuried(p.GetGroup(), p.GetReplica()) {
		return buried, 0
	}
	if s.err != nil || s.config.Rows == nil || s.changesGroup(p.GetGroup()) || p.GetReplica() == 0 || o.GetIndex() == 0 {
		return busy, 0
	}
	if g != nil {
		if g.Replica() != p.GetReplica() {
			// The group has another replica on this node, in the leader's view.
			s.ship(node, &shardpb.Parcel{Group: g.id, Replica: g.Replica(), Body: &shardpb.Parcel_Query{Query: &shardpb.Query{}}})
			return busy, 0
		}
		switch {
		case g.applied+1 >= o.GetFirst() || g.applied >= o.GetIndex():
			return shardpb.Verdict_VERDICT_NEEDS_NOTHING, g.applied
		case g.has(o.GetFirst()-1, o.GetBeforeTerm()):
			if s.out { // it may not be durable yet, and the answer counts as if it were
				return busy, 0
			}
			return shardpb.Verdict_VERDICT_NEEDS_NOTHING, o.GetFirst() - 1
		case o.GetTerm() < g.term || g.role != Follower:
			return busy, 0
		}
	}
	if in := s.loading(p.GetGroup()); in != nil && (in.offer.GetTerm() > o.GetTerm()) {
		return busy, 0
	}
	return shardpb.Verdict_VERDICT_WANTED, 0
}

// has says whether the replica's log has an entry. That it is as long says nothing:
// what was never committed may stand there.
func (g *Group) has(index, term uint64) bool {
	at, err := g.set.config.Log.Storage(g.id).Term(index)
	return err == nil && term != 0 && at == term
}

// accept begins to load a snapshot; false where that cannot be.
func (s *Set) accept(node string, p *shardpb.Parcel, o *shardpb.Offer) bool {
	if old := s.loading(p.GetGroup()); old != nil {
		s.abort(old) // its leader has ended it, or is none any more
	}
	conf := &raftpb.ConfState{}
	if len(s.incoming) >= s.config.Transfers || proto.Unmarshal(o.GetConfState(), conf) != nil || len(conf.GetVoters()) == 0 {
		return false
	}
	space := Space{p.GetGroup(), s.freshVersion(p.GetGroup())}
	s.versions[space.Group] = space.Version
	s.incoming = append(s.incoming, &incoming{node: node, parcel: p, offer: o, conf: conf, space: space, load: s.config.Rows.Load(space)})
	return true
}

// freshVersion of a group's key space: one under which this disk has no rows, and
// this process has put none.
func (s *Set) freshVersion(group uint32) uint32 {
	v := max(s.versions[group], s.buried[group].version)
	if g := s.groups[group]; g != nil {
		v = max(v, g.version)
	}
	for _, space := range s.config.Rows.Spaces() {
		if space.Group == group {
			v = max(v, space.Version)
		}
	}
	return v + 1
}

// loading finds the snapshot that is being loaded for a group.
func (s *Set) loading(group uint32) *incoming {
	for _, in := range s.incoming {
		if in.space.Group == group {
			return in
		}
	}
	return nil
}

// abort gives up a load, and what it has put.
func (s *Set) abort(in *incoming) {
	s.incoming = slices.DeleteFunc(s.incoming, func(other *incoming) bool { return other == in })
	in.over, in.queue = true, nil
	if !in.writing {
		s.discard(in.space, atOnce)
	}
}

func (s *Set) chunkCame(node string, p *shardpb.Parcel, c *shardpb.Chunk) {
	in := s.loading(p.GetGroup())
	if in == nil || in.node != node || in.parcel.GetTransfer() != p.GetTransfer() || c.GetNumber() > in.came+1 || len(in.queue) >= 2*chunkWindow {
		s.ship(node, &shardpb.Parcel{Group: p.GetGroup(), Replica: p.GetReplica(), Transfer: p.GetTransfer(), Body: &shardpb.Parcel_Taken{
			Taken: &shardpb.Taken{Broken: true},
		}})
		return
	}
	in.quiet = 0
	if c.GetNumber() != in.came+1 {
		return // it came before
	}
	in.came++
	in.queue = append(in.queue, c)
	s.write(in)
}

// write the next chunk.
func (s *Set) write(in *incoming) {
	if in.writing || in.over || len(in.queue) == 0 {
		return
	}
	c := in.queue[0]
	in.queue = in.queue[1:]
	in.writing = true
	if s.checkpoint.frozen != nil {
		s.checkpoint.frozen.Hurry() // the store takes one after the other
	}
	s.job(WorkSnapshot, func() func() {
		rows, err := readRows(c.GetRows())
		if err == nil {
			err = in.load.Write(s.ctx, rows)
		}
		if err == nil && c.GetLast() {
			err = in.load.Sync()
		}
		return func() { s.chunkWritten(in, c, err) }
	})
}

func (s *Set) chunkWritten(in *incoming, c *shardpb.Chunk, err error) {
	in.writing, in.quiet = false, 0
	switch {
	case in.over:
		s.discard(in.space, atOnce)
		return
	case err != nil:
		s.config.Logger.Error("a snapshot cannot be loaded", "group", in.space.Group, "error", err)
		s.abort(in)
		s.acknowledge(in, &shardpb.Taken{Broken: true})
		return
	}
	in.taken = c.GetNumber()
	s.acknowledge(in, &shardpb.Taken{Number: in.taken})
	if c.GetLast() {
		s.incoming = slices.DeleteFunc(s.incoming, func(other *incoming) bool { return other == in })
		in.over = true
		s.changes = append(s.changes, change{install: in})
		return
	}
	s.write(in)
}

func (s *Set) acknowledge(in *incoming, t *shardpb.Taken) {
	s.ship(in.node, &shardpb.Parcel{Group: in.space.Group, Replica: in.parcel.GetReplica(), Transfer: in.parcel.GetTransfer(), Body: &shardpb.Parcel_Taken{Taken: t}})
}

func (s *Set) tickIncoming() {
	for _, in := range slices.Clone(s.incoming) {
		if in.quiet++; in.quiet > transferElections*s.config.ElectionTicks && !in.writing {
			s.abort(in)
		}
	}
}
