package shard

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// Bounds of a snapshot's transfer.
const (
	chunkBytes  = 256 << 10
	chunkWindow = 4
	// transferElections is for how many election timeouts a transfer may be silent.
	// A receiver waits for the checkpoint under way.
	transferElections = 30
	// lonelyElections is after how many without a leader a replica asks whether it
	// is one still.
	lonelyElections = 5
)

// ship tells another node something about a replica. What does not arrive is made
// up for: transfers end after a while, and are begun again.
func (s *Set) ship(node string, p *shardpb.Parcel) {
	if s.config.Ship == nil {
		return
	}
	body, err := proto.Marshal(p)
	if err == nil {
		err = s.config.Ship(node, body)
	}
	if err != nil {
		s.drop(dropParcel, 1)
	}
}

// Take takes what another node's Config.Ship was given for this one.
func (s *Set) Take(node string, body []byte) error {
	p := &shardpb.Parcel{}
	if err := proto.Unmarshal(body, p); err != nil {
		return fmt.Errorf("shard: a parcel: %w", err)
	}
	if s.closed {
		return nil
	}
	switch b := p.GetBody().(type) {
	case *shardpb.Parcel_Offer:
		s.offered(node, p, b.Offer)
	case *shardpb.Parcel_Answer:
		s.answered(node, p, b.Answer)
	case *shardpb.Parcel_Chunk:
		s.chunkCame(node, p, b.Chunk)
	case *shardpb.Parcel_Taken:
		s.taken(node, p, b.Taken)
	case *shardpb.Parcel_Removed:
		s.removed(p, b.Removed)
	case *shardpb.Parcel_Query:
		s.asked(node, p, b.Query)
	}
	return nil
}

// tellRemoved tells a replica that it is one no more, if that is so and nobody can need
// its vote (seal.go): it does not go by itself, and nobody sends it the entry that
// says it. A leader that has applied an entry of its term knows
// of every replica that was ever added, for a replica begins only after that was
// applied by the leader that added it.
func (g *Group) tellRemoved(node string, replica uint64) {
	if _, ok := g.members[replica]; ok || g.role != Leading || !g.sealed() {
		return
	}
	g.set.ship(node, &shardpb.Parcel{Group: g.id, Replica: replica, Body: &shardpb.Parcel_Removed{
		Removed: &shardpb.Removed{Term: g.leadTerm},
	}})
}

// asked whether a replica is one still: the leader knows.
func (s *Set) asked(node string, p *shardpb.Parcel, q *shardpb.Query) {
	g := s.groups[p.GetGroup()]
	switch {
	case g == nil:
	case q.GetNode() != "":
		g.tellRemoved(q.GetNode(), p.GetReplica())
	case g.role == Leading:
		g.tellRemoved(node, p.GetReplica())
	default:
		if leader := g.LeaderNode(); leader != "" && leader != s.config.Node {
			q.Node = node
			s.ship(leader, p)
		}
	}
}

// removed takes in that this replica is one no more. A leader of an earlier term
// may not know of it yet.
func (s *Set) removed(p *shardpb.Parcel, r *shardpb.Removed) {
	g := s.groups[p.GetGroup()]
	if g != nil && g.Replica() == p.GetReplica() && r.GetTerm() >= g.term && g.role == Follower {
		s.quit(g)
	}
}

// configured says whether the configuration has this replica, if only as a learner. A
// snapshot may be older than the change that added who it is for.
func (g *Group) configured() bool {
	return slices.Contains(g.conf.GetVoters(), g.Replica()) || slices.Contains(g.conf.GetLearners(), g.Replica())
}

// lonely counts how long there was no leader, or none that speaks to who is a
// member no more, and asks the others then.
func (g *Group) lonely() {
	if g.leader != 0 && g.configured() {
		g.alone = 0
		return
	}
	g.alone++
	if g.alone%(lonelyElections*g.set.config.ElectionTicks) != 0 {
		return
	}
	nodes := slices.Collect(maps.Values(g.members))
	if g.set.config.Holders != nil {
		nodes = append(nodes, g.set.config.Holders(g.id)...) // all others may have moved
	}
	slices.Sort(nodes)
	for _, node := range slices.Compact(nodes) {
		if node != g.set.config.Node {
			g.set.ship(node, &shardpb.Parcel{Group: g.id, Replica: g.Replica(), Body: &shardpb.Parcel_Query{Query: &shardpb.Query{}}})
		}
	}
}
