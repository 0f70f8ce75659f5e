package route

import (
	"errors"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	wirepb "github.com/rookery-im/rookery/proto/rookery/wire/v1"
)

// ErrNoLeader: nobody is known to lead the shard now. Nothing was taken.
var ErrNoLeader = errors.New("route: the shard has no leader that is known")

// Kind of a body.
type Kind uint8

// The kinds that this package speaks.
const (
	Words Kind = iota
	Deliveries
	Mail
	Beacon
)

func (k Kind) String() string { return [...]string{"words", "deliveries", "mail", "beacon"}[k] }

// Office carries bodies to other nodes.
type Office interface {
	// Body begins one of a kind; what it says is appended.
	Body(k Kind, room int) []byte
	// Send a body that arrives once and in order while both nodes live, or is given
	// to Exchange.Returned. An error says that it was not taken.
	Send(to string, body []byte) error
	// Loose sends one that may be lost.
	Loose(to string, body []byte)
}

// Members are the nodes of the cluster.
type Members interface {
	Number(node string) (uint16, bool)
	Node(number uint16) (string, bool)
	// Others than this node. The list is not changed.
	Others() []string
}

// Owners are the shards that this node holds.
type Owners interface {
	// Leads says whether the shard takes words here, and in which term it does, or
	// did last.
	Leads(shard uint32) (term uint64, leads bool)
	// Tell an actor; an error says that it was definitely not taken.
	Tell(shard uint32, user string, in any) error
	// Take a letter of another shard.
	Take(l *wirepb.Letter)
	// Disown has the shards forget, in their own time, what connections have with
	// them that have ended.
	Disown(ended func(conn Conn) bool)
	// Disowned says whether they have, and nothing for such a connection is to come.
	Disowned() bool
}

// Gateway is where the connections of this node are.
type Gateway interface {
	Deliver(conn Conn, msg proto.Message)
	// Lost: what the connection had with the user's actor is gone, or was not taken.
	Lost(conn Conn, user string)
	// Unknown: something that the connection asked for may or may not have happened.
	Unknown(conn Conn)
}

// Sessions hear what becomes of all that they have with the users of shards.
type Sessions interface {
	// Moved: their actors have forgotten it, and may be elsewhere.
	Moved(lived func(user string) bool)
	// Unsure: what was asked of them before then, and is not answered yet, may have
	// happened or not.
	Unsure(lived func(user string) bool, before time.Time)
	// Parted: nobody has known for long who leads them.
	Parted(lived func(user string) bool)
}

// Config of an Exchange. All of it but Follows, Load, Log and Metrics must be set,
// Stamp and Shards by Open at the latest.
type Config struct {
	Stamp       Stamp
	Incarnation uint64
	Shards      uint32
	ShardOf     func(user string) uint32
	Now         func() time.Time
	Office      Office
	Members     Members
	Owners      Owners
	Gateway     Gateway
	Sessions    Sessions
	// Follows says whom a replica of this node follows, and in which term, if it has
	// heard from there just now.
	Follows func(shard uint32) (node uint16, term uint64, ok bool)
	Load    func() Load
	Log     *slog.Logger
	Metrics *Metrics
}

// Exchange brings words to actors, deliveries to connections and letters to
// shards, whichever nodes they are on. What stays on this node is handed over
// by a plain call. It belongs to the loop.
type Exchange struct {
	cfg       Config
	self      uint16
	directory *Directory
	out       map[uint16]*outgoing
	order     []*outgoing
	former    map[uint16]uint64 // lives of nodes, a bit each as ids have them, of which something may be left here
	expelled  map[uint16]bool   // nodes that were silent for Expelling, and still are
	ticked    time.Time         // when this node was last seen to run
	listening time.Time         // since when it has, without a break of Doubt
	spell     uint32            // see spell.go
	left      map[uint32]bool   // shards whose sessions are to hear Moved
	unsure    []doubt
	beat      uint64
	beacon    time.Time // the last one sent
	led       bool      // something more than that one said
	delivery  wirepb.Delivery
}

// doubt: what was asked of shards by then is unsure at the time due, unless it
// is answered: a leader that steps down in peace has answers on the way.
type doubt struct {
	shards  map[uint32]bool
	at, due time.Time
}

// grace for answers that are on their way: those of a leader that steps down in
// peace, which take no longer than its links. To end it early costs a connection.
const grace = 500 * time.Millisecond

