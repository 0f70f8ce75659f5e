package core

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// Close codes of docs/protocol.md that are not all the same to a client.
const (
	codeGoingAway       = 1001
	codeRestart         = 1012
	codeUnavailable     = 1013
	codeMalformed       = 4100
	codeUnauthenticated = 4101
	codeDisplaced       = 4102
	codeUnlinked        = 4103
)

// What a frame was, in the low bits of its ref: an error says no more.
const (
	refHello uint32 = iota + 1
	refSend
	refAck
	refRead
	refTyping
	refWatch
	refSignal
	refPing
	refKinds = 16
)

var refNames = [refKinds]string{refHello: "hello", refSend: "send", refAck: "ack", refRead: "read", refTyping: "typing", refWatch: "watch", refSignal: "signal", refPing: "ping"}

// NeedsLogin says that there is no device yet, and a password to link one.
func (m *Machine) NeedsLogin() bool { return m.means() == ByLogin }

// Bearer is the token in force; empty where none is known.
func (m *Machine) Bearer() string { return m.device.Token }

// connect takes the next step towards a connection.
func (m *Machine) connect() {
	switch means := m.means(); {
	case means != 0:
		m.ask(means)
		m.become(asking)
	case m.device.Token == "":
		m.stop(Unauthenticated, errors.New("there is neither a token nor a password"))
	default:
		m.dial()
	}
}

// means says how to get the token that is missing, if one is.
func (m *Machine) means() Means {
	switch {
	case m.device.Token != "":
		return 0 // also when it seems to have run out: the server's clock decides, by 4101
	case m.cfg.HasSource:
		return BySource
	case m.cfg.HasPassword && m.device.Device == 0:
		return ByLogin
	case m.cfg.HasPassword:
		return ByPassword
	default:
		return 0
	}
}

func (m *Machine) ask(means Means) {
	m.asked = means
	m.do(Ask{Means: means, Device: m.device.Device, Token: m.device.Token})
}

// token takes a token up, for the next connection.
func (m *Machine) token(in Token) {
	fresh := in.Device != 0 && in.Device != m.device.Device
	if fresh {
		m.forgetPlace()
	}
	if in.Device == 0 {
		in.User, in.Device = m.device.User, m.device.Device
	}
	m.device = device{User: in.User, Device: in.Device, Token: in.Token, Issued: m.now}
	if in.Life > 0 {
		m.device.Expires = m.now.Add(in.Life)
	}
	m.askedQuiet = false
	m.planRenewal()
	if !m.cfg.HasSource {
		m.write(true, m.device.record())
	}
	if m.state == asking {
		m.dial()
	}
}

// noToken rests, or stops where nobody will ever give one.
func (m *Machine) noToken(in NoToken) {
	if in.Means == ByToken {
		m.askedQuiet = false
		m.renewAt = time.Time{}
		if in.Gone {
			m.unlinked(in.Err)
		} else if !in.Refused {
			m.renewAt = m.now.Add(max(in.After, renewPause, m.device.Expires.Sub(m.now)/8))
		}
		return
	}
	if m.state != asking {
		return
	}
	switch {
	case in.Gone:
		m.unlinked(in.Err)
	case in.Refused:
		m.stop(Unauthenticated, in.Err)
	default:
		m.err = in.Err
		m.rest(max(in.After, m.backoff()))
	}
}

// planRenewal puts renewal somewhere between 70% and 90% of a token's life, so
// that devices linked together do not come back together.
func (m *Machine) planRenewal() {
	m.renewAt = time.Time{}
	d := m.device
	if m.cfg.HasSource || d.Token == "" || d.Expires.IsZero() {
		return
	}
	life := d.Expires.Sub(d.Issued)
	m.renewAt = d.Issued.Add(time.Duration(float64(life) * (0.7 + 0.2*m.roll)))
	if soonest := m.now.Add(renewPause); m.renewAt.Before(soonest) {
		m.renewAt = soonest // whatever the clocks say
	}
}

