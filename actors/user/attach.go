package user

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Close codes that an actor gives a session.
const (
	closeUnavailable = 1013

	closeReplaced = 4102
	closeUnlinked = 4103
)

// attach gives a connection the device's next session, which begins with its
// first pull: the one that the device has stands until then, see the package
// comment. One that goes on after its actor has forgotten it keeps its number, by
// which recipients know its sends, and gives way to any that began later.
func (t *turn) attach(m *nodepb.Attach) {
	o := m.GetOrigin()
	refuse := func(f *nodepb.Fault) { t.tell(o.GetConn(), &nodepb.Attached{Tag: m.GetTag(), Error: f}) }
	d := t.device(o.GetDevice())
	if !t.exists() || d == nil {
		refuse(unlinkedFault())
		return
	}
	if m.GetAcked() > t.lastSeq {
		refuse(fault.New(fault.InvalidArgument, "", "hello.acked: it is beyond the last entry of the mailbox"))
		return
	}
	if m.GetAfter() > t.lastSeq {
		refuse(fault.New(fault.InvalidArgument, "", "Last-Event-ID: it is beyond the last entry of the mailbox"))
		return
	}
	resumed := m.GetResumes()
	if d.attached() && resumed != 0 && d.att.Session > resumed {
		t.tell(o.GetConn(), &nodepb.Kick{Session: resumed, Code: closeReplaced, Reason: "this device connected elsewhere"})
		return
	}
	wasOnline := t.online()
	t.ackOrOwe(d, m.GetAcked())
	a := Attachment{Conn: o.GetConn(), Session: cmp.Or(resumed, t.ctx.Session), Pushed: d.has(), Device: d.number()}
	if resumed != 0 { // it has begun
		t.become(d, a)
	} else {
		t.expect(d, a)
	}
	t.present(d)
	t.tell(o.GetConn(), &nodepb.Attached{
		Tag: m.GetTag(), Session: a.Session, Cursor: d.has(), LastSeq: t.lastSeq,
		Others: t.others(d.number()), Epoch: t.lastSeq, Full: t.full, Time: max(t.lastTime, t.ctx.Now<<16),
	})
	if !wasOnline {
		t.effect(PresenceChanged{Online: true})
	}
	t.schedule()
}

// expect the session that a device has been given to begin. Another that has not
// begun gives way to it, and may come again: which one the device is at is not
// known.
func (t *turn) expect(d *device, a Attachment) {
	if d.next.Conn != 0 {
		t.leave(d.next.Session)
		t.tell(d.next.Conn, &nodepb.Kick{Session: d.next.Session, Code: closeUnavailable, Reason: "this device connected once more; reconnect"})
	}
	a.Next = true
	d.next = a
}

// become the session that the device is at. The one that it had is ended.
func (t *turn) become(d *device, a Attachment) {
	if d.attached() && d.att.Session != a.Session { // else it has still to say that it has seen the devices
		t.leave(d.att.Session)
	}
	if d.attached() && d.att.Conn != a.Conn {
		t.tell(d.att.Conn, &nodepb.Kick{Session: d.att.Session, Code: closeReplaced, Reason: "this device connected elsewhere"})
	}
	if d.next.Session == a.Session {
		d.next = Attachment{}
	}
	a.Next = false
	d.att = a
}

func unlinkedFault() *nodepb.Fault {
	return fault.New(fault.Unauthenticated, fault.ReasonDeviceUnlinked, "the device is not linked")
}

// detach ends a session, if it is still the device's.
func (t *turn) detach(m *nodepb.Detach) {
	t.out.Laziness = Lazy
	t.ended(m.GetOrigin().GetConn())
	d := t.device(m.GetOrigin().GetDevice())
	if d == nil {
		return
	}
	switch m.GetOrigin().GetConn() {
	case d.att.Conn:
		t.leave(d.att.Session)
		d.att = Attachment{}
	case d.next.Conn:
		t.leave(d.next.Session)
		d.next = Attachment{}
	default:
		return
	}
	t.markSeen(d)
	if !t.online() {
		t.effect(PresenceChanged{LastSeen: t.lastSeen()})
	}
	t.schedule()
}

