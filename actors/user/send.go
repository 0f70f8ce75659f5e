package user

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// send accepts a message for this user, or says why not. The order of the
// questions is the protocol's: what was accepted before is answered before any
// block or quota, and what comes out of turn before anything that would give
// it an order.
func (t *turn) send(m *nodepb.Send, ask *nodepb.Ask) {
	o := m.GetOrigin()
	c := t.convs[o.GetUser()]
	snd := c.sender(o.GetDevice())
	if !t.exists() {
		if inTurn(snd, m) {
			t.noteRefused(snd, m)
		}
		t.refuse(m, ask, fault.New(fault.NotFound, "", "to.user: there is no such user"))
		return
	}
	if r, ok := snd.find([16]byte(m.GetId())); ok {
		t.resolve(snd, m)
		t.accepted(m, ask, &nodepb.Sent{Tag: m.GetTag(), Order: r.order, Time: r.time, Duplicate: true})
		return
	}
	if !inTurn(snd, m) {
		t.refuse(m, ask, fault.New(fault.FailedPrecondition, fault.ReasonOutOfOrder,
			"id: an earlier send to this conversation was not accepted; send again from there"))
		return
	}
	if f := t.mismatch(m); f != nil {
		t.noteRefused(snd, m)
		t.refuse(m, ask, f)
		return
	}
	if f := t.room(c, m); f != nil {
		t.refuse(m, ask, f)
		return
	}
	t.accept(c, snd, m, ask)
}

// inTurn says whether everything that the sending session sent here before was
// decided. A REST send has no session and no predecessor.
func inTurn(snd *sender, m *nodepb.Send) bool {
	switch session := m.GetOrigin().GetSession(); {
	case session == 0:
		return true
	case session > snd.row.GetSession():
		return m.GetPrevious() == 0
	case session < snd.row.GetSession():
		return false
	}
	return m.GetNumber() > snd.row.GetNumber() && m.GetPrevious() <= snd.row.GetNumber()
}

// noteRefused remembers, in memory, that a send was finally refused, so that
// its successors are in turn. Were this lost, they are refused as out of order
// and come again with another predecessor.
func (t *turn) noteRefused(snd *sender, m *nodepb.Send) {
	if s := m.GetOrigin().GetSession(); s != 0 {
		snd.row = &storepb.Sender{Session: s, Number: m.GetNumber(), Accepted: snd.row.GetAccepted(), Order: snd.row.GetOrder()}
	}
}

// resolve moves a sender on past a duplicate, durably, since later sends name
// it. One that is out of turn is answered, but does not stand in for the
// predecessor that was refused.
func (t *turn) resolve(snd *sender, m *nodepb.Send) {
	s, n := m.GetOrigin().GetSession(), m.GetNumber()
	if s == 0 || !inTurn(snd, m) {
		return
	}
	snd.row = &storepb.Sender{Session: s, Number: n, Accepted: snd.row.GetAccepted(), Order: snd.row.GetOrder()}
	t.put(mailbox.Sender, mailbox.SenderSuffix(m.GetOrigin().GetUser(), snd.device), snd.row)
}

// mismatch compares per-device payloads with the devices they are for: this
// user's, and the sender's others.
func (t *turn) mismatch(m *nodepb.Send) *nodepb.Fault {
	if len(m.GetPayloads()) == 0 {
		return nil
	}
	o := m.GetOrigin()
	var want []*nodepb.DeviceRef
	for _, d := range t.devices {
		if t.id != o.GetUser() || d.number() != o.GetDevice() {
			want = append(want, &nodepb.DeviceRef{User: t.id, Device: d.number()})
		}
	}
	if t.id != o.GetUser() {
		for _, n := range m.GetOthers() {
			want = append(want, &nodepb.DeviceRef{User: o.GetUser(), Device: n})
		}
	}
	f := fault.New(fault.FailedPrecondition, fault.ReasonDevicesMismatch, "payloads: they do not match the devices this message is for")
	for _, p := range m.GetPayloads() {
		ref := &nodepb.DeviceRef{User: p.GetUser(), Device: p.GetDevice()}
		i := slices.IndexFunc(want, func(w *nodepb.DeviceRef) bool { return proto.Equal(w, ref) })
		if i < 0 {
			f.Extra = append(f.GetExtra(), ref)
			continue
		}
		want = slices.Delete(want, i, i+1)
	}
	f.Missing = want
	if len(f.GetMissing())+len(f.GetExtra()) == 0 {
		return nil
	}
	return f
}

