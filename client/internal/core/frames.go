package core

import (
	"fmt"
	"time"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// frames takes one message's.
func (m *Machine) frames(list []*clientpb.ServerFrame) {
	m.heard()
	conn := m.conn
	for _, f := range list {
		if m.conn != conn || m.state == stopped {
			return // a frame before it ended the connection
		}
		m.frame(f)
	}
	m.flood()
}

func (m *Machine) frame(f *clientpb.ServerFrame) {
	switch b := f.GetBody().(type) {
	case *clientpb.ServerFrame_Welcome:
		m.welcome(b.Welcome)
	case *clientpb.ServerFrame_Sent:
		m.sent(b.Sent)
	case *clientpb.ServerFrame_Deliver:
		d := b.Deliver
		m.entry(d.GetSeq(), len(d.GetPayload()), idKey(d), d)
	case *clientpb.ServerFrame_Receipt:
		m.entry(b.Receipt.GetSeq(), 0, "", b.Receipt)
	case *clientpb.ServerFrame_DeviceEvent:
		m.entry(b.DeviceEvent.GetSeq(), 0, "", b.DeviceEvent)
	case *clientpb.ServerFrame_Presence:
		m.ephemeralEvent(b.Presence)
	case *clientpb.ServerFrame_Typing:
		m.ephemeralEvent(b.Typing)
	case *clientpb.ServerFrame_Signal:
		m.ephemeralEvent(b.Signal)
	case *clientpb.ServerFrame_Drained:
		m.drained(b.Drained)
	case *clientpb.ServerFrame_Error:
		m.refused(f.GetRef(), b.Error)
	case *clientpb.ServerFrame_GoAway:
		m.goAway(b.GoAway)
	default: // pong, and what a newer server says
	}
}

func (m *Machine) drained(d *clientpb.Drained) {
	m.session.drained = true
	if !m.inbox.lagging {
		m.ephemeralEvent(d)
	}
	m.keepReads()
}

// refused takes an error, by what it is about.
func (m *Machine) refused(ref uint32, e *clientpb.Error) {
	switch kind := ref % refKinds; {
	case e.GetId() != "":
		m.sendRefused(e)
	case kind == refHello:
		m.helloRefused(e)
	case kind == refRead:
		m.readRefused(ref, e)
	case kind == refWatch && e.GetRetryable():
		m.session.watchAt = m.now.Add(max(time.Duration(e.GetRetryAfterMs())*time.Millisecond, m.cfg.Backoff))
	default:
		name := refNames[kind]
		if name == "" {
			name = "frame"
		}
		m.do(Note{Text: "refused: " + name, Err: fmt.Errorf("%s %s: %s", e.GetCode(), e.GetReason(), e.GetMessage())})
		m.ephemeralEvent(&Refused{What: name, Refusal: e})
	}
}

// helloRefused: a store that is ahead of its server is the one thing that a
// client can mend. The server was set back, or is another one; the ids that
// were seen still keep a message from being shown again.
func (m *Machine) helloRefused(e *clientpb.Error) {
	err := fmt.Errorf("hello: %s %s: %s", e.GetCode(), e.GetReason(), e.GetMessage())
	if !e.GetRetryable() && e.GetCode() == "invalid_argument" && m.inbox.cursor > 0 {
		m.inbox.rewind(m)
	}
	m.do(Hangup{Conn: m.conn, Reason: "hello was refused"})
	m.lost(0, err)
}

// ephemeral sends what is not stored, if there is a connection to carry it.
func (m *Machine) ephemeral(f *clientpb.ClientFrame, kind uint32) {
	if m.state != online {
		m.do(Said{Err: ErrOffline})
		return
	}
	m.say(f, kind)
	m.do(Said{})
}

func (m *Machine) sayWatch() {
	m.session.watchAt = time.Time{}
	if m.state != online || m.watch == nil {
		return
	}
	m.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Watch{Watch: &clientpb.Watch{Users: m.watch}}}, refWatch)
}
