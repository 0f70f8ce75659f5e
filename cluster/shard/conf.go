package shard

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// Why a change of the configuration is not begun.
var (
	// ErrChanging: one at a time, and none while leadership is handed over.
	ErrChanging = errors.New("shard: another change of the group is under way")
	// ErrMember: there is no such replica, or no such change of it.
	ErrMember = errors.New("shard: no such change of this replica")
	// ErrUnsafe: too few of the replicas that would vote then have been heard of
	// lately.
	ErrUnsafe = errors.New("shard: the group would be without a quorum")
)

// AddLearner begins to add a replica on a node, which does not vote yet, and
// returns the id that it will have. Whether it came to that, Status tells, as of
// all these changes: the leader may be another by then.
func (g *Group) AddLearner(node string) (uint64, error) {
	if err := g.changeable(); err != nil {
		return 0, err
	}
	for id, at := range g.members {
		if at == node {
			return 0, fmt.Errorf("%w: group %d has %x on %s already", ErrMember, g.id, id, node)
		}
	}
	id, err := NewReplica()
	if err != nil {
		return 0, err
	}
	if mutantSameID {
		h := fnv.New64a()
		_, _ = fmt.Fprint(h, g.id, node)
		id = h.Sum64()
	}
	context, err := proto.Marshal(&shardpb.Member{Id: id, Node: node})
	if err != nil {
		return 0, fmt.Errorf("shard: encode member: %w", err)
	}
	return id, g.change(raftpb.ConfChangeAddLearnerNode, id, context)
}

// Promote begins to have a learner vote.
func (g *Group) Promote(replica uint64) error {
	if err := g.changeable(); err != nil {
		return err
	}
	if !slices.Contains(g.conf.GetLearners(), replica) {
		return fmt.Errorf("%w: %x of group %d is no learner", ErrMember, replica, g.id)
	}
	if err := g.quorate(append(slices.Clone(g.conf.GetVoters()), replica)); err != nil {
		return err
	}
	return g.change(raftpb.ConfChangeAddNode, replica, nil)
}

// Remove begins to remove a replica, for good. The leader cannot remove itself:
// it hands leadership over first.
func (g *Group) Remove(replica uint64) error {
	if err := g.changeable(); err != nil {
		return err
	}
	if _, ok := g.members[replica]; !ok || replica == g.Replica() {
		return fmt.Errorf("%w: %x of group %d is not there, or leads it", ErrMember, replica, g.id)
	}
	if voters := g.conf.GetVoters(); slices.Contains(voters, replica) {
		left := slices.DeleteFunc(slices.Clone(voters), func(id uint64) bool { return id == replica })
		if err := g.quorate(left); err != nil {
			return err
		}
	}
	return g.change(raftpb.ConfChangeRemoveNode, replica, nil)
}

// Transfer begins to hand leadership over to a voter. No proposals are taken
// until that has succeeded, or an election timeout is over. The one in flight is
// committed before, so that nobody has to wonder what became of it.
func (g *Group) Transfer(replica uint64) error {
	if err := g.changeable(); err != nil {
		return err
	}
	if !slices.Contains(g.conf.GetVoters(), replica) || replica == g.Replica() {
		return fmt.Errorf("%w: %x of group %d cannot take over", ErrMember, replica, g.id)
	}
	g.handing, g.heir = true, replica
	g.handOver()
	return nil
}

// handOver goes on with it: to the heir, when the time has come, and to nobody once
// Raft has given it up.
func (g *Group) handOver() {
	switch {
	case !g.handing:
	case g.heir == raft.None:
		g.handing = g.node.BasicStatus().LeadTransferee != raft.None
	case g.proposal.stage == nothing:
		g.node.TransferLeader(g.heir)
		g.heir = raft.None
		g.touch()
	}
}

// Changing says whether a change of the configuration, or of the leader, is
// under way.
func (g *Group) Changing() bool { return g.changing || g.handing || !g.sealed() }

func (g *Group) changeable() error {
	switch {
	case g.set.err != nil:
		return fmt.Errorf("%w: %w", ErrBroken, g.set.err)
	case g.role != Leading:
		return ErrNotLeading
	case g.Changing():
		return ErrChanging
	}
	return nil
}

// quorate says whether a majority of these is here and was heard of lately.
func (g *Group) quorate(voters []uint64) error {
	active := 0
	for _, id := range voters {
		if g.active(id) {
			active++
		}
	}
	if active <= len(voters)/2 {
		return fmt.Errorf("%w: group %d, %d of %d", ErrUnsafe, g.id, active, len(voters))
	}
	return nil
}

func (g *Group) change(kind raftpb.ConfChangeType, replica uint64, context []byte) error {
	err := g.node.ProposeConfChange(&raftpb.ConfChange{Type: kind.Enum(), NodeId: &replica, Context: context})
	if err != nil {
		return fmt.Errorf("shard: group %d: change the configuration: %w", g.id, err)
	}
	g.changing, g.changeIndex = true, 0
	g.touch()
	return nil
}

// observeChange finds the entry of the change that was begun. Raft puts an empty
// one in its place where it does not take it; nobody else makes empty ones.
func (g *Group) observeChange(entries []*raftpb.Entry) {
	if !g.changing || g.changeIndex != 0 {
		return
	}
	for _, e := range entries {
		if e.GetTerm() == g.leadTerm && (e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0) {
			g.changeIndex = e.GetIndex()
		}
	}
}

// applyConf takes a committed change of the configuration. The entry's context
// says where a replica is that it adds.
func (g *Group) applyConf(e *raftpb.Entry) error {
	var change raftpb.ConfChangeI
	switch e.GetType() {
	case raftpb.EntryConfChange:
		cc := &raftpb.ConfChange{}
		if err := proto.Unmarshal(e.GetData(), cc); err != nil {
			return fmt.Errorf("configuration change: %w", err)
		}
		change = cc
	case raftpb.EntryConfChangeV2:
		cc := &raftpb.ConfChangeV2{}
		if err := proto.Unmarshal(e.GetData(), cc); err != nil {
			return fmt.Errorf("configuration change: %w", err)
		}
		change = cc
	default:
		return fmt.Errorf("entry of unknown type %v", e.GetType())
	}
	g.changes++
	g.conf = g.node.ApplyConfChange(change)
	return g.applyMembers(change.AsV2())
}

// applyMembers has the members follow the configuration.
func (g *Group) applyMembers(change *raftpb.ConfChangeV2) error {
	var added shardpb.Member
	if err := proto.Unmarshal(change.GetContext(), &added); err != nil {
		return fmt.Errorf("configuration change: context: %w", err)
	}
	members := maps.Clone(g.members)
	for _, c := range change.GetChanges() {
		switch id := c.GetNodeId(); c.GetType() {
		case raftpb.ConfChangeRemoveNode:
			g.remove(id, members[id])
			delete(members, id)
		case raftpb.ConfChangeAddNode, raftpb.ConfChangeAddLearnerNode:
			if added.GetId() == id {
				members[id] = added.GetNode()
				if g.role != Follower {
					g.voices[id] = g.set.ticks // it is given the time to say something
				}
			}
		}
	}
	g.members, g.heard = members, nil
	var err error
	g.data, err = g.encode()
	return err
}