// outgoing is what waits to be sent to one node.
type outgoing struct {
	number uint16
	bodies [Mail + 1][]byte
	owed   []*wirepb.Word // essential ones that the link did not take
	torn   bool           // deliveries were dropped, and the node does not know
}

// New makes an Exchange, that knows of no leader.
func New(cfg Config) *Exchange {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	now := cfg.Now()
	return &Exchange{
		cfg: cfg, self: cfg.Stamp.Node(), directory: NewDirectory(cfg.Shards, now),
		out: map[uint16]*outgoing{}, former: map[uint16]uint64{}, expelled: map[uint16]bool{}, left: map[uint32]bool{},
		ticked: now, listening: now, spell: 1,
	}
}

// Open says which node this is, and how many shards there are, where New did not:
// until then nothing goes to other nodes, or is heard of them.
func (x *Exchange) Open(stamp Stamp, shards uint32) {
	x.cfg.Stamp, x.cfg.Shards, x.self = stamp, shards, stamp.Node()
	x.directory = NewDirectory(shards, x.cfg.Now())
}

// Tell a user's actor, wherever it is. An error says that the message was
// definitely not taken. What goes to another node may come back as not taken:
// then the session or request is answered as if its actor had refused. What
// ends something at the actor goes to one that is doubted as well: should it
// lead on, nobody would tell it again.
func (x *Exchange) Tell(user string, in any) error {
	shard := x.cfg.ShardOf(user)
	if term, leads := x.cfg.Owners.Leads(shard); leads {
		if term != x.directory.Term(shard) {
			x.directory.Confirm(shard, x.self, term, x.cfg.Now())
			x.settle() // before anything is said in the new term
		}
		return x.cfg.Owners.Tell(shard, user, in)
	}
	now := x.cfg.Now()
	x.awake(now)
	to, _, ok := x.directory.Leader(shard, now)
	if to == 0 || to == x.self || !ok && !essential(in) {
		return ErrNoLeader
	}
	if m, ok := in.(*nodepb.Send); ok {
		m.Term = x.termOf(m)
	}
	w, ok := word(user, in)
	if !ok {
		return errEncode
	}
	x.cfg.Metrics.Words.Inc()
	return x.put(x.to(to), Words, wordsField, w)
}

// termOf the sender's own shard.
func (x *Exchange) termOf(m *nodepb.Send) uint64 {
	return x.directory.Term(x.cfg.ShardOf(m.GetOrigin().GetUser()))
}

// Deliver what an actor of a shard here says.
func (x *Exchange) Deliver(shard uint32, conn Conn, msg proto.Message) {
	if a, ok := msg.(*nodepb.Answer); ok {
		conn = a.GetRequest()
	}
	if x.cfg.Stamp.Ours(conn) {
		x.cfg.Gateway.Deliver(conn, msg)
		return
	}
	if !place(&x.delivery, msg) {
		x.cfg.Metrics.drop(dropKind)
		return
	}
	x.deliver(shard, conn)
}

// Lost, see host.Gateway.
func (x *Exchange) Lost(shard uint32, conn Conn, user string) {
	if x.cfg.Stamp.Ours(conn) {
		x.cfg.Gateway.Lost(conn, user)
		return
	}
	x.delivery.Body = &wirepb.Delivery_Lost{Lost: &wirepb.Lost{User: user}}
	x.deliver(shard, conn)
}

// Unknown, see host.Gateway.
func (x *Exchange) Unknown(shard uint32, conn Conn) {
	if x.cfg.Stamp.Ours(conn) {
		x.cfg.Gateway.Unknown(conn)
		return
	}
	x.delivery.Body = &wirepb.Delivery_Unknown{Unknown: &wirepb.Unknown{}}
	x.deliver(shard, conn)
}

// Led: a term of the shard has begun here. The others hear of it with this round.
func (x *Exchange) Led(shard uint32) {
	if term, leads := x.cfg.Owners.Leads(shard); leads {
		x.directory.Confirm(shard, x.self, term, x.cfg.Now())
		x.led = true
	}
}

// Gone: a node's process has ended. Nobody leads what it led, and whatever it was
// asked there and has not answered it never will: all it said was heard before.
func (x *Exchange) Gone(node string) {
	number, ok := x.cfg.Members.Number(node)
	if !ok || number == x.self || x.cfg.Shards == 0 {
		return
	}
	if led := x.directory.forsake(number); len(led) > 0 {
		x.cfg.Sessions.Unsure(x.livedIn(set(led)), x.cfg.Now())
	}
}

