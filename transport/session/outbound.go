package session

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

// Deliver takes what an actor says to a session. What is for a session that
// has ended, or for an earlier one of the connection, is dropped: its actor is
// told of the end by Detach.
func (g *Gateway) Deliver(conn uint64, msg proto.Message) {
	s := g.find(conn)
	if s == nil {
		return
	}
	if k, ok := msg.(*nodepb.Kick); ok {
		g.kicked(s, k)
		return
	}
	if s.state == closing {
		return
	}
	g.look()
	switch m := msg.(type) {
	case *nodepb.Sent:
		g.sent(s, m)
	case *nodepb.Push:
		g.push(s, m)
	case *nodepb.Refused:
		g.refused(s, m)
	case *nodepb.Page:
		g.page(s, m)
	case *nodepb.Attached:
		g.attached(s, m)
	case *nodepb.Devices:
		g.devices(s, m)
	case *nodepb.Presence:
		g.presence(s, m)
	case *nodepb.Notice:
		g.mention(s, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Typing{Typing: &clientpb.TypingNotice{
			From: device(m.GetFrom()), Conversation: frames.With(m.GetFrom().GetUser()), On: m.GetOn(),
		}}})
	case *nodepb.Ring:
		g.mention(s, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Signal{Signal: &clientpb.Signal{
			From: device(m.GetFrom()), Bytes: m.GetBytes(),
		}}})
	default:
		g.log.Error("an actor said something of unknown type", "type", string(msg.ProtoReflect().Descriptor().Name()))
	}
}

// kicked ends the session. Whoever unlinked its device is told at once that nothing more
// is taken from it, also where it was closing already: the client may take its time.
func (g *Gateway) kicked(s *session, m *nodepb.Kick) {
	if m.GetSession() != s.number {
		return
	}
	g.look()
	g.close(s, uint16(m.GetCode()), m.GetReason()) //nolint:gosec // a close code
	if m.GetCode() == CloseUnlinked {
		g.tell(s.user, &nodepb.Detach{Origin: s.origin()})
	}
}

// mention writes what promises nothing, while there is room: what strangers
// say may not have a device cut as a slow consumer.
func (g *Gateway) mention(s *session, f *clientpb.ServerFrame) {
	if g.conns.Pending(s.conn)+len(s.out) > g.cfg.HighWater/4 {
		g.metrics.Unsaid.Inc()
		return
	}
	g.write(s, f)
}

// Unknown ends a session because what became of something it asked for is not known.
func (g *Gateway) Unknown(conn uint64) {
	if s := g.find(conn); s != nil {
		g.close(s, CloseUnavailable, "the outcome of a request is not known; reconnect and send again")
	}
}

// Lost takes up what a session had with a user's actor and has no longer, or
// said to it in vain: its own attachment, or a watch, begins again.
func (g *Gateway) Lost(conn uint64, user string) {
	s := g.find(conn)
	if s == nil || s.state == closing {
		return
	}
	g.look()
	if s.user == user {
		g.loosen(s)
	}
	if s.busy == nil || s.state == closing {
		return
	}
	if _, ok := s.busy.watched[user]; ok {
		g.renewals.later = append(g.renewals.later, renewal{conn: conn, watch: user, due: g.clock() + renewAfter.Microseconds()})
	}
}

func device(o *nodepb.Origin) *clientpb.Device {
	return &clientpb.Device{User: o.GetUser(), Device: o.GetDevice()}
}

