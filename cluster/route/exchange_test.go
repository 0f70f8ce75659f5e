package route

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	wirepb "github.com/rookery-im/rookery/proto/rookery/wire/v1"
)

// Of each kind of input and message, what comes out at the other node is what
// was put in here.
func TestEverythingCrosses(t *testing.T) {
	s, x := newStand()
	sent := bodies()
	for _, body := range sent[Words] {
		x.Hear(Words, "2", body)
	}
	want := inputs(&nodepb.Origin{Conn: NewStamp(2, 7).Connection(9), User: "bob", Device: 1})
	// bob lives in shard 4, which is not led here: all that is waited for comes back.
	if len(s.told) != 0 {
		t.Fatalf("told %v", s.told)
	}
	x.cfg.ShardOf = func(string) uint32 { return 1 }
	for _, body := range sent[Words] {
		x.Hear(Words, "2", body)
	}
	if len(s.told) != len(want) {
		t.Fatalf("told %d of %d", len(s.told), len(want))
	}
	for i, in := range s.told {
		if !proto.Equal(in.(proto.Message), want[i].(proto.Message)) {
			t.Errorf("told %v, want %v", in, want[i])
		}
	}
	s.given, s.moved = nil, 0
	x.Hear(Beacon, "2", sent[Beacon][0])
	if to, _, ok := x.directory.Leader(3, s.now); !ok || to != 2 {
		t.Error("a beacon was not understood")
	}
	for _, body := range sent[Deliveries] {
		x.Hear(Deliveries, "2", body)
	}
	for i, m := range messages(NewStamp(1, 3).Connection(8)) {
		if !proto.Equal(s.given[i], m) {
			t.Errorf("given %v, want %v", s.given[i], m)
		}
	}
	if len(s.lost) != 2 || len(s.cut) != 1 || s.moved == 0 { // one of them not taken
		t.Errorf("lost %v, cut %v, moved %d", s.lost, s.cut, s.moved)
	}
	for _, body := range sent[Mail] {
		x.Hear(Mail, "2", body)
	}
	if s.letter != 2 {
		t.Errorf("%d letters", s.letter)
	}
}

// What is not for this life, or of an earlier one, is not taken.
func TestLives(t *testing.T) {
	sent := bodies()
	for _, c := range []struct {
		name string
		do   func(x *Exchange)
	}{
		{"the sender's has ended", func(x *Exchange) { x.directory.Live(2, 8, x.cfg.Now()) }},
		{"this node's has ended", func(x *Exchange) { x.cfg.Incarnation, x.cfg.Stamp = 4, NewStamp(1, 4) }},
		{"a stranger", func(x *Exchange) { x.cfg.Members = nobody{x.cfg.Members} }},
	} {
		s, x := newStand()
		c.do(x)
		for _, body := range sent[Deliveries] {
			x.Hear(Deliveries, "2", body)
		}
		if len(s.given)+len(s.lost)+len(s.cut) > 0 {
			t.Errorf("%s: given %v, lost %v, cut %v", c.name, s.given, s.lost, s.cut)
		}
	}
}

type nobody struct{ Members }

func (nobody) Number(string) (uint16, bool) { return 0, false }

// What a leader said that has been deposed is dropped, but for answers to what
// it alone was asked.
func TestDeposed(t *testing.T) {
	s, x := newStand()
	x.directory.Confirm(1, 1, 6, s.now)
	for _, body := range bodies()[Deliveries] {
		x.Hear(Deliveries, "2", body)
	}
	for _, m := range s.given {
		switch m := m.(type) {
		case *nodepb.Sent, *nodepb.Refused, *nodepb.Answer:
		case *nodepb.Attached:
			if m.GetError() == nil {
				t.Errorf("given %v", m)
			}
		default:
			t.Errorf("given %T", m)
		}
	}
	if len(s.given) < 3 || len(s.cut) != 1 {
		t.Errorf("given %d, cut %v", len(s.given), s.cut)
	}
}

