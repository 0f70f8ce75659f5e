package user

import (
	"slices"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// ack moves a device's cursor.
func (t *turn) ack(m *nodepb.Ack) {
	t.out.Laziness = Lazy
	d := t.device(m.GetOrigin().GetDevice())
	if d == nil || d.att.Session != m.GetOrigin().GetSession() {
		return
	}
	t.ackOrOwe(d, min(m.GetSeq(), t.lastSeq))
}

// ackOrOwe takes an ack in, or holds it while the outbox is full: a device
// says it once only.
func (t *turn) ackOrOwe(d *device, seq uint64) {
	if t.ctx.OutboxFull {
		d.owed = max(d.owed, seq)
		t.later()
		return
	}
	t.ackUpTo(d, seq)
}

// settleOwed takes in the acks that were held.
func (t *turn) settleOwed() {
	for _, d := range t.devices {
		t.ackUpTo(d, d.owed)
	}
}

// later has a tick come once there may be room in the outbox.
func (t *turn) later() {
	if t.retry == 0 {
		t.retry = t.ctx.Now + uint64(limits.OutboxRetry.Milliseconds()) //nolint:gosec // positive
		t.schedule()
	}
}

// ackUpTo moves the cursor to seq, deletes what every device has, and tells
// the senders how far their messages came.
func (t *turn) ackUpTo(d *device, seq uint64) {
	if seq <= d.cursor {
		return
	}
	from := t.after(d.cursor)
	d.cursor = seq
	t.present(d)
	var moved []string
	for i := from; i < len(t.index) && t.index[i].seq <= seq; i++ {
		it := &t.index[i]
		if it.acked || it.skip == d.number() {
			continue
		}
		it.acked = true
		if it.kind == itemInbound {
			t.convs[it.peer].settle(it.order)
			moved = addPeer(moved, *it)
		}
	}
	moved = slices.DeleteFunc(moved, func(peer string) bool { return !t.convs[peer].advance() })
	gone, _ := t.sweep(from, seq)
	t.progress(gone, d, moved...)
	t.receipts(moved)
}

// sweep takes out of the index what every device has acked, from position
// from on, up to seq; it returns the seqs, and the peers of messages that no
// device had acked (an unlinked one was the last to wait for them).
func (t *turn) sweep(from int, seq uint64) (gone []uint64, lost []string) {
	kept := from
	i := from
	for ; i < len(t.index) && t.index[i].seq <= seq; i++ {
		it := t.index[i]
		if t.wanted(it) {
			t.index[kept] = it
			kept++
			continue
		}
		gone = append(gone, it.seq)
		lost = t.discard(it, lost)
	}
	t.index = slices.Delete(t.index, kept, i)
	return gone, lost
}

// discard forgets an entry. Where it is a message that no device acked, its
// order is named as undelivered and its peer joins those of whom some were.
func (t *turn) discard(it item, lost []string) []string {
	t.forget(it)
	if it.kind != itemInbound || it.acked {
		return lost
	}
	c := t.convs[it.peer]
	c.settle(it.order)
	c.lose(it.order)
	return addPeer(lost, it)
}

// wanted says whether some device has still to ack the entry. With no device
// linked, everything waits for the first.
func (t *turn) wanted(it item) bool {
	if len(t.devices) == 0 {
		return true
	}
	return slices.ContainsFunc(t.devices, func(d *device) bool {
		return d.number() != it.skip && d.cursor < it.seq
	})
}

// progressing is what a progress is written as, in one allocation.
type progressing struct {
	mutation storepb.Mutation
	op       storepb.Mutation_Progress
	progress storepb.Progress
	cursor   storepb.Cursor
	cursors  [1]*storepb.Cursor
	marks    [1]*storepb.Watermark
}

// progress records a cursor, deletions and the watermarks of peers.
func (t *turn) progress(gone []uint64, cursor *device, peers ...string) {
	m := t.ctx.Scratch.progressing()
	m.mutation.Op, m.op.Progress = &m.op, &m.progress
	p := &m.progress
	p.Deleted, p.Cursors, p.Watermarks = gone, m.cursors[:0], m.marks[:0]
	if h := t.firstStored(); h != t.head && len(gone) > 0 {
		t.head = h
		p.Head = h
	}
	if cursor != nil {
		m.cursor.Device, m.cursor.Seq = cursor.number(), cursor.cursor
		p.Cursors = append(p.Cursors, &m.cursor)
	}
	for _, peer := range peers {
		p.Watermarks = append(p.Watermarks, t.watermark(peer))
	}
	t.mutate(&m.mutation)
}

func (t *turn) watermark(peer string) *storepb.Watermark {
	c := t.convs[peer]
	return &storepb.Watermark{
		Peer: peer, Delivered: c.delivered, Read: c.read, Undelivered: slices.Clone(c.undelivered), Acked: slices.Clone(c.acked),
	}
}

// receipts tells peers how far their messages came; not those who are blocked,
// nor where nothing came anywhere: a later message may expire before the first.
func (t *turn) receipts(peers []string) {
	for _, peer := range peers {
		c := t.convs[peer]
		if t.blocked(peer) || c.delivered == 0 && c.read == 0 {
			continue
		}
		step := t.watermarkStep(peer, c)
		step.GetWatermark().Undelivered = below(c.undelivered, c.delivered)
		t.relay(step)
	}
}

// watermarkStep tells a peer how far its messages came, the losses excepted,
// in one allocation.
func (s *State) watermarkStep(peer string, c *conv) *storepb.Step {
	var x struct {
		step storepb.Step
		body storepb.Step_Watermark
		mark storepb.Watermark
	}
	x.step.To, x.step.Body, x.body.Watermark = peer, &x.body, &x.mark
	x.mark.Peer, x.mark.Delivered, x.mark.Read = s.id, c.delivered, c.read
	return &x.step
}

// markRead moves the read watermark of a conversation.
func (t *turn) markRead(m *nodepb.Read) {
	t.out.Laziness = Lazy
	o := m.GetOrigin()
	d := t.device(o.GetDevice())
	if d == nil || d.att.Session != o.GetSession() {
		return
	}
	c := t.convs[m.GetPeer()]
	if m.GetOrder() > c.lastOrder || t.unseen(d, m) {
		t.tell(o.GetConn(), &nodepb.Refused{Ref: m.GetRef(), Fault: fault.New(fault.InvalidArgument, "",
			"read.order: it is beyond what was delivered to this device")})
		return
	}
	if m.GetOrder() <= c.read {
		return
	}
	if t.ctx.OutboxFull {
		t.tell(o.GetConn(), &nodepb.Refused{Ref: m.GetRef(), Fault: outboxFull()})
		return
	}
	c.read = m.GetOrder()
	t.progress(nil, nil, m.GetPeer())
	t.receipts([]string{m.GetPeer()})
	if len(t.devices) > 1 {
		t.ownReceipt(m.GetPeer(), d.number())
	}
}

// unseen says whether the read covers a message that this session was not given.
func (t *turn) unseen(d *device, m *nodepb.Read) bool {
	for i := t.after(max(m.GetWritten(), d.cursor)); i < len(t.index); i++ {
		it := t.index[i]
		if it.kind == itemInbound && it.peer == m.GetPeer() && it.order <= m.GetOrder() && it.skip != d.number() {
			return true
		}
	}
	return false
}

// ownReceipt tells this user's other devices what one of them has read.
func (t *turn) ownReceipt(peer string, reader uint32) {
	c := t.convs[peer]
	t.receive(&storepb.Receipt{
		Peer: peer, By: t.id, Delivered: c.delivered, Read: c.read, Undelivered: below(c.undelivered, c.delivered),
	}, reader)
}

// receive puts a receipt into the mailbox in the place of the one before it.
func (t *turn) receive(r *storepb.Receipt, skip uint32) {
	c := t.convs[r.GetPeer()]
	var replaces uint64
	if old := c.receipt(r.GetBy()); old != nil {
		replaces = old.GetSeq()
		was := old.GetReceipt()
		// What is told twice may come in either order.
		r.Delivered, r.Read = max(r.GetDelivered(), was.GetDelivered()), max(r.GetRead(), was.GetRead())
		r.Undelivered = union(r.GetUndelivered(), was.GetUndelivered())
		if r.GetDelivered() == was.GetDelivered() && r.GetRead() == was.GetRead() && sameRanges(r.GetUndelivered(), was.GetUndelivered()) {
			return
		}
	}
	row := &storepb.ReceiptRow{Receipt: r}
	knew := t.contact(r.GetPeer())
	c.setReceipt(row)
	t.met(r.GetPeer(), knew)
	var x struct { // one allocation; the row stays in memory
		entry storepb.Entry
		body  storepb.Entry_Receipt
	}
	x.entry.Skip, x.entry.Body, x.body.Receipt = skip, &x.body, r
	t.append(&x.entry, replaces, row)
}

func sameRanges(a, b []*storepb.Range) bool {
	return slices.EqualFunc(a, b, func(x, y *storepb.Range) bool {
		return x.GetFirst() == y.GetFirst() && x.GetLast() == y.GetLast()
	})
}

// relayed takes in a step of another actor.
func (t *turn) relayed(m *storepb.Step) {
	if !t.exists() {
		return
	}
	switch b := m.GetBody().(type) {
	case *storepb.Step_Copy:
		if len(t.others(b.Copy.GetDevice())) == 0 {
			return
		}
		t.nextTimeSeen(b.Copy.GetTime())
		t.append(&storepb.Entry{Skip: b.Copy.GetDevice(), Expires: m.GetExpires(), Body: &storepb.Entry_Message{Message: b.Copy}}, 0, nil)
	case *storepb.Step_Watermark:
		w := b.Watermark
		t.out.Laziness = Lazy
		t.receive(&storepb.Receipt{Peer: w.GetPeer(), By: w.GetPeer(), Delivered: w.GetDelivered(), Read: w.GetRead(), Undelivered: w.GetUndelivered()}, 0)
	}
}

func (t *turn) nextTimeSeen(time uint64) { t.lastTime = max(t.lastTime, time) }

// tick expires entries that are due, and unlinks devices that stayed away for
// too long, never the last one. While the outbox is full, what would tell a
// sender waits for a later tick.
func (t *turn) tick(m Tick) {
	t.retry = 0
	if t.ctx.OutboxFull {
		t.later()
	} else {
		t.settleOwed()
	}
	var gone []uint64
	var moved []string
	t.index = slices.DeleteFunc(t.index, func(it item) bool {
		if it.expires == 0 || it.expires > m.Expiry || t.ctx.OutboxFull && it.kind == itemInbound && !it.acked {
			return false
		}
		gone = append(gone, it.seq)
		moved = t.discard(it, moved)
		return true
	})
	for _, peer := range moved {
		t.convs[peer].advance()
	}
	if len(gone) > 0 {
		t.progress(gone, nil, moved...)
		t.receipts(moved)
	}
	for _, d := range t.devices {
		if d.online() {
			t.present(d)
		}
	}
	if !t.ctx.OutboxFull {
		t.unlinkAbsent(m.Expiry)
	}
	t.schedule()
}

func (t *turn) unlinkAbsent(now uint64) {
	for d := t.absent(now); d != nil; d = t.absent(now) {
		t.unlink(d)
	}
}

// absent is the device that is away for longest, if for too long, or nil. The
// last one never is.
func (s *State) absent(now uint64) *device {
	if len(s.devices) < 2 {
		return nil
	}
	var longest *device
	for _, d := range s.devices {
		if !d.online() && d.seen+s.settings.ttl() <= now && (longest == nil || d.seen < longest.seen) {
			longest = d
		}
	}
	return longest
}

// present notes that a device is there, where the row is stale: by the row it
// is judged when its session is gone with a term, and if it only ever polls.
func (t *turn) present(d *device) {
	if t.ctx.Now >= d.seen+t.settings.refresh() {
		t.markSeen(d)
	}
}

// markSeen records when a device was last online.
func (t *turn) markSeen(d *device) {
	d.seen = t.ctx.Now
	t.put(mailbox.Seen, mailbox.U32(d.number()), &storepb.SeenRow{LastSeen: d.seen})
}
