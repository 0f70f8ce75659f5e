package core

import (
	"fmt"
	"strconv"
	"time"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// item is one event on its way to the application.
type item struct {
	event Event
	seq   uint64 // of an entry
	size  int
	id    string // key of a message's id
	pos   uint64 // of the message in the outbox whose fate it is
	light bool   // may go when there are too many
}

// inbox is what the application has not taken yet.
type inbox struct {
	items    []item
	handed   *item // returned by Fetch, not taken yet
	fetching bool

	pending  int // entries in items
	bytes    int // and their size
	lights   int
	cursor   uint64 // taken
	received uint64 // highest seq that ever got into items

	ids  map[string]bool // of messages seen
	ring [seenSlots]string
	slot int

	ackAt time.Time
	taken int // entries since the last ack

	held    bool // reading is paused
	heldAt  time.Time
	lagging bool // this connection's entries are dropped until the inbox is empty
}

// idKey tells messages apart. The sender is part of it, so that nobody can
// hide somebody else's message by using its id first.
func idKey(d *clientpb.Deliver) string {
	return d.GetFrom().GetUser() + "\x00" + d.GetId()
}

// entry takes something with a seq. Its order is the mailbox's.
func (m *Machine) entry(seq uint64, size int, id string, e Event) {
	in := &m.inbox
	if in.lagging {
		return
	}
	m.session.delivered = max(m.session.delivered, seq)
	if seq <= in.received || seq <= in.cursor {
		// It came before, by an earlier connection. If it was taken meanwhile,
		// only now may this connection ack it.
		if in.ackAt.IsZero() && m.ackable() > m.session.acked {
			in.ackAt = m.now.Add(m.cfg.AckDelay)
		}
		return
	}
	in.received = seq
	if id != "" && in.ids[id] {
		e, id = nil, "" // shown under another seq: only the place is taken
	}
	if id != "" {
		in.remember(id)
	}
	in.items = append(in.items, item{event: e, seq: seq, size: size, id: id})
	in.pending++
	in.bytes += size
}

// remember an id in memory; it is written when it is taken.
func (in *inbox) remember(id string) {
	delete(in.ids, in.ring[in.slot])
	in.ring[in.slot] = id
	in.ids[id] = true
	in.slot = (in.slot + 1) % seenSlots
}

// ephemeralEvent queues what may be lost. The oldest such event goes first.
func (m *Machine) ephemeralEvent(e Event) {
	in := &m.inbox
	if in.lights >= ephemeralHigh {
		for i := range in.items {
			if in.items[i].light {
				in.items = append(in.items[:i], in.items[i+1:]...)
				in.lights--
				break
			}
		}
	}
	in.items = append(in.items, item{event: e, light: true})
	in.lights++
}

// hand gives the next event to whoever waits for one.
func (m *Machine) hand() {
	in := &m.inbox
	for in.fetching && len(in.items) > 0 {
		it := in.items[0]
		in.items[0] = item{}
		in.items = in.items[1:]
		if it.seq != 0 {
			in.pending--
			in.bytes -= it.size
		}
		if it.light {
			in.lights--
		}
		in.handed = &it
		if it.event == nil { // shown before: taken by nobody, but taken
			m.take()
			continue
		}
		in.fetching = false
		m.do(Hand{Event: it.event})
	}
	if in.fetching && m.state == stopped {
		in.fetching = false
		m.do(Hand{})
	}
	m.relax()
}

// take notes that the event handed over last is taken.
func (m *Machine) take() {
	in := &m.inbox
	it := in.handed
	in.handed = nil
	switch {
	case it == nil:
	case it.pos != 0:
		m.outbox.settledTaken(m, it.pos)
	case it.seq != 0:
		in.cursor = it.seq
		records := []Record{{Key: keyCursor, Value: strconv.AppendUint(nil, it.seq, 10)}}
		if it.id != "" {
			records = append(records, m.seenRecord(it.id))
		}
		m.write(false, records...)
		m.dueAck()
	}
}

// giveBack makes the event handed over last the next one again.
func (m *Machine) giveBack() {
	in := &m.inbox
	if it := in.handed; it != nil {
		in.handed = nil
		in.items = append([]item{*it}, in.items...)
		if it.seq != 0 {
			in.pending++
			in.bytes += it.size
		}
		if it.light {
			in.lights++
		}
	}
	m.do(Said{})
}

// seenRecord writes an id into the slot that its seq gives it; slots wrap.
func (m *Machine) seenRecord(id string) Record {
	slot := m.inbox.cursor % seenSlots
	return Record{Key: fmt.Sprintf("%s%03d", keySeen, slot), Value: []byte(id)}
}

func (m *Machine) dueAck() {
	in := &m.inbox
	in.taken++
	at := m.now.Add(m.cfg.AckDelay)
	if in.ackAt.IsZero() || at.Before(in.ackAt) {
		in.ackAt = at
	}
	if in.taken >= ackEvery {
		in.ackAt = m.now
		if m.state == online || m.state == leaving {
			m.ack()
		}
	}
}

// ack says what was taken, once it is durable.
func (m *Machine) ack() {
	m.inbox.ackAt = time.Time{}
	m.inbox.taken = 0
	if m.ackable() > m.session.acked {
		m.write(true)
		m.sayAck()
	}
}

// ackable: what was taken, and delivered by this connection.
func (m *Machine) ackable() uint64 {
	if mutantEarlyAck {
		return m.session.delivered
	}
	return min(m.inbox.cursor, m.session.delivered)
}

func (m *Machine) sayAck() {
	if seq := m.ackable(); seq > m.session.acked {
		m.session.acked = seq
		m.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Ack{Ack: &clientpb.Ack{Seq: seq}}}, refAck)
	}
}