// The end of an attachment that the link does not take is said when it does.
func TestEndsAreOwed(t *testing.T) {
	s, x := newStand()
	x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: 1, Leads: []Lead{{4, 5}}}, s.now)
	s.full = true
	for _, in := range inputs(&nodepb.Origin{Conn: NewStamp(1, 3).Connection(9), User: "bob"}) {
		if err := x.Tell("bob", in); err != nil {
			t.Fatal(err)
		}
	}
	x.Flush()
	if len(s.given) != 3 || len(s.lost) != 5 { // a send, an attachment, a request; ack, pull, read, watch, devices
		t.Errorf("given %v, lost %v", s.given, s.lost)
	}
	x.Flush()
	s.full = false
	x.Flush()
	x.Flush()
	var m wirepb.Words
	if len(s.sent[Words]) != 1 || m.UnmarshalVT(s.sent[Words][0]) != nil || len(m.GetWords()) != 3 || m.GetIncarnation() != 3 {
		t.Errorf("sent %v, %v", s.sent[Words], &m)
	}
}

// A hint is believed at once, before the next word.
func TestHint(t *testing.T) {
	s, x := newStand()
	x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: 1, Leads: []Lead{{4, 5}}}, s.now)
	no := &wirepb.Delivery{Conn: NewStamp(1, 3).Connection(9), Shard: 4, Term: 5, Body: &wirepb.Delivery_NotTaken{
		NotTaken: &wirepb.NotTaken{Kind: wirepb.NotTaken_SEND, Tag: 1, Leader: 3, Term: 6},
	}}
	x.hand(2, no)
	if to, term, ok := x.Leader(4); !ok || to != 3 || term != 6 || s.moved != 1 || len(s.given) != 1 {
		t.Errorf("node %d in term %d, %v; moved %d, given %v", to, term, ok, s.moved, s.given)
	}
	x.hand(3, &wirepb.Delivery{Conn: no.GetConn(), Shard: 4, Term: 6, Body: &wirepb.Delivery_NotTaken{NotTaken: &wirepb.NotTaken{Busy: true}}})
	if to, _, ok := x.Leader(4); !ok || to != 3 {
		t.Error("who is busy leads no more")
	}
	s.now = s.now.Add(Doubt)
	if err := x.Tell("bob", &nodepb.Ack{}); err == nil {
		t.Error("told a leader that nobody has confirmed")
	}
	// The end of something is: should it lead on, it would never hear of it.
	if err := x.Tell("bob", &nodepb.Detach{Origin: &nodepb.Origin{Conn: no.GetConn()}}); err != nil {
		t.Error(err)
	}
	x.directory.Resign(4, 3, 6)
	if err := x.Tell("bob", &nodepb.Detach{Origin: &nodepb.Origin{Conn: no.GetConn()}}); err == nil {
		t.Error("told nobody")
	}
}

// A connection is silent while its node is, unless that is this one.
func TestSilent(t *testing.T) {
	s, x := newStand()
	here, there := NewStamp(1, 3).Connection(9), NewStamp(2, 7).Connection(9)
	silent := func(want bool) {
		t.Helper()
		if x.Silent(here) || x.Silent(there) != want {
			t.Errorf("silent are %v here and %v there", x.Silent(here), x.Silent(there))
		}
	}
	x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: 1}, s.now)
	silent(false)
	s.now = s.now.Add(Doubt)
	silent(true)
	x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: 2}, s.now)
	silent(false)
}

