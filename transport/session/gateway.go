package session

import (
	"errors"
	"log/slog"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

// Close codes, as docs/protocol.md lists them.
const (
	CloseRestart         = 1012
	CloseUnavailable     = 1013
	CloseMalformed       = 4100
	CloseUnauthenticated = 4101
	CloseUnlinked        = 4103
)

// Conns are the connections, by id.
type Conns interface {
	// Send queues one WebSocket message; data is copied.
	Send(conn uint64, data []byte)
	// Pending is the number of bytes queued and not yet taken by the kernel.
	Pending(conn uint64) int
	// Read says whether to go on reading from the connection.
	Read(conn uint64, r Reading)
	// Admit tells that the connection is authenticated, its heartbeat, and when
	// its token expires: it is then closed with CloseUnauthenticated.
	Admit(conn uint64, heartbeat time.Duration, expires time.Time)
	// Close with a code; Closed follows.
	Close(conn uint64, code uint16, reason string)
}

// Reading is whether a connection is read from.
type Reading uint8

// Go on reading, or stop for now.
const (
	Resume Reading = iota
	Pause
)

// Users are the user actors, wherever they are. An error means that the
// message was definitely not taken.
type Users interface {
	Tell(user string, msg any) error
}

// Identity is what a token proves.
type Identity struct {
	User    string
	Device  uint32
	Expires time.Time
}

// ErrUndecided: whether the token is good cannot be told yet.
var ErrUndecided = errors.New("session: the token cannot be checked yet")

// Verifier checks tokens. The error may wrap ErrUndecided.
type Verifier interface {
	Identify(token string) (Identity, error)
}

// Gateway holds the sessions of one loop.
type Gateway struct {
	// Immutable.
	cfg     Config
	conns   Conns
	users   Users
	tokens  Verifier
	now     func() time.Time
	log     *slog.Logger
	metrics *Metrics
	start   time.Time // of the clock of deadlines

	// Owned by the loop.
	decoder  *frames.Decoder
	sessions map[uint64]*session // that are awake
	awake    []*session          // the same
	crowd    int                 // most of them since there was room for fewer, see shrink
	drowsy   int                 // where lull looks next
	sweeps   uint32
	sleepers *sleepers // the others
	dirty    []*session
	resting  []*session // not read for a while, see effort
	// allowances of devices that have sessions, or had one a moment ago.
	allowances map[owner]*allowance
	parted     []*allowance // that no session used at one time, in that order
	arrivals   *arrivals
	partings   []parting // sessions turned away, not closed yet
	leavers    int       // sessions that were told GoAway and are not closing
	renewals   renewals
	open       []deadline // sends in the order in which they were read
	spare      spare
	at         time.Time // of the call under way, see look
	reading    int64     // when the frame at hand was read, where it was held; else 0
}

// Tags of deadlines that are not of one send; those count from 1.
const (
	helloTag = 0
	heldTag  = math.MaxUint32
	againTag = math.MaxUint32 - 1 // a hello that was refused is to be said again
)

// deadline of a send, or of an attachment.
type deadline struct {
	conn uint64
	tag  uint32 // 0 for the attachment
	at   int64  // see clock
}

// clock of deadlines: microseconds, above 0. A wall clock that is set changes
// nothing.
func (g *Gateway) clock() int64 { return g.at.Sub(g.start).Microseconds() + 1 }

// look at the clock, once for all that a call does.
func (g *Gateway) look() { g.at = g.now() }

// New makes a Gateway.
func New(cfg Config, conns Conns, users Users, tokens Verifier, now func() time.Time, log *slog.Logger, m *Metrics) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Gateway{
		cfg: cfg, conns: conns, users: users, tokens: tokens, now: now, log: log, metrics: m, start: now(),
		decoder: frames.NewDecoder(), sessions: map[uint64]*session{}, sleepers: newSleepers(), allowances: map[owner]*allowance{},
		arrivals: newArrivals(cfg.Limits.Hellos),
	}, nil
}

