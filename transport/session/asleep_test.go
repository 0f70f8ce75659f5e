package session

import (
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

// doze lets a session alone until it sleeps, and says whether it does.
func (s *scene) doze() bool {
	for range drowsy + 1 {
		s.g.Sweep()
	}
	return s.g.sleepers.find(7) != 0
}

// What wakes is what fell asleep, but for its activity.
func TestSleepKeepsTheSession(t *testing.T) {
	for _, user := range []string{"a", strings.Repeat("b", inlineUser), strings.Repeat("c", inlineUser+1), strings.Repeat("d", 64)} {
		for _, others := range [][]uint32{nil, {3}, {9, 8, 1 << 31}} {
			s := session{
				conn: 1<<40 | 7, enc: frames.EventStream, state: attached, stream: live, drained: true, user: user, device: 4,
				number: 1<<33 | 5, sends: 6, written: 1 << 50, cursor: 1<<50 - 1, after: 1<<63 | 1, others: others,
			}
			p := newSleepers()
			p.add(&s)
			got := p.take(p.find(s.conn))
			if !reflect.DeepEqual(got, &s) {
				t.Errorf("woke as %+v, want %+v", got, s)
			}
			if p.records.Len()+p.siblings.Len()+p.long.Len()+p.index.Len() != 0 {
				t.Errorf("something of %s stays", user)
			}
		}
	}
}

// Every field of a session is either in the record, or need not be: whoever adds
// one has to say which.
func TestEveryFieldIsThoughtOf(t *testing.T) {
	kept := []string{"conn", "enc", "user", "device", "number", "sends", "written", "cursor", "after", "others"}
	same := []string{"state", "bond", "stream", "leaving", "drained", "resting", "full", "out", "busy"}                           // for every session that is quiet
	past := []string{"bearer", "broken", "ref", "heartbeat", "waited", "backlog", "place", "touched", "from", "renewed", "later"} // nobody looks at it once drained, or awake
	all := slices.Concat(kept, same, past)
	of := reflect.TypeFor[session]()
	for i := range of.NumField() {
		if name := of.Field(i).Name; !slices.Contains(all, name) {
			t.Errorf("does session.%s outlive a sleep?", name)
		}
	}
	if n := reflect.TypeFor[asleep]().Size(); n != 80 {
		t.Errorf("a record takes %d bytes", n)
	}
}

// A session with something open, owed or watched stays awake; sleeping changes
// neither its numbers nor who its siblings are.
func TestWhoSleeps(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	if s.doze() {
		t.Error("slept before hello")
	}
	s.say(`{"hello":{"token":"good"}}`)
	if s.doze() {
		t.Error("slept before welcome")
	}
	s.reply(&nodepb.Attached{Session: 5, Others: []uint32{2, 3}})
	if s.doze() {
		t.Error("slept with a page under way")
	}
	s.reply(&nodepb.Page{Session: 5, End: true})
	if !s.doze() {
		t.Error("awake with nothing to do")
	}
	s.trace = nil
	s.say(sendLine(1))
	s.expect("bob: send 1 after 0 id 1 others [2 3]")
	for range drowsy + 1 {
		s.g.lull()
	}
	if s.g.sleepers.find(7) != 0 {
		t.Error("slept with a send open")
	}
	s.reply(&nodepb.Refused{Tag: s.tagOf(1), Fault: &nodepb.Fault{Code: "unavailable", Retryable: true}})
	if s.doze() {
		t.Error("slept with a refused send to come again")
	}
	s.say(sendLine(1))
	s.reply(&nodepb.Sent{Tag: s.tagOf(1), Order: 1, Time: 1})
	s.say(`{"watch":{"users":["bob"]}}`)
	if s.doze() {
		t.Error("slept on its watch")
	}
	s.say(`{"watch":{}}`)
	if !s.doze() {
		t.Error("awake after its watch")
	}
	s.trace = nil
	s.say(sendLine(2))
	s.expect("bob: send 3 after 0 id 2 others [2 3]")
}

// Whatever ends a session ends one that sleeps as well.
func TestSleepersEnd(t *testing.T) {
	for end, c := range map[string]struct {
		do   func(s *scene)
		want []string
	}{
		"parted":  {func(s *scene) { s.g.Parted(func(u string) bool { return u == "alice" }); s.g.Flush() }, []string{"close 1013 this node is cut off from the majority; reconnect elsewhere"}},
		"kept":    {func(s *scene) { s.g.Parted(func(u string) bool { return u != "alice" }); s.g.Flush() }, nil},
		"kick":    {func(s *scene) { s.reply(&nodepb.Kick{Session: 5, Code: 4102, Reason: "elsewhere"}) }, []string{"close 4102 elsewhere"}},
		"unknown": {func(s *scene) { s.g.Unknown(7) }, []string{"close 1013 the outcome of a request is not known; reconnect and send again"}},
		"closed":  {func(s *scene) { s.g.Closed(7) }, []string{"alice: detach"}},
	} {
		s := newScene(t, nil)
		s.attach()
		if !s.doze() {
			t.Fatal("awake")
		}
		if got := s.g.Connections(); !slices.Equal(got, []uint64{7}) {
			t.Errorf("%s: connections %v", end, got)
		}
		s.trace = nil
		c.do(s)
		if !slices.Equal(s.trace, c.want) {
			t.Errorf("%s: %q, want %q", end, s.trace, c.want)
		}
	}
}

// silent is everything around a gateway that costs nothing.
type silent struct{}

func (silent) Send(uint64, []byte)                     {}
func (silent) Pending(uint64) int                      { return 0 }
func (silent) Read(uint64, Reading)                    {}
func (silent) Admit(uint64, time.Duration, time.Time)  {}
func (silent) Close(uint64, uint16, string)            {}
func (silent) Tell(string, any) error                  { return nil }
func (silent) Identify(token string) (Identity, error) { return Identity{User: token, Device: 1}, nil }

// crowd is a gateway with sessions that have attached, each of a user of its own.
func crowd(t testing.TB, sessions int) *Gateway {
	g, err := New(DefaultConfig().Named("n1"), silent{}, silent{}, silent{}, time.Now, slog.New(slog.DiscardHandler), NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sessions {
		conn := uint64(i + 1)
		g.Opened(conn, frames.JSON, "")
		g.Message(conn, frames.JSON, fmt.Appendf(nil, `{"hello":{"token":"+49151%08d"}}`, i))
		g.Deliver(conn, &nodepb.Attached{Session: conn})
		g.Deliver(conn, &nodepb.Page{Session: conn, End: true})
		g.Flush()
	}
	for range drowsy + 3 + sessions/drowsyMax {
		g.Sweep()
	}
	return g
}

// An idle session takes about 90 bytes, and the collector looks at none of them.
func TestSleeperBudget(t *testing.T) {
	const sessions = 50_000
	crowd(t, 1) // what is made once
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	g := crowd(t, sessions)
	if n := g.sleepers.records.Len(); n != sessions {
		t.Fatalf("%d of %d sleep", n, sessions)
	}
	// When somebody arrived is forgotten within a minute.
	g.arrivals.young, g.arrivals.old = nil, nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes := float64(after.HeapAlloc-before.HeapAlloc) / sessions
	objects := float64(after.HeapObjects-before.HeapObjects) / sessions
	if bytes > 100 || objects > 0.05 {
		t.Errorf("%.0f bytes and %.3f objects for each session", bytes, objects)
	}
	if own := float64(g.sleepers.bytes()) / sessions; own > 92 {
		t.Errorf("%.0f bytes in the slabs for each session", own)
	}
	runtime.KeepAlive(g)
}

// While many are awake their room is left alone; those who stay awake are found
// after it was given back.
func TestRoomFollowsThoseAwake(t *testing.T) {
	const sessions = 5000
	g := crowd(t, sessions)
	if cap(g.awake) > fewAwake || cap(g.open) > fewAwake || g.crowd > fewAwake {
		t.Errorf("room for %d, %d deadlines, %d in the map, of %d who were awake", cap(g.awake), cap(g.open), g.crowd, sessions)
	}
	for i := range uint64(sessions) {
		g.find(i + 1)
	}
	g.shrink()
	if g.crowd != sessions {
		t.Errorf("the room of %d was given back while %d are awake", sessions, g.crowd)
	}
	for i := len(g.awake) - 1; i >= 10; i-- {
		s := g.awake[i]
		g.parts(s)
		g.sleepers.add(s)
	}
	g.shrink()
	for i := range uint64(sessions) {
		if s := g.find(i + 1); s == nil || g.awake[s.place] != s || g.sessions[s.conn] != s {
			t.Fatalf("session %d is lost", i+1)
		}
	}
}

// To wake, and to fall asleep again.
func BenchmarkSleep(b *testing.B) {
	g := crowd(b, 100_000)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		s := g.find(uint64(i*7919%100_000) + 1)
		g.parts(s)
		g.sleepers.add(s)
	}
}