// A send of a session that has not heard of its own shard's new term is copied to
// the sender's actor, whatever devices the session knows of.
func TestSendsOfAnEarlierTerm(t *testing.T) {
	s, from := newStand()
	from.directory.Confirm(1, 1, 4, s.now) // alice's shard, and bob's
	from.directory.Confirm(4, 2, 5, s.now)
	send := &nodepb.Send{Origin: &nodepb.Origin{Conn: NewStamp(1, 3).Connection(9), User: "alice@x.", Device: 1}, To: "bob"}
	if err := from.Tell("bob", send); err != nil {
		t.Fatal(err)
	}
	if send.GetTerm() != 4 {
		t.Errorf("stamped with term %d", send.GetTerm())
	}
	for term, want := range map[uint64]bool{3: false, 4: false, 5: true} {
		s, x := newStand()
		x.cfg.ShardOf = func(user string) uint32 { return map[string]uint32{"bob": 1, "alice@x.": 4}[user] }
		x.directory.Confirm(4, 3, term, s.now)
		in := proto.CloneOf(send)
		x.take(2, 1, "bob", in, in.GetOrigin().GetConn())
		if len(s.told) != 1 || in.GetCopy() != want {
			t.Errorf("term %d is known, 4 was stamped: told %v, want copy %v", term, s.told, want)
		}
	}
}

// What a word to another node costs, and a delivery; see also actors/host and
// transport/session, where nothing is to be added for what stays here.
func BenchmarkExchange(b *testing.B) {
	run := func(name string, do func(x *Exchange)) {
		b.Run(name, func(b *testing.B) {
			s, x := newStand()
			x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: 1, Leads: []Lead{{4, 5}}}, s.now)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				do(x)
				if i%128 == 0 {
					x.Flush()
					clear(s.sent)
					s.told, s.given = s.told[:0], s.given[:0]
				}
			}
		})
	}
	send := &nodepb.Send{Origin: &nodepb.Origin{Conn: NewStamp(1, 3).Connection(9), User: "alice", Device: 1}, To: "bob", Id: make([]byte, 16), Payload: make([]byte, 100)}
	sent, far, near := &nodepb.Sent{Tag: 1, Order: 2, Time: 3 << 40}, NewStamp(2, 7).Connection(9), NewStamp(1, 3).Connection(9)
	run("word/here", func(x *Exchange) { _ = x.Tell("alice@x.", send) })
	run("word/there", func(x *Exchange) { _ = x.Tell("bob", send) })
	run("delivery/here", func(x *Exchange) { x.Deliver(1, near, sent) })
	run("delivery/there", func(x *Exchange) { x.Deliver(1, far, sent) })
}

// What was said to a life that has ended may have been taken: sends and requests
// are of unknown outcome, the rest begins again, and ends are said again.
func TestReturned(t *testing.T) {
	s, x := newStand()
	x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: 1, Leads: []Lead{{4, 5}}}, s.now)
	for _, in := range inputs(&nodepb.Origin{Conn: NewStamp(1, 3).Connection(9), User: "bob"}) {
		if err := x.Tell("bob", in); err != nil {
			t.Fatal(err)
		}
	}
	x.Flush()
	x.Returned(Words, "2", s.sent[Words])
	if len(s.cut) != 2 || len(s.lost) != 6 || len(s.given) != 0 || len(x.to(2).owed) != 3 {
		t.Errorf("cut %v, lost %v, given %v, owed %v", s.cut, s.lost, s.given, x.to(2).owed)
	}
}

// Whoever waits for a leader hears of it with the round in which its term begins,
// and not by the next beacon.
func TestLedIsSaidAtOnce(t *testing.T) {
	s, x := newStand()
	x.Tick()
	x.Flush()
	s.sent = map[Kind][][]byte{}
	x.Led(2) // not led here: the host has failed meanwhile
	x.Flush()
	if len(s.sent[Beacon]) != 0 {
		t.Error("a beacon says nothing new")
	}
	x.Led(3)
	if !x.Waits() {
		t.Error("the beacon waits for nobody")
	}
	x.Flush()
	x.Flush()
	var m wirepb.Beacon
	if len(s.sent[Beacon]) != 1 || m.UnmarshalVT(s.sent[Beacon][0]) != nil || len(m.GetShards()) != 2 {
		t.Errorf("sent %v", s.sent[Beacon])
	}
}

