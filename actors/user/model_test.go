package user

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// model is what the promises of docs/protocol.md say about a world, kept from
// what is committed, written to devices and said by them, and from nothing
// that the cores think.
type model struct {
	w *world

	messages  map[direction][]*accepted // by order, from 1
	byID      map[string]*accepted
	linked    map[deviceKey]bool   // rows
	confirmed map[deviceKey]bool   // the link request was answered
	start     map[deviceKey]uint64 // seq after which a device's history begins
	names     map[string]map[uint64]string
	clients   map[deviceKey]*client
	position  map[string]*outgoing // by id
	ackedBy   map[deviceKey]uint64 // cursor, committed
	told      map[direction]uint64 // delivered, told beforehand of acks that may since be forgotten
}

type direction struct{ from, to string }

type deviceKey struct {
	user   string
	device uint32
}

// accepted is a message that was accepted, and committed.
type accepted struct {
	id      string
	device  uint32
	order   uint64
	time    uint64
	seq     uint64 // 0: discarded by a block
	expires uint64
	due     map[uint32]bool // devices of the recipient that must get it
	copies  map[uint32]bool // devices of the sender that must
	said    bool            // some device said that it has it
	acked   bool            // the same, committed
	lost    bool            // it was deleted before that, or discarded
	deleted bool
}

// outgoing is a message that a client has sent at least once.
type outgoing struct {
	id       string
	to       string
	number   int // of the device's messages to this user
	after    uint64
	inFlight bool
	rest     bool
	payload  []byte
	payloads []*nodepb.TargetPayload
	ttl      uint64
}

// client is a device, with what it remembers across connections.
type client struct {
	key      deviceKey
	acked    uint64
	got      map[string]bool // messages and copies written to it
	outbox   map[string][]*outgoing
	counts   map[string]int
	accepted map[string]int // the number of the last one accepted, by recipient
	receipts map[string]*storepb.Receipt
	read     map[string]uint64 // highest order said to be read, by peer
	orders   map[string]uint64 // highest order written, by peer
}

func newModel(w *world) *model {
	m := &model{
		w: w, messages: map[direction][]*accepted{}, byID: map[string]*accepted{},
		linked: map[deviceKey]bool{}, confirmed: map[deviceKey]bool{}, start: map[deviceKey]uint64{},
		names: map[string]map[uint64]string{}, clients: map[deviceKey]*client{},
		position: map[string]*outgoing{}, ackedBy: map[deviceKey]uint64{}, told: map[direction]uint64{},
	}
	w.onMutation, w.onEntry, w.onAnswer = m.committed, m.written, m.answered
	return m
}

func (m *model) client(k deviceKey) *client {
	c := m.clients[k]
	if c == nil {
		c = &client{
			key: k, got: map[string]bool{}, outbox: map[string][]*outgoing{}, counts: map[string]int{}, accepted: map[string]int{},
			receipts: map[string]*storepb.Receipt{}, read: map[string]uint64{}, orders: map[string]uint64{},
		}
		m.clients[k] = c
	}
	return c
}

// devices linked of a user, ascending.
func (m *model) devices(user string) []uint32 {
	var out []uint32
	for k := range m.linked {
		if k.user == user {
			out = append(out, k.device)
		}
	}
	slices.Sort(out)
	return out
}

// committed follows the rows.
func (m *model) committed(mut *storepb.Mutation) {
	user := mut.GetUser()
	switch op := mut.GetOp().(type) {
	case *storepb.Mutation_Accept:
		m.accept(user, op.Accept)
	case *storepb.Mutation_Progress:
		for _, c := range op.Progress.GetCursors() {
			m.cursor(deviceKey{user, c.GetDevice()}, c.GetSeq())
		}
		for _, seq := range op.Progress.GetDeleted() {
			m.deleted(user, seq)
		}
	case *storepb.Mutation_Row:
		kind, suffix := mailbox.Kind(op.Row.GetKey()[0]), op.Row.GetKey()[1:]
		if kind != mailbox.Device {
			return
		}
		n, err := number32(suffix)
		if err != nil {
			m.w.fail("device row: %v", err)
		}
		k := deviceKey{user, n}
		if op.Row.Value == nil {
			delete(m.linked, k)
			return
		}
		var row storepb.DeviceRow
		_ = proto.Unmarshal(op.Row.GetValue(), &row)
		m.linked[k], m.start[k] = true, row.GetStart()
		if row.GetStart() < m.highest(user) && len(m.devices(user)) > 1 {
			m.w.fail("%v was linked at %d, before the newest entry %d", k, row.GetStart(), m.highest(user))
		}
		m.first(k)
	}
}