// Opened begins a session for a new connection. Until Admit it is the
// connections' to bound how long it may take.
func (g *Gateway) Opened(conn uint64, enc frames.Encoding, bearer string) {
	s := &session{conn: conn, enc: enc, bearer: bearer}
	g.wakes(s)
	g.metrics.Sessions.Inc()
	if bearer == "" {
		return
	}
	// The upgrade could not say that its token is bad. One that cannot be judged
	// yet may be by the time of hello.
	if _, err := g.tokens.Identify(bearer); err != nil && !errors.Is(err, ErrUndecided) {
		g.close(s, CloseUnauthenticated, err.Error())
	}
}

// Stream begins a session that only listens: for a device that has proved who
// it is, with what follows the seq after, or its cursor where that is higher.
// Where it cannot begin, the connection is closed before anything is sent.
func (g *Gateway) Stream(conn uint64, who Identity, after uint64, heartbeat time.Duration) {
	s := &session{conn: conn, enc: frames.EventStream, written: after}
	g.wakes(s)
	g.metrics.Sessions.Inc()
	g.look()
	if wait := g.arrivals.take(owner{who.User, who.Device}, g.clock()); wait > 0 {
		g.metrics.TurnedAway.Inc()
		g.close(s, CloseUnavailable, "this device connected too often; back off")
		return
	}
	g.attach(s, who, durationpb.New(heartbeat), &nodepb.Attach{After: after})
}

// Closed ends the session of a connection.
func (g *Gateway) Closed(conn uint64) {
	s := g.find(conn)
	if s == nil {
		return
	}
	g.look()
	g.parts(s)
	g.metrics.Sessions.Dec()
	g.becomeClosing(s)
	g.recycle(s)
	if s.busy != nil {
		for user := range s.busy.watched {
			g.tell(user, &nodepb.Unwatch{Origin: s.origin()})
		}
		g.leave(s.busy.allowance)
	}
	if s.user != "" { // attached, or about to be
		g.tell(s.user, &nodepb.Detach{Origin: s.origin()})
	}
}

// Message takes one WebSocket message, which came as those of the encoding do.
// The data is not kept.
func (g *Gateway) Message(conn uint64, enc frames.Encoding, data []byte) {
	s := g.find(conn)
	if s == nil || s.ended() {
		return
	}
	if enc != s.enc {
		g.close(s, CloseMalformed, "the subprotocol's messages are "+map[frames.Encoding]string{frames.JSON: "text", frames.Protobuf: "binary"}[s.enc])
		return
	}
	count, anyBroken := 0, false
	g.look()
	err := g.decoder.Decode(s.enc, data, func(f *clientpb.ClientFrame, broken *nodepb.Fault) error {
		count++
		anyBroken = anyBroken || broken != nil
		return g.take(s, f, broken)
	})
	g.charge(s, len(data), count, anyBroken)
	if err != nil {
		g.malformed(s, err)
	}
}

// malformed ends a session whose message could not be read to its end.
func (g *Gateway) malformed(s *session, err error) {
	var malformed *frames.MalformedError
	switch {
	case errors.Is(err, errClosing):
	case errors.As(err, &malformed):
		g.close(s, CloseMalformed, malformed.Reason)
	default:
		g.log.Error("decode a message", "err", err)
		g.close(s, CloseMalformed, "the message could not be read")
	}
}

// errClosing ends the decoding of a message whose session has ended.
var errClosing = errors.New("session is closing")

// take handles a frame, or holds it behind those that wait for sends in flight
// or, said right after hello, for welcome.
func (g *Gateway) take(s *session, f *clientpb.ClientFrame, broken *nodepb.Fault) error {
	if s.ended() {
		return errClosing
	}
	if s.state == attaching || s.busy != nil && len(s.busy.held) > 0 || g.full(s, f, broken) {
		a := g.activity(s)
		read := g.clock()
		a.held = append(a.held, heldFrame{proto.CloneOf(f), broken, read})
		g.open = append(g.open, deadline{conn: s.conn, tag: heldTag, at: read})
		g.conns.Read(s.conn, Pause)
		return nil
	}
	g.frame(s, f, broken)
	return nil
}

