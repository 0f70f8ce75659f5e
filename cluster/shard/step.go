package shard

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// Step takes a message that the node sent to a group's replica here. Whatever
// is not for it, or cannot come from there, is refused: ids are never used
// twice, so a late message to a replica that is gone finds nobody.
func (s *Set) Step(node string, group uint32, m *raftpb.Message) error {
	g := s.groups[group]
	if len(s.forsaken) > 0 {
		delete(s.forsaken, node)
	}
	switch {
	case s.err != nil:
		return fmt.Errorf("%w: %w", ErrBroken, s.err)
	case g == nil || m.GetTo() != g.Replica():
		return fmt.Errorf("%w: %x of group %d", ErrNoReplica, m.GetTo(), group)
	case !g.hears(node, m.GetFrom()):
		return fmt.Errorf("%w: %x of group %d is not on %s", ErrNoReplica, m.GetFrom(), group, node)
	}
	if kind := m.GetType(); kind == raftpb.MsgPreVote || kind == raftpb.MsgVote {
		g.tellRemoved(node, m.GetFrom())
	}
	return g.Step(m)
}

// Step takes a message from another replica.
func (g *Group) Step(m *raftpb.Message) error {
	if g.set.err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, g.set.err)
	}
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp, raftpb.MsgTimeoutNow,
		raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp:
	default:
		// Proposals and reads are not handed on, and snapshots come another way.
		return fmt.Errorf("%w: %v", ErrMessage, m.GetType())
	}
	if g.role != Follower {
		g.voices[m.GetFrom()] = g.set.ticks
	}
	err := g.node.Step(m)
	g.touch()
	if kind := m.GetType(); (kind == raftpb.MsgApp || kind == raftpb.MsgHeartbeat) && m.GetFrom() == g.leader && m.GetTerm() >= g.term {
		g.turn.hear()
	}
	if err != nil {
		return fmt.Errorf("shard: group %d: step: %w", g.id, err)
	}
	return nil
}

// active says whether a replica was heard within an election timeout. Raft's own word
// for it, RecentActive, is no answer to this: it is taken back with every check of the
// quorum, until the replica is heard again.
func (g *Group) active(id uint64) bool {
	at, ok := g.voices[id]
	node, _ := g.nodeOf(id)
	return id == g.Replica() || ok && g.set.ticks-at <= uint64(g.set.config.ElectionTicks) && !g.set.forsaken[node] //nolint:gosec // positive
}

// maxHeard bounds the replicas that are known by what they say alone.
const maxHeard = 16

// hears says whether the replica can be on that node, and remembers where an
// answer goes: a replica that is behind hears of others before it has applied
// the change that added them.
func (g *Group) hears(node string, replica uint64) bool {
	if known, ok := g.members[replica]; ok {
		return known == node
	}
	if g.heard[replica] == node {
		return true
	}
	if g.heard == nil || len(g.heard) >= maxHeard {
		g.heard = make(map[uint64]string)
	}
	g.heard[replica] = node
	return true
}

// nodeOf says where a replica is.
func (g *Group) nodeOf(replica uint64) (string, bool) {
	if node, ok := g.members[replica]; ok {
		return node, true
	}
	node, ok := g.heard[replica]
	return node, ok
}