// attached begins the session proper: welcome, then the mailbox.
func (g *Gateway) attached(s *session, m *nodepb.Attached) {
	if s.state == attached {
		g.resumed(s, m)
		return
	}
	if s.state != attaching {
		return
	}
	if f := m.GetError(); f != nil {
		if s.enc == frames.EventStream {
			g.close(s, closeOf(f), f.GetMessage())
			return
		}
		if f.GetCode() == string(fault.Unauthenticated) {
			g.close(s, CloseUnauthenticated, f.GetMessage())
			return
		}
		s.state, s.later = greeting, f.GetRetryable()
		g.open = append(g.open, deadline{conn: s.conn, tag: againTag, at: g.clock()}) // its token admits it for longer
		g.fault(s, s.ref, "", f)
		if f.GetRetryable() && s.busy != nil && len(s.busy.held) > 0 {
			// What it said meanwhile was right, had hello been taken.
			g.close(s, CloseUnavailable, "hello was not taken; reconnect")
			return
		}
		g.release(s)
		return
	}
	s.state, s.number = attached, m.GetSession()
	// What an earlier session of the device was delivered is no later than this,
	// and the clocks of other shards may be behind.
	s.after = max(s.after, m.GetTime())
	s.written, s.cursor, s.backlog, s.others = max(s.written, m.GetCursor()), m.GetCursor(), m.GetLastSeq(), m.GetOthers()
	s.full = m.GetFull()
	g.write(s, &clientpb.ServerFrame{Ref: s.ref, Body: &clientpb.ServerFrame_Welcome{Welcome: &clientpb.Welcome{
		User: s.user, Device: s.device, Session: strconv.FormatUint(s.number, 10), Heartbeat: durationpb.New(s.heartbeat),
		Limits: g.cfg.Limits.proto(), Time: m.GetTime(), Node: g.cfg.Node,
	}}})
	g.pull(s)
	g.release(s)
}

// closeOf is the code that ends a stream which could not begin.
func closeOf(f *nodepb.Fault) uint16 {
	switch fault.Code(f.GetCode()) {
	case fault.InvalidArgument:
		return CloseMalformed
	case fault.Unauthenticated:
		return CloseUnlinked
	default:
		return CloseUnavailable
	}
}

// pull asks for what follows the last entry written, once there is room.
func (g *Gateway) pull(s *session) {
	if s.bond != bound {
		return
	}
	if g.conns.Pending(s.conn)+len(s.out) > g.cfg.HighWater {
		if s.stream != lagging {
			g.metrics.Lags.Inc()
		}
		s.stream = lagging
		return
	}
	s.stream = pulling
	err := g.users.Tell(s.user, &nodepb.Pull{
		Origin: s.origin(), After: s.written, MaxEntries: limits.PageEntries, MaxBytes: limits.PageBytes,
	})
	if err != nil {
		g.loosen(s)
	}
}

// Drained takes up a session whose connection has room again.
func (g *Gateway) Drained(conn uint64) {
	if s := g.find(conn); s != nil && s.state == attached && s.stream == lagging {
		g.pull(s)
	}
}

// page takes entries that were asked for: all that follow a seq. After a change
// of leaders there may be two under way, of which the first to come may say less.
func (g *Gateway) page(s *session, m *nodepb.Page) {
	if m.GetSession() != s.number || s.bond != bound || m.GetAfter() > s.written {
		return
	}
	asked := s.stream == pulling && m.GetAfter() == s.written
	before := s.written
	for _, e := range m.GetEntries() {
		if e.GetSeq() > s.written {
			g.entry(s, e)
		}
	}
	if !asked && s.written == before {
		return
	}
	if !s.drained && (m.GetEnd() || s.written >= s.backlog) {
		s.drained = true
		g.metrics.MailboxDepth.Observe(float64(s.waited))
		g.write(s, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Drained{Drained: &clientpb.Drained{Seq: s.written}}})
	}
	switch {
	case !m.GetEnd():
		g.pull(s)
	case asked:
		s.stream = live
	}
}

// push takes an entry as it comes.
func (g *Gateway) push(s *session, m *nodepb.Push) {
	switch e := m.GetEntry(); {
	case m.GetSession() != s.number || s.stream != live || e.GetSeq() <= s.written:
		// Not live: the page that is under way, or the next one, has it.
		return
	case m.GetPrevious() != s.written && !mutantIgnoreGap:
		g.metrics.Gaps.Inc()
		g.pull(s)
	case g.conns.Pending(s.conn)+len(s.out) > g.cfg.HighWater:
		g.pull(s) // turns it to lagging
	default:
		g.entry(s, e)
		if t := e.GetMessage().GetTime(); t != 0 {
			g.metrics.DeliverSeconds.Observe(max(0, g.at.Sub(time.UnixMilli(int64(t>>16))).Seconds())) //nolint:gosec // 48 bits
		}
	}
}

// entry writes one entry of the mailbox.
func (g *Gateway) entry(s *session, e *storepb.Entry) {
	g.began(s)
	out, ok, err := frames.AppendEntry(s.out, s.enc, e, s.device)
	if err != nil || ok {
		g.wrote(s, out, err)
	}
	if s.state == closing {
		return
	}
	s.written = e.GetSeq()
	if !s.drained {
		s.waited++
	}
	if m := e.GetMessage(); m != nil {
		s.after = max(s.after, m.GetTime())
		g.metrics.Delivers.Inc()
	}
}

