package shard

import (
	"slices"

	"go.etcd.io/raft/v3"
)

const (
	// staggerTicks lie between the candidacies of one voter and the next: time for
	// an election, with its two syncs, on a disk that is not fast.
	staggerTicks = 3
	// retryTicks after which a candidacy that came to nothing is tried again, and
	// then doubled, up to an election timeout.
	retryTicks = 3
	// patientTries come without a draw.
	patientTries = 2
)

// candidacy is when a replica stands for election: see the package comment.
type candidacy struct {
	silent int    // ticks since the leader was heard, the term rose, or this replica stood
	tries  int    // since the leader was lost, that it was lost counted as one
	last   uint64 // leader that was known last
}

// follow notes who leads, or that nobody is known to.
func (c *candidacy) follow(leader uint64) {
	switch {
	case leader != raft.None:
		*c = candidacy{last: leader}
	case c.last != raft.None && c.tries == 0:
		c.silent, c.tries = 0, 1
	}
}

// hear a message of the leader.
func (c *candidacy) hear() { c.silent, c.tries = 0, 0 }

// Follows says on which node the leader is whom this replica follows, and in which
// term: one that it has heard just now, and that has committed something, so that
// it takes proposals.
func (g *Group) Follows() (node string, term uint64, ok bool) {
	c := &g.set.config
	if g.leader == raft.None || g.leader == g.Replica() || g.turn.tries > 0 || g.turn.silent > c.HeartbeatTicks+1 || g.appliedTerm != g.term {
		return "", 0, false
	}
	node, ok = g.nodeOf(g.leader)
	return node, g.term, ok
}

// Forsake takes in that a node's process is gone, by good evidence: its groups do
// not wait for an election timeout. They do not stand at once either, but with the
// next tick, when the others have the same evidence. Where it was wrong, the leader's
// next heartbeat is heard as ever.
func (s *Set) Forsake(node string) {
	if s.err != nil {
		return
	}
	s.forsaken[node] = true
	for _, g := range s.order {
		g.keep(node)
		if g.leader == raft.None || g.leader == g.Replica() || g.LeaderNode() != node {
			continue
		}
		if err := g.node.ForgetLeader(); err != nil {
			s.config.Logger.Warn("a leader is not forgotten", "group", g.id, "error", err)
			continue
		}
		g.turn.silent, g.turn.tries = retryTicks-1, 1
		g.touch()
	}
}

// keep leadership that is being handed over to that node: it takes nothing for as
// long as that lasts.
func (g *Group) keep(node string) {
	if g.role != Leading || !g.handing {
		return
	}
	if at, _ := g.nodeOf(g.heir); at == node {
		g.handing, g.heir = false, raft.None
	}
	if at, _ := g.nodeOf(g.node.BasicStatus().LeadTransferee); at == node {
		g.node.TransferLeader(g.Replica()) // which ends the other
		g.handing = false
		g.touch()
	}
}

// maybeStand for election, when it is this replica's turn.
func (g *Group) maybeStand() {
	g.turn.silent++
	if g.state == raft.StateLeader || !g.votes(g.Replica()) || g.turn.silent < g.patience() {
		return
	}
	g.turn.silent = 0
	g.turn.tries++
	if err := g.Campaign(); err != nil {
		g.set.config.Logger.Warn("a replica does not stand for election", "group", g.id, "error", err)
	}
}

// patience in ticks.
func (g *Group) patience() int {
	election := g.set.config.ElectionTicks
	if g.turn.tries == 0 {
		return election + 1 + staggerTicks*g.rank()
	}
	wait := retryTicks
	for range g.turn.tries - 1 {
		if wait *= 2; wait >= election {
			wait = election
			break
		}
	}
	wait += staggerTicks * g.rank()
	if g.turn.tries > patientTries {
		wait += g.draw(election)
	}
	return wait
}

// rank among the voters: by id, the leader that was lost behind all others.
func (g *Group) rank() (rank int) {
	self := g.Replica()
	for _, id := range g.conf.GetVoters() {
		if id != g.turn.last && (id < self || self == g.turn.last) && id != self {
			rank++
		}
	}
	return rank
}

// draw a number below n, another in each term and for each replica: two that
// take themselves for the same rank do not meet for ever.
func (g *Group) draw(n int) int {
	const odd = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	h := (g.Replica() ^ g.term*odd) * odd
	return int(h >> 33 % uint64(n)) //nolint:gosec // below n
}

func (g *Group) votes(id uint64) bool {
	return slices.Contains(g.conf.GetVoters(), id) || slices.Contains(g.conf.GetVotersOutgoing(), id)
}
