package ledger

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func TestIDs(t *testing.T) {
	run := Run{Start: 1_795_000_000_123, Tag: 0xabc}
	for _, c := range []struct {
		flow   uint32
		number uint64
	}{{0, 1}, {1, 2}, {FlowMax, NumberMax}, {77, 1 << 35}} {
		text := run.AppendID(nil, c.flow, c.number)
		id, err := uuid.ParseBytes(text)
		if err != nil || id.Version() != 7 || id.Variant() != uuid.RFC4122 || id.String() != string(text) {
			t.Errorf("%s is no UUID of version 7: %v", text, err)
		}
		flow, number, ok := run.ParseID(text)
		if !ok || flow != c.flow || number != c.number {
			t.Errorf("%v came back as %d, %d, %v", c, flow, number, ok)
		}
		if _, _, ok := (Run{Start: run.Start, Tag: 0xabd}).ParseID(text); ok {
			t.Error("an id of another run is taken")
		}
	}
	for _, text := range []string{"", "x", strings.Repeat("x", IDLen), "01a1f0c9-b07b-7abc-8000-0000000000zz"} {
		if _, _, ok := run.ParseID([]byte(text)); ok {
			t.Errorf("%q is taken", text)
		}
	}
}

// step is one event, by a word and numbers: send, sent N order, dup N order,
// refuse N, get R N order, ack R, receipt upTo, read upTo, shown order,
// again N, copy R upTo.
func play(l *Ledger, f int, script string) {
	for line := range strings.SplitSeq(script, ";") {
		var word string
		var a, b, c uint64
		n, _ := fmt.Sscan(line, &word, &a, &b, &c) // fewer numbers end the scan
		if n == 0 {
			continue
		}
		switch word {
		case "send":
			l.Send(f, 1)
		case "sent":
			l.Sent(f, a, b, false)
		case "dup":
			l.Sent(f, a, b, true)
		case "refuse":
			l.Refuse(f, a)
		case "get":
			l.Deliver(f, int(a), b, c)
		case "ack":
			l.Acked(f, int(a))
		case "receipt":
			l.Receipt(f, a, 0, 0, func(int64) {})
		case "hole":
			l.Receipt(f, a, 0, 1, func(int64) {})
		case "read":
			l.Receipt(f, a, b, 0, func(int64) {})
		case "shown":
			l.Shown(f, a)
		case "again":
			l.Again(f, a, 5_000_001)
		case "copy":
			l.Copy(f, int(a), b, 0)
		}
	}
}