// decided takes a send out of those in flight.
func (g *Gateway) decided(s *session, tag uint32) (*pending, *chain) {
	if s.busy == nil {
		return nil, nil
	}
	p := s.busy.pending[tag]
	if p == nil {
		return nil, nil
	}
	delete(s.busy.pending, tag)
	c := s.busy.chains[p.peer]
	c.inFlight--
	return p, c
}

func (g *Gateway) sent(s *session, m *nodepb.Sent) {
	p, c := g.decided(s, m.GetTag())
	if p == nil {
		return
	}
	if c.blocked == p.id { // it was sent twice, and refused once
		c.isBlocked = false
	}
	g.metrics.Sents.Inc()
	g.metrics.SentSeconds.Observe(p.open(g.clock()))
	g.began(s)
	out, err := frames.AppendSent(s.out, s.enc, p.ref, p.id, p.peer, m)
	g.wrote(s, out, err)
	g.settle(s, p)
}

func (g *Gateway) refused(s *session, m *nodepb.Refused) {
	if m.GetTag() == 0 {
		if s.busy != nil && s.busy.reads != nil {
			s.busy.reads.refused(m.GetRef())
		}
		g.fault(s, m.GetRef(), "", m.GetFault())
		return
	}
	p, c := g.decided(s, m.GetTag())
	if p == nil {
		return
	}
	s.busy.refused(c, p, m.GetFault())
	g.fault(s, p.ref, ident.MessageIDString(p.id[:]), ofSend(m.GetFault()))
	g.settle(s, p)
}

// ofSend names the field of a fault as it is called in the frame; the actor
// does not know whether a send came by one.
func ofSend(f *nodepb.Fault) *nodepb.Fault {
	switch fault.Code(f.GetCode()) {
	case fault.Unavailable, fault.Internal:
		return f
	}
	f = proto.CloneOf(f)
	f.Message = "send." + f.GetMessage()
	return f
}

// unlink takes a finally refused send out of the chain of those after it.
func (a *activity) unlink(gone *pending) {
	for _, p := range a.pending {
		if p.peer == gone.peer && p.previous == gone.number {
			p.previous = gone.previous
		}
	}
}

// settle does what waited for a send to be decided.
func (g *Gateway) settle(s *session, p *pending) {
	// With nothing open the next send needs no predecessor.
	if c := s.busy.chains[p.peer]; c != nil && c.inFlight == 0 && !c.isBlocked {
		delete(s.busy.chains, p.peer)
		g.spare.chains.give(c)
	}
	b := &s.busy.barrier
	if b.open > 0 && p.number <= b.upTo {
		b.open--
		g.confirm(s)
	}
	g.spare.pending.give(p)
	if !g.left(s) {
		g.release(s)
	}
}

// devices takes a new list of the user's other devices. It is confirmed once
// no send that was stamped with the old one is open.
func (g *Gateway) devices(s *session, m *nodepb.Devices) {
	if m.GetSession() != s.number {
		return
	}
	s.others, s.full = m.GetOthers(), m.GetFull()
	a := g.activity(s)
	a.barrier = barrier{epoch: m.GetEpoch(), upTo: s.sends, open: len(a.pending)}
	g.confirm(s)
}

func (g *Gateway) confirm(s *session) {
	b := s.busy.barrier
	if b.open == 0 && b.epoch != 0 {
		s.busy.barrier = barrier{}
		// Where it is not taken, whoever links a device waits for it.
		if g.users.Tell(s.user, &nodepb.DevicesSeen{Origin: s.origin(), Epoch: b.epoch}) != nil {
			g.metrics.Untaken.Inc()
			g.loosen(s)
		}
	}
}

func (g *Gateway) presence(s *session, m *nodepb.Presence) {
	if s.busy == nil {
		return
	}
	if _, watched := s.busy.watched[m.GetUser()]; !watched {
		return // said before it heard of the end of the watch
	}
	p := &clientpb.Presence{User: m.GetUser(), Online: m.GetOnline()}
	if t := m.GetLastSeen(); t != 0 && !m.GetOnline() {
		p.LastSeen = timestamppb.New(time.UnixMilli(int64(t))) //nolint:gosec // a clock
	}
	g.write(s, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Presence{Presence: p}})
}