// A beacon that is due soon goes along with what is sent anyway, in place of one of
// its own.
func TestBeaconsGoAlong(t *testing.T) {
	s, x := newStand()
	beacons := func(do func()) int {
		clear(s.sent)
		do()
		x.Flush()
		return len(s.sent[Beacon])
	}
	if n := beacons(x.Tick); n != 1 {
		t.Fatalf("%d beacons at first", n)
	}
	s.now = s.now.Add(Every / 2)
	if n := beacons(x.Along); n != 0 {
		t.Errorf("%d go along so soon", n)
	}
	s.now = s.now.Add(Every / 6)
	if n := beacons(x.Along); n != 1 {
		t.Errorf("%d go along", n)
	}
	s.now = s.now.Add(Every - time.Millisecond)
	if n := beacons(x.Tick); n != 0 {
		t.Errorf("%d by themselves, before they are due again", n)
	}
}

// What was asked of a node that has ended is unsure at once, and its shards have
// no leader; those of others are as they were.
func TestGone(t *testing.T) {
	s, x := newStand()
	x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: 1, Leads: []Lead{{2, 5}, {4, 5}}}, s.now)
	x.Tick()
	if x.Unled() != 0 {
		t.Fatal("every shard is led")
	}
	x.Gone("3")
	if x.Unled() != 0 || s.unsure != nil {
		t.Error("a stranger led something")
	}
	x.Gone("2")
	if x.Unled() != 2 || s.unsure == nil || !s.unsure("bob") || s.unsure("four") {
		t.Error("node 2 has ended, and is waited for")
	}
	if err := x.Tell("bob", &nodepb.Send{Origin: &nodepb.Origin{}}); err == nil {
		t.Error("a word was taken for nobody")
	}
	x.directory.Confirm(2, 3, 6, s.now)
	x.directory.Confirm(4, 3, 6, s.now)
	if x.Unled() != 0 {
		t.Error("every shard is led again")
	}
}

// An id of a life is that of the life before, or of the 64th before, by its
// looks: what an actor still has for the one never comes to the other, which is
// refused until the first is forgotten.
func TestLivesThatLookAlike(t *testing.T) {
	for _, after := range []uint64{1, Lives - 1, Lives, Lives + 1, 3 * Lives} {
		s, x := newStand()
		x.cfg.ShardOf = func(string) uint32 { return 1 }
		was, is := NewStamp(2, 7).Connection(9), NewStamp(2, 7+after).Connection(9)
		hear := func(life uint64, conn Conn) int {
			body := appendNumber(nil, incarnationField, life)
			body, err := appendMessage(body, wordsField, &wirepb.Word{User: "bob", Body: &wirepb.Word_Send{
				Send: &nodepb.Send{Origin: &nodepb.Origin{Conn: conn, User: "alice"}, Tag: 1},
			}})
			if err != nil {
				t.Fatal(err)
			}
			before := len(s.told)
			x.Hear(Words, "2", body)
			return len(s.told) - before
		}
		deliver := func(conn Conn) int {
			x.Flush()
			clear(s.sent)
			x.Deliver(1, conn, &nodepb.Sent{Tag: 1})
			x.Flush()
			return len(s.sent[Deliveries])
		}
		if hear(7, was) != 1 || deliver(was) != 1 {
			t.Fatal("the first life is not heard")
		}
		s.holds = true
		alike := after%Lives == 0
		if n := hear(7+after, is); (n == 0) != alike {
			t.Errorf("life %d: %d words are taken while the first is not forgotten", 7+after, n)
		}
		if !x.ended(was) || x.ended(is) != alike {
			t.Errorf("life %d: ended %v, %v", 7+after, x.ended(was), x.ended(is))
		}
		if deliver(was) != 0 {
			t.Errorf("life %d is given what is for life 7", 7+after)
		}
		s.holds = false
		x.Tick()
		if hear(7+after, is) != 1 || deliver(is) != 1 || x.ended(is) {
			t.Errorf("life %d is not heard", 7+after)
		}
	}
}

