package session

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// stream begins a session that only listens, as the scene's connection.
func (s *scene) stream(after uint64) {
	s.g.Stream(7, Identity{User: "alice", Device: 1, Expires: s.now.Add(time.Hour)}, after, 20*time.Second)
	s.g.Flush()
}

// A stream begins without hello: after its cursor, or what its device names.
// That acks nothing.
func TestStreamBegins(t *testing.T) {
	for name, test := range map[string]struct{ after, cursor, from uint64 }{
		"at the cursor":            {0, 3, 3},
		"after what it has":        {5, 3, 5},
		"below the cursor is past": {2, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, nil)
			s.stream(test.after)
			s.expect("admit 20s", "alice: attach 1 acked 0")
			if got := s.told[0].(*nodepb.Attach).GetAfter(); got != test.after {
				t.Errorf("asks the actor for what follows %d, want %d", got, test.after)
			}
			s.reply(&nodepb.Attached{Session: 5, Cursor: test.cursor, LastSeq: 6})
			s.expect(fmt.Sprintf("alice: pull after %d", test.from), "< event: welcome",
				`< data: {"welcome":{"user":"alice","device":1,"session":"5","heartbeat":"20s","limits":{…`, "< ", "< ")
			p := &nodepb.Page{}
			entry(t, fmt.Sprintf(`{"session":"5","after":"%d","entries":[{"seq":"6","deviceEvent":{"unlinked":[2]}}],"end":true}`, test.from), p)
			s.reply(p)
			s.expect("< event: deviceEvent", "< id: 6", `< data: {"deviceEvent":{"seq":"6","unlinked":[2]}}`, "< ",
				"< event: drained", "< id: 6", `< data: {"drained":{"seq":"6"}}`, "< ", "< ")
		})
	}
}

// What prevents a stream is the code of its end: nothing was written, so that
// it can be said as an HTTP status.
func TestStreamsThatCannotBegin(t *testing.T) {
	for name, test := range map[string]struct {
		fault *nodepb.Fault
		want  string
	}{
		"past the end":  {fault.New(fault.InvalidArgument, "", "Last-Event-ID: beyond"), "close 4100 Last-Event-ID: beyond"},
		"unlinked":      {fault.New(fault.Unauthenticated, "", "not linked"), "close 4103 not linked"},
		"leader is new": {fault.New(fault.Unavailable, "", "moved"), "close 1013 moved"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, nil)
			s.stream(0)
			s.trace = nil
			s.reply(&nodepb.Attached{Error: test.fault})
			s.expect(test.want)
		})
	}
	s := newScene(t, nil)
	s.deaf = true
	s.stream(0)
	s.expect("admit 20s", "close 1013 the user's shard has no leader")

	s = newScene(t, nil)
	s.stream(0)
	s.trace = nil
	s.now = s.now.Add(5 * time.Second)
	s.g.Sweep()
	s.expect("close 1013 no answer to hello in time; reconnect")
}

// A stream has no sends to wait for: told to go away, it ends.
func TestStreamGoesAway(t *testing.T) {
	s := newScene(t, nil)
	s.stream(0)
	s.trace = nil
	s.g.GoAway(7, time.Second, nil)
	s.g.Flush()
	s.expect("close 1012 the node is restarting") // before anything was written

	s = newScene(t, nil)
	s.stream(0)
	s.reply(&nodepb.Attached{Session: 5})
	s.reply(&nodepb.Page{Session: 5, End: true})
	s.trace = nil
	s.g.GoAway(7, 1500*time.Millisecond, nil)
	s.g.Flush()
	s.expect("< event: goAway", "< retry: 1500", `< data: {"goAway":{"reason":"the node is restarting","reconnectAfterMs":1500}}`, "< ", "< ",
		"close 1012 the node is restarting")
	s.g.Closed(7)
	s.expect("alice: detach")
}

