package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/placement"
)

const clusterID = "0d3f2a52-64b9-4dfb-9f0f-3a5a2c1f7f10"

// charter is what group 0 has decided, and what may never become of it.
type charter struct {
	world   *world
	newest  *control.View     // that anybody has applied
	views   map[uint64]string // encoded, by version
	numbers map[string]uint16 // of nodes, ever
	holders map[uint16]string // the nodes of numbers, ever
	leaving map[string]bool   // they leave, as was answered
	removed map[string]bool   // they were removed, as was answered
}

func newCharter(w *world) *charter {
	return &charter{world: w, views: map[uint64]string{}, numbers: map[string]uint16{}, holders: map[uint16]string{}, leaving: map[string]bool{}, removed: map[string]bool{}}
}

// solo is a group of one, before there are others: what it is given is committed.
type solo struct {
	machine *control.Control
	todo    []func()
}

func (s *solo) Propose(token uint64, data []byte) error {
	s.todo = append(s.todo, func() {
		if err := s.machine.Apply(1, 1, data); err == nil {
			s.machine.Committed(token)
		}
	})
	return nil
}

func (s *solo) Read(token uint64) error {
	s.todo = append(s.todo, func() { s.machine.Confirmed(token) })
	return nil
}

func (s *solo) run() {
	for len(s.todo) > 0 {
		do := s.todo[0]
		s.todo = s.todo[1:]
		do()
	}
}

// establish the cluster with these nodes as its first members, as if that had been
// the first entry of every group: the rows that group 0 has then.
func establish(w *world, nodes []*node) (*rows, *control.View, error) {
	r := newRows()
	m, err := control.New(control.Config{
		Store: r, Shards: uint32(w.shape.shards), Cluster: clusterID, Self: nodes[0].member(), Now: func() time.Time { return time.UnixMilli(epoch) }, //nolint:gosec // small
	})
	if err != nil {
		return nil, nil, err
	}
	group := &solo{machine: m}
	m.Attach(group)
	m.Lead(1)
	group.run()
	var refusal error
	for _, n := range nodes {
		m.Admit(n.member(), func(_ control.Member, err error) { refusal = errors.Join(refusal, err) })
		group.run()
		m.MarkReady(n.name, func(err error) { refusal = errors.Join(refusal, err) })
		group.run()
	}
	if v := m.View(); refusal != nil || len(v.Members) != len(nodes) {
		return nil, nil, fmt.Errorf("the cluster is not established: %w, %d members", refusal, len(v.Members))
	}
	return r, m.View(), nil
}

// begin with a view.
func (c *charter) begin(v *control.View) {
	c.newest = v
	c.look(v)
	c.views[v.Version] = c.encode(v)
}

func (c *charter) encode(v *control.View) string {
	data, err := v.Encode()
	if err != nil {
		c.world.fault("encode a view: %w", err)
	}
	return string(data)
}

// agreed on a view: a replica of group 0 is the first to apply what makes it.
func (c *charter) agreed(n *node, v *control.View) {
	if v.Version != c.newest.Version+1 {
		c.world.fault("n%d: view %d of group 0 follows view %d", n.number, v.Version, c.newest.Version)
		return
	}
	c.world.stats.views++
	c.views[v.Version] = c.encode(v)
	c.look(v)
	c.newest = v
}

// taken: a node knows a view.
func (c *charter) taken(n *node, v *control.View) {
	switch was, ok := c.views[v.Version]; {
	case !ok:
		c.world.fault("n%d knows view %d, which group 0 never agreed on", n.number, v.Version)
	case was != c.encode(v):
		c.world.fault("n%d knows view %d otherwise than it was agreed on:\n%+v\nand not\n%+v", n.number, v.Version, v, c.decode(was))
	}
}

func (c *charter) decode(text string) *control.View {
	v, err := control.Decode([]byte(text))
	if err != nil {
		c.world.fault("decode a view: %w", err)
	}
	return v
}

