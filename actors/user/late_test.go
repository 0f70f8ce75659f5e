package user

import (
	"testing"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// desk is bob's actor, asked one thing at a time.
type desk struct {
	t     *testing.T
	state *State
	given uint64 // sessions
}

func newDesk(t *testing.T) *desk {
	w := lived(t)
	d := &desk{t: t, state: w.state("bob"), given: 9 << 32}
	d.state.devices[0].att = Attachment{}
	return d
}

// ask says what is told to connections, and whether the user was said to be online or not.
func (d *desk) ask(in any) (told map[uint64]any, presence []bool) {
	told = map[uint64]any{}
	d.given++
	for _, e := range d.state.Step(Context{Now: 1_750_000_000_000, Session: d.given}, in).Effects {
		switch e := e.(type) {
		case ToConn:
			told[e.Conn] = e.Msg
		case PresenceChanged:
			presence = append(presence, e.Online)
		case ReadPage:
			told[e.Conn] = e
		}
	}
	d.state.Check()
	return told, presence
}

func (d *desk) origin(conn, session uint64) *nodepb.Origin {
	return &nodepb.Origin{Conn: conn, User: "bob", Device: 1, Session: session}
}

func (d *desk) attach(conn uint64) (session uint64, told map[uint64]any, presence []bool) {
	told, presence = d.ask(&nodepb.Attach{Origin: d.origin(conn, 0), Tag: 1})
	a, ok := told[conn].(*nodepb.Attached)
	if !ok || a.GetError() != nil {
		d.t.Fatalf("attach of %d: %v", conn, told)
	}
	return a.GetSession(), told, presence
}

func (d *desk) pull(conn, session uint64) (told map[uint64]any, presence []bool) {
	return d.ask(&nodepb.Pull{Origin: d.origin(conn, session), MaxEntries: 9, MaxBytes: 1 << 20})
}

func kicked(told map[uint64]any, conn uint64) uint32 {
	k, _ := told[conn].(*nodepb.Kick)
	return k.GetCode()
}

// The word with a hello was held up on its way, while its connection was given
// up and the device connected elsewhere. It comes, and the end of its connection
// behind it: the session that lives does not notice.
func TestLateAttachDisplacesNobody(t *testing.T) {
	d := newDesk(t)
	live, _, presence := d.attach(5)
	if len(presence) != 1 || !presence[0] {
		t.Errorf("presence %v", presence)
	}
	d.pull(5, live)
	late, told, presence := d.attach(6)
	if late <= live || len(told) != 1 || len(presence) != 0 {
		t.Errorf("session %d after %d, told %v, presence %v", late, live, told, presence)
	}
	if told, _ = d.pull(5, live); told[5] == nil {
		t.Error("the session that lives is not answered")
	}
	if told, presence = d.ask(&nodepb.Detach{Origin: d.origin(6, 0)}); len(told)+len(presence) != 0 {
		t.Errorf("told %v, presence %v", told, presence)
	}
	if a := d.state.Attachments(); len(a) != 1 || a[0].Conn != 5 || !a[0].Live {
		t.Errorf("attached: %+v", a)
	}
	if told, _ = d.pull(6, late); len(told) != 0 {
		t.Errorf("one that has ended pulls: %v", told)
	}
	if _, presence = d.ask(&nodepb.Detach{Origin: d.origin(5, 0)}); len(presence) != 1 || presence[0] {
		t.Errorf("presence %v", presence)
	}
}

// A session displaces the one before it with its first pull, and once: the device
// has one, and what the earlier one says afterwards is nobody's.
func TestFirstPullDisplaces(t *testing.T) {
	d := newDesk(t)
	before, _, _ := d.attach(5)
	d.pull(5, before)
	next, _, _ := d.attach(6)
	told, _ := d.pull(6, next)
	if kicked(told, 5) != closeReplaced || told[6] == nil {
		t.Errorf("told %v", told)
	}
	if told, _ = d.pull(5, before); len(told) != 0 {
		t.Errorf("the one before pulls: %v", told)
	}
	if told, presence := d.ask(&nodepb.Detach{Origin: d.origin(5, 0)}); len(told)+len(presence) != 0 {
		t.Errorf("told %v, presence %v", told, presence)
	}
	if told, _ = d.pull(6, next); told[6] == nil || told[5] != nil {
		t.Errorf("told %v", told)
	}
}

// A device's connection ends while the next one is about to begin: it was never offline.
func TestOnlineBetweenSessions(t *testing.T) {
	d := newDesk(t)
	before, _, _ := d.attach(5)
	d.pull(5, before)
	next, _, _ := d.attach(6)
	if _, presence := d.ask(&nodepb.Detach{Origin: d.origin(5, 0)}); len(presence) != 0 {
		t.Errorf("presence %v", presence)
	}
	if told, presence := d.pull(6, next); told[6] == nil || len(presence) != 0 {
		t.Errorf("told %v, presence %v", told, presence)
	}
}

// The late one comes before the live session has attached again to a new
// leader: that one is older by its number, and lives on nevertheless.
func TestLateAttachBeforeResumption(t *testing.T) {
	d := newDesk(t)
	late, _, _ := d.attach(6)
	const live = 4 << 32
	resume := &nodepb.Attach{Origin: d.origin(5, live), Tag: 2, Resumes: live}
	told, _ := d.ask(resume)
	if a, ok := told[5].(*nodepb.Attached); !ok || a.GetSession() != live || kicked(told, 6) != 0 {
		t.Fatalf("told %v", told)
	}
	// Had it lived after all, it would be the newer one.
	told, _ = d.pull(6, late)
	if kicked(told, 5) != closeReplaced {
		t.Errorf("told %v", told)
	}
	if told, _ = d.ask(resume); kicked(told, 5) != closeReplaced {
		t.Errorf("told %v", told)
	}
}

// Of two that have not begun the later is kept; the other may come again.
func TestTwoThatHaveNotBegun(t *testing.T) {
	d := newDesk(t)
	d.attach(5)
	next, told, _ := d.attach(6)
	if kicked(told, 5) != closeUnavailable {
		t.Errorf("told %v", told)
	}
	if told, _ := d.pull(6, next); told[6] == nil {
		t.Errorf("told %v", told)
	}
}

// One that has not begun stamps sends as soon as it has: it is told of devices,
// and a device is linked once it has seen them, or is gone.
func TestDevicesOfOneThatHasNotBegun(t *testing.T) {
	d := newDesk(t)
	live, _, _ := d.attach(5)
	d.pull(5, live)
	next, _, _ := d.attach(6)
	told, _ := d.ask(&nodepb.Ask{Request: 77, User: "bob", Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: "tablet", Password: "pw"}}})
	for conn, session := range map[uint64]uint64{5: live, 6: next} {
		if m, ok := told[conn].(*nodepb.Devices); !ok || m.GetSession() != session {
			t.Errorf("%d is told %v", conn, told[conn])
		}
	}
	epoch := told[6].(*nodepb.Devices).GetEpoch()
	if told, _ = d.ask(&nodepb.DevicesSeen{Origin: d.origin(5, live), Epoch: epoch}); len(told) != 0 {
		t.Errorf("answered before all have seen it: %v", told)
	}
	if told, _ = d.ask(&nodepb.Detach{Origin: d.origin(6, next)}); len(told) != 1 {
		t.Errorf("not answered when all that are left have: %v", told)
	}
}

