package core

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// entry is a message from Queue until its fate is known and taken.
type entry struct {
	pos     uint64 // place among all that were queued; its key in the store
	send    *clientpb.Send
	size    int
	call    uint64 // who waits for its fate; 0: an event tells
	flying  bool   // sent on this connection, not answered
	settled bool   // its fate waits to be taken
}

// lane is the undecided messages of one conversation, in order.
type lane struct {
	key    string
	list   []*entry
	flying int
	held   bool      // a retryable error: all answers first, then from the beginning
	resume time.Time // and not before
	tries  int
	queued bool // in outbox.turn
}

// outbox is every message without a fate, or with one that was not taken.
type outbox struct {
	next      uint64
	byID      map[string]*entry
	settled   map[uint64]string // pos -> id
	lanes     map[string]*lane
	turn      []*lane // those that may have something to send, each once
	waiting   []*lane // those that are held
	undecided int
	loose     int // fates that were written and not synced
	flying    int
}

func laneKey(c *clientpb.Conversation) string {
	if g := c.GetGroup(); g != "" {
		return "g:" + g
	}
	return "u:" + c.GetUser()
}

// queue puts a message into the outbox, and on disk first.
func (m *Machine) queue(in Queue) {
	o := &m.outbox
	switch {
	case o.byID[in.Send.GetId()] != nil:
		m.do(Queued{ID: in.Send.GetId(), Err: ErrTwice})
		return
	case o.undecided >= m.cfg.QueueLimit:
		m.do(Queued{ID: in.Send.GetId(), Err: ErrFull})
		return
	case len(o.byID) >= 2*m.cfg.QueueLimit:
		m.do(Queued{ID: in.Send.GetId(), Err: ErrUnread})
		return
	}
	if e := m.tooLarge(in.Send); e != nil { // better now than later
		m.do(Queued{ID: in.Send.GetId(), Err: &Refusal{Answer: e}})
		return
	}
	o.next++
	e := &entry{pos: o.next, send: in.Send, size: proto.Size(in.Send), call: in.Call}
	value, err := pendingValue(in.Send, nil)
	if err != nil {
		m.do(Queued{ID: in.Send.GetId(), Err: err})
		return
	}
	m.write(true, Record{Key: outKey(e.pos), Value: value})
	o.add(e)
	m.do(Queued{ID: in.Send.GetId()})
}

func (o *outbox) add(e *entry) {
	o.byID[e.send.GetId()] = e
	key := laneKey(e.send.GetTo())
	l := o.lanes[key]
	if l == nil {
		l = &lane{key: key}
		o.lanes[key] = l
	}
	l.list = append(l.list, e)
	o.undecided++
	o.enqueue(l)
}

func (o *outbox) enqueue(l *lane) {
	if !l.queued {
		l.queued = true
		o.turn = append(o.turn, l)
	}
}

// tooLarge says by the server's limits that a message never will go through.
// While they are not known it lets everything pass; they are when it is sent.
// It matters: one above limits.message would be cut off with 4100, and take
// the client with it.
func (m *Machine) tooLarge(s *clientpb.Send) *clientpb.Error {
	var parts int
	for _, p := range s.GetPayloads() {
		parts += len(p.GetPayload())
	}
	payload, all, message := int(m.limits.GetPayload()), int(m.limits.GetDevicePayloads()), int(m.limits.GetMessage())
	var text string
	switch {
	case payload > 0 && len(s.GetPayload()) > payload:
		text = "send.payload: larger than the server takes"
	case all > 0 && parts > all:
		text = "send.payloads: together larger than the server takes"
	case message > 0 && jsonSize(s, parts) > message:
		text = "send: larger than a message may be"
	default:
		return nil
	}
	no := false
	return &clientpb.Error{Id: s.GetId(), Code: "payload_too_large", Message: text, Retryable: &no}
}

// jsonSize bounds the size of a send in the larger encoding.
func jsonSize(s *clientpb.Send, parts int) int {
	bytes := len(s.GetPayload()) + parts
	return (proto.Size(s)-bytes)*2 + 64*(len(s.GetPayloads())+1) + bytes*4/3 + 512
}