// look at a view that is agreed on.
func (c *charter) look(v *control.View) {
	w := c.world
	ready := 0
	for _, m := range v.Members {
		if number, ok := c.numbers[m.Node]; ok && number != m.Number {
			w.fault("view %d: n%d has number %d, and had %d", v.Version, w.named[m.Node].number, m.Number, number)
		}
		if node, ok := c.holders[m.Number]; ok && node != m.Node {
			w.fault("view %d: number %d is n%d's, and was n%d's", v.Version, m.Number, w.named[m.Node].number, w.named[node].number)
		}
		c.numbers[m.Node], c.holders[m.Number] = m.Number, m.Node
		if c.leaving[m.Node] && m.State != control.Leaving {
			w.fault("view %d: n%d is %v, and was to leave, as was answered", v.Version, w.named[m.Node].number, m.State)
		}
		if m.State == control.Ready && m.Has(control.RoleData) {
			ready++
		}
	}
	for name := range c.removed {
		if _, ok := v.Node(name); ok {
			w.fault("view %d has n%d, which was removed, as was answered", v.Version, w.named[name].number)
		}
	}
	for group := range uint32(w.shape.shards + 1) { //nolint:gosec // small
		replicas := v.Of(group)
		for i, number := range replicas {
			if _, ok := v.Member(number); !ok || slices.Contains(replicas[:i], number) {
				w.fault("view %d: group %d ought to be on %v, though %d is no member, or is there twice", v.Version, group, replicas, number)
			}
		}
		if len(replicas) < min(control.Replicas, ready) {
			w.fault("view %d: group %d ought to be on %v, though %d data nodes are ready", v.Version, group, replicas, ready)
		}
	}
}

// admitted: a node was, by an answer.
func (c *charter) admitted(n *node, number uint16) {
	if was, ok := c.numbers[n.name]; !ok || was != number || int(number) != n.number {
		c.world.fault("n%d is told that it is number %d, and is %d in the view", n.number, number, was)
	}
}

// hasLeft: it was answered that a member leaves.
func (c *charter) hasLeft(n *node) {
	if m, ok := c.newest.Node(n.name); ok && m.State != control.Leaving {
		c.world.fault("n%d is to leave, as was answered, and is %v", n.number, m.State)
	}
	c.leaving[n.name] = true
}

// hasGone: it was answered that a member is removed.
func (c *charter) hasGone(n *node) {
	if _, ok := c.newest.Node(n.name); ok {
		c.world.fault("n%d is removed, as was answered, and is in view %d", n.number, c.newest.Version)
	}
	c.removed[n.name] = true
}

// state of a node, as was last agreed on; 0 where it is no member.
func (c *charter) state(n *node) control.MemberState {
	m, _ := c.newest.Node(n.name)
	return m.State
}

// known checks that no node knows less than it knew.
func (c *charter) known(n *node) {
	if v := n.seat.view; v != nil {
		if v.Version < n.knew {
			c.world.fault("n%d knows view %d, and knew %d", n.number, v.Version, n.knew)
		}
		n.knew = v.Version
	}
}

// rest says what is not as it ought to be once all is healed; empty where nothing.
func (c *charter) rest() string {
	for _, n := range c.world.nodes[1:] {
		switch state := c.state(n); {
		case n.gone && state != 0:
			return fmt.Sprintf("n%d is gone, and is %v in view %d", n.number, state, c.newest.Version)
		case n.gone:
		case state != control.Ready:
			return fmt.Sprintf("n%d is there, and is %v in view %d", n.number, state, c.newest.Version)
		case n.seat.view == nil || n.seat.view.Version != c.newest.Version:
			return fmt.Sprintf("n%d does not know view %d", n.number, c.newest.Version)
		}
	}
	return ""
}

// mapOf is where groups ought to be by a view.
func mapOf(v *control.View) (m placement.Map) {
	for _, replicas := range v.Replicas {
		var all []uint64
		for _, number := range replicas {
			all = append(all, uint64(number))
		}
		m = append(m, all)
	}
	return m
}