// Whatever an actor says, in whatever order, a stream hears what a WebSocket
// would hear: the same frames, in the same order, and the actor is asked the same.
func TestStreamIsTheWebSocket(t *testing.T) {
	for seed := range uint64(200) {
		var traces [2][]string
		for i := range traces {
			rng := rand.New(rand.NewPCG(seed, 1))
			s := newScene(t, nil)
			if i == 0 {
				s.open()
				s.say(`{"hello":{"token":"good","heartbeat":"20s"}}`)
			} else {
				s.stream(0)
			}
			s.reply(&nodepb.Attached{Session: 5, Cursor: 2, LastSeq: 9})
			for range 60 {
				s.somethingHappens(rng)
			}
			traces[i] = plain(s.trace)
		}
		if a, b := strings.Join(traces[0], "\n"), strings.Join(traces[1], "\n"); a != b {
			t.Fatalf("seed %d: over a WebSocket:\n%s\n\nas events:\n%s", seed, a, b)
		}
	}
}

// somethingHappens to the session: an actor says something, true to what was
// asked or not, or the connection fills up or drains.
func (s *scene) somethingHappens(rng *rand.Rand) {
	seq := func() uint64 { return rng.Uint64N(12) + 1 }
	var m proto.Message
	switch rng.IntN(10) {
	case 0, 1, 2:
		last := s.g.find(7)
		p := &nodepb.Page{Session: 5, After: seq(), End: rng.IntN(2) == 0}
		if last != nil {
			p.After = last.written
		}
		for range rng.IntN(4) {
			p.Entries = append(p.Entries, someEntry(rng, p.After+1+uint64(len(p.GetEntries()))))
		}
		m = p
	case 3, 4, 5:
		previous := seq()
		if last := s.g.find(7); last != nil && rng.IntN(4) > 0 {
			previous = last.written
		}
		m = &nodepb.Push{Session: 5, Previous: previous, Entry: someEntry(rng, previous+1)}
	case 6:
		m = &nodepb.Notice{From: &nodepb.Origin{User: "bob", Device: 2}, On: true}
	case 7:
		m = &nodepb.Ring{From: &nodepb.Origin{User: "bob", Device: 2}, Bytes: []byte("ring")}
	case 8:
		s.pending = rng.IntN(2) * (s.g.cfg.HighWater + 1)
		if s.pending == 0 {
			s.g.Drained(7)
			s.g.Flush()
		}
		return
	default:
		m = &nodepb.Devices{Session: 5, Epoch: seq(), Others: []uint32{2}}
		if rng.IntN(20) == 0 {
			m = &nodepb.Kick{Session: 5, Code: 4102, Reason: "this device connected elsewhere"}
		}
	}
	s.reply(m)
}

func someEntry(rng *rand.Rand, seq uint64) *storepb.Entry {
	e := &storepb.Entry{Seq: seq, Skip: uint32(rng.IntN(3)) / 2}
	switch rng.IntN(3) {
	case 0:
		e.Body = &storepb.Entry_Receipt{Receipt: &storepb.Receipt{Peer: "bob", By: "bob", Delivered: seq}}
	case 1:
		e.Body = &storepb.Entry_DeviceEvent{DeviceEvent: &storepb.DeviceEvent{Unlinked: []uint32{3}}}
	default:
		e.Body = &storepb.Entry_Message{Message: &storepb.Message{Id: make([]byte, 16), From: "bob", Device: 1, Peer: "bob", Order: seq, Kind: 1, Payload: []byte("x\ny")}}
	}
	return e
}

// plain leaves of events their data.
func plain(trace []string) (out []string) {
	for _, line := range trace {
		text, said := strings.CutPrefix(line, "< ")
		if data, ok := strings.CutPrefix(text, "data: "); said && ok {
			text = data
		} else if said && !strings.HasPrefix(text, "{") {
			continue
		}
		if said {
			line = "< " + text
		}
		out = append(out, line)
	}
	return out
}
