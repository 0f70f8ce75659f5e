package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Safety returns every promise that the events break, whatever may still
// follow them. devices are all devices of all users, linked before the first
// event.
func Safety(devices []Device, events []Event) []error {
	j := newJudge(devices)
	j.hear(events)
	return j.faults
}

// Complete returns Safety's faults, and what is missing now that everything
// has come to rest: every outbox empty, every device connected and drained,
// everything acked and read, every receipt awaited.
func Complete(devices []Device, events []Event) []error {
	j := newJudge(devices)
	j.hear(events)
	j.complete()
	return j.faults
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
	known, sent bool   // known: order and time are, from a sent or a delivery
	order, time uint64 // as first seen
	after       uint64 // highest time delivered to the sending device before the first attempt
	seqs        map[string]uint64
	acked       map[string]bool // users of whom a device acked it
	delivered   map[Device]Delivered
}

// mark is the state of one device.
type mark struct {
	conn     int
	floor    uint64 // where this connection began: hello.acked, or the like
	durable  uint64 // an ack up to there was answered
	last     uint64 // highest seq on this connection
	first    uint64 // highest seq delivered for the first time
	seen     map[uint64]*message
	unacked  []*message // delivered, not acked yet
	time     uint64     // highest time delivered
	order    map[direction]uint64
	receipts map[string]Receipt
}

type judge struct {
	devices  []Device
	at       int
	faults   []error
	messages map[string]*message
	inOrder  []*message // by first attempt
	marks    map[Device]*mark
	seqs     map[string]map[uint64]string // user -> seq -> id
	byOrder  map[direction]map[uint64]*message
	read     map[Device]map[string]uint64 // device -> peer -> order
}

func newJudge(devices []Device) *judge {
	j := &judge{
		devices:  devices,
		messages: map[string]*message{},
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

// hear walks the events, then judges what they say together.
func (j *judge) hear(events []Event) {
	for at, e := range events {
		j.at = at
		switch e := e.(type) {
		case Connecting:
			j.connecting(e)
		case Resuming:
			m := j.marks[e.Device]
			m.conn, m.floor, m.last = e.Conn, max(e.After, m.durable), max(e.After, m.durable)
		case Sending:
			j.sending(e)
		case Sent:
			j.sent(e)
		case Refused:
			j.message(e.ID).refusals++
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
	j.orders()
}

func (j *judge) fault(format string, args ...any) {
	j.faults = append(j.faults, fmt.Errorf("event %d: %s", j.at, fmt.Sprintf(format, args...)))
}

func (j *judge) message(id string) *message {
	m := j.messages[id]
	if m == nil {
		m = &message{id: id, seqs: map[string]uint64{}, acked: map[string]bool{}, delivered: map[Device]Delivered{}}
		j.messages[id] = m
	}
	return m
}

func (j *judge) connecting(e Connecting) {
	m := j.marks[e.Device]
	m.conn, m.floor, m.last = e.Conn, e.Acked, e.Acked
	j.acking(e.Device, e.Acked)
}

func (j *judge) sending(e Sending) {
	m := j.message(e.ID)
	if m.attempts == 0 {
		m.by, m.to, m.payload = e.Device, e.To, e.Payload
		m.position, m.after = len(j.inOrder), j.marks[e.Device].time
		j.inOrder = append(j.inOrder, m)
	}
	m.attempts++
}

// settle compares an order and time with what was said of the id before.
func (j *judge) settle(m *message, order, time uint64) {
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
		return
	}
	if order != m.order || time != m.time {
		j.fault("%s has order %d and time %d, before it had %d and %d", m.id, order, time, m.order, m.time)
	}
}

func (j *judge) sent(e Sent) {
	m := j.message(e.ID)
	if m.attempts == 0 {
		j.fault("sent for %s, which nobody sent", e.ID)
		return
	}
	if m.sent && !e.Duplicate {
		j.fault("%s was accepted again: a second sent that is not a duplicate", e.ID)
	}
	if e.To != m.to {
		j.fault("sent for %s names conversation %s, it was sent to %s", e.ID, e.To, m.to)
	}
	j.settle(m, e.Order, e.Time)
	m.sent = true
}

func (j *judge) delivered(e Delivered) {
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
func (j *judge) advance(d Device, conn int, seq uint64, what string) {
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
func (j *judge) consistent(m *message, e Delivered) {
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

func (j *judge) firstDelivery(mk *mark, m *message, e Delivered) {
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
func (j *judge) acking(d Device, seq uint64) {
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
}

func (j *judge) reading(e Reading) {
	j.read[e.Device][e.Peer] = max(j.read[e.Device][e.Peer], e.Order)
}

// readBy is the highest order of the conversation with peer that a device of
// user, other than except, said it had read.
func (j *judge) readBy(user, peer string, except Device) uint64 {
	var highest uint64
	for _, d := range j.devices {
		if d.User == user && d != except {
			highest = max(highest, j.read[d][peer])
		}
	}
	return highest
}

func (j *judge) receipt(e Receipt) {
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

// orders judges what all events together say of order and time.
func (j *judge) orders() {
	type lane struct {
		by Device
		to string
	}
	last := map[lane]*message{}
	for _, m := range j.inOrder { // first in, first out per sending device
		if !m.known {
			continue
		}
		l := lane{m.by, m.to}
		if p := last[l]; p != nil && p.order > m.order {
			j.fault("%s sent %s before %s to %s, but their orders are %d and %d", m.by, p.id, m.id, m.to, p.order, m.order)
		}
		last[l] = m
	}
	for dir, byOrder := range j.byOrder {
		var previous uint64
		for _, o := range slices.Sorted(maps.Keys(byOrder)) {
			if m := byOrder[o]; m.time <= previous {
				j.fault("time of order %d from %s to %s is %d, not later than %d of the one before", o, dir.from, dir.to, m.time, previous)
			} else {
				previous = m.time
			}
		}
	}
}

// complete judges what must have happened once all is at rest.
func (j *judge) complete() {
	for _, m := range j.inOrder {
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
