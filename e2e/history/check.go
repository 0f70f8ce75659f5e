package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Hear takes the events that follow those heard before, and returns every
// promise that is broken by now, whatever may still follow.
func (j *Judge) Hear(events []Event) []error {
	for _, e := range events {
		j.hear(e)
		j.at++
	}
	return slices.Clone(j.faults)
}

// Rest returns the promises broken, and what is missing now that everything has
// come to rest: every outbox empty, every device connected and drained,
// everything acked and read, every receipt awaited. More may be heard after it.
func (j *Judge) Rest() []error {
	broken := len(j.faults)
	j.complete()
	all := slices.Clone(j.faults)
	j.faults = j.faults[:broken]
	return all
}

// direction is what one user sends another.
type direction struct{ from, to string }

// message is what is known of one id.
type message struct {
	id          string
	by          Device
	to, payload string
	position    int // among all first attempts of all devices
	attempts    int
	refusals    int
	over        bool   // refused for good
	known, sent bool   // known: order and time are, from a sent or a delivery
	before      bool   // known before the newest attempt
	order, time uint64 // as first seen
	after       uint64 // highest time delivered to the sending device before the first attempt
	seqs        map[string]uint64
	acked       map[string]bool // users of whom a device acked it
	delivered   map[Device]Delivered
	stored      map[string]int // users in whose mailbox it is known to be, and since which event
}

// mark is the state of one device.
type mark struct {
	conn     int
	began    int    // the event this connection began with
	floor    uint64 // where this connection began: hello.acked, or the like
	durable  uint64 // an ack up to there was answered
	last     uint64 // highest seq on this connection
	first    uint64 // highest seq delivered for the first time
	seen     map[uint64]*message
	unacked  []*message // delivered, not acked yet
	waiting  []*message // stored for this device, not acked yet
	time     uint64     // highest time delivered
	order    map[direction]uint64
	receipts map[string]Receipt
}

// lane is what one device sends one user.
type lane struct {
	by Device
	to string
}

// Judge hears what devices do and learn, and says which promises are broken.
type Judge struct {
	devices  []Device
	at       int
	faults   []error
	messages map[string]*message
	inOrder  []*message          // by first attempt
	lanes    map[lane][]*message // likewise, those that are known
	marks    map[Device]*mark
	seqs     map[string]map[uint64]string // user -> seq -> id
	byOrder  map[direction]map[uint64]*message
	read     map[Device]map[string]uint64 // device -> peer -> order
}

// NewJudge is one for all devices of all users, linked before the first event.
func NewJudge(devices []Device) *Judge {
	j := &Judge{
		devices:  devices,
		messages: map[string]*message{},
		lanes:    map[lane][]*message{},
		marks:    map[Device]*mark{},
		seqs:     map[string]map[uint64]string{},
		byOrder:  map[direction]map[uint64]*message{},
		read:     map[Device]map[string]uint64{},
	}
	for _, d := range devices {
		j.marks[d] = &mark{seen: map[uint64]*message{}, order: map[direction]uint64{}, receipts: map[string]Receipt{}}
		j.read[d] = map[string]uint64{}
		j.seqs[d.User] = map[uint64]string{}
	}
	return j
}

func (j *Judge) hear(e Event) {
	switch e := e.(type) {
	case Connecting:
		j.begin(e.Device, e.Conn, e.Acked)
		j.acking(e.Device, e.Acked)
	case Resuming:
		j.begin(e.Device, e.Conn, max(e.After, j.marks[e.Device].durable))
	case Drained:
		j.drained(e)
	case Sending:
		j.sending(e)
	case Sent:
		j.sent(e)
	case Refused:
		j.message(e.ID).refusals++
		j.message(e.ID).over = !e.Retryable
	case Delivered:
		j.delivered(e)
	case Acking:
		j.acking(e.Device, e.Seq)
	case Acked:
		j.marks[e.Device].durable = max(j.marks[e.Device].durable, e.Seq)
	case Reading:
		j.reading(e)
	case Receipt:
		j.receipt(e)
	}
}

func (j *Judge) fault(format string, args ...any) {
	j.faults = append(j.faults, fmt.Errorf("event %d: %s", j.at, fmt.Sprintf(format, args...)))
}

