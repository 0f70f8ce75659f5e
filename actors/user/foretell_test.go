package user

import (
	"testing"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// What an ack is foretold to say is what it then says; what it does not reach,
// or must not wait for, is not foretold.
func TestForetell(t *testing.T) {
	w := lived(t)
	w.attach("bob", 1, 0, 0)
	w.settle()
	bob, alice := w.current["bob/1"], w.attach("alice", 1, 0, 0)
	w.settle()
	for _, id := range []string{"a", "b", "c"} {
		w.send(alice, &nodepb.Send{To: "bob", Id: messageID(id)})
		w.settle()
	}
	s := w.state("bob")
	told := func(seq uint64) string {
		t.Helper()
		steps, ok := s.Foretell(&nodepb.Ack{Origin: bob.origin(), Seq: seq}, nil)
		if !ok {
			return "now"
		}
		if len(steps) == 0 {
			return "nothing"
		}
		return steps[0].GetTo() + " " + traceStep(steps[0])
	}
	last := s.lastSeq
	for seq, want := range map[uint64]string{
		0: "now", last - 2: "alice watermark bob delivered 4 read 0", last: "alice watermark bob delivered 6 read 0", last + 1: "now",
	} {
		if got := told(seq); got != want {
			t.Errorf("ack %d: foretold %q, want %q", seq, got, want)
		}
	}
	w.ask(&nodepb.Ask{User: "bob", Asker: "bob", Device: 1, Body: &nodepb.Ask_SetBlock{SetBlock: &nodepb.SetBlock{User: "alice", Blocked: true}}})
	w.settle()
	if got := told(last); got != "nothing" {
		t.Errorf("who is blocked is foretold %q", got)
	}
	w.ask(&nodepb.Ask{User: "bob", Asker: "bob", Device: 1, Body: &nodepb.Ask_SetBlock{SetBlock: &nodepb.SetBlock{User: "alice"}}})
	w.settle()
	s.convs["alice"].lose(4)
	if got := told(last); got != "now" {
		t.Errorf("with an order undelivered: foretold %q", got)
	}
	s.convs["alice"].undelivered = nil
	s.settings.MailboxEntries = 2 * (s.entries - 1)
	if got := told(last); got != "now" {
		t.Errorf("with the mailbox half full: foretold %q", got)
	}
}

// An ack that waits covers an order above which others are spent by a batch
// that may yet be lost: those are not foretold.
func TestForetellStopsAtWhatIsAcked(t *testing.T) {
	w := lived(t)
	w.attach("bob", 1, 0, 0)
	alice := w.attach("alice", 1, 0, 0)
	w.settle()
	bob, s := w.current["bob/1"], w.state("bob")
	w.send(alice, &nodepb.Send{To: "bob", Id: messageID("a")})
	w.settle()
	seq := s.lastSeq
	s.blocks["alice"] = struct{}{}
	w.send(alice, &nodepb.Send{To: "bob", Id: messageID("discarded, not durable")})
	delete(s.blocks, "alice")
	if steps, ok := s.Foretell(&nodepb.Ack{Origin: bob.origin(), Seq: seq}, nil); !ok || len(steps) != 1 || steps[0].GetWatermark().GetDelivered() != 4 {
		t.Errorf("foretold %v, %t, want delivered 4", steps, ok)
	}
}

// A receipt may be told twice, and the older one come last, with fewer losses.
func TestReceiptsComeInAnyOrder(t *testing.T) {
	steps := []*storepb.Watermark{
		{Peer: "bob", Delivered: 1}, {Peer: "bob", Delivered: 3, Undelivered: spans(2, 2)},
		{Peer: "bob", Delivered: 5, Read: 3, Undelivered: spans(2, 2, 4, 5)}, {Peer: "bob", Delivered: 9, Read: 3, Undelivered: spans(2, 2, 4, 7)},
	}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2, 3}, {2, 0, 3, 1}} {
		w := lived(t)
		for _, i := range order {
			step := &storepb.Step{To: "alice", Body: &storepb.Step_Watermark{Watermark: steps[i]}}
			w.step("alice", step)
			w.settle()
		}
		r := w.state("alice").convs["bob"].receipt("bob").GetReceipt()
		if r.GetDelivered() != 9 || r.GetRead() != 3 || ranges(r.GetUndelivered()) != " undelivered 2,4-7" {
			t.Errorf("in the order %v they end in %v", order, r)
		}
	}
}

func TestUnion(t *testing.T) {
	for _, c := range []struct {
		a, b []*storepb.Range
		want string
	}{
		{nil, nil, ""},
		{spans(1, 2), nil, " undelivered 1-2"},
		{nil, spans(1, 2), " undelivered 1-2"},
		{spans(1, 2), spans(3, 3), " undelivered 1-3"},
		{spans(1, 9), spans(2, 3, 5, 6), " undelivered 1-9"},
		{spans(1, 1, 5, 6), spans(3, 3, 6, 8, 10, 10), " undelivered 1,3,5-8,10"},
	} {
		a, b := ranges(c.a), ranges(c.b)
		for _, got := range []string{ranges(union(c.a, c.b)), ranges(union(c.b, c.a))} {
			if got != c.want {
				t.Errorf("%s and %s: %s, want %s", a, b, got, c.want)
			}
		}
		if ranges(c.a) != a || ranges(c.b) != b {
			t.Errorf("%s and %s were changed, and rows may hold them", a, b)
		}
	}
}