// flood pauses reading while the application has much to take.
func (m *Machine) flood() {
	in := &m.inbox
	if m.state < greeting || m.state == stopped || in.held || in.lagging {
		return
	}
	if in.pending >= InboxHigh || in.bytes >= inboxBytes {
		in.held, in.heldAt = true, m.now.Add(holdLimit)
		m.do(Hold{Conn: m.conn, On: true})
	}
}

// relax reads on when the application has caught up, or connects anew where
// entries were dropped meanwhile: they come again from the cursor.
func (m *Machine) relax() {
	in := &m.inbox
	switch {
	case in.held && in.pending <= InboxHigh/2 && in.bytes <= inboxBytes/2:
		in.unhold()
		m.heard()
		m.do(Hold{Conn: m.conn, On: false})
	case in.lagging && in.pending == 0 && (in.handed == nil || in.handed.seq == 0):
		m.do(Hangup{Conn: m.conn, Orderly: true, Reason: "fetching what was dropped"})
		m.disconnected()
		m.attempts = 0
		m.connect()
	}
}

// lag: the application takes too long. Answers to sends must not wait for it,
// so reading goes on, and entries are dropped for now.
func (m *Machine) lag() {
	in := &m.inbox
	in.unhold()
	in.lagging = true
	m.heard()
	m.do(Hold{Conn: m.conn, On: false})
	m.do(Note{Text: "the application is behind: entries are dropped, and fetched again when it has caught up"})
}

func (in *inbox) unhold() { in.held, in.heldAt = false, time.Time{} }

// clear drops what nobody will fetch any more. The server has it still.
func (in *inbox) clear() { in.items, in.pending, in.bytes, in.lights = nil, 0, 0, 0 }

// rewind goes back to the beginning of a mailbox that is not the one whose
// seqs are known. What waits is still shown, but takes no place any more.
func (in *inbox) rewind(m *Machine) {
	in.cursor, in.received, in.ackAt = 0, 0, time.Time{}
	for i := range in.items {
		in.items[i].seq = 0
	}
	if in.handed != nil {
		in.handed.seq = 0
	}
	in.pending, in.bytes = 0, 0
	m.write(true, Record{Key: keyCursor, Value: []byte("0")})
}

// forget the place in the mailbox, for a device that has another.
func (in *inbox) forget(m *Machine) {
	kept := in.items[:0]
	for _, it := range in.items {
		if it.seq == 0 {
			kept = append(kept, it)
		}
	}
	in.items, in.pending, in.bytes = kept, 0, 0
	if in.handed != nil {
		in.handed.seq = 0
	}
	in.cursor, in.received, in.ackAt, in.lagging = 0, 0, time.Time{}, false
	m.write(false, Record{Key: keyCursor})
}
