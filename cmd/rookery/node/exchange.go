package node

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/route"
	"github.com/rookery-im/rookery/persistence/datadir"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	wirepb "github.com/rookery-im/rookery/proto/rookery/wire/v1"
	"github.com/rookery-im/rookery/transport/session"
)

// officeKinds of what an exchange says.
var officeKinds = [...]kind{route.Words: kindWords, route.Deliveries: kindDeliveries, route.Mail: kindMail, route.Beacon: kindBeacon}

// openExchange joins the sessions, the actors and the other nodes. It knows of no
// shard until takeNumber.
func (n *Node) openExchange(gate *gateway) {
	n.exchange = route.New(route.Config{
		Incarnation: n.dir.Incarnation(), ShardOf: n.shardOf, Now: time.Now, Office: counter{n.office},
		Members: &roster{node: n.dir.Node(), number: func() uint16 { return n.stamp.Node() }, view: n.cluster.view},
		Owners:  owners{n.shards, n.router}, Gateway: gate, Sessions: gate, Load: n.load, Follows: n.follows,
		Log: n.cfg.Log.With("part", "route"), Metrics: route.NewMetrics(n.registry),
	})
	n.router.elsewhere = n.exchange.Post
	for k, of := range officeKinds {
		k := route.Kind(k) //nolint:gosec // of four
		n.office.on(of, func(from string, body []byte) { n.exchange.Hear(k, from, body) })
		if k != route.Beacon {
			n.office.lost(of, func(to string, bodies [][]byte) { n.exchange.Returned(k, to, bodies) })
		}
	}
}

// follows says whom a replica here follows. What it has heard of a leader is worth
// as much as that leader's own beacon.
func (n *Node) follows(shard uint32) (number uint16, term uint64, ok bool) {
	g := n.set.Group(shard)
	if g == nil {
		return 0, 0, false
	}
	node, term, ok := g.Follows()
	if !ok {
		return 0, 0, false
	}
	m, ok := n.cluster.view().Node(node)
	return m.Number, term, ok
}

// gone takes in that another node's process has ended.
func (n *Node) gone(node string) {
	n.cfg.Log.Info("a node's process has ended", "node", node)
	n.set.Forsake(node)
	n.exchange.Gone(node)
}

// takeNumber stamps what connections there will be, once it is known which one of its cluster it is:
// before, it takes no connection.
func (n *Node) takeNumber() {
	number, shards := n.dir.Number(), n.count.Load()
	if number == 0 && n.dir.Origin() == datadir.Creates {
		number = firstNode
	}
	if n.stamps.Load() != nil || number == 0 || shards == 0 {
		return
	}
	n.stamp = route.NewStamp(number, n.dir.Incarnation())
	n.exchange.Open(n.stamp, shards)
	n.stamps.Store(&n.stamp)
}

// counter is the exchange's side of the office.
type counter struct{ *office }

func (c counter) Body(k route.Kind, room int) []byte { return frame(officeKinds[k], room) }
func (c counter) Send(to string, body []byte) error  { return c.send(to, body) }
func (c counter) Loose(to string, body []byte)       { c.loose(to, body) }

// roster is the view as the exchange asks it.
type roster struct {
	node   string
	number func() uint16
	view   func() *control.View

	of     *control.View // others are its
	others []string
}

func (r *roster) Number(node string) (uint16, bool) {
	if node == r.node {
		return r.number(), true
	}
	m, ok := r.view().Node(node)
	return m.Number, ok
}

func (r *roster) Node(number uint16) (string, bool) {
	if number == r.number() {
		return r.node, true
	}
	m, ok := r.view().Member(number)
	return m.Node, ok
}

func (r *roster) Others() []string {
	if v := r.view(); v != r.of && v != nil {
		r.of, r.others = v, nil
		for _, m := range v.Members {
			if m.Node != r.node {
				r.others = append(r.others, m.Node)
			}
		}
	}
	return r.others
}

// owners are the shards of this node.
type owners struct {
	shards map[uint32]*host.Shard
	router *router
}

func (o owners) Leads(shard uint32) (term uint64, leads bool) {
	s := o.shards[shard]
	if s == nil {
		return 0, false
	}
	return s.Term(), s.Leading()
}

func (o owners) Tell(shard uint32, user string, in any) error { return o.shards[shard].Tell(user, in) }

func (o owners) Take(l *wirepb.Letter) { o.router.take(l) }

func (o owners) Disown(ended func(conn route.Conn) bool) {
	for _, s := range o.shards {
		s.Disown(ended)
	}
}

func (o owners) Disowned() bool {
	for _, s := range o.shards {
		if !s.Disowned() {
			return false
		}
	}
	return true
}

// outlet is where the actors of a shard say something.
type outlet struct {
	exchange *route.Exchange
	shard    uint32
}

func (o outlet) Deliver(conn uint64, msg proto.Message) { o.exchange.Deliver(o.shard, conn, msg) }
func (o outlet) Lost(conn uint64, user string)          { o.exchange.Lost(o.shard, conn, user) }
func (o outlet) Unknown(conn uint64)                    { o.exchange.Unknown(o.shard, conn) }
func (o outlet) Left(shard uint32)                      { o.exchange.Left(shard) }

// gateway is where what actors say ends on this node: sessions, or REST requests.
type gateway struct {
	sessions *session.Gateway
	rest     *backend
}

func (g *gateway) Deliver(conn uint64, msg proto.Message) {
	switch m := msg.(type) {
	case *nodepb.Answer:
		g.rest.answered(m)
	case *nodepb.Woken:
		g.rest.wake(conn)
	default:
		g.sessions.Deliver(conn, msg)
	}
}

func (g *gateway) Unknown(conn uint64) {
	if route.IsRequest(conn) {
		g.rest.unknown(conn)
		return
	}
	g.sessions.Unknown(conn)
}

func (g *gateway) Lost(conn uint64, user string) {
	if route.IsRequest(conn) {
		g.rest.wake(conn)
		return
	}
	g.sessions.Lost(conn, user)
}

func (g *gateway) Moved(lived func(user string) bool) {
	g.sessions.Moved(lived)
	g.rest.left(lived)
}

func (g *gateway) Unsure(lived func(user string) bool, before time.Time) {
	g.sessions.Unsure(lived, before)
	g.rest.unsure(lived, before)
}

func (g *gateway) Parted(lived func(user string) bool) { g.sessions.Parted(lived) }