func (j *Judge) message(id string) *message {
	m := j.messages[id]
	if m == nil {
		m = &message{id: id, seqs: map[string]uint64{}, acked: map[string]bool{}, delivered: map[Device]Delivered{}, stored: map[string]int{}}
		j.messages[id] = m
	}
	return m
}

func (j *Judge) begin(d Device, conn int, floor uint64) {
	m := j.marks[d]
	m.conn, m.began, m.floor, m.last = conn, j.at, floor, floor
}

// store: the message is known to be in the user's mailbox.
func (j *Judge) store(m *message, user string) {
	if _, ok := m.stored[user]; ok {
		return
	}
	m.stored[user] = j.at
	for _, d := range j.devices {
		if d.User == user && d != m.by {
			j.marks[d].waiting = append(j.marks[d].waiting, m)
		}
	}
}

// drained: the device has been sent, on this connection, all that was stored for
// it when the connection began.
func (j *Judge) drained(e Drained) {
	mk := j.marks[e.Device]
	if e.Conn != mk.conn {
		j.fault("%s: drained on connection %d while %d is the newest", e.Device, e.Conn, mk.conn)
	}
	for _, m := range mk.waiting {
		if m.stored[e.Device.User] >= mk.began || m.delivered[e.Device].Conn == mk.conn {
			continue
		}
		if seq, ok := m.seqs[e.Device.User]; !ok || seq > mk.floor {
			j.fault("%s: drained without %s from %s, order %d, which was stored before and never acked", e.Device, m.id, m.by, m.order)
		}
	}
}

func (j *Judge) sending(e Sending) {
	m := j.message(e.ID)
	if m.attempts == 0 {
		m.by, m.to, m.payload = e.Device, e.To, e.Payload
		m.position, m.after = len(j.inOrder), j.marks[e.Device].time
		j.inOrder = append(j.inOrder, m)
	}
	m.attempts++
	m.before = m.known
}

// settle compares an order and time with what was said of the id before.
func (j *Judge) settle(m *message, order, time uint64) {
	if !m.known {
		m.known, m.order, m.time = true, order, time
		dir := direction{m.by.User, m.to}
		if j.byOrder[dir] == nil {
			j.byOrder[dir] = map[uint64]*message{}
		}
		if other := j.byOrder[dir][order]; other != nil {
			j.fault("order %d from %s to %s given to %s and to %s", order, m.by.User, m.to, other.id, m.id)
		}
		j.byOrder[dir][order] = m
		if time <= m.after {
			j.fault("%s has time %d, not later than %d, which its sender had been delivered before", m.id, time, m.after)
		}
		j.inLane(m)
		j.inTime(dir, m)
		return
	}
	if order != m.order || time != m.time {
		j.fault("%s has order %d and time %d, before it had %d and %d", m.id, order, time, m.order, m.time)
	}
}

func (j *Judge) sent(e Sent) {
	m := j.message(e.ID)
	if m.attempts == 0 {
		j.fault("sent for %s, which nobody sent", e.ID)
		return
	}
	switch {
	case m.sent && !e.Duplicate:
		j.fault("%s was accepted again: a second sent that is not a duplicate", e.ID)
	case m.before && !e.Duplicate:
		j.fault("%s was accepted again: it had been delivered before this attempt, and its sent is not a duplicate", e.ID)
	case e.Duplicate && m.attempts == 1:
		j.fault("%s is said to be a duplicate at its first attempt", e.ID)
	}
	if e.To != m.to {
		j.fault("sent for %s names conversation %s, it was sent to %s", e.ID, e.To, m.to)
	}
	j.settle(m, e.Order, e.Time)
	m.sent = true
	j.store(m, m.to)
}

func (j *Judge) delivered(e Delivered) {
	mk := j.marks[e.Device]
	j.advance(e.Device, e.Conn, e.Seq, "deliver")
	m := j.messages[e.ID]
	if m == nil || m.attempts == 0 {
		j.fault("%s got %s, which nobody sent", e.Device, e.ID)
		return
	}
	j.consistent(m, e)
	j.settle(m, e.Order, e.Time)
	if before, again := m.delivered[e.Device]; again {
		before.Conn = e.Conn
		if before != e {
			j.fault("%s got %s again, and different: %+v, then %+v", e.Device, e.ID, before, e)
		}
	} else {
		j.firstDelivery(mk, m, e)
	}
	m.delivered[e.Device] = e
	mk.time = max(mk.time, e.Time)
	if e.Seq > mk.floor {
		mk.unacked = append(mk.unacked, m)
	}
}

