package user

import (
	"testing"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Where as many copies wait for a device as may, its user's sessions are told that
// no more are taken, and again when some are; what others send does not mind.
func TestCopiesFull(t *testing.T) {
	d := newDesk(t)
	d.state.settings.MailboxEntries = d.state.copies.entries + 2
	live, _, _ := d.attach(5)
	d.pull(5, live)
	step := uint64(1000)
	take := func() map[uint64]any {
		step++
		told, _ := d.ask(&storepb.Step{Body: &storepb.Step_Copy{Copy: &storepb.Message{From: "bob", Device: 1, Peer: "alice", Order: step, Time: step}}})
		return told
	}
	full := func(told map[uint64]any) (full, said bool) {
		m, said := told[5].(*nodepb.Devices)
		return m.GetFull(), said
	}
	if _, said := full(take()); said {
		t.Error("told of the last but one")
	}
	entries := d.state.entries
	if f, said := full(take()); !f || !said {
		t.Errorf("told %v, full %v, of the last", said, f)
	}
	if d.state.entries != entries {
		t.Error("copies count among what others send")
	}
	if _, said := full(take()); said {
		t.Error("told twice")
	}
	if told, _ := d.ask(&nodepb.Ask{Request: 7, User: "bob", Asker: "bob", Device: 1, Body: &nodepb.Ask_GetDevices{GetDevices: &nodepb.GetDevices{}}}); !told[0].(*nodepb.Answer).GetDevices().GetFull() {
		t.Errorf("REST is told %v", told)
	}
	_, told, _ := d.attach(6)
	if !told[6].(*nodepb.Attached).GetFull() {
		t.Errorf("a new session is told %v", told[6])
	}
	d.ask(&nodepb.Detach{Origin: d.origin(6, 0)})
	// The device that the copies wait for takes some.
	told, _ = d.ask(&nodepb.Ask{Request: 8, User: "bob", Asker: "bob", Device: 2, Body: &nodepb.Ask_AckUpTo{AckUpTo: &nodepb.AckUpTo{Seq: d.state.lastSeq}}})
	if f, said := full(told); f || !said {
		t.Errorf("told %v, full %v, when it has them", said, f)
	}
}