// Two devices receive: 0 is the recipient's, 2 the sender's other one (1 is the
// one that sends). Each script breaks one promise, and only its count shows.
func TestWhatIsWrongIsCounted(t *testing.T) {
	const one = "send; sent 1 1; get 0 1 1; get 2 1 1; ack 0; receipt 1;"
	const two = one + "send; sent 2 2; get 0 2 2; get 2 2 2; ack 0; receipt 2;"
	for _, c := range []struct {
		name, script string
		want         Tally // what is wrong
	}{
		{"nothing", two, Tally{}},
		{"delivered before it was answered", "send; get 0 1 1; ack 0; receipt 1; get 2 1 1; sent 1 1", Tally{}},
		{"one receipt for two", "send; send; sent 1 1; sent 2 2; get 0 1 1; get 0 2 2; get 2 1 1; get 2 2 2; ack 0; receipt 2", Tally{}},
		{"refused, and the next takes its order", "send; send; refuse 1; sent 2 1; get 0 2 1; get 2 2 1; ack 0; receipt 1", Tally{}},
		{"refused in between", one + "send; send; sent 3 2; refuse 2; get 0 3 2; get 2 3 2; ack 0; receipt 2", Tally{}},
		{"asked again, told of the duplicate", "send; again 1; dup 1 1; get 0 1 1; get 2 1 1; ack 0; receipt 1", Tally{}},
		{"asked again, accepted the second time", "send; again 1; sent 1 1; get 0 1 1; get 2 1 1; ack 0; receipt 1", Tally{}},
		{"read after it was shown", one + "shown 1; read 1 1", Tally{}},

		{"lost to the recipient", "send; sent 1 1; get 2 1 1", Tally{Missing: 1}},
		{"lost to the sender's other device", "send; sent 1 1; get 0 1 1; ack 0; receipt 1", Tally{Missing: 1}},
		{"lost to both", "send; sent 1 1", Tally{Missing: 2}},
		{"lost in the middle", one + "send; send; sent 2 2; sent 3 3; get 0 3 3; get 2 3 3; ack 0; receipt 3", Tally{Missing: 2}},
		{"never answered", "send; get 0 1 1; get 2 1 1; ack 0; receipt 1", Tally{Unanswered: 1}},
		{"never receipted", "send; sent 1 1; get 0 1 1; get 2 1 1; ack 0", Tally{Unreceipted: 1}},

		{"doubled at a device", "send; sent 1 1; get 0 1 1; get 0 1 1; get 2 1 1; ack 0; receipt 1", Tally{Duplicates: 1}},
		{"doubled long after", two + "get 0 1 1", Tally{Duplicates: 1}},
		{"answered twice", "send; sent 1 1; sent 1 1; get 0 1 1; get 2 1 1; ack 0; receipt 1", Tally{Duplicates: 1}},
		{"answered again when all is over", two + "sent 1 1", Tally{Duplicates: 1}},
		{"called a duplicate, sent once", "send; dup 1 1; get 0 1 1; get 2 1 1; ack 0; receipt 1", Tally{Duplicates: 1}},
		{"accepted twice under two orders", "send; again 1; sent 1 1; dup 1 2; get 0 1 1; get 2 1 1; ack 0; receipt 1", Tally{Duplicates: 1}},

		{"overtaken at a device", "send; send; sent 1 1; sent 2 2; get 0 2 2; get 0 1 1; get 2 1 1; get 2 2 2; ack 0; receipt 2", Tally{OutOfOrder: 1}},
		{"an order left out", one + "send; sent 2 3; get 0 2 3; get 2 2 3; ack 0; receipt 3", Tally{OutOfOrder: 1}},
		{"a first order that is not 1", "send; sent 1 2; get 0 1 2; get 2 1 2; ack 0; receipt 2", Tally{OutOfOrder: 1}},
		{"two devices told two orders", "send; sent 1 1; get 0 1 1; get 2 1 5; ack 0; receipt 1", Tally{OutOfOrder: 1}},
		{"sent and deliver at odds", "send; sent 1 2; get 0 1 1; get 2 1 1; ack 0; receipt 2", Tally{OutOfOrder: 3, BadReceipts: 1}},

		{"never sent", "get 0 1 1", Tally{Phantoms: 1}},
		{"answered, never sent", "sent 1 1", Tally{Phantoms: 1}},
		{"refused, yet delivered", "send; refuse 1; get 0 1 1", Tally{Duplicates: 1}}, // it has gone: which of the two is not remembered
		{"delivered, yet refused", "send; get 0 1 1; refuse 1", Tally{Phantoms: 1}},
		{"delivered to who sent it", "send; sent 1 1; get 0 1 1; get 2 1 1; ack 0; receipt 1; get 1 1 1", Tally{Phantoms: 1}},

		{"a receipt before any ack", "send; sent 1 1; get 0 1 1; get 2 1 1; receipt 1; ack 0", Tally{BadReceipts: 1}},
		{"a receipt for the ack of a copy", "send; sent 1 1; get 0 1 1; get 2 1 1; ack 2; receipt 1", Tally{BadReceipts: 1}},
		{"a receipt beyond what was acked", one + "send; sent 2 2; receipt 2; get 0 2 2; get 2 2 2; ack 0", Tally{BadReceipts: 1}},
		{"a receipt that falls", two + "receipt 1", Tally{BadReceipts: 1}},
		{"a read that nobody said", one + "read 1 1", Tally{BadReceipts: 1}},
		{"a receipt with a hole", "send; sent 1 1; get 0 1 1; get 2 1 1; ack 0; hole 1", Tally{BadReceipts: 1}},
		{"a copied receipt before any ack", "send; sent 1 1; get 0 1 1; get 2 1 1; copy 2 1; ack 0; receipt 1", Tally{BadReceipts: 1}},
		{"a copied receipt that falls", two + "copy 2 2; copy 2 1", Tally{BadReceipts: 1}},
	} {
		var l Ledger
		f := l.AddFlow(1, 2, 0)
		play(&l, f, c.script)
		got := l.Audit()
		want := c.want
		want.Sent, want.Accepted, want.Refused, want.Delivered = got.Sent, got.Accepted, got.Refused, got.Delivered
		want.Receipted, want.Receipts, want.AskedAgain = got.Receipted, got.Receipts, got.AskedAgain
		if got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, want)
		}
		if (got.Wrong() == 0) != (c.want == Tally{}) {
			t.Errorf("%s: wrong is %d", c.name, got.Wrong())
		}
	}
}