// advance checks a seq against what this connection had before.
func (j *Judge) advance(d Device, conn int, seq uint64, what string) {
	mk := j.marks[d]
	switch {
	case conn != mk.conn:
		j.fault("%s: %s on connection %d while %d is the newest", d, what, conn, mk.conn)
	case seq == 0:
		j.fault("%s: %s without a seq", d, what)
	case seq <= mk.floor:
		j.fault("%s: %s has seq %d again, it was to begin after %d", d, what, seq, mk.floor)
	case seq <= mk.last:
		j.fault("%s: %s has seq %d after %d on the same connection", d, what, seq, mk.last)
	}
	mk.last = max(mk.last, seq)
}

// consistent compares a delivery with the send.
func (j *Judge) consistent(m *message, e Delivered) {
	peer := m.by.User
	if e.Device.User == m.by.User {
		peer = m.to
	}
	switch {
	case e.From != m.by:
		j.fault("%s got %s from %s, it was sent by %s", e.Device, m.id, e.From, m.by)
	case e.Device == m.by:
		j.fault("%s got its own %s", e.Device, m.id)
	case e.Device.User != m.to && e.Device.User != m.by.User:
		j.fault("%s got %s, which is for %s", e.Device, m.id, m.to)
	case e.Peer != peer:
		j.fault("%s got %s in conversation %s, not %s", e.Device, m.id, e.Peer, peer)
	case e.Payload != m.payload:
		j.fault("%s got %s with another payload", e.Device, m.id)
	case m.refusals >= m.attempts:
		j.fault("%s got %s, of which every attempt was refused", e.Device, m.id)
	}
}

func (j *Judge) firstDelivery(mk *mark, m *message, e Delivered) {
	if e.Seq <= mk.first {
		j.fault("%s got %s with seq %d for the first time, after seq %d", e.Device, m.id, e.Seq, mk.first)
	}
	mk.first = max(mk.first, e.Seq)
	mk.seen[e.Seq] = m
	user := e.Device.User
	if before, ok := m.seqs[user]; ok && before != e.Seq {
		j.fault("%s has seq %d on %s, %d on another device of %s", m.id, e.Seq, e.Device, before, user)
	}
	m.seqs[user] = e.Seq
	j.store(m, user)
	if before, ok := j.seqs[user][e.Seq]; ok && before != m.id {
		j.fault("seq %d of %s is %s and %s", e.Seq, user, before, m.id)
	}
	j.seqs[user][e.Seq] = m.id
	dir := direction{m.by.User, m.to}
	if e.Order <= mk.order[dir] {
		j.fault("%s got order %d from %s to %s after order %d", e.Device, e.Order, dir.from, dir.to, mk.order[dir])
	}
	if user == m.to && e.Order != mk.order[dir]+1 {
		j.fault("%s got order %d from %s right after %d: a gap", e.Device, e.Order, dir.from, mk.order[dir])
	}
	mk.order[dir] = max(mk.order[dir], e.Order)
}

// acking: an ack, or a hello.acked, is about to say that d has stored seq.
func (j *Judge) acking(d Device, seq uint64) {
	mk := j.marks[d]
	kept := mk.unacked[:0]
	for _, m := range mk.unacked {
		if m.delivered[d].Seq <= seq {
			m.acked[d.User] = true
		} else {
			kept = append(kept, m)
		}
	}
	mk.unacked = kept
	mk.waiting = slices.DeleteFunc(mk.waiting, func(m *message) bool {
		had, ok := m.delivered[d]
		return ok && had.Seq <= seq
	})
}

func (j *Judge) reading(e Reading) {
	j.read[e.Device][e.Peer] = max(j.read[e.Device][e.Peer], e.Order)
}

// readBy is the highest order of the conversation with peer that a device of
// user, other than except, said it had read.
func (j *Judge) readBy(user, peer string, except Device) uint64 {
	var highest uint64
	for _, d := range j.devices {
		if d.User == user && d != except {
			highest = max(highest, j.read[d][peer])
		}
	}
	return highest
}