// room asks the quotas; what a block discards needs none.
func (t *turn) room(c *conv, m *nodepb.Send) *nodepb.Fault {
	size := entryMost(m)
	switch {
	case t.ctx.OutboxFull:
		return outboxFull()
	case t.blocked(m.GetOrigin().GetUser()):
		return nil
	case t.entries >= t.settings.MailboxEntries || t.bytes+size > t.settings.MailboxBytes:
		return fault.New(fault.MailboxFull, "", "to.user: the mailbox is full")
	case c.entries >= t.settings.MailboxEntries/limits.SenderShare || c.bytes+size > t.settings.MailboxBytes/limits.SenderShare:
		return fault.New(fault.MailboxFull, fault.ReasonSenderShare, "to.user: your share of the mailbox is full")
	}
	return nil
}

// entryMost is what the entry of a message takes at most.
func entryMost(m *nodepb.Send) int {
	const overhead, each = 112, 20 // tags, lengths, numbers, the id
	size := overhead + 2*len(m.GetOrigin().GetUser()) + len(m.GetReplyTo()) + len(m.GetPayload())
	for _, p := range m.GetPayloads() {
		size += each + len(p.GetPayload())
	}
	return size
}

func outboxFull() *nodepb.Fault {
	return fault.New(fault.Unavailable, "", "the shard is behind with its deliveries; try again")
}

// acceptance is what an accepted message is written as, in one allocation.
type acceptance struct {
	mutation storepb.Mutation
	op       storepb.Mutation_Accept
	accept   storepb.Accept
	sender   storepb.Sender
	result   storepb.Result
	mailbox  storepb.MailboxRow
}

// of a sender: how the parts hang together, the entry excepted.
func (x *acceptance) of(row *storepb.Sender) *storepb.Accept {
	x.mutation.Op, x.op.Accept = &x.op, &x.accept
	x.accept.Sender, x.accept.Result, x.accept.Mailbox = &x.sender, &x.result, &x.mailbox
	x.sender.Session, x.sender.Number, x.sender.Accepted, x.sender.Order = row.GetSession(), row.GetNumber(), row.GetAccepted(), row.GetOrder()
	return &x.accept
}

// delivery is what goes out of an accepted message, in one allocation.
type delivery struct {
	entry   storepb.Entry
	body    storepb.Entry_Message
	message storepb.Message
	sent    nodepb.Sent
	push    nodepb.Push // to the first device
}