// full says whether the frame is a send past the bound of sends in flight.
func (g *Gateway) full(s *session, f *clientpb.ClientFrame, broken *nodepb.Fault) bool {
	if f.GetSend() == nil || broken != nil || s.busy == nil {
		return false
	}
	if len(s.busy.pending) >= g.cfg.Limits.InFlight {
		return true
	}
	c := s.busy.chains[f.GetSend().GetTo().GetUser()]
	return c != nil && c.inFlight >= g.cfg.Limits.InFlightPerConversation
}

// release takes up held frames once the session is attached, and as sends in
// flight are decided.
func (g *Gateway) release(s *session) {
	a := s.busy
	if a == nil || len(a.held) == 0 || s.leaving {
		return
	}
	for len(a.held) > 0 && s.state != closing && s.state != attaching && !g.full(s, a.held[0].frame, a.held[0].fault) {
		h := a.held[0]
		a.held[0] = heldFrame{}
		a.held = a.held[1:]
		g.reading = h.read
		g.frame(s, h.frame, h.fault)
		g.reading = 0
	}
	if len(a.held) == 0 && s.state != closing {
		a.held = nil
		g.readOn(s)
	}
}

// frame dispatches one frame of a client.
func (g *Gateway) frame(s *session, f *clientpb.ClientFrame, broken *nodepb.Fault) {
	g.metrics.FramesIn.Inc()
	if s.state == greeting {
		g.beforeWelcome(s, f, broken)
		return
	}
	if g.activity(s).frames.take(g.clock(), 1, g.cfg.Limits.Frames) > 0 {
		broken = fault.New(fault.RateLimited, "", "frames: more than %g a second", g.cfg.Limits.Frames.PerSecond)
	}
	if send := f.GetSend(); send != nil {
		g.send(s, f.GetRef(), send, broken)
		return
	}
	if broken != nil {
		g.fault(s, f.GetRef(), "", broken)
		return
	}
	switch b := f.GetBody().(type) {
	case *clientpb.ClientFrame_Ack:
		g.ack(s, f.GetRef(), b.Ack)
	case *clientpb.ClientFrame_Read:
		g.read(s, f.GetRef(), b.Read)
	case *clientpb.ClientFrame_Typing:
		g.typing(s, f.GetRef(), b.Typing)
	case *clientpb.ClientFrame_SignalTo:
		g.signal(s, f.GetRef(), b.SignalTo)
	case *clientpb.ClientFrame_Watch:
		g.watch(s, f.GetRef(), b.Watch)
	case *clientpb.ClientFrame_Ping:
		g.write(s, &clientpb.ServerFrame{Ref: f.GetRef(), Body: &clientpb.ServerFrame_Pong{Pong: &clientpb.Pong{}}})
	case *clientpb.ClientFrame_Hello:
		g.close(s, CloseMalformed, "hello: the session has begun already")
	}
}

// write puts a frame into the message that goes out at the end of the round.
func (g *Gateway) write(s *session, f *clientpb.ServerFrame) {
	g.began(s)
	out, err := frames.Append(s.out, s.enc, f)
	g.wrote(s, out, err)
}

// began makes the session one that has something to send this round.
func (g *Gateway) began(s *session) {
	if s.out != nil {
		return
	}
	s.out = g.spare.buffer()
	g.dirty = append(g.dirty, s)
}

func (g *Gateway) wrote(s *session, out []byte, err error) {
	if err != nil {
		// Only strings that are not UTF-8 do this, and they are refused on entry.
		g.log.Error("encode a frame", "err", err)
		g.close(s, CloseUnavailable, "internal")
		return
	}
	g.metrics.FramesOut.Inc()
	s.out = out
	if len(s.out) >= limits.PageBytes/4 {
		g.send1(s)
	}
}

// send1 sends what was written so far as one message.
func (g *Gateway) send1(s *session) {
	if len(s.out) > 0 {
		g.conns.Send(s.conn, s.out)
		s.out = s.out[:0]
	}
}

// Flush sends what the round has written.
func (g *Gateway) Flush() {
	g.wake()
	g.renew()
	for i, s := range g.dirty {
		g.send1(s)
		g.recycle(s)
		g.dirty[i] = nil
	}
	g.dirty = g.dirty[:0]
}