// Unled is how many shards nobody is known to lead.
func (x *Exchange) Unled() (unled int) {
	now := x.cfg.Now()
	for shard := uint32(1); shard <= x.cfg.Shards; shard++ {
		if _, _, ok := x.directory.Leader(shard, now); !ok {
			unled++
		}
	}
	return unled
}

// Hushed is how many of the other members are not heard.
func (x *Exchange) Hushed() (hushed int) {
	now := x.cfg.Now()
	for _, node := range x.cfg.Members.Others() {
		if number, ok := x.cfg.Members.Number(node); !ok || x.directory.Silent(number, now) {
			hushed++
		}
	}
	return hushed
}

// Left: the shard's term has ended here.
func (x *Exchange) Left(shard uint32) {
	term, _ := x.cfg.Owners.Leads(shard)
	x.directory.Resign(shard, x.self, term)
	x.left[shard] = true
	for _, node := range x.cfg.Members.Others() {
		if number, ok := x.cfg.Members.Number(node); ok {
			x.delivery.Body = &wirepb.Delivery_Left{Left: &wirepb.Left{}}
			x.deliverTo(number, shard, 0, term)
		}
	}
}

func (x *Exchange) deliver(shard uint32, conn Conn) {
	term, _ := x.cfg.Owners.Leads(shard)
	number := Node(conn)
	if life := x.directory.Incarnation(number); number == x.self || life == 0 || !sameLife(conn, life) || x.mistakable(number) {
		x.cfg.Metrics.drop(dropEnded)
		x.delivery.Body = nil
		return
	}
	x.deliverTo(number, shard, conn, term)
}

func (x *Exchange) deliverTo(number uint16, shard uint32, conn Conn, term uint64) {
	d := &x.delivery
	d.Conn, d.Shard, d.Term = conn, shard, term
	x.cfg.Metrics.Deliveries.Inc()
	if err := x.put(x.to(number), Deliveries, deliveriesField, d); err != nil {
		x.cfg.Log.Error("a delivery", "err", err)
		x.to(number).torn = true
	}
	d.Body = nil
}

// Post a letter to the shard that it is for. It may be lost: shards send again.
func (x *Exchange) Post(shard uint32, l *wirepb.Letter) {
	to, _, ok := x.directory.Leader(shard, x.cfg.Now())
	if !ok || to == x.self || x.put(x.to(to), Mail, lettersField, l) != nil {
		x.cfg.Metrics.drop(dropMail)
	}
}

func (x *Exchange) to(number uint16) *outgoing {
	o := x.out[number]
	if o == nil {
		o = &outgoing{number: number}
		x.out[number] = o
		x.order = append(x.order, o)
	}
	return o
}

// put something into the body of a kind, which goes out when it is large, or
// with the round.
func (x *Exchange) put(o *outgoing, k Kind, field int, m encoder) error {
	b := o.bodies[k]
	if b == nil {
		b = x.begin(o, k)
	}
	b, err := appendMessage(b, protoField(field), m)
	o.bodies[k] = b
	if err == nil && len(b) >= limits.RouteBody {
		x.send(o, k)
	}
	return err
}

func (x *Exchange) begin(o *outgoing, k Kind) []byte {
	b := x.cfg.Office.Body(k, 512)
	switch k {
	case Words:
		b = appendNumber(b, incarnationField, x.cfg.Incarnation)
		b = appendNumber(b, spellField, uint64(x.spell))
	case Deliveries:
		b = appendNumber(b, incarnationField, x.cfg.Incarnation)
		b = appendNumber(b, lifeField, x.directory.Incarnation(o.number))
	}
	return b
}

// Waits says whether Flush has something to send.
func (x *Exchange) Waits() bool {
	for _, o := range x.order {
		for _, b := range o.bodies {
			if b != nil {
				return true
			}
		}
	}
	return x.led
}

// Flush sends what the round has said to other nodes.
func (x *Exchange) Flush() {
	x.settle()
	if x.led {
		x.announce()
	}
	for _, o := range x.order {
		if o.torn {
			x.mend(o)
		}
		if len(o.owed) > 0 {
			x.owe(o)
		}
		for k := range o.bodies {
			if o.bodies[k] != nil {
				x.send(o, Kind(k)) //nolint:gosec // of three
			}
		}
	}
}