// pull answers with what follows, up to a page; at the end the device is live.
func (t *turn) pull(m *nodepb.Pull) {
	d := t.device(m.GetOrigin().GetDevice())
	if d != nil && d.next.Conn != 0 && d.next.Session == m.GetOrigin().GetSession() {
		t.become(d, d.next)
	}
	if d == nil || d.att.Session != m.GetOrigin().GetSession() {
		return
	}
	// Acked may be more than was written to this session: by REST. That does not
	// come again.
	from := max(m.GetAfter(), d.has())
	upTo, end := t.page(d, from, int(m.GetMaxEntries()), int(m.GetMaxBytes()))
	if upTo == from {
		upTo = m.GetAfter()
	}
	d.att.Live, d.att.Pushed = end, upTo
	if upTo == m.GetAfter() {
		t.tell(d.att.Conn, &nodepb.Page{Session: d.att.Session, After: m.GetAfter(), End: end})
		return
	}
	t.effect(ReadPage{
		Conn: d.att.Conn, Session: d.att.Session, Device: d.number(), After: m.GetAfter(), Acked: from, UpTo: upTo, End: end,
	})
}

// page finds how far a page after a seq reaches: the seq of its last entry, or
// after where there is none, and whether nothing follows.
func (t *turn) page(d *device, after uint64, maxEntries, maxBytes int) (upTo uint64, end bool) {
	maxEntries, maxBytes = min(maxEntries, limits.PageEntries), min(maxBytes, limits.PageBytes)
	upTo = after
	entries, bytes := 0, 0
	for i := t.after(max(after, d.start)); i < len(t.index); i++ {
		it := t.index[i]
		if it.skip == d.number() {
			continue
		}
		if entries > 0 && (entries >= maxEntries || bytes+int(it.size) > maxBytes) {
			return upTo, false
		}
		entries, bytes, upTo = entries+1, bytes+int(it.size), it.seq
	}
	return upTo, true
}

// devicesSeen is a session's word that it stamps sends with the devices of the
// epoch, and that none stamped with older ones is open.
func (t *turn) devicesSeen(m *nodepb.DevicesSeen) {
	t.links = slices.DeleteFunc(t.links, func(l link) bool {
		if l.device != 0 && m.GetEpoch() >= l.epoch {
			delete(l.waiting, m.GetOrigin().GetSession())
		}
		return t.finish(l)
	})
}

// leave takes an ended session out of what answers wait for.
func (t *turn) leave(session uint64) {
	t.links = slices.DeleteFunc(t.links, func(l link) bool {
		delete(l.waiting, session)
		return t.finish(l)
	})
}

func (t *turn) finish(l link) bool {
	if len(l.waiting) > 0 {
		return false
	}
	a := &nodepb.Answer{Request: l.request, Body: &nodepb.Answer_Done{Done: &nodepb.Done{}}}
	if l.device != 0 {
		a.Body = &nodepb.Answer_Linked{Linked: &nodepb.Linked{Device: l.device}}
	}
	t.effect(ToConn{Msg: a})
	return true
}

// answerOnceEnded answers a request that ends devices when their sessions have said
// that they are over, so that nothing they send is taken after the answer. One whose
// node is silent says so when it is heard again, or is taken for ended with its node
// (route); the request may have given up by then, and says that it does not know.
func (t *turn) answerOnceEnded(ask *nodepb.Ask, sessions []Attachment) {
	l := link{request: ask.GetRequest(), waiting: map[uint64]struct{}{}}
	for _, a := range sessions {
		l.waiting[a.Session] = struct{}{}
	}
	t.await(l)
}

// await what an answer waits for.
func (t *turn) await(l link) {
	if !t.finish(l) {
		t.links = append(t.links, l)
	}
}

// ended: the connection had the session of a device that is no longer linked.
func (t *turn) ended(conn uint64) {
	if i := slices.IndexFunc(t.ending, func(a Attachment) bool { return a.Conn == conn }); i >= 0 {
		session := t.ending[i].Session
		t.ending = slices.Delete(t.ending, i, i+1)
		t.leave(session)
	}
}

