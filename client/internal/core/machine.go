package core

import (
	"errors"
	"fmt"
	"time"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// Bounds that are no setting.
const (
	InboxHigh     = 1024             // entries that wait for the application; past it, nothing more is read
	inboxBytes    = 8 << 20          // and their payloads
	ephemeralHigh = 256              // other events; past it, the oldest goes
	window        = 32               // unanswered sends of a conversation, and fates that are not synced; see fly
	holdLimit     = 3 * time.Second  // for how long nothing is read; then entries are dropped, and fetched again
	ackEvery      = 64               // entries that an ack is late at most
	probeLimit    = 5 * time.Second  // for a sign of life after Wake
	greetLimit    = 15 * time.Second // from dialling to welcome
	readKept      = 30 * time.Second // a read that was said is good once its connection lived so long
	leaveLimit    = 10 * time.Second // for the server to close after goAway
	tokenTries    = 3                // tokens refused in a row
	renewPause    = time.Second      // between two renewals of a token
	seenSlots     = 256              // ids remembered
	readsKept     = 1024             // conversations with a read that may have to be said again
	silentAfter   = 2                // heartbeats
	ghostLife     = time.Minute      // for how long a hello that nobody answered may still arrive
	calmAfter     = 5 * time.Second  // a connection that lived so long starts the backoff anew, whatever ended it
)

// Config of a machine.
type Config struct {
	User                string // may be empty with a source
	HasPassword         bool
	HasSource           bool
	ClientName          string
	Heartbeat           time.Duration
	QueueLimit          int
	AckDelay            time.Duration
	Backoff, MaxBackoff time.Duration
}

// Errors of Queued and Said.
var (
	ErrFull    = errors.New("the outbox is full")
	ErrUnread  = errors.New("fates of messages wait to be fetched")
	ErrTwice   = errors.New("a message with this id is queued already")
	ErrStopped = errors.New("stopped")
	ErrOffline = errors.New("no connection")
)

// Refusal is an error that the server would send, found before it was asked.
type Refusal struct{ Answer *clientpb.Error }

func (r *Refusal) Error() string { return r.Answer.GetCode() + ": " + r.Answer.GetMessage() }

type state uint8

const (
	resting state = iota
	asking
	dialling
	greeting
	online
	leaving
	stopped
)

func (s state) String() string {
	return [...]string{"resting", "asking", "dialling", "greeting", "online", "leaving", "stopped"}[s]
}

// Machine is a client. Nobody but its owner may touch it.
type Machine struct {
	cfg  Config
	now  time.Time
	roll float64 // random in [0,1), new at each step
	out  []Effect

	dirty bool // something was written and not synced

	state state
	why   Why
	err   error // why it is not online
	phase Phase // as last told

	// identity and tokens
	device     device
	used       string // the token of this connection
	asked      Means
	refusals   int // tokens refused in a row
	renewAt    time.Time
	askedQuiet bool // a renewal is under way while online

	// connection
	conn       uint64
	restUntil  time.Time
	deadline   time.Time // greeting, leaving
	attempts   int
	alternates []string
	places     places
	awayUntil  time.Time
	node       string
	ghostUntil time.Time
	session    session
	limits     *clientpb.Limits

	outbox outbox
	inbox  inbox
	watch  []string
	reads  reads
}

// session is what is known of one connection after welcome.
type session struct {
	since     time.Time
	heard     time.Time
	pinged    bool
	probe     time.Time // Wake wants a sign of life until then
	heartbeat time.Duration
	drained   bool
	delivered uint64 // highest seq that this connection brought, or hello.acked
	acked     uint64
	ref       uint32
	bucket    float64
	filled    time.Time
	watchAt   time.Time // say watch again
	reads     map[uint32]string
}

// New builds a machine from what its store holds. It does nothing before Start.
func New(cfg Config, records []Record) (*Machine, error) {
	m := &Machine{cfg: cfg, phase: Connecting, state: resting}
	m.outbox.byID, m.outbox.lanes = map[string]*entry{}, map[string]*lane{}
	m.inbox.ids = map[string]bool{}
	m.reads.by = map[string]*read{}
	if err := m.load(records); err != nil {
		return nil, err
	}
	return m, nil
}

// Start begins to connect.
func (m *Machine) Start(now time.Time, roll float64) []Effect {
	m.begin(now, roll)
	m.planRenewal()
	m.connect()
	return m.end()
}

func (m *Machine) begin(now time.Time, roll float64) { m.now, m.roll, m.out = now, roll, nil }

func (m *Machine) end() []Effect {
	if m.state != stopped {
		m.pump()
	}
	m.hand()
	return m.out
}

func (m *Machine) do(e Effect) { m.out = append(m.out, e) }

// Step takes one input at a time. roll is random in [0,1).
func (m *Machine) Step(now time.Time, roll float64, in Input) []Effect {
	m.begin(now, roll)
	if m.state == stopped {
		m.afterStop(in)
		return m.end()
	}
	switch in := in.(type) {
	case Tick:
		m.tick()
	case Queue:
		m.queue(in)
	case Abandon:
		m.abandon(in.Call)
	case Fetch:
		m.take()
		m.inbox.fetching = true
	case Unfetch:
		m.inbox.fetching = false
	case Take:
		m.take()
		m.do(Said{})
	case Return:
		m.giveBack()
	case Read:
		m.read(in)
	case Typing:
		m.ephemeral(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Typing{Typing: &clientpb.Typing{Conversation: in.Conversation, On: in.On}}}, refTyping)
	case Signal:
		m.ephemeral(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_SignalTo{SignalTo: &clientpb.SignalTo{To: in.To, Bytes: in.Bytes}}}, refSignal)
	case Watch:
		m.watch = in.Users
		m.sayWatch()
		m.do(Said{})
	case Wake:
		m.awake()
	default:
		m.network(in)
	}
	return m.end()
}

