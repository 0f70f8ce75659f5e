package sim

import (
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/cluster/route"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
	wirepb "github.com/rookery-im/rookery/proto/rookery/wire/v1"
)

// office joins a node's sessions, its actors and the other nodes, as
// cmd/rookery/node does: the real exchange between them.
type office struct {
	node     *node
	stamp    route.Stamp
	exchange *route.Exchange
	mail     []*wirepb.Letter
}

func newOffice(n *node) *office {
	o := &office{node: n}
	o.exchange = route.New(route.Config{
		Incarnation: uint64(n.incarnation), ShardOf: n.world.shardOf, //nolint:gosec // small
		Now: n.world.mono, Office: carrier{n}, Members: roster{n}, Owners: owners{o}, Gateway: gate{n}, Sessions: gate{n}, Follows: n.follows,
	})
	if n.belongs {
		o.open()
	}
	return o
}

// open for connections and other nodes, as the cluster knows the node now.
func (o *office) open() {
	n := o.node
	o.stamp = route.NewStamp(uint16(n.number), uint64(n.incarnation)) //nolint:gosec // small
	o.exchange.Open(o.stamp, uint32(n.world.shape.shards))            //nolint:gosec // small
}

// carrier implements route.Office.
type carrier struct{ *node }

// Body begins one, by its kind.
func (carrier) Body(k route.Kind, room int) []byte {
	return append(make([]byte, 0, 1+room), byte(k))
}

var errFull = errors.New("sim: the link is full")

func (c carrier) Send(to string, body []byte) error {
	other, kind := c.world.named[to], route.Kind(body[0])
	if !c.world.net.reliable(c.number, other.number, func() { other.office.exchange.Hear(kind, c.name, body[1:]) },
		func() { c.office.exchange.Returned(kind, to, [][]byte{body[1:]}) }) {
		return errFull
	}
	return nil
}

func (c carrier) Loose(to string, body []byte) {
	other := c.world.named[to]
	c.world.net.loose(c.number, other.number, func() { other.office.exchange.Hear(route.Kind(body[0]), c.name, body[1:]) })
}

// roster implements route.Members: the view that the node knows.
type roster struct{ *node }

func (r roster) Number(name string) (uint16, bool) {
	if name == r.name {
		return r.office.stamp.Node(), true
	}
	m, ok := r.seat.view.Node(name)
	return m.Number, ok
}

func (r roster) Node(number uint16) (string, bool) {
	if number == r.office.stamp.Node() {
		return r.name, true
	}
	m, ok := r.seat.view.Member(number)
	return m.Node, ok
}

func (r roster) Others() (list []string) {
	if r.seat.view == nil {
		return nil
	}
	for i := range r.seat.view.Members {
		if m := &r.seat.view.Members[i]; m.Node != r.name {
			list = append(list, m.Node)
		}
	}
	return list
}

// owners implements route.Owners.
type owners struct{ *office }

func (o owners) Leads(shard uint32) (term uint64, leads bool) {
	if r := o.node.shards[shard]; r != nil && r.host != nil {
		return r.host.Term(), r.host.Leading()
	}
	return 0, false
}

func (o owners) Tell(shard uint32, user string, in any) error {
	return o.node.shards[shard].host.Tell(user, in)
}

func (o owners) Take(l *wirepb.Letter) { o.mail = append(o.mail, l) }

func (o owners) Disown(ended func(conn route.Conn) bool) {
	for _, r := range o.node.order {
		if r.host != nil {
			r.host.Disown(ended)
		}
	}
}

func (o owners) Disowned() bool {
	return !slices.ContainsFunc(o.node.order, func(r *replica) bool { return r.host != nil && !r.host.Disowned() })
}

// users implements session.Users: the exchange, and what it takes is looked at.
type users struct{ *node }

func (u users) Tell(user string, msg any) error {
	err := u.office.exchange.Tell(user, msg)
	if m, ok := msg.(*nodepb.Send); ok && err == nil {
		u.world.bounds.told(u.node, m)
	}
	return err
}