// recycle takes the session's buffer back.
func (g *Gateway) recycle(s *session) {
	if s.out != nil {
		g.spare.keepBuffer(s.out)
	}
	s.out = nil
}

func (g *Gateway) fault(s *session, ref uint32, id string, f *nodepb.Fault) {
	g.metrics.Faults.WithLabelValues(f.GetCode()).Inc()
	if s.busy != nil {
		s.busy.effort.level += faultEffort // judged with the message, see charge
	}
	g.write(s, frames.ErrorFrame(ref, id, f))
}

// close ends a session; what it was told before goes out first.
func (g *Gateway) close(s *session, code uint16, reason string) {
	if s.state == closing {
		return
	}
	g.send1(s)
	g.becomeClosing(s)
	g.conns.Close(s.conn, code, reason)
}

func (g *Gateway) becomeClosing(s *session) {
	if s.leaving && s.state != closing {
		g.leavers--
	}
	s.state = closing
}

// tell is for what needs no answer: where it is not taken, nobody waits.
func (g *Gateway) tell(user string, msg any) {
	if err := g.users.Tell(user, msg); err != nil {
		g.metrics.Untaken.Inc()
	}
}

// Sweep closes connections whose sends, or whose hello, have been open for too
// long. It is called a few times a second.
func (g *Gateway) Sweep() {
	g.look()
	g.spare.trim()
	g.forget()
	g.arrivals.forget(g.clock())
	g.part()
	late := g.clock() - g.cfg.Answer.Microseconds()
	n := 0
	for ; n < len(g.open); n++ {
		d := g.open[n]
		s := g.sessions[d.conn] // none of those that sleep has anything open
		if s == nil || !s.waits(d) {
			continue
		}
		if d.at > late {
			break
		}
		g.metrics.Overdue.Inc()
		switch d.tag {
		case helloTag:
			g.close(s, CloseUnavailable, "no answer to hello in time; reconnect")
		case againTag:
			code := uint16(CloseUnauthenticated)
			if s.later {
				code = CloseUnavailable // nothing is wrong with its token
			}
			g.close(s, code, "hello was refused, and not said again in time")
		default:
			g.close(s, CloseUnavailable, "the outcome of a send is not known; send it again")
		}
	}
	g.open = g.open[:copy(g.open, g.open[n:])]
	g.lull()
}

// GoAway announces the end to one connection, with where else it may go, and
// closes it once its sends are decided. Nothing more is read meanwhile.
func (g *Gateway) GoAway(conn uint64, reconnectAfter time.Duration, alternates []string) {
	s := g.find(conn)
	if s == nil || s.state == closing {
		return
	}
	if s.enc == frames.EventStream && s.state == attaching {
		g.close(s, CloseRestart, "the node is restarting") // it has not begun, and is refused
		return
	}
	g.write(s, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_GoAway{GoAway: &clientpb.GoAway{
		Reason: "the node is restarting", ReconnectAfterMs: uint32(reconnectAfter.Milliseconds()), //nolint:gosec // seconds
		Alternates: alternates,
	}}})
	if !s.leaving {
		s.leaving = true
		g.leavers++
	}
	if !g.left(s) {
		g.conns.Read(s.conn, Pause)
	}
}

// left closes a leaving session that has no send open.
func (g *Gateway) left(s *session) bool {
	if !s.leaving || s.busy != nil && len(s.busy.pending) > 0 {
		return false
	}
	g.close(s, CloseRestart, "the node is restarting")
	return true
}

// Leaving says how many sessions were told GoAway and have a send open. Whoever
// ends a node asks fifty times a second, with a million sessions as well.
func (g *Gateway) Leaving() int { return g.leavers }

// Connections lists the open ones.
func (g *Gateway) Connections() []uint64 {
	out := make([]uint64, 0, len(g.sessions)+g.sleepers.records.Len())
	for conn := range g.sessions {
		out = append(out, conn)
	}
	for r := range g.sleepers.each() {
		out = append(out, r.conn)
	}
	return out
}
