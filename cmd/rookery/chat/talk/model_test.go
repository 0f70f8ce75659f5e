package talk

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// hlc is the server's time at so many seconds past noon.
func hlc(seconds int) uint64 {
	return uint64(noon.Add(time.Duration(seconds)*time.Second).UnixMilli()) << 16
}

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// fromBob is Bob's message of that order.
func fromBob(order uint64, seconds int, text string) Arrived {
	return Arrived{Conversation: "bob", ID: fmt.Sprintf("b%d", order), From: "bob", Device: 1, Order: order, Time: hlc(seconds), Body: Body{Text: plain.Text(text)}}
}

// online is Alice's chat, connected, with Bob's conversation open and in sight.
func online() *Model {
	m := New("alice")
	m.Step(LinkChanged{Link{State: Online}})
	m.Step(Opened{"bob", noon})
	m.Step(Looked{AtNewest})
	return m
}

// does steps and compares the effects, but for watches and Moved.
func does(t *testing.T, m *Model, e Event, want ...Effect) {
	t.Helper()
	var got []Effect
	for _, f := range m.Step(e) {
		switch f.(type) {
		case Moved, Watch:
		default:
			got = append(got, f)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%#v\n got %#v\nwant %#v", e, got, want)
	}
}

// shows is the open conversation, a line each: sign, who, text.
func shows(m *Model) string {
	var b strings.Builder
	c := m.Conversation(m.Open)
	for _, l := range append(append([]*Line{}, c.Lines...), c.Pending...) {
		fmt.Fprintf(&b, "%s %s: %s", c.State(l, m.Me), l.From, l.Body.Says())
		if l.Why != "" {
			fmt.Fprintf(&b, " (%s)", l.Why)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func want(t *testing.T, m *Model, screen string) {
	t.Helper()
	if got := shows(m); got != screen {
		t.Errorf("got\n%swant\n%s", got, screen)
	}
}

// One line of Alice's, from the key to Bob's eyes.
func TestTicks(t *testing.T) {
	m := online()
	does(t, m, Submitted{"bob", "a1", "hello", at(1)},
		Save{Queued{"bob", "a1", "hello", at(1)}}, Post{"bob", "a1", "hello"})
	want(t, m, "queued alice: hello\n")
	does(t, m, Settled{Conversation: "bob", ID: "a1", Order: 1, Time: hlc(2)},
		Save{Settled{Conversation: "bob", ID: "a1", Order: 1, Time: hlc(2)}})
	want(t, m, "sent alice: hello\n")
	does(t, m, Receipt{Conversation: "bob", By: "bob", Delivered: 1}, Save{Receipt{Conversation: "bob", By: "bob", Delivered: 1}})
	want(t, m, "delivered alice: hello\n")
	m.Step(Receipt{Conversation: "bob", By: "bob", Delivered: 1, ReadUpTo: 1})
	want(t, m, "read alice: hello\n")
	m.Step(Receipt{Conversation: "bob", By: "bob", Delivered: 1})
	want(t, m, "read alice: hello\n")
	m.Step(Submitted{"bob", "a2", "again", at(3)})
	m.Step(Settled{Conversation: "bob", ID: "a2", Order: 2, Time: hlc(4)})
	m.Step(Receipt{Conversation: "bob", By: "bob", Delivered: 2, ReadUpTo: 1})
	m.Step(Receipt{Conversation: "bob", By: "bob", Delivered: 1})
	want(t, m, "read alice: hello\ndelivered alice: again\n") // a watermark does not fall
}

// What expired under the delivered watermark was not delivered.
func TestExpired(t *testing.T) {
	m := online()
	for i := range uint64(3) {
		id := fmt.Sprint("a", i)
		m.Step(Submitted{"bob", id, id, at(1)})
		m.Step(Settled{Conversation: "bob", ID: id, Order: i + 1, Time: hlc(int(i))})
	}
	m.Step(Receipt{Conversation: "bob", By: "bob", Delivered: 3, ReadUpTo: 3, Undelivered: []Range{{2, 2}}})
	want(t, m, "read alice: a0\nexpired alice: a1\nread alice: a2\n")
}

// The server's clock orders both directions, whatever order they arrive in;
// what it has no time for yet stands last.
func TestOrder(t *testing.T) {
	m := online()
	m.Step(Submitted{"bob", "a1", "one", at(1)})
	m.Step(fromBob(2, 30, "three"))
	m.Step(fromBob(1, 10, "zero"))
	want(t, m, "received bob: zero\nreceived bob: three\nqueued alice: one\n")
	m.Step(Settled{Conversation: "bob", ID: "a1", Order: 1, Time: hlc(20)})
	want(t, m, "received bob: zero\nsent alice: one\nreceived bob: three\n")
	tie := Arrived{Conversation: "bob", ID: "a2", From: "alice", Device: 9, Order: 2, Time: hlc(30), Body: Body{Text: "from her tablet"}}
	m.Step(tie)
	want(t, m, "received bob: zero\nsent alice: one\nsent alice: from her tablet\nreceived bob: three\n")
}

// An id is shown once; but it is the sender's: another's message with the
// same id is another message.
func TestOnce(t *testing.T) {
	m := online()
	m.Step(fromBob(1, 1, "hello"))
	does(t, m, fromBob(1, 1, "hello"))
	m.Step(Submitted{"bob", "a1", "mine", at(2)})
	forged := fromBob(2, 2, "forged")
	forged.ID = "a1"
	m.Step(forged)
	m.Step(Settled{Conversation: "bob", ID: "a1", Order: 1, Time: hlc(3)})
	does(t, m, Settled{Conversation: "bob", ID: "a1", Order: 1, Time: hlc(3)})
	want(t, m, "received bob: hello\nreceived bob: forged\nsent alice: mine\n")
}

// A refused line says why and gives its text back; nothing is lost on the way.
func TestRefusedIsTakenBack(t *testing.T) {
	m := online()
	m.Step(Submitted{"bob", "a1", "very\tlong", at(1)})
	m.Step(Submitted{"bob", "a2", "short", at(1)})
	m.Step(Settled{Conversation: "bob", ID: "a1", Refusal: "too large"})
	want(t, m, "refused alice: very    long (too large)\nqueued alice: short\n")
	m.Step(Typed{"half", at(2)})
	if l := m.Conversation("bob").Failed(); l == nil || l.ID != "a1" {
		t.Fatalf("failed line: %v", l)
	}
	back := "very\tlong\nhalf"
	does(t, m, TookBack{"bob", "a1"}, Save{Drafted{"bob", back}}, Save{Dropped{"bob", "a1"}}, Restore{"bob", back})
	want(t, m, "queued alice: short\n")
	does(t, m, TookBack{"bob", "a2"}) // it is under way
}

func TestDelayed(t *testing.T) {
	m := online()
	m.Step(Submitted{"bob", "a1", "hello", at(1)})
	m.Step(Delayed{Conversation: "bob", ID: "a1", Why: "mailbox full", RetryAt: at(60)})
	want(t, m, "waiting alice: hello (mailbox full)\n")
	m.Step(Settled{Conversation: "bob", ID: "a1", Order: 1, Time: hlc(61)})
	want(t, m, "sent alice: hello\n")
}

// Read is said of what was seen, and only then.
func TestRead(t *testing.T) {
	m := online()
	does(t, m, fromBob(1, 1, "one"), Save{fromBob(1, 1, "one")}, Save{ReadHere{"bob", 1}}, MarkRead{"bob", 1})
	does(t, m, Looked{Away})
	does(t, m, fromBob(2, 2, "two"), Save{fromBob(2, 2, "two")})
	does(t, m, fromBob(3, 3, "three"), Save{fromBob(3, 3, "three")})
	if n := m.Conversation("bob").Unread("alice"); n != 2 {
		t.Errorf("%d unread", n)
	}
	does(t, m, Looked{AtNewest}, Save{ReadHere{"bob", 3}}, MarkRead{"bob", 3})
	m.Step(ReadHere{"bob", 1})
	if n := m.Conversation("bob").Unread("alice"); n != 0 {
		t.Errorf("%d unread after an older mark", n)
	}
	other := Arrived{Conversation: "carol", ID: "c1", From: "carol", Order: 1, Time: hlc(4)}
	does(t, m, other, Save{other})
	// Alice reads it on her phone.
	does(t, m, Receipt{Conversation: "carol", By: "alice", ReadUpTo: 1}, Save{Receipt{Conversation: "carol", By: "alice", ReadUpTo: 1}})
	if n := m.Conversation("carol").Unread("alice"); n != 0 {
		t.Errorf("%d unread", n)
	}
}

// Typing is said now and then while it goes on, and its end is said.
func TestTyping(t *testing.T) {
	m := online()
	does(t, m, Typed{"h", at(1)}, SayTyping{"bob", true})
	does(t, m, Typed{"he", at(2)})
	does(t, m, Typed{"hel", at(5)}, SayTyping{"bob", true})
	does(t, m, Ticked{at(8)}, Save{Drafted{"bob", "hel"}})
	does(t, m, Ticked{at(10)}, SayTyping{"bob", false})
	does(t, m, Ticked{at(11)})
	does(t, m, Typed{"hell", at(12)}, SayTyping{"bob", true})
	does(t, m, Typed{"", at(13)}, SayTyping{"bob", false})
	does(t, m, Typed{"/to carol", at(14)}) // commands are nobody's business
	m.Step(Typed{"x", at(15)})
	does(t, m, Submitted{"bob", "a1", "x", at(16)},
		Save{Queued{"bob", "a1", "x", at(16)}}, Post{"bob", "a1", "x"}, SayTyping{"bob", false}, Save{Drafted{"bob", ""}})
	m.Step(LinkChanged{Link{State: Offline}})
	does(t, m, Typed{"offline", at(20)})
}

func TestOthersType(t *testing.T) {
	m := online()
	m.Step(Typing{"mallory", "mallory", true, at(0)})
	if len(m.List()) != 1 {
		t.Error("a stranger's typing opened a conversation")
	}
	c := m.Conversation("bob")
	m.Step(Typing{"bob", "bob", true, at(1)})
	if got := c.Typing(at(2)); len(got) != 1 {
		t.Errorf("typing: %v", got)
	}
	if got := c.Typing(at(10)); len(got) != 0 {
		t.Errorf("typing for ever: %v", got)
	}
	m.Step(Typing{"bob", "bob", true, at(11)})
	m.Step(fromBob(1, 11, "done"))
	if got := c.Typing(at(12)); len(got) != 0 {
		t.Errorf("typing after what was typed came: %v", got)
	}
	m.Step(Presence{User: "bob", Online: true})
	m.Step(Typing{"bob", "bob", true, at(13)})
	m.Step(LinkChanged{Link{State: Offline}})
	if _, known := m.Presence("bob"); known || len(c.Typing(at(14))) != 0 {
		t.Error("without a connection nobody is known to be there")
	}
}

// Each conversation keeps its own draft, across a change of conversation, a
// tick, and a crash right after it.
func TestDrafts(t *testing.T) {
	m := online()
	m.Step(Typed{"to bob", at(1)})
	does(t, m, Opened{"carol", at(2)}, SayTyping{"bob", false}, Save{Drafted{"bob", "to bob"}}, Learn{"carol"})
	m.Step(Typed{"to carol", at(3)})
	does(t, m, Ticked{at(4)}, Save{Drafted{"carol", "to carol"}})
	does(t, m, Ticked{at(5)})
	if m.Draft("bob") != "to bob" || m.Draft("carol") != "to carol" {
		t.Error("drafts are mixed up")
	}
}

// What was typed before it was said to whom is kept, and goes along.
func TestLooseDraft(t *testing.T) {
	m := New("alice")
	m.Step(Typed{"hello", at(1)})
	does(t, m, Ticked{at(2)}, Save{Drafted{"", "hello"}})
	m.Step(Drafted{"bob", "old"})
	does(t, m, Opened{"bob", at(3)}, Save{Drafted{"bob", "hello\nold"}}, Save{Drafted{"", ""}}, Learn{"bob"})
	if m.Draft("bob") != "hello\nold" || m.Draft("") != "" {
		t.Errorf("drafts are %q and %q", m.Draft("bob"), m.Draft(""))
	}
}

func TestWatch(t *testing.T) {
	m := New("alice")
	m.Step(fromBob(1, 1, "x"))
	m.Step(Arrived{Conversation: "alice", From: "alice", ID: "n", Order: 1, Time: hlc(1)})
	m.Step(Arrived{Conversation: "g_1", From: "carol", ID: "g", Order: 1, Time: hlc(1)})
	m.Step(LinkChanged{Link{State: CatchingUp}})
	if got := m.Step(Drained{}); !reflect.DeepEqual(got, []Effect{Watch{[]string{"bob"}}}) {
		t.Errorf("got %v", got)
	}
	if m.Link.State != Online {
		t.Errorf("%v after drained", m.Link.State)
	}
	if got := m.watch(); got != nil {
		t.Errorf("watched twice: %v", got)
	}
}

func TestBody(t *testing.T) {
	for _, c := range []struct {
		b    Body
		want plain.Text
	}{{Body{Text: "x"}, "x"}, {Body{Kind: "image", Size: 12 << 10}, "[image, 12 KB]"}, {Body{Kind: "text that is not UTF-8", Size: 3}, "[text that is not UTF-8, 3 bytes]"}} {
		if got := c.b.Says(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestCommands(t *testing.T) {
	cases := []struct {
		line string
		want Command
		err  string
	}{
		{"hello", Command{Text: "hello"}, ""},
		{"//etc", Command{Text: "/etc"}, ""},
		{"/to bob", Command{Name: "to", To: "bob"}, ""},
		{"/to @bob", Command{Name: "to", To: "bob"}, ""},
		{"/to", Command{}, "needs a name"},
		{"/to b\x1bob", Command{}, "made of"},
		{"/etc/passwd", Command{}, "no command"},
		{"/q", Command{Name: "quit"}, ""},
		{"/quit now", Command{}, "takes nothing"},
		{"/name Alice in W.", Command{Name: "name", Text: "Alice in W."}, ""},
		{"@bob hello", Command{To: "bob", Text: "hello"}, ""},
		{"@bob: hello", Command{To: "bob", Text: "hello"}, ""},
		{"@bob@example.org hi", Command{To: "bob@example.org", Text: "hi"}, ""},
		{"@bob", Command{Name: "to", To: "bob"}, ""},
		{"@ bob", Command{}, "empty"},
	}
	for _, c := range cases {
		got, err := ParseAddressed(c.line)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.line, err, c.err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%q: %+v, %v, want %+v", c.line, got, err, c.want)
		}
	}
}

func TestBounded(t *testing.T) {
	m := New("alice")
	for i := range uint64(3 * linesKept) {
		m.Step(fromBob(i+1, int(i), "x"))
	}
	c := m.Conversation("bob")
	if n := len(c.Lines); n < linesKept || n > 2*linesKept || len(c.known) != n {
		t.Errorf("%d lines, %d known", n, len(c.known))
	}
	if last := c.Lines[len(c.Lines)-1]; last.Order != 3*linesKept {
		t.Errorf("the newest is %d", last.Order)
	}
	if h := m.horizon(10); len(c.events("alice", h)) != 10 {
		t.Errorf("the horizon keeps %d", len(c.events("alice", h)))
	}
}

// Whatever happens: replaying what was saved gives the same model, and so does
// replaying what a compaction would write; and no typed line is ever lost.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := New("alice")
		if rapid.Bool().Draw(rt, "open") {
			m = online()
		}
		var saved []Event
		typed, gone := map[string]bool{}, map[string]bool{}
		for i := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			e := anyEvent(rt, i)
			for _, f := range m.Step(e) {
				switch f := f.(type) {
				case Save:
					saved = append(saved, f.Event)
				case Post:
					typed[f.ID] = true
				case Restore:
					gone[e.(TookBack).ID] = true
				}
			}
		}
		for _, f := range m.Leave() {
			if _, ok := f.(Save); !ok {
				continue
			}
			saved = append(saved, f.(Save).Event)
		}
		whole := known(m)
		for name, events := range map[string][]Event{"saved": saved, "compacted": m.Events()} {
			again := New("alice")
			for _, e := range events {
				again.Step(e)
			}
			if got := known(again); got != whole {
				rt.Fatalf("%s: got\n%s\nwant\n%s", name, got, whole)
			}
		}
		for id := range typed {
			if gone[id] {
				continue
			}
			found := false
			for _, c := range m.List() {
				_, l := c.pending(id)
				found = found || l != nil || c.known[lineKey{"alice", id}]
			}
			if !found {
				rt.Fatalf("%s was typed and is nowhere", id)
			}
		}
	})
}

// known is all that must outlive a restart.
func known(m *Model) string {
	var b strings.Builder
	fmt.Fprintf(&b, "loose draft %q\n", m.loose.text)
	for _, peer := range slices.Sorted(maps.Keys(m.conversations)) {
		c := m.conversations[peer]
		if len(c.Lines)+len(c.Pending) == 0 && c.draft.text == "" && c.read == 0 && c.delivered == 0 {
			continue // only looked at
		}
		fmt.Fprintf(&b, "%s: draft %q, read %d, delivered %d, seen %d, undelivered %v\n", peer, c.draft.text, c.read, c.delivered, c.seen, c.undelivered)
		for _, l := range all(c) {
			fmt.Fprintf(&b, "  %s %s/%d %s %d %d %+v %q %v\n", l.ID, l.From, l.Device, c.State(&l, m.Me), l.Order, l.Time, l.Body, l.Why, l.At)
		}
	}
	return b.String()
}

// all are the lines as they are shown. At is dropped where the server has a time.
func all(c *Conversation) []Line {
	var lines []Line
	for _, l := range append(append([]*Line{}, c.Lines...), c.Pending...) {
		one := *l
		if one.Time != 0 {
			one.At = time.Time{}
		}
		lines = append(lines, one)
	}
	return lines
}

func anyEvent(rt *rapid.T, i int) Event {
	peer := rapid.SampledFrom([]string{"bob", "carol"}).Draw(rt, "peer")
	order := rapid.Uint64Range(1, 9).Draw(rt, "order")
	own := fmt.Sprint("a", rapid.IntRange(0, 9).Draw(rt, "own"))
	switch rapid.IntRange(0, 9).Draw(rt, "what") {
	case 0:
		return Arrived{Conversation: peer, ID: fmt.Sprint(peer, order), From: peer, Order: order, Time: hlc(int(order))}
	case 1:
		return Arrived{Conversation: peer, ID: fmt.Sprint("tablet", order), From: "alice", Device: 9, Order: order, Time: hlc(int(order))}
	case 2:
		return Submitted{peer, fmt.Sprint("a", i), "text", at(i)}
	case 3:
		return Settled{Conversation: peer, ID: own, Order: order + 10, Time: hlc(i)}
	case 4:
		return Settled{Conversation: peer, ID: own, Refusal: "no"}
	case 5:
		return Receipt{Conversation: peer, By: rapid.SampledFrom([]string{peer, "alice"}).Draw(rt, "by"), Delivered: order, ReadUpTo: order / 2}
	case 6:
		return Opened{peer, at(i)}
	case 7:
		return Typed{rapid.SampledFrom([]string{"", "x", "xy"}).Draw(rt, "text"), at(i)}
	case 8:
		return TookBack{peer, own}
	default:
		return Ticked{at(i)}
	}
}
