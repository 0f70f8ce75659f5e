package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/council"
	"github.com/rookery-im/rookery/cluster/placement"
	"github.com/rookery-im/rookery/cluster/shard"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// seat is a node's place in its cluster: what one of its lives knows of it, and how
// it speaks with the others about it. It stands for cluster and views of
// cmd/rookery/node; what those have of cluster/council is here the same.
type seat struct {
	node      *node
	council   *council.Council
	admission *council.Admission
	herald    *council.Herald
	machine   *control.Control // nil where there is no replica of group 0
	lead      func() string    // who leads group 0, as the replica here knows
	view      *control.View    // nil where nothing is known
	pulse     micros
}

func newSeat(n *node) *seat {
	s := &seat{node: n, lead: func() string { return "" }}
	s.council = council.New(council.Config{
		Self: n.name, Now: n.world.mono(), Send: s.say, Answer: s.answer, Leads: s.leads, Leader: func() string { return s.lead() }, Others: s.others,
	})
	log := slog.New(slog.DiscardHandler)
	s.admission = council.NewAdmission(s.council, s.admitted, s.refused, log)
	s.herald = council.NewHerald(council.HeraldConfig{
		Self: n.name, Council: s.council, View: func() *control.View { return s.view }, Take: s.take, Confirm: func() {},
		Member: func() bool { return n.belongs }, Send: s.say, Loose: s.sayLoosely, Log: log,
	})
	s.recall()
	s.admission.Begin(n.member())
	return s
}

// member is the node as it describes itself.
func (n *node) member() control.Member {
	return control.Member{
		Node: n.name, Incarnation: uint64(max(n.incarnation, 1)), Peer: fmt.Sprintf("n%d:1", n.number), Roles: []string{control.RoleData, control.RoleGateway}, //nolint:gosec // small
	}
}

// recall the view of an earlier life.
func (s *seat) recall() {
	if s.node.kept == nil {
		return
	}
	v, err := control.Decode(s.node.kept)
	if err != nil {
		s.node.world.fault("n%d: the view that it kept: %w", s.node.number, err)
		return
	}
	s.take(v)
}

func (s *seat) tick() {
	if s.machine != nil {
		s.machine.Tick()
	}
	now := s.node.world.mono()
	s.council.Tick(now)
	s.admission.Tick(now)
	if s.node.world.now < s.pulse {
		return
	}
	s.pulse = s.node.world.now + council.PulseEvery.Microseconds()
	if s.leads() && s.machine.Ready() {
		s.herald.Beat(s.linked())
	}
}

func (s *seat) leads() bool { return s.machine != nil && s.machine.Leads() }

// linked are all other nodes that gossip has seen.
func (s *seat) linked() (nodes []string) {
	for _, n := range s.node.world.nodes[1:] {
		if n != s.node && !n.gone {
			nodes = append(nodes, n.name)
		}
	}
	return nodes
}

// others are those who may know who leads group 0.
func (s *seat) others() (nodes []string) {
	for _, name := range wanted(s.view, 0) {
		if name != s.node.name {
			nodes = append(nodes, name)
		}
	}
	for _, name := range s.linked() {
		if !slices.Contains(nodes, name) {
			nodes = append(nodes, name)
		}
	}
	return nodes
}

// wanted are the nodes that ought to hold a group by a view.
func wanted(v *control.View, group uint32) (nodes []string) {
	for _, number := range v.Of(group) {
		if m, ok := v.Member(number); ok {
			nodes = append(nodes, m.Node)
		}
	}
	return nodes
}

func (s *seat) answer(from string, ask *controlpb.Ask, done func(*controlpb.Answer)) {
	if ask.GetView() != nil {
		council.Show(s.view, done)
		return
	}
	leader := s.lead()
	if leader == s.node.name {
		leader = ""
	}
	council.Decide(s.machine, leader, from, ask, done)
}

// open makes the machine of group 0.
func (s *seat) open(r *replica, g *shard.Group, version uint32) (err error) {
	n := s.node
	if r.control, err = control.New(control.Config{
		Store: n.rows, Space: version, Shards: uint32(n.world.shape.shards), Cluster: clusterID, Self: n.member(), Changed: s.committed, //nolint:gosec // small
		Now: func() time.Time { return time.UnixMilli(int64(n.wall())) }, //nolint:gosec // after 1970
	}); err != nil {
		return err
	}
	r.control.Attach(r)
	r.machine, s.machine, s.lead = r.control, r.control, g.LeaderNode
	return nil
}

// committed takes a view that this node's own replica of group 0 has.
func (s *seat) committed(v *control.View) {
	if v.Version == 0 {
		return
	}
	if r := s.node.shards[placement.Control]; r != nil && r.first {
		s.node.world.fence.charter.agreed(s.node, v)
	}
	was := s.view
	s.take(v)
	if s.leads() {
		s.herald.Tell(was, v)
	}
}

// take over a view, unless it is older.
func (s *seat) take(v *control.View) {
	n := s.node
	if !v.Newer(s.view) {
		return
	}
	s.view = v
	n.note("knows view %d", v.Version)
	n.world.fence.charter.taken(n, v)
	n.world.after(n.slow+n.world.between(millisecond, 60*millisecond), s.keep)
	if me, ok := v.Node(n.name); ok && me.State == control.Lost {
		s.admission.Again()
	}
}

// keep on the disk what is known, unless this life is over.
func (s *seat) keep() {
	n := s.node
	if !n.up || n.seat != s {
		return
	}
	var err error
	if n.kept, err = s.view.Encode(); err != nil {
		n.world.fault("n%d: encode its view: %w", n.number, err)
	}
}

// admitted keeps what a member has to know of its cluster.
func (s *seat) admitted(v *control.View) error {
	n := s.node
	me, ok := v.Node(n.name)
	if !ok {
		return fmt.Errorf("%w: it is not in the view that it was given", control.ErrNoMember)
	}
	n.world.fence.charter.admitted(n, me.Number)
	if !n.belongs {
		n.belongs = true
		n.office.open()
	}
	s.take(v)
	return nil
}

// refused: the cluster does not take the node, for good, and its process ends.
func (s *seat) refused(err error) {
	n := s.node
	if !errors.Is(err, control.ErrRemoved) || !n.retired {
		n.world.fault("n%d is refused: %w", n.number, err)
		return
	}
	n.world.after(0, n.lose)
}

func (s *seat) say(to string, w *controlpb.Word) error {
	world, other := s.node.world, s.node.world.named[to]
	data, err := proto.Marshal(w)
	if err != nil {
		return fmt.Errorf("sim: encode a word: %w", err)
	}
	if !world.net.reliable(s.node.number, other.number, func() { other.seat.hear(s.node.name, data) }, nil) {
		return errFull
	}
	return nil
}

func (s *seat) sayLoosely(to string, w *controlpb.Word) {
	world, other := s.node.world, s.node.world.named[to]
	data, err := proto.Marshal(w)
	if err != nil {
		world.fault("n%d: encode a word: %w", s.node.number, err)
		return
	}
	world.net.loose(s.node.number, other.number, func() { other.seat.hear(s.node.name, data) })
}

func (s *seat) hear(from string, data []byte) {
	w := &controlpb.Word{}
	if err := proto.Unmarshal(data, w); err != nil {
		s.node.world.fault("n%d: decode a word: %w", s.node.number, err)
		return
	}
	s.herald.Hear(from, w)
}
