package user

import (
	"maps"
	"slices"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

func (t *turn) answer(ask *nodepb.Ask, a *nodepb.Answer) {
	a.Request = ask.GetRequest()
	t.effect(ToConn{Msg: a})
}

func (t *turn) fail(ask *nodepb.Ask, f *nodepb.Fault) {
	t.answer(ask, &nodepb.Answer{Body: &nodepb.Answer_Fault{Fault: f}})
}

func (t *turn) done(ask *nodepb.Ask) {
	t.answer(ask, &nodepb.Answer{Body: &nodepb.Answer_Done{Done: &nodepb.Done{}}})
}

// ask answers the REST API.
func (t *turn) ask(ask *nodepb.Ask) {
	switch b := ask.GetBody().(type) {
	case *nodepb.Ask_Register:
		t.register(ask, b.Register)
	case *nodepb.Ask_GetCredentials:
		t.credentials(ask)
	case *nodepb.Ask_LinkDevice:
		t.linkDevice(ask, b.LinkDevice)
	case *nodepb.Ask_GetProfile:
		t.profile(ask)
	case *nodepb.Ask_Send:
		t.send(b.Send, ask)
	case *nodepb.Ask_SetPassword, *nodepb.Ask_DeleteAccount:
		t.own(ask, t.askWithPassword)
	default:
		t.own(ask, t.askOwn)
	}
}

// own runs what only a linked device of the user itself may ask.
func (t *turn) own(ask *nodepb.Ask, fn func(*nodepb.Ask, *device)) {
	d := t.device(ask.GetDevice())
	if !t.exists() || ask.GetAsker() != t.id || d == nil {
		t.fail(ask, unlinkedFault())
		return
	}
	t.present(d)
	fn(ask, d)
}

func (t *turn) askOwn(ask *nodepb.Ask, d *device) {
	switch b := ask.GetBody().(type) {
	case *nodepb.Ask_GetDevices:
		list := &nodepb.DeviceList{Time: t.lastTime, Full: t.full}
		for _, d := range t.devices {
			list.Devices = append(list.Devices, d.row)
		}
		t.answer(ask, &nodepb.Answer{Body: &nodepb.Answer_Devices{Devices: list}})
	case *nodepb.Ask_UnlinkDevice:
		t.unlinkByRest(ask, t.device(b.UnlinkDevice.GetDevice()))
	case *nodepb.Ask_PatchProfile:
		t.patchProfile(ask, b.PatchProfile)
	case *nodepb.Ask_SetBlock:
		t.setBlock(ask, b.SetBlock)
	case *nodepb.Ask_List:
		t.list(ask, d, b.List)
	case *nodepb.Ask_AckUpTo:
		t.ackByRest(ask, d, b.AckUpTo.GetSeq())
	default:
		t.fail(ask, fault.New(fault.Internal, "", "the question is not known"))
	}
}

func (t *turn) unlinkByRest(ask *nodepb.Ask, gone *device) {
	switch {
	case gone == nil:
		t.fail(ask, fault.New(fault.NotFound, "", "device: there is no such device"))
		return
	case t.ctx.OutboxFull:
		t.fail(ask, outboxFull())
		return
	}
	wasOnline := t.online()
	t.answerOnceEnded(ask, t.unlink(gone))
	if wasOnline && !t.online() {
		t.effect(PresenceChanged{LastSeen: max(t.lastSeen(), t.ctx.Now)})
	}
	t.schedule()
}

func (t *turn) register(ask *nodepb.Ask, m *nodepb.Register) {
	if t.exists() {
		t.fail(ask, fault.New(fault.AlreadyExists, "", "user: the name is taken"))
		return
	}
	// Device numbers are never reused, not even by a later owner of the name.
	last := t.account.GetLastDevice()
	t.account = &storepb.AccountRow{
		Created: t.ctx.Now, Password: m.GetPassword(), Profile: &storepb.Profile{Name: m.GetName()}, LastDevice: last,
	}
	t.putAccount()
	t.effect(Rewatch{})
	t.done(ask)
}

func (t *turn) credentials(ask *nodepb.Ask) {
	if !t.exists() {
		t.fail(ask, fault.New(fault.NotFound, "", "user: there is no such user"))
		return
	}
	t.answer(ask, &nodepb.Answer{Body: &nodepb.Answer_Credentials{Credentials: &nodepb.Credentials{Password: t.account.GetPassword()}}})
}

// askWithPassword changes what the API verified the password for; it must not
// have changed since.
func (t *turn) askWithPassword(ask *nodepb.Ask, _ *device) {
	switch b := ask.GetBody().(type) {
	case *nodepb.Ask_SetPassword:
		if t.account.GetPassword() != b.SetPassword.GetOld() {
			t.fail(ask, fault.New(fault.Unauthenticated, "", "old: not the password"))
			return
		}
		t.account.Password = b.SetPassword.GetNew()
		t.putAccount()
		t.done(ask)
	case *nodepb.Ask_DeleteAccount:
		if t.account.GetPassword() != b.DeleteAccount.GetPassword() {
			t.fail(ask, fault.New(fault.Unauthenticated, "", "password: not right"))
			return
		}
		if t.ctx.OutboxFull {
			t.fail(ask, outboxFull())
			return
		}
		t.answerOnceEnded(ask, t.deleteAccount())
	}
}

// deleteAccount removes what is the user's own. What peers rely on stays: the
// orders and results of their sends, and the numbers never to be given again.
// Conversations stay in memory, too: the rows may lag behind them. It returns the
// sessions that are to end.
func (t *turn) deleteAccount() (sessions []Attachment) {
	devices := t.devices
	t.devices = nil
	for _, d := range devices {
		sessions = append(sessions, t.end(d)...)
	}
	var gone []uint64
	var lost []string
	for _, it := range t.index {
		gone = append(gone, it.seq)
		lost = t.discard(it, lost)
	}
	t.index = nil
	for _, peer := range lost {
		t.convs[peer].advance()
	}
	if len(gone) > 0 {
		t.progress(gone, nil, lost...)
	}
	t.receipts(lost)
	for _, user := range slices.Sorted(maps.Keys(t.blocks)) {
		t.put(mailbox.Block, []byte(user), nil)
	}
	clear(t.blocks)
	t.account = &storepb.AccountRow{Deleted: true, LastDevice: t.account.GetLastDevice()}
	t.putAccount()
	t.effect(Rewatch{})
	t.schedule()
	return sessions
}

func (t *turn) patchProfile(ask *nodepb.Ask, m *nodepb.PatchProfile) {
	if t.account.Profile == nil {
		t.account.Profile = &storepb.Profile{}
	}
	p := t.account.GetProfile()
	if m.Name != nil {
		p.Name = m.GetName()
	}
	if m.Picture != nil {
		p.Picture = m.GetPicture()
	}
	if m.About != nil {
		p.About = m.GetAbout()
	}
	if m.LastSeen != nil && m.GetLastSeen() != p.GetLastSeen() {
		p.LastSeen = m.GetLastSeen()
		t.effect(Rewatch{})
	}
	t.putAccount()
	t.profile(ask)
}

// profile shows the asker what it may see.
func (t *turn) profile(ask *nodepb.Ask) {
	if !t.exists() {
		t.fail(ask, fault.New(fault.NotFound, "", "user: there is no such user"))
		return
	}
	own := ask.GetAsker() == t.id
	p := t.account.GetProfile()
	v := &nodepb.ProfileView{Profile: &storepb.Profile{Name: p.GetName(), Picture: p.GetPicture(), About: p.GetAbout()}}
	if own {
		v.Profile.LastSeen = p.GetLastSeen()
	}
	if t.shows(ask.GetAsker()) {
		v.Online, v.LastSeen = t.online(), t.lastSeen()
	}
	t.answer(ask, &nodepb.Answer{Body: &nodepb.Answer_Profile{Profile: v}})
}

func (t *turn) setBlock(ask *nodepb.Ask, m *nodepb.SetBlock) {
	user := m.GetUser()
	switch {
	case user == t.id:
		t.fail(ask, fault.New(fault.InvalidArgument, "", "user: one cannot block oneself"))
		return
	case m.GetBlocked() && !t.blocked(user):
		if len(t.blocks) >= limits.Blocks {
			t.fail(ask, fault.New(fault.FailedPrecondition, "", "user: %d users are blocked, the most there may be", limits.Blocks))
			return
		}
		t.blocks[user] = struct{}{}
		t.put(mailbox.Block, []byte(user), &storepb.MailboxRow{})
		t.effect(Rewatch{User: user})
	case !m.GetBlocked() && t.blocked(user):
		if t.ctx.OutboxFull {
			t.fail(ask, outboxFull())
			return
		}
		delete(t.blocks, user)
		t.effect(Rewatch{User: user})
		t.put(mailbox.Block, []byte(user), nil)
		// The receipts of the time of the block were held back.
		if c := t.convs[user]; c.delivered > 0 || c.read > 0 {
			t.receipts([]string{user})
		}
	}
	t.done(ask)
}

// list reads what waits for the asking device, or has the request wait for it.
func (t *turn) list(ask *nodepb.Ask, d *device, m *nodepb.List) {
	if m.GetAfter() > t.lastSeq {
		// Nobody was ever given it; to wait for what comes after would be to lose
		// what comes before.
		t.fail(ask, fault.New(fault.InvalidArgument, "", "after: it is beyond the last entry of the mailbox"))
		return
	}
	after := max(m.GetAfter(), d.has())
	upTo, end := t.page(d, after, int(m.GetLimit()), limits.PageBytes)
	if m.GetPark() != nil && upTo == after && end {
		t.park(ask, Attachment{Conn: m.GetPark().GetConn(), Device: d.number(), Pushed: after})
		return
	}
	t.effect(ReadPage{
		Request: ask.GetRequest(), Device: d.number(), After: after, UpTo: upTo, End: end, Peer: m.GetPeer(), ID: m.GetId(),
	})
}

// ackByRest moves the cursor of a device that reads by REST. What such a device
// was given is not remembered from one request to the next; what cannot have
// been given is refused.
func (t *turn) ackByRest(ask *nodepb.Ask, d *device, seq uint64) {
	switch {
	case seq > t.lastSeq:
		t.fail(ask, fault.New(fault.InvalidArgument, "", "seq: it is beyond what was delivered to this device"))
	case t.ctx.OutboxFull:
		t.fail(ask, outboxFull())
	default:
		t.ackUpTo(d, seq)
		t.done(ask)
	}
}