// A right history of any interleaving is right, and leaves nothing open; with
// one delivery dropped or doubled it is wrong.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		devices := rapid.IntRange(1, 3).Draw(t, "devices")
		own := rapid.IntRange(1, 3).Draw(t, "own")
		messages := rapid.IntRange(1, 200).Draw(t, "messages")
		harm := rapid.SampledFrom([]string{"none", "drop", "double"}).Draw(t, "harm")
		at := rapid.IntRange(0, messages-1).Draw(t, "at")
		var l Ledger
		f := l.AddFlow(devices, own, 0)
		queues := make([][]uint64, devices+own) // what each receiver is yet to get
		var unanswered []uint64
		made := 0
		for made < messages || len(unanswered) > 0 || left(queues) > 0 {
			k := rapid.IntRange(-1, devices+own).Draw(t, "next")
			switch {
			case k == -1 && made < messages:
				n := l.Send(f, int64(made))
				made++
				unanswered = append(unanswered, n)
				for r := range queues {
					if r == devices {
						continue
					}
					queues[r] = append(queues[r], n)
					if r == 0 && made == at+1 {
						queues[0] = harmed(queues[0], harm)
					}
				}
			case k == devices+own && len(unanswered) > 0:
				l.Sent(f, unanswered[0], unanswered[0], false)
				unanswered = unanswered[1:]
			case k >= 0 && k < len(queues) && len(queues[k]) > 0:
				l.Deliver(f, k, queues[k][0], queues[k][0])
				queues[k] = queues[k][1:]
				l.Acked(f, k)
			}
		}
		top := l.Delivered(f, 0)
		for r := 1; r < devices; r++ {
			top = max(top, l.Delivered(f, r))
		}
		l.Receipt(f, top, 0, 0, func(int64) {})
		wrong := l.Audit().Wrong() > 0
		if harm == "none" && (wrong || l.Open() != 0) {
			t.Fatalf("a right history is called wrong: %+v, %d open", l.Audit(), l.Open())
		}
		if harm != "none" && !wrong {
			t.Fatalf("%s went unseen: %+v", harm, l.Audit())
		}
	})
}

func harmed(q []uint64, harm string) []uint64 {
	last := q[len(q)-1]
	switch harm {
	case "drop":
		return q[:len(q)-1]
	case "double":
		return append(q, last)
	}
	return q
}

func left(queues [][]uint64) (n int) {
	for _, q := range queues {
		n += len(q)
	}
	return n
}

// A message that was refused for now, and sent again, counts from both times.
func TestSentAgain(t *testing.T) {
	var l Ledger
	f := l.AddFlow(1, 1, 0)
	n := l.Send(f, 1_000_000)
	if !l.Again(f, n, 4_000_000) {
		t.Fatal("it has no answer yet")
	}
	if intended, last, ok := l.Sent(f, n, 1, false); intended != 1_000_000 || last != 4_000_000 || !ok {
		t.Errorf("got %d, %d, %v", intended, last, ok)
	}
	if l.Again(f, n, 5_000_000) {
		t.Error("it has an answer")
	}
}

// A long flow keeps no more than what is open.
func TestMemoryIsWhatIsOpen(t *testing.T) {
	var l Ledger
	f := l.AddFlow(1, 1, 0)
	for i := range uint64(100_000) {
		n := l.Send(f, int64(i))
		l.Sent(f, n, n, false)
		l.Deliver(f, 0, n, n)
		if i >= 100 && i%7 == 0 {
			l.Acked(f, 0)
			l.Receipt(f, n, 0, 0, func(int64) {})
		}
	}
	if c := cap(l.flows[f].entries); c > 4096 {
		t.Errorf("%d entries are kept", c)
	}
}

func BenchmarkMessage(b *testing.B) {
	var l Ledger
	f := l.AddFlow(1, 1, 0)
	b.ReportAllocs()
	for b.Loop() {
		n := l.Send(f, 1)
		l.Sent(f, n, n, false)
		l.Deliver(f, 0, n, n)
		l.Acked(f, 0)
		l.Receipt(f, n, 0, 0, func(int64) {})
	}
}
