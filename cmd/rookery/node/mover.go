package node

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/rookery-im/rookery/cluster/balance"
	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/internal/limits"
)

// mover takes the groups that this node leads, by single steps, to the nodes where
// the view wants them. It keeps nothing that matters: the next leader of a group
// goes on from its configuration. It belongs to the loop.
type mover struct {
	self string // node
	set  *shard.Set
	view func() *control.View // nil while nothing is known
	// astray says of a node that its wall clock is not trusted: what it stamps would
	// be wrong, so it leads where nobody else can.
	astray func(number uint16) bool
	log    *slog.Logger

	ill     string           // who is astray, as of this round
	settled map[uint32]stand // groups that are where they ought to be
	from    int              // the group to begin with: all have their turn
}

// stand is what a group's being settled rests on.
type stand struct {
	view, term, changes uint64
	ill                 string // who is astray
}

func newMover(self string, set *shard.Set, view func() *control.View, astray func(uint16) bool, log *slog.Logger) *mover {
	return &mover{self: self, set: set, view: view, astray: astray, log: log, settled: map[uint32]stand{}}
}

// round takes each group one step on, and no more than a few off their place at once.
func (m *mover) round() {
	v := m.view()
	if v == nil || m.set.Err() != nil {
		return
	}
	m.look(v)
	moving := 0
	var idle []*shard.Group
	for _, g := range m.set.Groups() {
		if !g.Leading() || m.settled[g.ID()] == m.stand(g, v) {
			continue
		}
		if g.Changing() || g.Learners() > 0 {
			moving++
			m.step(g, v)
			continue
		}
		idle = append(idle, g)
	}
	for i := range idle {
		if moving >= limits.Moving {
			break
		}
		if m.step(idle[(m.from+i)%len(idle)], v) {
			moving++
		}
	}
	m.from++
}

func (m *mover) stand(g *shard.Group, v *control.View) stand {
	return stand{v.Version, g.Term(), g.Changes(), m.ill}
}

// look who is astray.
func (m *mover) look(v *control.View) {
	m.ill = ""
	for i := range v.Members {
		if number := v.Members[i].Number; m.astray(number) {
			m.ill += fmt.Sprintf(" %d", number)
		}
	}
}

// step says whether the group moves.
func (m *mover) step(g *shard.Group, v *control.View) bool {
	alive := func(node string) bool {
		member, ok := v.Node(node)
		// This one is heard as long as it is a member, though it leaves.
		return ok && (member.State == control.Ready || node == m.self)
	}
	s, err := g.Toward(m.wanted(v, g.ID()), alive)
	switch s.Kind {
	case balance.Done:
		m.settled[g.ID()] = m.stand(g, v)
		return false
	case balance.Wait:
		return false
	}
	if err != nil {
		if !errors.Is(err, shard.ErrChanging) && !errors.Is(err, shard.ErrNotLeading) {
			m.log.Warn("a replica is not moved", "group", g.ID(), "step", s.Kind, "node", s.Node, "err", err)
		}
		return false
	}
	m.log.Info("a group moves", "group", g.ID(), "step", s.Kind, "node", s.Node)
	return true
}

// holders are where a group ought to be.
func (n *Node) holders(group uint32) []string { return wanted(n.cluster.view(), group) }

// wanted, those whose clocks are astray last.
func (m *mover) wanted(v *control.View, group uint32) []string {
	return nodesOf(v, preferred(v.Of(group), m.astray))
}

// preferred are the same nodes in the same order, but for those that had better not lead.
func preferred(nodes []uint16, astray func(uint16) bool) []uint16 {
	if !slices.ContainsFunc(nodes, astray) {
		return nodes
	}
	var well, ill []uint16
	for _, n := range nodes {
		if astray(n) {
			ill = append(ill, n)
		} else {
			well = append(well, n)
		}
	}
	return append(well, ill...)
}

// wanted are the nodes that ought to hold a group, the one that should lead first.
func wanted(v *control.View, group uint32) []string { return nodesOf(v, v.Of(group)) }

func nodesOf(v *control.View, numbers []uint16) (nodes []string) {
	for _, number := range numbers {
		if m, ok := v.Member(number); ok {
			nodes = append(nodes, m.Node)
		}
	}
	return nodes
}