// renew by the token that is still good, beside the connection.
func (m *Machine) renew() {
	m.renewAt = time.Time{}
	if !m.askedQuiet {
		m.askedQuiet = true
		m.ask(ByToken)
	}
}

func (m *Machine) dial() {
	m.conn++
	m.used = m.device.Token
	m.deadline = m.now.Add(greetLimit)
	m.session = session{}
	alternate := ""
	if len(m.alternates) > 0 {
		alternate, m.alternates = m.alternates[0], m.alternates[1:]
	}
	m.places.at = alternate
	m.do(Dial{Conn: m.conn, Alternate: alternate})
	m.become(dialling)
}

func (m *Machine) hello() {
	m.write(true)
	m.session.delivered = m.inbox.cursor
	m.session.acked = m.inbox.cursor
	hello := &clientpb.Hello{Token: m.used, Client: m.cfg.ClientName, Acked: m.inbox.cursor}
	if m.cfg.Heartbeat > 0 {
		hello.Heartbeat = durationpb.New(m.cfg.Heartbeat)
	}
	m.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Hello{Hello: hello}}, refHello)
	m.state = greeting
}

// say sends a frame and returns its ref.
func (m *Machine) say(f *clientpb.ClientFrame, kind uint32) uint32 {
	m.session.ref++
	f.Ref = m.session.ref*refKinds + kind
	m.do(Say{Conn: m.conn, Frame: f})
	return f.Ref
}

func (m *Machine) welcome(w *clientpb.Welcome) {
	if m.state != greeting {
		return
	}
	s := &m.session
	s.since, s.heard, s.filled = m.now, m.now, m.now
	s.heartbeat = w.GetHeartbeat().AsDuration()
	s.bucket = float64(w.GetLimits().GetSends().GetBurst())
	s.reads = map[uint32]string{}
	m.limits, m.node = w.GetLimits(), w.GetNode()
	if m.device.User != w.GetUser() || m.device.Device != w.GetDevice() {
		m.known(w.GetUser(), w.GetDevice())
	}
	m.refusals, m.err = 0, nil
	m.awayUntil, m.alternates = time.Time{}, nil
	m.become(online)
	m.look()
	m.sayWatch()
	m.outbox.ready(m.now)
}

// known: a token from outside did not say which device it is for.
func (m *Machine) known(user string, number uint32) {
	if m.device.Device != 0 {
		m.forgetPlace()
	}
	m.device.User, m.device.Device = user, number
	d := m.device
	if m.cfg.HasSource {
		d.Token, d.Expires, d.Issued = "", time.Time{}, time.Time{}
	}
	m.write(true, d.record())
}

func (m *Machine) heard() {
	m.session.heard, m.session.pinged, m.session.probe = m.now, false, time.Time{}
}

// awake: the network may be another one. Connect now, or see at once whether
// the connection is still there, which silence would tell much later.
func (m *Machine) awake() {
	switch {
	case m.state == resting:
		m.connect()
	case m.state == online && m.session.probe.IsZero() && !m.inbox.held:
		m.session.pinged, m.session.probe = true, m.now.Add(probeLimit)
		m.sayPing()
	}
}

func (m *Machine) sayPing() {
	m.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Ping{Ping: &clientpb.Ping{}}}, refPing)
}

// silence is when something must be done about a server that says nothing.
func (m *Machine) silence() time.Time {
	s := &m.session
	switch {
	case s.heartbeat <= 0 || m.inbox.held:
		return time.Time{}
	case !s.pinged:
		return s.heard.Add(s.heartbeat + s.heartbeat/4)
	case !s.probe.IsZero():
		return s.probe
	default:
		return s.heard.Add(silentAfter * s.heartbeat)
	}
}

func (m *Machine) silent() {
	if !m.session.pinged {
		m.session.pinged = true
		m.sayPing()
		return
	}
	m.drop("the server was silent")
}

// drop ends a connection that is of no use, and does not wait for its end.
func (m *Machine) drop(why string) {
	m.do(Hangup{Conn: m.conn, Reason: why})
	m.lost(0, errors.New(why))
}