// network takes what connections and tokens bring.
func (m *Machine) network(in Input) {
	switch in := in.(type) {
	case Token:
		m.token(in)
	case NoToken:
		m.noToken(in)
	case Nodes:
		m.nodes(in.Places)
	case Dialled:
		if in.Conn == m.conn && m.state == dialling {
			m.hello()
		}
	case Frames:
		if in.Conn == m.conn && m.state >= greeting {
			m.frames(in.Frames)
		}
	case Heard:
		if in.Conn == m.conn {
			m.heard()
		}
	case Lost:
		if in.Conn == m.conn && m.state >= dialling {
			m.lost(in.Code, in.Err)
		}
	case Close:
		m.close()
	case Broken:
		m.stop(StoreBroken, in.Err)
	}
}

// afterStop answers those who come late.
func (m *Machine) afterStop(in Input) {
	switch in := in.(type) {
	case Queue:
		m.do(Queued{Err: ErrStopped})
	case Fetch:
		m.take()
		m.inbox.fetching = true
	case Unfetch:
		m.inbox.fetching = false
	case Take:
		m.take()
		m.do(Said{})
	case Return:
		m.giveBack()
	case Read, Typing, Signal, Watch:
		m.do(Said{Err: ErrStopped})
	case Close:
		m.do(Write{Sync: true})
	default:
		_ = in
	}
}

// Next is when Tick is wanted; zero for never.
func (m *Machine) Next() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	switch m.state {
	case resting:
		sooner(m.restUntil)
	case greeting, dialling:
		sooner(m.deadline)
	case online, leaving:
		if m.state == leaving {
			sooner(m.deadline)
		}
		sooner(m.silence())
		sooner(m.renewAt)
		sooner(m.inbox.ackAt)
		sooner(m.inbox.heldAt)
		sooner(m.session.watchAt)
		sooner(m.reads.next())
		sooner(m.sendable())
	}
	return next
}

// tick does what the time has come for.
func (m *Machine) tick() {
	switch m.state {
	case resting:
		if !m.now.Before(m.restUntil) {
			m.connect()
		}
	case dialling, greeting:
		if !m.now.Before(m.deadline) {
			m.drop("no welcome in time")
		}
	case leaving:
		if !m.now.Before(m.deadline) {
			m.drop("the server went away and did not close")
			return
		}
		m.tickOnline()
	case online:
		m.tickOnline()
	}
}

func (m *Machine) tickOnline() {
	if due(m.now, m.silence()) {
		m.silent()
		if m.state < online {
			return
		}
	}
	if due(m.now, m.inbox.heldAt) {
		m.lag()
	}
	if due(m.now, m.renewAt) {
		m.renew()
	}
	if due(m.now, m.inbox.ackAt) {
		m.ack()
	}
	if due(m.now, m.session.watchAt) {
		m.sayWatch()
	}
	m.keepReads()
}

func due(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// Status of the machine.
func (m *Machine) Status() Status {
	s := Status{Phase: m.phaseNow(), User: m.device.User, Device: m.device.Device, Node: m.node, Unsent: m.outbox.undecided, Limits: m.limits}
	if s.User == "" {
		s.User = m.cfg.User
	}
	if s.Phase != Online {
		s.Err = m.err
	}
	if s.Phase == Waiting {
		s.RetryAt = m.restUntil
	}
	return s
}

func (m *Machine) phaseNow() Phase {
	switch m.state {
	case resting:
		return Waiting
	case online, leaving:
		return Online
	case stopped:
		return Stopped
	default:
		return Connecting
	}
}

// become is the only way to another state.
func (m *Machine) become(s state) {
	m.state = s
	if p := m.phaseNow(); p != m.phase {
		m.phase = p
		m.ephemeralEvent(&Changed{Status: m.Status()})
	}
}

// stop for good. What waits in the inbox may still be fetched.
func (m *Machine) stop(why Why, err error) {
	if m.state == stopped {
		return
	}
	if m.state >= dialling {
		m.do(Hangup{Conn: m.conn, Orderly: why == Closed && m.state >= online, Reason: "closed"})
	}
	if why == StoreBroken { // nothing can be noted as taken any more
		m.inbox.clear()
		m.inbox.handed = nil
	}
	m.why, m.err = why, err
	m.become(stopped)
	m.release(fmt.Errorf("%w", ErrStopped))
	m.do(Stop{Why: why, Err: err})
}

// close writes down what was taken and says so.
func (m *Machine) close() {
	m.do(Write{Sync: true})
	if m.state == online || m.state == leaving {
		m.sayAck()
	}
	m.stop(Closed, nil)
	m.inbox.clear()
}