func (m *model) highest(user string) uint64 {
	var seq uint64
	for d, list := range m.messages {
		if d.to == user {
			for _, a := range list {
				seq = max(seq, a.seq)
			}
		}
	}
	return seq
}

// first: what waits while nobody is linked is for the first device.
func (m *model) first(k deviceKey) {
	if len(m.devices(k.user)) > 1 {
		return
	}
	for d, list := range m.messages {
		for _, a := range list {
			if d.to == k.user && a.seq > m.start[k] && !a.deleted {
				a.due[k.device] = true
			}
		}
	}
}

func (m *model) accept(to string, a *storepb.Accept) {
	d := direction{a.GetPeer(), to}
	r := a.GetResult()
	id := idName(r.GetId())
	out := m.position[id]
	list := m.messages[d]
	switch {
	case out == nil || out.to != to:
		m.w.fail("%s was never sent to %s", id, to)
	case m.byID[id] != nil:
		m.w.fail("%s was accepted twice", id)
	case r.GetOrder() != uint64(len(list))+1:
		m.w.fail("%v: order %d after %d", d, r.GetOrder(), len(list))
	case r.GetTime() <= out.after:
		m.w.fail("%s has time %d, and was sent after %d was delivered", id, r.GetTime(), out.after)
	case len(list) > 0 && list[len(list)-1].time >= r.GetTime():
		m.w.fail("%v: time %d after %d", d, r.GetTime(), list[len(list)-1].time)
	}
	c := m.client(deviceKey{d.from, a.GetDevice()})
	if !out.rest {
		if out.number <= c.accepted[to] {
			m.w.fail("%s, number %d of %v to %s, was accepted after number %d", id, out.number, c.key, to, c.accepted[to])
		}
		c.accepted[to] = out.number
	}
	msg := &accepted{
		id: id, device: a.GetDevice(), order: r.GetOrder(), time: r.GetTime(), seq: a.GetEntry().GetSeq(),
		expires: a.GetEntry().GetExpires(), lost: a.GetEntry() == nil, due: map[uint32]bool{}, copies: map[uint32]bool{},
	}
	self := d.from == d.to
	for _, n := range m.devices(to) {
		if msg.seq != 0 && !(self && n == msg.device) {
			msg.due[n] = true
		}
	}
	for _, n := range m.devices(d.from) {
		if !self && n != msg.device && m.confirmed[deviceKey{d.from, n}] {
			msg.copies[n] = true
		}
	}
	m.messages[d] = append(list, msg)
	m.byID[id] = msg
}

// cursor: a device's ack is durable.
func (m *model) cursor(k deviceKey, seq uint64) {
	if seq < m.ackedBy[k] {
		m.w.fail("cursor of %v went from %d to %d", k, m.ackedBy[k], seq)
	}
	m.ackedBy[k] = seq
	m.each(k, seq, func(a *accepted) { a.acked = !a.lost })
}

// deleted: acked by all, or lost, with reason: by now it has expired, or
// nobody is linked any more who was when it came.
func (m *model) deleted(user string, seq uint64) {
	for d, list := range m.messages {
		for _, a := range list {
			if d.to != user || a.seq != seq {
				continue
			}
			a.deleted, a.lost = true, !a.acked
			expired := a.expires != 0 && a.expires <= m.w.now
			for n := range a.due {
				k := deviceKey{user, n}
				if !expired && m.linked[k] && m.ackedBy[k] < seq {
					m.w.fail("%s was deleted, and %v has not acked it", a.id, k)
				}
			}
			if len(a.due) == 0 && !expired && d.from != d.to {
				m.w.fail("%s was deleted before anybody could have got it", a.id)
			}
		}
	}
}

