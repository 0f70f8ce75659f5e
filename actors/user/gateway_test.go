package user

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// conn is a connection as its gateway knows it: which session it is, what was
// written to it, and the chain of its sends to each user.
type conn struct {
	id      uint64
	user    string
	device  uint32
	session uint64
	closed  bool
	// replaces is the connection that the device had before, until this one is attached.
	replaces *conn

	resume  uint64 // where the stream was to begin
	written uint64 // last seq
	acked   uint64
	after   uint64 // highest time
	live    bool
	others  []uint32
	epoch   uint64 // of the last Devices, 0 once confirmed

	numbers uint64
	chains  map[string]*chain
	sends   map[uint32]*sent // in flight, by tag
}

type chain struct {
	last    uint64
	blocked string // the id that was refused retryably
}

type sent struct {
	to, id           string
	number, previous uint64
}

func (c *conn) name() string { return fmt.Sprintf("%s/%d", c.user, c.device) }

func (c *conn) origin() *nodepb.Origin {
	return &nodepb.Origin{Conn: c.id, User: c.user, Device: c.device, Session: c.session}
}

func (c *conn) chain(to string) *chain {
	if c.chains[to] == nil {
		c.chains[to] = &chain{}
	}
	return c.chains[to]
}

// attach opens a connection for a device.
func (w *world) attach(user string, device uint32, acked, after uint64) *conn {
	c := &conn{
		id: uint64(len(w.conns) + 1), user: user, device: device, resume: after,
		chains: map[string]*chain{}, sends: map[uint32]*sent{},
	}
	w.conns[c.id] = c
	c.replaces, w.current[c.name()] = w.current[c.name()], c
	w.step(user, &nodepb.Attach{Origin: c.origin(), Tag: 1, Acked: acked, After: after})
	return c
}

func (w *world) detach(c *conn) {
	c.closed = true
	if w.current[c.name()] == c {
		delete(w.current, c.name())
	}
	w.step(c.user, &nodepb.Detach{Origin: c.origin()})
}

// send stamps a message as transport/session does.
func (w *world) send(c *conn, m *nodepb.Send) {
	ch := c.chain(m.GetTo())
	c.numbers++
	if m.GetNumber() == 0 {
		m.Number, m.Previous = c.numbers, ch.last
	}
	c.numbers = max(c.numbers, m.GetNumber())
	ch.last = m.GetNumber()
	ch.blocked = ""
	if m.GetOrigin() == nil {
		m.Origin = c.origin()
	}
	m.Tag, m.After = uint32(c.numbers), c.after
	if m.Others == nil {
		m.Others = c.others
	}
	c.sends[m.GetTag()] = &sent{m.GetTo(), idName(m.GetId()), m.GetNumber(), m.GetPrevious()}
	w.step(m.GetTo(), m)
}

// settled takes an answer to a send into the chain, as transport/session does.
func (c *conn) settled(tag uint32, f *nodepb.Fault) *sent {
	p := c.sends[tag]
	delete(c.sends, tag)
	if p == nil || f == nil {
		return p
	}
	ch := c.chain(p.to)
	if !f.GetRetryable() {
		if ch.last == p.number {
			ch.last = p.previous
		}
		for _, q := range c.sends {
			if q.to == p.to && q.previous == p.number {
				q.previous = p.previous
			}
		}
		return p
	}
	if f.GetReason() != "out_of_order" && ch.blocked == "" {
		ch.blocked = p.id
	}
	ch.last = min(ch.last, p.previous)
	return p
}

// toConn is what a gateway, or with 0 the REST API, is told.
func (w *world) toConn(id uint64, m proto.Message) {
	if a, ok := m.(*nodepb.Answer); ok {
		w.trace("rest <- %s", traceMessage(m))
		w.answers[a.GetRequest()] = a
		return
	}
	if _, ok := m.(*nodepb.Woken); ok {
		w.trace("parked %d <- woken", id-parkedConn)
		return
	}
	c := w.conns[id]
	if c == nil {
		w.fail("said to no connection: %v", m)
		return
	}
	name := c.name()
	if w.current[name] != c {
		name += " (before)"
	}
	if c.closed {
		return
	}
	w.trace("%s <- %s", name, traceMessage(m))
	switch m := m.(type) {
	case *nodepb.Attached:
		w.attached(c, m)
	case *nodepb.Page:
		w.page(c, m)
	case *nodepb.Push:
		w.push(c, m)
	case *nodepb.Devices:
		c.others, c.epoch = m.GetOthers(), m.GetEpoch()
	case *nodepb.Kick:
		c.closed = true
		if w.current[c.name()] == c {
			delete(w.current, c.name())
		}
		w.todo = append(w.todo, func() { w.step(c.user, &nodepb.Detach{Origin: c.origin()}) })
	default:
		if w.onAnswer != nil {
			w.onAnswer(c, m)
		}
		switch m := m.(type) {
		case *nodepb.Sent:
			c.settled(m.GetTag(), nil)
		case *nodepb.Refused:
			if m.GetTag() != 0 {
				c.settled(m.GetTag(), m.GetFault())
			}
		}
	}
}

func (w *world) attached(c *conn, m *nodepb.Attached) {
	if m.GetError() != nil {
		c.closed = true
		delete(w.current, c.name())
		if c.replaces != nil && !c.replaces.closed {
			w.current[c.name()] = c.replaces
		}
		return
	}
	c.session, c.written, c.acked, c.others = m.GetSession(), max(c.resume, m.GetCursor()), m.GetCursor(), m.GetOthers()
	w.pull(c)
}

func (w *world) pull(c *conn) {
	c.live = false
	w.todo = append(w.todo, func() {
		w.step(c.user, &nodepb.Pull{Origin: c.origin(), After: c.written, MaxEntries: 3, MaxBytes: 1 << 20})
	})
}

func (w *world) page(c *conn, m *nodepb.Page) {
	if m.GetSession() != c.session || c.live || m.GetAfter() != c.written {
		return
	}
	for _, e := range m.GetEntries() {
		w.entry(c, e)
	}
	if m.GetEnd() {
		c.live = true
		return
	}
	w.pull(c)
}

func (w *world) push(c *conn, m *nodepb.Push) {
	switch {
	case m.GetSession() != c.session || !c.live || m.GetEntry().GetSeq() <= c.written:
	case m.GetPrevious() != c.written:
		w.pull(c)
	default:
		w.entry(c, m.GetEntry())
	}
}

func (w *world) entry(c *conn, e *storepb.Entry) {
	if e.GetSeq() <= c.written {
		w.fail("%s was given seq %d after %d", c.name(), e.GetSeq(), c.written)
	}
	if e.GetSkip() == c.device {
		w.fail("%s was given seq %d, which it sent", c.name(), e.GetSeq())
	}
	c.written = e.GetSeq()
	c.after = max(c.after, e.GetMessage().GetTime())
	if w.onEntry != nil {
		w.onEntry(c, e)
	}
}

func (w *world) ack(c *conn, seq uint64) {
	c.acked = max(c.acked, seq)
	w.step(c.user, &nodepb.Ack{Origin: c.origin(), Seq: seq})
}

// ask puts a question of the REST API; the answer comes with the batch.
func (w *world) ask(a *nodepb.Ask) uint64 {
	w.requests++
	a.Request = w.requests
	w.step(a.GetUser(), a)
	return w.requests
}