// accept gives the message its order, time and seq.
func (t *turn) accept(c *conv, snd *sender, m *nodepb.Send, ask *nodepb.Ask) {
	o := m.GetOrigin()
	knew := t.contact(o.GetUser())
	c.lastOrder++
	t.met(o.GetUser(), knew)
	res := result{id: [16]byte(m.GetId()), order: c.lastOrder, time: t.nextTime(m.GetAfter())}
	snd.row.Accepted, snd.row.Order = snd.row.GetAccepted()+1, res.order
	if o.GetSession() != 0 {
		snd.row.Session, snd.row.Number = o.GetSession(), m.GetNumber()
	}
	snd.keep(byte(snd.row.GetAccepted()%limits.IdempotencyWindow), res)
	x, out := t.ctx.Scratch.acceptance(), &delivery{}
	a, msg := x.of(snd.row), &out.message
	a.Peer, a.Device = o.GetUser(), o.GetDevice()
	x.result.Id, x.result.Order, x.result.Time = m.GetId(), res.order, res.time
	msg.Id, msg.From, msg.Device, msg.Peer = m.GetId(), o.GetUser(), o.GetDevice(), o.GetUser()
	msg.Order, msg.Time, msg.Kind, msg.ReplyTo = res.order, res.time, m.GetKind(), m.GetReplyTo()
	msg.Payload, msg.Payloads = m.GetPayload(), payloadsOf(m, t.id)
	expires := t.ttl(m.GetTtl())
	discard := t.blocked(o.GetUser())
	if !discard {
		a.Entry, out.body.Message = &out.entry, msg
		a.Entry.Seq, a.Entry.Expires, a.Entry.Body = t.nextSeq(), expires, &out.body
		if o.GetUser() == t.id {
			a.Entry.Skip = o.GetDevice()
		}
	}
	x.mailbox.LastSeq, x.mailbox.LastTime = t.lastSeq, t.lastTime
	t.mutate(&x.mutation)
	out.sent.Tag, out.sent.Order, out.sent.Time = m.GetTag(), res.order, res.time
	t.accepted(m, ask, &out.sent)
	if discard {
		c.lose(res.order)
		c.advance()
		t.progress(nil, nil, o.GetUser())
	} else {
		t.enter(a.GetEntry(), &out.push)
		c.entries++
		c.bytes += int(t.index[len(t.index)-1].size)
		c.open = append(c.open, res.order)
		t.dropUnwanted(a.GetEntry())
	}
	if o.GetUser() != t.id && (m.GetCopy() || len(m.GetOthers()) > 0) {
		t.relay(copyStep(msg, m, t.id, expires))
	}
}

// dropUnwanted takes out an entry that nobody will ever ack: a note of a
// user's only device to itself.
func (t *turn) dropUnwanted(e *storepb.Entry) {
	if e.GetSkip() == 0 || len(t.devices) != 1 || t.devices[0].number() != e.GetSkip() {
		return
	}
	t.convs[t.id].settle(e.GetMessage().GetOrder())
	t.remove(e.GetSeq())
	t.progress([]uint64{e.GetSeq()}, nil)
}

// copyStep is the message as the sender's other devices see it.
func copyStep(msg *storepb.Message, m *nodepb.Send, to string, expires uint64) *storepb.Step {
	from := m.GetOrigin().GetUser()
	return &storepb.Step{To: from, Expires: expires, Body: &storepb.Step_Copy{Copy: &storepb.Message{
		Id: msg.GetId(), From: from, Device: msg.GetDevice(), Peer: to, Order: msg.GetOrder(), Time: msg.GetTime(),
		Kind: msg.GetKind(), ReplyTo: msg.GetReplyTo(), Payload: msg.GetPayload(), Payloads: payloadsOf(m, from),
	}}}
}

func payloadsOf(m *nodepb.Send, user string) []*storepb.DevicePayload {
	var out []*storepb.DevicePayload
	for _, p := range m.GetPayloads() {
		if p.GetUser() == user {
			out = append(out, &storepb.DevicePayload{Device: p.GetDevice(), Payload: p.GetPayload()})
		}
	}
	return out
}

func (t *turn) accepted(m *nodepb.Send, ask *nodepb.Ask, sent *nodepb.Sent) {
	if ask != nil {
		t.answer(ask, &nodepb.Answer{Body: &nodepb.Answer_Sent{Sent: sent}})
		return
	}
	t.tell(m.GetOrigin().GetConn(), sent)
}

func (t *turn) refuse(m *nodepb.Send, ask *nodepb.Ask, f *nodepb.Fault) {
	if ask != nil {
		t.fail(ask, f)
		return
	}
	t.tell(m.GetOrigin().GetConn(), &nodepb.Refused{Tag: m.GetTag(), Fault: f})
}