// each message that was written to the device, up to seq.
func (m *model) each(k deviceKey, seq uint64, fn func(a *accepted)) {
	for d, list := range m.messages {
		for _, a := range list {
			if d.to == k.user && a.seq != 0 && a.seq <= seq && a.due[k.device] && m.client(k).got[a.id] {
				fn(a)
			}
		}
	}
}

// said: a device says that it has everything up to seq.
func (m *model) said(k deviceKey, seq uint64) {
	c := m.client(k)
	c.acked = max(c.acked, seq)
	m.each(k, c.acked, func(a *accepted) { a.said = true })
}

// written: an entry was given to a device.
func (m *model) written(conn *conn, e *storepb.Entry) {
	c := m.client(deviceKey{conn.user, conn.device})
	if e.GetSeq() <= c.acked {
		m.w.fail("%v was given seq %d, and had acked %d", c.key, e.GetSeq(), c.acked)
	}
	if e.GetSeq() <= m.start[c.key] {
		m.w.fail("%v was given seq %d, and begins after %d", c.key, e.GetSeq(), m.start[c.key])
	}
	name := traceEntry(e)
	if m.names[conn.user] == nil {
		m.names[conn.user] = map[uint64]string{}
	}
	if was := m.names[conn.user][e.GetSeq()]; was != "" && was != name {
		m.w.fail("%s: seq %d is %q for one device and %q for another", conn.user, e.GetSeq(), was, name)
	}
	m.names[conn.user][e.GetSeq()] = name
	switch b := e.GetBody().(type) {
	case *storepb.Entry_Message:
		m.delivered(c, e.GetSeq(), b.Message)
	case *storepb.Entry_Receipt:
		m.receipt(c, b.Receipt)
	}
}

func (m *model) delivered(c *client, seq uint64, msg *storepb.Message) {
	d := direction{msg.GetFrom(), c.key.user}
	if msg.GetFrom() == c.key.user {
		d.to = msg.GetPeer()
	} else if msg.GetPeer() != msg.GetFrom() {
		m.w.fail("a message from %s in the conversation with %s", msg.GetFrom(), msg.GetPeer())
	}
	a := m.byID[idName(msg.GetId())]
	if a == nil || a.order != msg.GetOrder() || a.time != msg.GetTime() || a.device != msg.GetDevice() || d.to == c.key.user && a.seq != seq {
		m.w.fail("%v was given %v, accepted was %+v", c.key, msg, a)
		return
	}
	if !bytes.Equal(msg.GetPayload(), m.position[a.id].payload) {
		m.w.fail("the payload of %s changed", a.id)
	}
	c.got[a.id] = true
	if d.to == c.key.user {
		c.orders[d.from] = max(c.orders[d.from], a.order)
	}
}

// receipt: never early, never less than before, and undelivered is what no
// device has acked.
func (m *model) receipt(c *client, r *storepb.Receipt) {
	key := r.GetPeer() + " " + r.GetBy()
	was := c.receipts[key]
	if r.GetDelivered() < was.GetDelivered() || r.GetRead() < was.GetRead() {
		m.w.fail("%v: the receipt went from %v to %v", c.key, was, r)
	}
	c.receipts[key] = r
	d := direction{c.key.user, r.GetBy()}
	if r.GetBy() == c.key.user {
		d = direction{r.GetPeer(), c.key.user}
	}
	list := m.messages[d]
	if r.GetDelivered() > uint64(len(list)) {
		m.w.fail("%v: receipt %v of %d messages", c.key, r, len(list))
	}
	for _, a := range list[:r.GetDelivered()] {
		_, undelivered := position(r.GetUndelivered(), a.order)
		switch {
		case d.from == d.to && len(a.due) == 0: // a note that was for no other device
		case undelivered && !a.lost:
			m.w.fail("%v: receipt %v, but %v order %d was acked", c.key, r, d, a.order)
		case !undelivered && !a.said:
			m.w.fail("%v: receipt %v is early for %v order %d", c.key, r, d, a.order)
		}
	}
	var read uint64
	for k, x := range m.clients {
		if k.user == d.to {
			read = max(read, x.read[d.from])
		}
	}
	if r.GetRead() > read {
		m.w.fail("%v: receipt %v, but only %d was read", c.key, r, read)
	}
}