// linkDevice links a new device. Its history begins after the newest entry, or
// with the oldest kept where it is the first. The answer waits until every
// session of the user stamps its sends with the new device, so that nothing
// accepted after the answer lacks a copy for it.
//
// Sessions that have not attached again since the shard changed its leader are not
// known, and not waited for. Their sends are copied to this actor for another
// reason: the session's node knows of the change, or the recipient's does
// (route, Send.term). What is left is a send that comes before either has heard the
// new leader, which says so at once, and each 300 ms. Where the user had but the
// one device, it asks for no copy, and the new device does not get it.
func (t *turn) linkDevice(ask *nodepb.Ask, m *nodepb.LinkDevice) {
	switch {
	case !t.exists() || t.account.GetPassword() != m.GetPassword():
		t.fail(ask, fault.New(fault.Unauthenticated, "", "user or password: not right"))
		return
	case len(t.devices) >= limits.Devices:
		t.fail(ask, fault.New(fault.FailedPrecondition, fault.ReasonDeviceLimit, "the user has %d devices, the most there may be; unlink one", limits.Devices))
		return
	}
	if t.unheard() {
		// The answer would wait for what that session says, and a device would be left of which nobody knows.
		t.fail(ask, fault.New(fault.Unavailable, "", "a device of the user is connected to a node that does not answer; try again"))
		return
	}
	t.account.LastDevice++
	t.putAccount()
	row := &storepb.DeviceRow{Device: t.account.GetLastDevice(), Name: m.GetName(), Linked: t.ctx.Now}
	if len(t.devices) > 0 {
		t.append(t.deviceEvent(&storepb.DeviceEvent{Linked: []*storepb.DeviceRow{row}}), 0, nil)
		row = proto.CloneOf(row)
		row.Start = t.lastSeq
	} else {
		row.Start = t.firstStored() - 1
	}
	d := newDevice(row, t.ctx.Now)
	t.put(mailbox.Device, mailbox.U32(row.GetDevice()), row)
	t.devices = append(t.devices, d)
	l := link{request: ask.GetRequest(), device: d.number(), epoch: t.lastSeq, waiting: t.tellDevices()}
	t.await(l)
	t.schedule()
}

// unheard says whether some session of the user is on a node that is not heard.
func (t *turn) unheard() bool {
	return t.ctx.Silent != nil && slices.ContainsFunc(t.devices, func(d *device) bool {
		return d.att.Conn != 0 && t.ctx.Silent(d.att.Conn) || d.next.Conn != 0 && t.ctx.Silent(d.next.Conn)
	})
}

// tellDevices tells every session its user's other devices, and whether copies for
// them are taken.
func (t *turn) tellDevices() (told map[uint64]struct{}) {
	told = map[uint64]struct{}{}
	for _, d := range t.devices {
		for _, a := range [...]Attachment{d.att, d.next} {
			if a.Conn != 0 {
				t.tell(a.Conn, &nodepb.Devices{Session: a.Session, Epoch: t.lastSeq, Others: t.others(d.number()), Full: t.full})
				told[a.Session] = struct{}{}
			}
		}
	}
	return told
}

func (t *turn) deviceEvent(e *storepb.DeviceEvent) *storepb.Entry {
	return &storepb.Entry{Expires: t.ttl(0), Body: &storepb.Entry_DeviceEvent{DeviceEvent: e}}
}

// unlink ends a device, and what waited for it alone. It returns the sessions that
// are to end.
func (t *turn) unlink(d *device) (sessions []Attachment) {
	t.devices = slices.DeleteFunc(t.devices, func(x *device) bool { return x == d })
	sessions = t.end(d)
	peers := t.keepAcks()
	gone, lost := t.sweep(0, t.lastSeq)
	for _, peer := range lost {
		t.convs[peer].advance()
		if !slices.Contains(peers, peer) {
			peers = append(peers, peer)
		}
	}
	if len(gone)+len(peers) > 0 {
		t.progress(gone, nil, peers...)
	}
	t.receipts(lost)
	if len(t.devices) > 0 {
		t.append(t.deviceEvent(&storepb.DeviceEvent{Unlinked: []uint32{d.number()}}), 0, nil)
		t.tellDevices()
	}
	return sessions
}

// end the sessions of a device that is no longer linked, and drop its rows.
func (t *turn) end(d *device) (sessions []Attachment) {
	for _, a := range [...]Attachment{d.att, d.next} {
		if a.Conn != 0 {
			t.tell(a.Conn, &nodepb.Kick{Session: a.Session, Code: closeUnlinked, Reason: "this device was unlinked"})
			sessions = append(sessions, a)
		}
	}
	t.ending = append(t.ending, sessions...)
	t.wake(func(p Attachment) bool { return p.Device == d.number() })
	for _, kind := range []mailbox.Kind{mailbox.Device, mailbox.Cursor, mailbox.Seen} {
		t.put(kind, mailbox.U32(d.number()), nil)
	}
	return sessions
}

// keepAcks remembers which messages were acked only by devices that are gone.
// It returns the peers of whom there are some above the watermark, which
// tells of all others.
func (t *turn) keepAcks() (peers []string) {
	for _, it := range t.index {
		if it.kind != itemInbound || !it.acked || t.ackedByAny(it) {
			continue
		}
		if c := t.convs[it.peer]; it.order > c.delivered {
			c.remember(it.order)
			peers = addPeer(peers, it)
		}
	}
	return peers
}

func (t *turn) putAccount() { t.put(mailbox.Account, nil, t.account) }