// pump sends what may be sent: one message of each lane in turn.
func (m *Machine) pump() {
	o := &m.outbox
	if m.state != online {
		return
	}
	m.refill()
	o.resume(m.now)
	for len(o.turn) > 0 {
		if lim := int(m.limits.GetInFlight()); lim > 0 && o.flying >= lim || m.session.bucket < 1 {
			return
		}
		l := o.turn[0]
		o.turn = o.turn[1:]
		l.queued = false
		switch e := m.first(l); {
		case e != nil:
			m.fly(l, e)
			o.enqueue(l)
		case len(l.list) == 0:
			delete(o.lanes, l.key)
		}
	}
}

// resume puts the lanes in turn that were held and are not any longer.
func (o *outbox) resume(now time.Time) {
	still := o.waiting[:0]
	for _, l := range o.waiting {
		switch {
		case !l.held:
		case l.flying > 0 || now.Before(l.resume):
			still = append(still, l)
		default:
			l.held = false
			o.enqueue(l)
		}
	}
	o.waiting = still
}

// first is the message of a lane that goes out now, if one does.
func (m *Machine) first(l *lane) *entry {
	lim := window
	if theirs := int(m.limits.GetInFlightPerConversation()); theirs > 0 {
		lim = min(lim, theirs)
	}
	if l.held || l.flying >= lim || l.flying >= len(l.list) {
		return nil
	}
	return l.list[l.flying] // what flies comes first
}

// fly sends a message. The server remembers 64 ids of a device and
// conversation, so no more than that may ever be sent again: what flies, and
// those whose fate a power cut would make this device forget.
func (m *Machine) fly(l *lane, e *entry) {
	if refusal := m.tooLarge(e.send); refusal != nil {
		m.settle(e, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Error{Error: refusal}})
		return
	}
	e.flying = true
	l.flying++
	m.outbox.flying++
	m.session.bucket--
	m.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Send{Send: e.send}}, refSend)
}

// refill the bucket that keeps this client below the server's rate.
func (m *Machine) refill() {
	s := &m.session
	r := m.limits.GetSends()
	if r.GetPerSecond() <= 0 {
		s.bucket = 1 << 20
		return
	}
	s.bucket = min(float64(r.GetBurst()), s.bucket+r.GetPerSecond()*m.now.Sub(s.filled).Seconds())
	s.filled = m.now
}

// sendable is when a lane that waits may go on.
func (m *Machine) sendable() time.Time {
	var next time.Time
	if m.state != online {
		return next
	}
	for _, l := range m.outbox.waiting {
		if l.held && l.flying == 0 && (next.IsZero() || l.resume.Before(next)) {
			next = l.resume
		}
	}
	if len(m.outbox.turn) > 0 && m.session.bucket < 1 {
		rate := m.limits.GetSends().GetPerSecond()
		at := m.now.Add(time.Duration((1-m.session.bucket)/rate*float64(time.Second)) + time.Millisecond)
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// ready begins every lane anew on a new connection.
func (o *outbox) ready(now time.Time) {
	lanes := slices.SortedFunc(maps.Values(o.lanes), func(a, b *lane) int { return cmp.Compare(a.oldest(), b.oldest()) })
	for _, l := range lanes {
		l.held, l.resume = false, now
		o.enqueue(l)
	}
}

func (l *lane) oldest() uint64 {
	if len(l.list) == 0 {
		return 0
	}
	return l.list[0].pos
}

// unanswered: the connection ended, so whatever flew is sent again.
func (o *outbox) unanswered() {
	for _, l := range o.lanes {
		for _, e := range l.list {
			e.flying = false
		}
		l.flying, l.held = 0, false
	}
	o.flying, o.waiting = 0, nil
}

func (m *Machine) sent(s *clientpb.Sent) {
	e := m.outbox.byID[s.GetId()]
	if e == nil || e.settled {
		return
	}
	m.settle(e, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Sent{Sent: s}})
}

// sendRefused: for good, or until its lane is empty of answers and some time
// has passed.
func (m *Machine) sendRefused(x *clientpb.Error) {
	e := m.outbox.byID[x.GetId()]
	if e == nil || e.settled {
		return
	}
	if !x.GetRetryable() {
		m.settle(e, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Error{Error: x}})
		return
	}
	l := m.outbox.lanes[laneKey(e.send.GetTo())]
	if !e.flying {
		return
	}
	e.flying = false
	l.flying--
	m.outbox.flying--
	m.outbox.enqueue(l)
	if x.GetReason() == "out_of_order" && l.held {
		return // it follows from the one before
	}
	if !l.held {
		l.held = true
		m.outbox.waiting = append(m.outbox.waiting, l)
	}
	wait := time.Duration(x.GetRetryAfterMs()) * time.Millisecond
	if wait == 0 || x.GetCode() != "rate_limited" {
		bound := min(m.cfg.MaxBackoff, m.cfg.Backoff<<min(l.tries, 20))
		wait = max(wait, time.Duration(float64(bound)*(0.5+0.5*m.roll)))
		l.tries++
	}
	if at := m.now.Add(wait); at.After(l.resume) {
		l.resume = at
	}
	m.ephemeralEvent(&Delay{ID: x.GetId(), To: e.send.GetTo(), Refusal: x, Until: l.resume})
}