func (x *Exchange) send(o *outgoing, k Kind) {
	body := o.bodies[k]
	o.bodies[k] = nil
	to, ok := x.cfg.Members.Node(o.number)
	var err error
	if ok {
		err = x.cfg.Office.Send(to, body)
	}
	if ok && err == nil {
		return
	}
	x.cfg.Metrics.drop(dropFull)
	head := len(x.cfg.Office.Body(k, 0))
	switch k {
	case Words:
		x.refuseAll(o, body[head:])
	case Deliveries:
		o.torn = true
	}
}

// refuseAll words of a body that the link did not take: nothing happened.
func (x *Exchange) refuseAll(o *outgoing, body []byte) {
	for _, w := range x.own(body) {
		in, conn := input(w)
		if essential(in) {
			x.remember(o, w)
			continue
		}
		if kind, tag, told := kindOf(in); told {
			x.refuse(conn, kind, tag, w.GetUser())
		}
	}
}

// own words of a body that this node made.
func (x *Exchange) own(body []byte) []*wirepb.Word {
	var m wirepb.Words
	if err := m.UnmarshalVT(body); err != nil {
		x.cfg.Log.Error("words that this node made", "err", err)
		return nil
	}
	return m.GetWords()
}

// remember a word until the link takes it.
func (x *Exchange) remember(o *outgoing, w *wirepb.Word) {
	if _, ok := x.cfg.Members.Node(o.number); !ok || len(o.owed) >= limits.RouteOwed {
		x.cfg.Metrics.drop(dropOwed)
		return
	}
	o.owed = append(o.owed, w)
}

// owe puts what is owed before what the round says, as far as it goes into one body.
func (x *Exchange) owe(o *outgoing) {
	rest, b := o.owed, x.begin(o, Words)
	for len(rest) > 0 && len(b) < limits.RouteBody {
		next, err := appendMessage(b, wordsField, rest[0])
		if err == nil {
			b = next
		}
		rest = rest[1:]
	}
	if to, ok := x.cfg.Members.Node(o.number); ok && x.cfg.Office.Send(to, b) != nil {
		return // as before
	}
	o.owed = rest
	if len(rest) == 0 {
		o.owed = nil
	}
}

// mend tells a node that deliveries to it were dropped.
func (x *Exchange) mend(o *outgoing) {
	to, ok := x.cfg.Members.Node(o.number)
	b, err := appendMessage(x.begin(o, Deliveries), deliveriesField, &wirepb.Delivery{Body: &wirepb.Delivery_Torn{Torn: &wirepb.Torn{}}})
	o.torn = ok && (err != nil || x.cfg.Office.Send(to, b) != nil)
}

// refuse something that a connection of this node said: it changed nothing.
func (x *Exchange) refuse(conn Conn, kind wirepb.NotTaken_Kind, tag uint64, user string) {
	f := fault.New(fault.Unavailable, "", "the shard's leader could not be told; try again")
	x.cfg.Metrics.Refused.Inc()
	switch kind {
	case wirepb.NotTaken_SEND:
		x.cfg.Gateway.Deliver(conn, &nodepb.Refused{Tag: uint32(tag), Fault: f}) //nolint:gosec // a send's
	case wirepb.NotTaken_ATTACH:
		x.cfg.Gateway.Deliver(conn, &nodepb.Attached{Tag: uint32(tag), Error: f}) //nolint:gosec // an attachment's
	case wirepb.NotTaken_ASK:
		x.cfg.Gateway.Deliver(conn, &nodepb.Answer{Request: tag, Body: &nodepb.Answer_Fault{Fault: f}})
	case wirepb.NotTaken_OTHER:
		x.cfg.Gateway.Lost(conn, user)
	}
}

// Leader of a shard, as far as is known.
func (x *Exchange) Leader(shard uint32) (node uint16, term uint64, ok bool) {
	if term, leads := x.cfg.Owners.Leads(shard); leads {
		return x.self, term, true
	}
	return x.directory.Leader(shard, x.cfg.Now())
}

// Silent says whether the node that a connection is on is another, and was not heard
// for Doubt.
func (x *Exchange) Silent(conn Conn) bool {
	return !x.cfg.Stamp.Ours(conn) && x.directory.Silent(Node(conn), x.cfg.Now())
}

// Astray says whether a node's clock is not trusted, by its own word.
func (x *Exchange) Astray(node uint16) bool { return x.directory.Astray(node) }

// Nodes that are there, the one with the least load first.
func (x *Exchange) Nodes() []uint16 { return x.directory.Nodes(x.cfg.Now()) }