// goAway: say nothing new, and come back when told.
func (m *Machine) goAway(g *clientpb.GoAway) {
	if m.state != online {
		return
	}
	m.awayUntil = m.now.Add(time.Duration(g.GetReconnectAfterMs()) * time.Millisecond)
	m.alternates = g.GetAlternates()
	m.deadline = m.now.Add(leaveLimit)
	m.err = fmt.Errorf("the server goes away: %s", g.GetReason())
	m.become(leaving)
}

// lost decides what follows the end of a connection.
func (m *Machine) lost(code int, err error) {
	lived := !m.session.since.IsZero()
	if code == codeDisplaced && m.now.Before(m.ghostUntil) {
		// A hello of this client's own, on a connection that it had given up,
		// may have come only now, and counts as the newer one. Try once more.
		m.ghostUntil, code = time.Time{}, 0
	}
	calm := lived && m.now.Sub(m.session.since) >= calmAfter
	m.disconnected()
	m.err = err
	if calm || lived && code != codeUnavailable {
		m.attempts = 0
	}
	switch {
	case code == codeDisplaced:
		m.state = resting
		m.stop(Displaced, err)
	case code == codeUnlinked:
		m.state = resting
		m.unlinked(err)
	case code == codeUnauthenticated:
		m.unauthenticated(err)
	case code >= codeMalformed && code < codeMalformed+100: // or a newer one: 41xx is for good
		m.state = resting
		m.stop(Malformed, err)
	default:
		m.elsewhere(code, lived)
		m.rest(m.pause(code))
	}
}

// disconnected forgets what ended with the connection.
func (m *Machine) disconnected() {
	if m.state == greeting {
		m.ghostUntil = m.now.Add(ghostLife)
	}
	m.inbox.unhold()
	m.inbox.lagging = false // the next connection begins at the cursor
	m.outbox.unanswered()
	m.reads.unsaid(m)
	m.session = session{}
	m.conn++ // what this one still says is not heard
}

// pause is the time until the next attempt.
func (m *Machine) pause(code int) time.Duration {
	wait := m.backoff()
	if code == codeGoingAway || code == codeRestart || code == 0 || !m.awayUntil.IsZero() {
		if left := m.awayUntil.Sub(m.now); left > 0 {
			return left
		}
	}
	return wait
}

// backoff with full jitter: doubling bounds the wait, chance chooses it.
func (m *Machine) backoff() time.Duration {
	bound := m.cfg.MaxBackoff
	if m.attempts < 30 {
		bound = min(bound, m.cfg.Backoff<<m.attempts)
	}
	m.attempts++
	return time.Duration(float64(bound) * m.roll)
}

func (m *Machine) rest(d time.Duration) {
	m.restUntil = m.now.Add(d)
	m.become(resting)
	m.do(Note{Text: "not connected", Err: m.err, Wait: d})
}

// unauthenticated: with another token at once; else with a new one.
func (m *Machine) unauthenticated(err error) {
	m.err = err
	m.refusals++
	m.state = asking
	switch {
	case m.refusals > tokenTries:
		m.stop(Unauthenticated, err)
	case m.device.Token != m.used:
		m.dial() // a fresh one came while the old one was in use
	case m.cfg.HasSource || m.cfg.HasPassword:
		m.device.Token = ""
		m.rest(m.retoken())
	default:
		m.stop(Unauthenticated, err)
	}
}

// retoken: the first refusal is the end of a token's life and wants no wait.
func (m *Machine) retoken() time.Duration {
	if m.refusals == 1 {
		return 0
	}
	return m.backoff()
}

// unlinked forgets the device, so that opening the store again links a new one.
func (m *Machine) unlinked(err error) {
	m.forgetPlace()
	m.device = device{User: m.device.User}
	m.write(true, m.device.record())
	m.stop(Unlinked, err)
}

// forgetPlace: another device has another place in the mailbox.
func (m *Machine) forgetPlace() {
	m.inbox.forget(m)
	m.reads.forget(m)
}
