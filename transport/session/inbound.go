package session

import (
	"errors"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

// beforeWelcome takes the only frame that may come before welcome: hello.
func (g *Gateway) beforeWelcome(s *session, f *clientpb.ClientFrame, broken *nodepb.Fault) {
	hello := f.GetHello()
	switch {
	case broken != nil && s.broken >= limits.BrokenHellos:
		g.close(s, CloseMalformed, "too many broken frames before hello")
	case broken != nil:
		s.broken++
		g.fault(s, f.GetRef(), "", broken)
	case hello == nil:
		g.close(s, CloseMalformed, "the first frame must be hello")
	case len(hello.GetClient()) > limits.Client:
		g.fault(s, f.GetRef(), "", fault.New(fault.InvalidArgument, "", "hello.client: %d bytes, at most %d", len(hello.GetClient()), limits.Client))
	case hello.GetHeartbeat() != nil && hello.GetHeartbeat().CheckValid() != nil:
		g.fault(s, f.GetRef(), "", fault.New(fault.InvalidArgument, "", "hello.heartbeat: not a duration"))
	case hello.GetHeartbeat().AsDuration() < 0:
		g.fault(s, f.GetRef(), "", fault.New(fault.InvalidArgument, "", "hello.heartbeat: must not be negative"))
	default:
		g.hello(s, f.GetRef(), hello)
	}
}

func (g *Gateway) hello(s *session, ref uint32, m *clientpb.Hello) {
	token := m.GetToken()
	if token == "" {
		token = s.bearer
	}
	if token == "" {
		g.close(s, CloseUnauthenticated, "hello.token: missing")
		return
	}
	who, err := g.tokens.Identify(token)
	if errors.Is(err, ErrUndecided) {
		// To say 4101 would have a client throw a good token away.
		g.close(s, CloseUnavailable, "the token cannot be checked yet")
		return
	}
	if err != nil {
		// The reason is the verifier's own, and never the token.
		g.close(s, CloseUnauthenticated, err.Error())
		return
	}
	s.ref = ref
	if wait := g.arrivals.take(owner{who.User, who.Device}, g.clock()); wait > 0 {
		g.turnAway(s, wait)
		return
	}
	g.attach(s, who, m.GetHeartbeat(), &nodepb.Attach{Acked: m.GetAcked(), Client: m.GetClient()})
}

// attach asks the user's actor to make the connection its device's session.
func (g *Gateway) attach(s *session, who Identity, heartbeat *durationpb.Duration, attach *nodepb.Attach) {
	s.user, s.device = who.User, who.Device
	s.state = attaching
	s.heartbeat = g.cfg.heartbeat(heartbeat)
	g.conns.Admit(s.conn, s.heartbeat, who.Expires)

	attach.Origin = s.origin()
	if err := g.users.Tell(s.user, attach); err != nil {
		g.close(s, CloseUnavailable, "the user's shard has no leader")
		return
	}
	g.open = append(g.open, deadline{conn: s.conn, at: g.clock()})
}

// send stamps a message and puts it to its recipient's actor.
func (g *Gateway) send(s *session, ref uint32, m *clientpb.Send, broken *nodepb.Fault) {
	refuse := func(f *nodepb.Fault) { g.fault(s, ref, m.GetId(), f) }
	var n *nodepb.Send
	if broken == nil {
		n, broken = frames.NewSend(m, "send.")
	}
	if broken != nil && !broken.GetRetryable() {
		refuse(broken)
		return
	}
	if n == nil {
		// Refused retryably before it was looked at: only a well-formed one can block.
		var invalid *nodepb.Fault
		if n, invalid = frames.NewSend(m, "send."); invalid != nil {
			refuse(invalid)
			return
		}
	}
	a := g.activity(s)
	c := a.chains[n.GetTo()]
	if c == nil {
		if len(a.chains) >= limits.Chains {
			g.close(s, CloseUnavailable, "too many conversations wait for a send to come again")
			return
		}
		c = g.spare.newChain()
		a.chains[n.GetTo()] = c
	}
	id := [16]byte(n.GetId())
	if c.isBlocked && c.blocked != id {
		refuse(fault.New(fault.FailedPrecondition, fault.ReasonOutOfOrder, "send.id: an earlier send to this conversation was refused; send that again first"))
		return
	}
	if broken == nil {
		broken = g.limited(a)
	}
	if broken == nil && s.full && len(s.others) > 0 {
		broken = fault.CopiesFull()
	}
	if broken != nil {
		c.blocked, c.isBlocked = id, true
		refuse(broken)
		return
	}
	c.isBlocked = false
	g.stamp(s, ref, c, n, id)
}

// limited takes a send from the bucket.
func (g *Gateway) limited(a *activity) *nodepb.Fault {
	wait := a.sends.take(g.clock(), 1, g.cfg.Limits.Sends)
	if wait == 0 {
		return nil
	}
	f := fault.New(fault.RateLimited, "", "sends: more than %g a second", g.cfg.Limits.Sends.PerSecond)
	f.RetryAfterMs = uint32(wait.Milliseconds()) + 1 //nolint:gosec // at most the burst's time
	return f
}

// stamp gives the send its numbers and sends it on.
func (g *Gateway) stamp(s *session, ref uint32, c *chain, n *nodepb.Send, id [16]byte) {
	a := s.busy
	tag := s.next()
	p := g.spare.newPending()
	*p = pending{ref: ref, id: id, peer: n.GetTo(), number: s.sends, previous: c.last, at: g.clock()}
	p.read = p.at
	if g.reading != 0 {
		p.read = g.reading
	}
	n.Origin, n.Tag, n.Number, n.Previous, n.After = s.origin(), tag, p.number, p.previous, s.after
	// One that is adrift may not know of a device that was linked meanwhile.
	n.Others, n.Copy = s.others, s.bond != bound
	c.last = p.number
	c.inFlight++
	a.pending[tag] = p
	g.open = append(g.open, deadline{conn: s.conn, tag: tag, at: p.at})
	g.metrics.Sends.Inc()
	if err := g.users.Tell(p.peer, n); err != nil {
		g.refused(s, &nodepb.Refused{Tag: tag, Fault: fault.New(fault.Unavailable, "", "the recipient's shard has no leader; try again")})
	}
}

func (g *Gateway) ack(s *session, ref uint32, m *clientpb.Ack) {
	switch {
	case m.GetSeq() == 0 || m.GetSeq() > s.written:
		g.fault(s, ref, "", fault.New(fault.InvalidArgument, "", "ack.seq: %d was not delivered to this device", m.GetSeq()))
	case m.GetSeq() > s.cursor:
		s.cursor = m.GetSeq()
		if s.bond == adrift {
			return // to attach again says it
		}
		if err := g.users.Tell(s.user, &nodepb.Ack{Origin: s.origin(), Seq: m.GetSeq()}); err != nil {
			g.metrics.Untaken.Inc()
			g.loosen(s)
		}
	}
}

func (g *Gateway) read(s *session, ref uint32, m *clientpb.Read) {
	peer, f := frames.Peer(m.GetConversation(), "read.", "conversation")
	if f == nil && m.GetOrder() == 0 {
		f = fault.New(fault.InvalidArgument, "", "read.order: orders begin with 1")
	}
	if f != nil {
		g.fault(s, ref, "", f)
		return
	}
	said := &nodepb.Read{Origin: s.origin(), Ref: ref, Peer: peer, Order: m.GetOrder(), Written: s.written}
	g.keepRead(s, said)
	g.tellRead(s, said)
}

func (g *Gateway) typing(s *session, ref uint32, m *clientpb.Typing) {
	peer, f := frames.Peer(m.GetConversation(), "typing.", "conversation")
	if f == nil && s.busy.typing.take(g.clock(), 1, g.cfg.Limits.Typing) > 0 {
		f = fault.New(fault.RateLimited, "", "typing: more than %g a second", g.cfg.Limits.Typing.PerSecond)
	}
	if f != nil {
		g.fault(s, ref, "", f)
		return
	}
	g.tell(peer, &nodepb.Typing{Origin: s.origin(), On: m.GetOn()})
}

func (g *Gateway) signal(s *session, ref uint32, m *clientpb.SignalTo) {
	peer, f := frames.Peer(m.GetTo(), "signalTo.", "to")
	switch {
	case f != nil:
	case len(m.GetBytes()) > limits.Signal:
		f = fault.New(fault.PayloadTooLarge, "", "signalTo.bytes: %d bytes, at most %d", len(m.GetBytes()), limits.Signal)
	case s.busy.signals.take(g.clock(), 1, g.cfg.Limits.Signals) > 0:
		f = fault.New(fault.RateLimited, "", "signals: more than %g a second", g.cfg.Limits.Signals.PerSecond)
	}
	if f != nil {
		g.fault(s, ref, "", f)
		return
	}
	g.tell(peer, &nodepb.Signal{Origin: s.origin(), Bytes: m.GetBytes()})
}

// watchedAtOnce is how many users a watch may name for one of its rate: each
// of them is an actor that is asked, and perhaps woken.
const watchedAtOnce = 32

// watch replaces the set of users that this session watches.
func (g *Gateway) watch(s *session, ref uint32, m *clientpb.Watch) {
	want := make(map[string]struct{}, len(m.GetUsers()))
	var f *nodepb.Fault
	for i, user := range m.GetUsers() {
		if err := ident.CheckUser(user); err != nil && f == nil {
			f = fault.New(fault.InvalidArgument, "", "watch.users[%d]: %v", i, err)
		}
		want[user] = struct{}{}
	}
	switch {
	case f != nil:
	case len(want) > limits.Watched:
		f = fault.New(fault.InvalidArgument, "", "watch.users: %d users, at most %d", len(want), limits.Watched)
	case s.busy.watch.take(g.clock(), min(1+len(want)/watchedAtOnce, g.cfg.Limits.Watch.Burst), g.cfg.Limits.Watch) > 0:
		f = fault.New(fault.RateLimited, "", "watch: more than %g a second, of %d users each", g.cfg.Limits.Watch.PerSecond, watchedAtOnce)
	}
	if f != nil {
		g.fault(s, ref, "", f)
		return
	}
	old := s.busy.watched
	s.busy.watched = want
	s.busy.effort.level += float64((len(old) + len(want)) * watchEffort) // judged with the message, see charge
	for user := range old {
		if _, ok := want[user]; !ok {
			g.tell(user, &nodepb.Unwatch{Origin: s.origin()})
		}
	}
	for user := range want {
		g.tell(user, &nodepb.Watch{Origin: s.origin()})
	}
}

// open is for how long the send has been open, in seconds.
func (p *pending) open(clock int64) float64 { return float64(clock-p.at) / 1e6 }
