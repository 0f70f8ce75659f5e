package shard

import (
	"maps"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Status of a group, as this replica sees it.
type Status struct {
	Group      uint32
	Replica    uint64
	Role       Role
	Term       uint64
	Leader     uint64 // replica id; 0 where it is not known
	LeaderNode string
	Applied    uint64
	// Changing says that a change of the configuration, or of the leader, is
	// under way. Known to the leader alone.
	Changing bool
	Members  []Peer // by replica id
}

// Peer is a replica of a group, this one included.
type Peer struct {
	Replica uint64
	Node    string
	Learner bool
	// Match is up to where its log is known to be the leader's, Next what it is
	// sent next, and Active whether it was heard of lately. Known to the leader alone.
	Match, Next uint64
	Active      bool
	// Filling says that it is being sent a snapshot. Known to the leader alone.
	Filling bool
}

// Status is a copy.
func (g *Group) Status() Status {
	st := Status{
		Group: g.id, Replica: g.Replica(), Role: g.role, Term: g.term, Leader: g.leader, LeaderNode: g.LeaderNode(),
		Applied: g.applied, Changing: g.Changing(),
	}
	learners := g.conf.GetLearners()
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		st.Members = append(st.Members, Peer{Replica: id, Node: g.members[id], Learner: slices.Contains(learners, id)})
	}
	if g.role != Leading {
		return st
	}
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		i := slices.IndexFunc(st.Members, func(p Peer) bool { return p.Replica == id })
		if i < 0 {
			return
		}
		p := &st.Members[i]
		p.Filling = g.set.sending(g, id) != nil
		p.Match, p.Next, p.Active = pr.Match, pr.Next, g.active(id)
	})
	return st
}

// Members are the group's replicas and the nodes that hold them. The map is not
// to be changed; a change of the configuration replaces it.
func (g *Group) Members() map[uint64]string { return g.members }

// Learners is how many replicas have no vote yet.
func (g *Group) Learners() int { return len(g.conf.GetLearners()) }

// Changes counts the changes of the configuration that this replica has applied
// since it began.
func (g *Group) Changes() uint64 { return g.changes }

// LeaderNode is the node of the group's leader; empty where it is not known.
func (g *Group) LeaderNode() string {
	if g.leader == raft.None {
		return ""
	}
	node, _ := g.nodeOf(g.leader)
	return node
}
