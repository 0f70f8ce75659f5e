package sim

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// office routes between gateways and shards on all nodes.
type office struct {
	node    *node
	leaders map[uint32]lead // by shard, as this node knows them
	mail    []letter
}

// lead is who leads a shard.
type lead struct {
	node int
	term uint64
}

// letter is a word from one shard to another.
type letter struct {
	shard uint32 // whose leader it is for
	read  func(*host.Shard)
}

func newOffice(n *node) (*office, error) {
	return &office{node: n, leaders: map[uint32]lead{}}, nil
}

// connBits are those of a connection's id that are the node's own.
const connBits = 46

func gatewayOf(conn uint64) int { return int(conn >> connBits & 0xffff) } //nolint:gosec // 16 bits

var errNoLeader = errors.New("sim: no leader is known")

// Tell implements session.Users.
func (o *office) Tell(user string, msg any) error {
	id := o.node.world.shardOf(user)
	if r := o.node.shards[id]; r != nil && r.host.Leading() {
		return r.host.Tell(user, msg)
	}
	l, ok := o.leaders[id]
	if !ok || l.node == o.node.number {
		return errNoLeader
	}
	from, in := o.node.number, proto.Clone(msg.(proto.Message))
	to := o.node.world.nodes[l.node]
	o.node.world.net.reliable(from, l.node, func() { to.office.word(from, user, in) })
	return nil
}

// word is an input for an actor, from a gateway elsewhere.
func (o *office) word(from int, user string, in proto.Message) {
	id := o.node.world.shardOf(user)
	err := errNoLeader
	if r := o.node.shards[id]; r != nil {
		err = r.host.Tell(user, in)
	}
	if err == nil {
		return
	}
	hint := o.leaders[id]
	gone := !errors.Is(err, host.ErrBusy)
	back := o.node.world.nodes[from]
	o.node.world.net.reliable(o.node.number, from, func() { back.office.notTaken(user, in, hint, gone) })
}

// notTaken: what was said to an actor definitely did not arrive.
func (o *office) notTaken(user string, in proto.Message, hint lead, gone bool) {
	o.learn(o.node.world.shardOf(user), hint)
	unavailable := fault.New(fault.Unavailable, "", "the shard has moved; try again")
	s := o.node.sessions
	switch m := in.(type) {
	case *nodepb.Send:
		s.Deliver(m.GetOrigin().GetConn(), &nodepb.Refused{Tag: m.GetTag(), Fault: unavailable})
	case *nodepb.Attach:
		s.Deliver(m.GetOrigin().GetConn(), &nodepb.Attached{Tag: m.GetTag(), Error: unavailable})
	case *nodepb.Pull:
		s.Lost(m.GetOrigin().GetConn(), user)
	case interface{ GetOrigin() *nodepb.Origin }:
		if _, detach := in.(*nodepb.Detach); gone && !detach {
			s.Lost(m.GetOrigin().GetConn(), user)
		}
	}
}

// learn who leads a shard. A leader of an earlier term says nothing new.
func (o *office) learn(id uint32, l lead) {
	was := o.leaders[id]
	if l.node == 0 || l.term <= was.term {
		return
	}
	o.leaders[id] = l
	if was.node != 0 {
		o.node.sessions.Moved(func(user string) bool { return o.node.world.shardOf(user) == id })
	}
}

// lead: a group of this node leads from now on.
func (o *office) lead(id uint32, term uint64) {
	l := lead{o.node.number, term}
	o.learn(id, l)
	for _, other := range o.node.world.nodes[1:] {
		if other != o.node {
			o.node.world.net.reliable(o.node.number, other.number, func() { other.office.learn(id, l) })
		}
	}
}

func (o *office) follow(uint32) {}

// beacon says what this node leads, for those who missed it.
func (o *office) beacon() {
	for _, r := range o.node.order {
		if r.term == 0 {
			continue
		}
		id, l := r.shard, lead{o.node.number, r.term}
		for _, other := range o.node.world.nodes[1:] {
			if other != o.node {
				o.node.world.net.loose(o.node.number, other.number, func() { other.office.learn(id, l) })
			}
		}
	}
}