// What a leader could not say is asked for again also where the link was full
// because it was cut, for so long that the leader is in doubt.
func TestTornByLeaderInDoubt(t *testing.T) {
	for name, later := range map[string]time.Duration{"confirmed": 0, "in doubt": Doubt} {
		t.Run(name, func(t *testing.T) {
			s, x := newStand()
			x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: 1, Leads: []Lead{{4, 5}}}, s.now)
			x.settle()
			s.moved, s.now = 0, s.now.Add(later)
			x.torn(2)
			x.settle()
			if s.moved == 0 {
				t.Error("no session heard of it")
			}
		})
	}
}

// run ticks the exchange for as long, as its node does.
func (s *stand) run(x *Exchange, during time.Duration) {
	for end := s.now.Add(during); s.now.Before(end); {
		s.now = s.now.Add(100 * time.Millisecond)
		x.Tick()
		x.Flush()
	}
}

// What a node that is silent for long had with actors here is forgotten; when it is
// heard again after all, its sessions are to attach anew.
func TestSilentNodesAreExpelled(t *testing.T) {
	s, x := newStand()
	here, there := NewStamp(1, 3).Connection(9), NewStamp(2, 7).Connection(9)
	beacon := func(beat uint64) {
		b := appendNumber(nil, incarnationField, 7)
		b = appendNumber(b, 2, beat)
		x.Hear(Beacon, "2", b)
	}
	beacon(1)
	s.run(x, Expelling-time.Second)
	if len(s.disowned) != 0 || x.ended(there) {
		t.Fatalf("expelled too early: %d times", len(s.disowned))
	}
	s.run(x, 2*time.Second)
	if len(s.disowned) != 1 || !s.disowned[0](there) || s.disowned[0](here) {
		t.Fatalf("disowned %d times; there %v, here %v", len(s.disowned), x.ended(there), x.ended(here))
	}
	s.run(x, Expelling)
	if len(s.disowned) != 1 {
		t.Errorf("disowned %d times", len(s.disowned))
	}
	clear(s.sent)
	beacon(2)
	x.Flush()
	var m wirepb.Deliveries
	if x.ended(there) || len(s.sent[Deliveries]) != 1 || m.UnmarshalVT(s.sent[Deliveries][0]) != nil || m.GetDeliveries()[0].GetTorn() == nil {
		t.Errorf("heard again it is ended %v, and is told %v", x.ended(there), &m)
	}
	s.run(x, Expelling+time.Second)
	if len(s.disowned) != 2 {
		t.Error("not expelled once more")
	}
}

// A node that did not run heard nobody: that expels none. After as long as its
// sessions may go on unconfirmed they end, before it believes what waited for it.
func TestAwake(t *testing.T) {
	for name, c := range map[string]struct {
		gap time.Duration
		say func(x *Exchange)
		end bool
	}{
		"for a moment":        {Doubt, (*Exchange).Tick, false},
		"for long, ticks":     {Expelling * 2, (*Exchange).Tick, true},
		"for long, hears":     {Parting, func(x *Exchange) { x.Hear(Beacon, "2", nil) }, true},
		"for long, is asked":  {Parting, func(x *Exchange) { _ = x.Tell("bob", &nodepb.Ack{}) }, true},
		"for almost as long":  {Parting - 1, (*Exchange).Tick, false},
		"not at all, is late": {100 * time.Millisecond, (*Exchange).Tick, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, x := newStand()
			x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: 1, Leads: []Lead{{4, 5}}}, s.now)
			s.run(x, time.Second)
			s.now = s.now.Add(c.gap)
			c.say(x)
			ended := len(s.parted) > 0 && s.parted[0]("bob") && s.parted[0]("alice@x.")
			if ended != c.end || len(s.disowned) != 0 {
				t.Errorf("sessions ended %v, want %v; disowned %d times", ended, c.end, len(s.disowned))
			}
			s.run(x, Expelling-time.Second)
			if c.gap >= Doubt && len(s.disowned) != 0 {
				t.Error("expelled for the time in which this node did not listen")
			}
		})
	}
}