// Where a session is on a node that is not heard, a link request is refused before
// anything is done: its answer would wait, and each try would leave a device.
func TestLinkIsRefusedWhileASessionIsNotHeard(t *testing.T) {
	d := newDesk(t)
	live, _, _ := d.attach(5)
	d.pull(5, live)
	link := &nodepb.Ask{Request: 77, User: "bob", Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: "tablet", Password: "pw"}}}
	devices := len(d.state.devices)
	for _, silent := range []uint64{5, 6} {
		want := devices + int(silent-5)
		out := d.state.Step(Context{Now: 1_750_000_000_000, Silent: func(conn uint64) bool { return conn == silent }}, link)
		if got := len(d.state.devices); got != want || (len(out.Mutations) == 0) != (want == devices) {
			t.Errorf("%d is not heard: %d devices of %d, and %d mutations", silent, got, devices, len(out.Mutations))
		}
		if silent == 5 && len(out.Effects) != 1 {
			t.Errorf("not refused at once: %v", out.Effects)
		}
	}
}

// Unlinked, a device has no session, begun or not.
func TestUnlinkEndsOneThatHasNotBegun(t *testing.T) {
	d := newDesk(t)
	live, _, _ := d.attach(5)
	d.pull(5, live)
	next, _, _ := d.attach(6)
	told, _ := d.ask(&nodepb.Ask{Request: 77, User: "bob", Asker: "bob", Device: 2, Body: &nodepb.Ask_UnlinkDevice{UnlinkDevice: &nodepb.UnlinkDevice{Device: 1}}})
	if kicked(told, 5) != closeUnlinked || kicked(told, 6) != closeUnlinked {
		t.Errorf("told %v", told)
	}
	if told, _ = d.pull(6, next); len(told) != 0 {
		t.Errorf("told %v", told)
	}
}