func (j *Judge) receipt(e Receipt) {
	j.advance(e.Device, e.Conn, e.Seq, "receipt")
	mk := j.marks[e.Device]
	key := e.Peer + " by " + e.By
	before, had := mk.receipts[key]
	if had && e.Seq > before.Seq && (e.Delivered < before.Delivered || e.Read < before.Read) {
		j.fault("%s: receipt of %s fell from delivered %d, read %d to %d, %d", e.Device, key, before.Delivered, before.Read, e.Delivered, e.Read)
	}
	mk.receipts[key] = e
	own := e.By == e.Device.User
	if !own && e.By != e.Peer {
		j.fault("%s: receipt in the conversation with %s by %s", e.Device, e.Peer, e.By)
		return
	}
	if own {
		if most := j.readBy(e.By, e.Peer, Device{}); e.Read > most {
			j.fault("%s: receipt says own devices read up to %d of %s, they said %d", e.Device, e.Read, e.Peer, most)
		}
		return
	}
	if most := j.readBy(e.By, e.Device.User, Device{}); e.Read > most {
		j.fault("%s: early receipt: %s read up to %d, but its devices said %d", e.Device, e.By, e.Read, most)
	}
	orders := j.byOrder[direction{e.Device.User, e.By}]
	for o := before.Delivered + 1; o <= e.Delivered; o++ {
		if m := orders[o]; m == nil || !m.acked[e.By] {
			j.fault("%s: early receipt: delivered to %s up to %d, but none of its devices acked order %d", e.Device, e.By, e.Delivered, o)
			break
		}
	}
}

// inLane judges first in, first out per sending device, now that the order of
// one more message is known.
func (j *Judge) inLane(m *message) {
	l := lane{m.by, m.to}
	known := j.lanes[l]
	at, _ := slices.BinarySearchFunc(known, m, func(a, b *message) int { return cmp.Compare(a.position, b.position) })
	known = slices.Insert(known, at, m)
	j.lanes[l] = known
	for i := max(at, 1); i <= at+1 && i < len(known); i++ {
		if p, n := known[i-1], known[i]; p.order > n.order {
			j.fault("%s sent %s before %s to %s, but their orders are %d and %d", m.by, p.id, n.id, m.to, p.order, n.order)
		}
	}
}

// inTime judges that time rises with order. There is no gap at rest, so that
// each has been compared with its neighbours by then.
func (j *Judge) inTime(dir direction, m *message) {
	for _, o := range []uint64{m.order, m.order + 1} {
		p, n := j.byOrder[dir][o-1], j.byOrder[dir][o]
		if p != nil && n != nil && n.time <= p.time {
			j.fault("time of order %d from %s to %s is %d, not later than %d of the one before", o, dir.from, dir.to, n.time, p.time)
		}
	}
}

// complete judges what must have happened once all is at rest.
func (j *Judge) complete() {
	for _, m := range j.inOrder {
		if m.over {
			continue
		}
		if !m.sent {
			j.fault("%s was never answered with sent", m.id)
			continue
		}
		for _, d := range j.devices {
			if d == m.by || (d.User != m.to && d.User != m.by.User) {
				continue
			}
			if _, ok := m.delivered[d]; !ok {
				j.fault("lost: %s from %s to %s, order %d, was sent but never reached %s", m.id, m.by, m.to, m.order, d)
			}
		}
	}
	dirs := slices.SortedFunc(maps.Keys(j.byOrder), func(a, b direction) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	for _, dir := range dirs {
		top := uint64(len(j.byOrder[dir]))
		for o := uint64(1); o <= top; o++ {
			if j.byOrder[dir][o] == nil {
				j.fault("orders from %s to %s have a hole at %d of %d", dir.from, dir.to, o, top)
				break
			}
		}
		read := j.readBy(dir.to, dir.from, Device{})
		for _, d := range j.devices {
			if d.User != dir.from {
				continue
			}
			if r := j.marks[d].receipts[dir.to+" by "+dir.to]; r.Delivered != top || r.Read != read {
				j.fault("%s: last receipt of %s says delivered %d, read %d; it should be %d, %d", d, dir.to, r.Delivered, r.Read, top, read)
			}
		}
	}
}