// answered: a session heard what became of a send.
func (m *model) answered(conn *conn, msg proto.Message) {
	switch msg := msg.(type) {
	case *nodepb.Sent:
		if p := conn.sends[msg.GetTag()]; p != nil {
			m.sent(deviceKey{conn.user, conn.device}, p.to, p.id, msg)
		}
	case *nodepb.Refused:
		p := conn.sends[msg.GetTag()]
		if p == nil {
			return
		}
		c := m.client(deviceKey{conn.user, conn.device})
		for i, out := range c.outbox[p.to] {
			if out.id != p.id {
				continue
			}
			out.inFlight = false
			if !msg.GetFault().GetRetryable() {
				c.outbox[p.to] = slices.Delete(c.outbox[p.to], i, i+1)
			}
			return
		}
	}
}

func (m *model) sent(k deviceKey, to, id string, s *nodepb.Sent) {
	a := m.byID[id]
	if a == nil {
		m.w.fail("%s was answered sent, and is not durable", id)
		return
	}
	if a.order != s.GetOrder() || a.time != s.GetTime() {
		m.w.fail("%s was accepted as %d at %d, now it is %d at %d", id, a.order, a.time, s.GetOrder(), s.GetTime())
	}
	c := m.client(k)
	c.outbox[to] = slices.DeleteFunc(c.outbox[to], func(o *outgoing) bool { return o.id == id })
}

// complete: once everything settled, and every device has pulled, nothing may
// be missing, and every sender knows how far its messages came.
func (m *model) complete() {
	for d, list := range m.messages {
		for _, a := range list {
			m.arrived(d.to, a, a.due)
			m.arrived(d.from, a, a.copies)
		}
		if d.from != d.to {
			m.known(d, list)
		}
	}
}

func (m *model) arrived(user string, a *accepted, devices map[uint32]bool) {
	for n := range devices {
		k := deviceKey{user, n}
		// A copy may come after the expiry, when it is not stored any more.
		if m.linked[k] && (a.expires == 0 || a.expires > m.w.now) && a.seq != 0 && !m.client(k).got[a.id] {
			m.w.fail("%v never got %s: %+v", k, a.id, a)
		}
	}
}

// known: the receipt that waits for the sender is the newest there could be,
// or what a device said beforehand.
func (m *model) known(d direction, list []*accepted) {
	if m.w.state(d.to).blocked(d.from) {
		return
	}
	stored := map[uint64]bool{}
	_ = m.w.rowsOf(d.to).Scan(byte(mailbox.Entry), nil, func(_, v []byte) error {
		e := &storepb.Entry{}
		_ = proto.Unmarshal(v, e)
		if e.GetMessage().GetFrom() == d.from {
			stored[e.GetMessage().GetOrder()] = true
		}
		return nil
	})
	var want uint64
	var lost []*storepb.Range
	for _, a := range list {
		if stored[a.order] && !a.acked {
			break
		}
		want = a.order
		if !a.acked {
			lost = insert(lost, a.order)
		}
	}
	var got storepb.ReceiptRow
	_ = m.w.rowsOf(d.from).Scan(byte(mailbox.Receipt), mailbox.ReceiptSuffix(d.to, d.to), func(_, v []byte) error {
		return proto.Unmarshal(v, &got)
	})
	if r := got.GetReceipt().GetDelivered(); r > want && r <= m.told[d] {
		want = r // the device that said so is gone, and had said it in vain
	}
	if got.GetReceipt().GetDelivered() != want || ranges(got.GetReceipt().GetUndelivered()) != ranges(lost) {
		m.w.fail("%v: delivered up to %d%s, the sender knows %v", d, want, ranges(lost), got.GetReceipt())
	}
}

// sortedClients in an order that a seed repeats.
func (m *model) sortedClients() []*client {
	return slices.SortedFunc(maps.Values(m.clients), func(a, b *client) int {
		return bytes.Compare([]byte(fmt.Sprint(a.key)), []byte(fmt.Sprint(b.key)))
	})
}