// follows says whom a replica of the node follows.
func (n *node) follows(shard uint32) (number uint16, term uint64, ok bool) {
	if n.shards[shard] == nil {
		return 0, 0, false
	}
	leader, term, ok := n.shards[shard].group.Follows()
	if !ok {
		return 0, 0, false
	}
	m, ok := n.seat.view.Node(leader)
	return m.Number, term, ok
}

// gate implements route.Gateway and route.Sessions.
type gate struct{ *node }

func (g gate) Deliver(conn route.Conn, msg proto.Message) {
	g.mine(conn)
	g.sessions.Deliver(conn, msg)
}

func (g gate) Lost(conn route.Conn, user string) {
	g.mine(conn)
	g.sessions.Lost(conn, user)
}

func (g gate) Unknown(conn route.Conn) {
	g.mine(conn)
	g.sessions.Unknown(conn)
}

func (g gate) Moved(lived func(user string) bool) { g.sessions.Moved(lived) }
func (g gate) Unsure(lived func(user string) bool, before time.Time) {
	g.sessions.Unsure(lived, before)
}

func (g gate) Parted(lived func(user string) bool) {
	g.note("is cut off from some shards")
	g.world.stats.partings++
	g.sessions.Parted(lived)
}

// mine: this life of the node has opened the connection.
func (g gate) mine(conn route.Conn) {
	if !g.sockets.opened[conn] {
		g.world.fault("n%d, life %d: something comes for %s, which it never opened", g.number, g.incarnation, route.Name(conn))
	}
}

// toConn is what an actor says to a connection.
func (o *office) toConn(shard uint32, conn uint64, msg proto.Message) {
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
	o.exchange.Deliver(shard, conn, msg)
}

// router is the office as shards see it: what they have for each other is handed
// out between their turns.
type router struct{ *office }

func (o *office) post(kind wirepb.Letter_Kind, src, dst uint32, number uint64, step *storepb.Step) {
	if step != nil {
		step = proto.CloneOf(step)
	}
	o.mail = append(o.mail, &wirepb.Letter{Kind: kind, Src: src, Dst: dst, Number: number, Step: step})
}

// Relay implements host.Router, as those that follow.
func (r router) Relay(src, dst uint32, number uint64, step *storepb.Step) {
	r.post(wirepb.Letter_STEP, src, dst, number, step)
}

func (r router) Confirm(src, dst uint32, number uint64) {
	r.post(wirepb.Letter_CONFIRM, src, dst, number, nil)
}

func (r router) Resend(src, dst uint32, from uint64) {
	r.post(wirepb.Letter_RESEND, src, dst, from, nil)
}

func (r router) Tell(src, dst uint32, step *storepb.Step) {
	r.post(wirepb.Letter_TELL, src, dst, 0, step)
}

func (r router) Told(src, dst uint32, step *storepb.Step) {
	r.post(wirepb.Letter_TOLD, src, dst, 0, step)
}

// deliver hands out the mail: here, or to where the shard is led.
func (o *office) deliver() {
	mail := o.mail
	o.mail = nil
	for _, l := range mail {
		to := l.GetSrc()
		if l.GetKind() == wirepb.Letter_STEP || l.GetKind() == wirepb.Letter_TELL {
			to = l.GetDst()
		}
		if r := o.node.shards[to]; r != nil && r.host.Leading() {
			hand(r.host, l)
			continue
		}
		o.exchange.Post(to, l)
	}
}

func hand(s *host.Shard, l *wirepb.Letter) {
	switch l.GetKind() {
	case wirepb.Letter_STEP:
		_ = s.TakeStep(l.GetSrc(), l.GetNumber(), l.GetStep()) // what is not taken comes again
	case wirepb.Letter_CONFIRM:
		s.TakeConfirm(l.GetDst(), l.GetNumber())
	case wirepb.Letter_RESEND:
		s.TakeResend(l.GetDst(), l.GetNumber())
	case wirepb.Letter_TELL:
		s.TakeTell(l.GetSrc(), l.GetStep())
	case wirepb.Letter_TOLD:
		s.TakeTold(l.GetStep())
	default:
	}
}