// settle takes a message out of its lane, with its fate.
func (m *Machine) settle(e *entry, fate *clientpb.ServerFrame) {
	o := &m.outbox
	l := o.lanes[laneKey(e.send.GetTo())]
	for i, other := range l.list {
		if other == e {
			l.list = append(l.list[:i], l.list[i+1:]...)
			break
		}
	}
	if e.flying {
		e.flying = false
		l.flying--
		o.flying--
	}
	o.undecided--
	if fate.GetSent() != nil {
		l.tries = 0
	}
	o.enqueue(l)
	m.tell(e, fate)
}

// tell the fate to who waits for it; else it is kept until its event is taken.
func (m *Machine) tell(e *entry, frame *clientpb.ServerFrame) {
	m.outbox.loose++
	sync := m.outbox.loose >= window && !mutantNoWindow
	fate := Fate{ID: e.send.GetId(), To: e.send.GetTo(), Sent: frame.GetSent(), Refusal: frame.GetError()}
	if e.call != 0 {
		delete(m.outbox.byID, fate.ID)
		m.write(sync, Record{Key: outKey(e.pos)})
		m.do(Answer{Call: e.call, Fate: fate})
		return
	}
	bare := &clientpb.Send{Id: fate.ID, To: fate.To}
	e.send, e.settled = bare, true
	if value, err := pendingValue(bare, frame); err == nil {
		m.write(sync, Record{Key: outKey(e.pos), Value: value})
	}
	m.settledEvent(e, fate)
}

func (m *Machine) settledEvent(e *entry, fate Fate) {
	m.outbox.byID[fate.ID] = e
	if m.outbox.settled == nil {
		m.outbox.settled = map[uint64]string{}
	}
	m.outbox.settled[e.pos] = fate.ID
	m.inbox.items = append(m.inbox.items, item{event: &fate, pos: e.pos})
}

// settledTaken: the application knows the fate; so nothing is left to keep.
func (o *outbox) settledTaken(m *Machine, pos uint64) {
	delete(o.byID, o.settled[pos])
	delete(o.settled, pos)
	m.write(false, Record{Key: outKey(pos)})
}

// abandon: nobody waits any longer; an event will tell.
func (m *Machine) abandon(call uint64) {
	for _, e := range m.outbox.byID {
		if e.call == call {
			e.call = 0
		}
	}
	m.do(Said{})
}

// release answers everybody who waits, when the machine stops.
func (m *Machine) release(err error) {
	for id, e := range m.outbox.byID {
		if e.call != 0 {
			m.do(Answer{Call: e.call, Fate: Fate{ID: id, To: e.send.GetTo(), Err: err}})
			e.call = 0
		}
	}
}

// Unsent are the messages without a fate, in the order they were queued.
func (m *Machine) Unsent() []*clientpb.Send {
	var list []*entry
	for _, e := range m.outbox.byID {
		if !e.settled {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int { return cmp.Compare(a.pos, b.pos) })
	sends := make([]*clientpb.Send, len(list))
	for i, e := range list {
		sends[i] = e.send
	}
	return sends
}