// gateway says on which node a connection is; nil: here.
func (o *office) gateway(conn uint64) *node {
	g := gatewayOf(conn)
	if g == 0 || g == o.node.number {
		return nil
	}
	return o.node.world.nodes[g]
}

func (o *office) toConn(conn uint64, msg proto.Message) {
	w := o.node.world
	if a, ok := msg.(*nodepb.Answer); ok {
		w.answered(proto.CloneOf(a))
		return
	}
	if _, push := msg.(*nodepb.Push); push && w.gaps > 0 && w.chance(w.gaps) {
		o.node.note("a push to %x is lost on its way", conn)
		w.stats.gaps++
		return
	}
	to := o.gateway(conn)
	if to == nil {
		o.node.sessions.Deliver(conn, msg)
		return
	}
	msg = proto.Clone(msg)
	w.net.reliable(o.node.number, to.number, func() { to.sessions.Deliver(conn, msg) })
}

func (o *office) lostConn(conn uint64, user string) {
	if to := o.gateway(conn); to != nil {
		o.node.world.net.reliable(o.node.number, to.number, func() { to.sessions.Lost(conn, user) })
		return
	}
	o.node.sessions.Lost(conn, user)
}

func (o *office) unknownConn(conn uint64) {
	if to := o.gateway(conn); to != nil {
		o.node.world.net.reliable(o.node.number, to.number, func() { to.sessions.Unknown(conn) })
		return
	}
	o.node.sessions.Unknown(conn)
}

// left: the shard is no longer led here.
func (o *office) left(id uint32) {
	w := o.node.world
	lived := func(user string) bool { return w.shardOf(user) == id }
	o.node.sessions.Moved(lived)
	for _, other := range w.nodes[1:] {
		if other == o.node {
			continue
		}
		w.net.reliable(o.node.number, other.number, func() {
			if other.office.leaders[id].node == o.node.number {
				other.sessions.Moved(lived)
			}
		})
	}
}

// Relay implements host.Router.
func (o *office) Relay(src, dst uint32, number uint64, step *storepb.Step) {
	step = proto.CloneOf(step)
	o.post(dst, func(s *host.Shard) { _ = s.TakeStep(src, number, step) }) // what is not taken comes again
}

// Confirm implements host.Router.
func (o *office) Confirm(src, dst uint32, number uint64) {
	o.post(src, func(s *host.Shard) { s.TakeConfirm(dst, number) })
}

// Resend implements host.Router.
func (o *office) Resend(src, dst uint32, from uint64) {
	o.post(src, func(s *host.Shard) { s.TakeResend(dst, from) })
}

// Tell implements host.Router, by the name that both interfaces want: see router.
func (o *office) tell(src, dst uint32, step *storepb.Step) {
	step = proto.CloneOf(step)
	o.post(dst, func(s *host.Shard) { s.TakeTell(src, step) })
}

// told is Told of host.Router.
func (o *office) told(src uint32, step *storepb.Step) {
	step = proto.CloneOf(step)
	o.post(src, func(s *host.Shard) { s.TakeTold(step) })
}

// router is the office as shards see it.
type router struct{ *office }

func (r router) Tell(src, dst uint32, step *storepb.Step) { r.tell(src, dst, step) }
func (r router) Told(src, _ uint32, step *storepb.Step)   { r.told(src, step) }

func (o *office) post(shard uint32, read func(*host.Shard)) {
	o.mail = append(o.mail, letter{shard, read})
}

// deliver hands out the mail: here, or to where the shard is led.
func (o *office) deliver() {
	mail := o.mail
	o.mail = nil
	for _, m := range mail {
		if r := o.node.shards[m.shard]; r != nil && r.host.Leading() {
			m.read(r.host)
			continue
		}
		l := o.leaders[m.shard]
		if l.node == 0 || l.node == o.node.number {
			continue // it comes again
		}
		to := o.node.world.nodes[l.node]
		o.node.world.net.reliable(o.node.number, l.node, func() {
			if r := to.shards[m.shard]; r != nil {
				m.read(r.host)
			}
		})
	}
}