// What ends devices is answered when their sessions have said that they are over:
// the gateway of one may not have heard of it for a while, and sends on.
func TestEndsAreAnsweredOnceHeard(t *testing.T) {
	unlink := &nodepb.Ask{Request: 77, User: "bob", Asker: "bob", Device: 2, Body: &nodepb.Ask_UnlinkDevice{UnlinkDevice: &nodepb.UnlinkDevice{Device: 1}}}
	erase := &nodepb.Ask{Request: 77, User: "bob", Asker: "bob", Device: 2, Body: &nodepb.Ask_DeleteAccount{DeleteAccount: &nodepb.DeleteAccount{Password: "pw"}}}
	link := &nodepb.Ask{Request: 78, User: "bob", Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: "tablet", Password: "pw"}}}
	for name, ask := range map[string]*nodepb.Ask{"unlink": unlink, "delete": erase} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			live, _, _ := d.attach(5)
			d.pull(5, live)
			next, _, _ := d.attach(6)
			answers := func(in any) (done, linked bool) {
				for _, e := range d.state.Step(Context{Now: 1_750_000_000_000}, in).Effects {
					if to, ok := e.(ToConn); ok {
						a, _ := to.Msg.(*nodepb.Answer)
						done = done || a.GetDone() != nil && a.GetRequest() == 77
						linked = linked || a.GetLinked() != nil && a.GetRequest() == 78
					}
				}
				d.state.Check()
				return done, linked
			}
			if name == "unlink" {
				if _, linked := answers(link); linked {
					t.Error("linked before a session has seen the device")
				}
			}
			if done, _ := answers(ask); done || d.state.Idle() {
				t.Errorf("answered %v, and may be forgotten %v, while two sessions may go on", done, d.state.Idle())
			}
			if n := len(d.state.Attachments()); n < 2 {
				t.Errorf("%d attachments: should their node end, nobody would end them", n)
			}
			for conn, session := range map[uint64]uint64{5: live, 6: next} {
				if done, _ := answers(&nodepb.DevicesSeen{Origin: d.origin(conn, session), Epoch: 1}); done {
					t.Error("a session that has seen the devices is not over")
				}
			}
			if done, linked := answers(&nodepb.Detach{Origin: d.origin(5, live)}); done || linked {
				t.Errorf("answered %v, linked %v, while one may go on", done, linked)
			}
			done, linked := answers(&nodepb.Detach{Origin: d.origin(6, next)})
			if !done || linked != (name == "unlink") || len(d.state.links) != 0 || len(d.state.ending) != 0 {
				t.Errorf("answered %v, linked %v, left %v and %v", done, linked, d.state.links, d.state.ending)
			}
			if done, _ = answers(&nodepb.Detach{Origin: d.origin(6, next)}); done {
				t.Error("answered twice")
			}
		})
	}
}

// Both survive that the actor rests.
func TestNotBegunAtRest(t *testing.T) {
	w := lived(t)
	d := &desk{t: t, state: w.state("bob"), given: 9 << 32}
	d.state.devices[0].att = Attachment{}
	live, _, _ := d.attach(5)
	d.pull(5, live)
	next, _, _ := d.attach(6)
	w.open = nil
	list := d.state.Attachments()
	again, err := Load("bob", w.rowsOf("bob"), list)
	if err != nil {
		t.Fatal(err)
	}
	d.state = again
	if a := again.Attachments(); len(a) != 2 || a[0] != list[0] || a[1] != list[1] {
		t.Fatalf("at rest %+v, then %+v", list, a)
	}
	if told, _ := d.pull(6, next); kicked(told, 5) != closeReplaced {
		t.Errorf("told %v", told)
	}
}
