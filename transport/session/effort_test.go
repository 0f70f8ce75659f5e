package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// count the lines of the trace that begin so, and forget the trace.
func (s *scene) count(prefix string) (n int) {
	for _, line := range s.trace {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	s.trace = nil
	return n
}

// A client that sends more frames than the rate allows is not read from until
// the rate has caught up, and then goes on.
func TestFloodRests(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	flood := strings.Repeat("{\"ping\":{}}\n", limits.FrameCount)
	messages := 0
	for ; s.count("pause") == 0; messages++ {
		if messages > 100 {
			t.Fatal("it is read without an end")
		}
		s.say(flood)
	}
	if sent := messages * limits.FrameCount; sent < DefaultConfig().Limits.Frames.Burst {
		t.Errorf("it rests after %d frames, fewer than its burst", sent)
	}
	s.g.Sweep()
	s.g.Flush()
	s.expect()
	s.now = s.now.Add(time.Second)
	s.g.Flush()
	s.expect("resume")
}

// Frames that do not fit the schema take much longer to judge than they are long.
func TestBrokenFramesCountMore(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	broken := `{"hello":{"token":"` + strings.Repeat("x", 400<<10) + `","x":1}}`
	good := sendLine(1)
	for range 8 {
		s.say(good)
	}
	if s.count("pause") != 0 {
		t.Error("good frames rest")
	}
	for range 4 {
		s.say(broken)
	}
	if s.count("pause") != 1 {
		t.Error("1.6 MB of broken frames are read in a row")
	}
}

// Frames that are refused are work as well, most of it an actor's.
func TestRefusedFramesCountMore(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	messages := 0
	for ; s.count("pause") == 0; messages++ {
		if messages > 8 {
			t.Fatal("thousands of acks of what was never delivered are read in a row")
		}
		s.say(strings.Repeat("{\"ack\":{\"seq\":\"9\"}}\n", limits.FrameCount))
	}
}

// Each user who begins or ends to be watched is an actor that is asked.
func TestWatchIsWork(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	rounds := 0
	for ; s.count("pause") == 0; rounds++ {
		if rounds > 16 {
			t.Fatal("thousands of actors are asked in a row")
		}
		var users []string
		for i := range 64 {
			users = append(users, fmt.Sprintf("%q", fmt.Sprintf("u%d-%d", rounds, i)))
		}
		s.say(`{"watch":{"users":[` + strings.Join(users, ",") + `]}}`)
	}
	if rounds < 4 {
		t.Errorf("it rests after %d lists of 64", rounds)
	}
}

// Messages of the largest size are not read as fast as they come.
func TestLargeMessagesRest(t *testing.T) {
	if perSecond, burst := DefaultConfig().Limits.effort(); perSecond != 1<<20 || burst != 4<<20 {
		t.Errorf("%.0f bytes a second, %.0f at once", perSecond, burst)
	}
	s := newScene(t, nil)
	s.attach()
	signal := `{"signalTo":{"to":{"user":"bob"},"bytes":"` + strings.Repeat("A", 8<<10) + "\"}}\n"
	messages := 0
	for ; s.count("pause") == 0; messages++ {
		if messages > 32 {
			t.Fatal("megabytes are read in a row")
		}
		s.say(strings.Repeat(signal, 32))
	}
}

// What rests and is held stays unread until both are over.
func TestRestAndHold(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.InFlight = 1; c.Limits.Frames = Rate{10, 100} })
	s.attach()
	s.say(sendLine(1), sendLine(2))
	s.say(strings.Repeat("{\"ping\":{}}\n", 500), strings.Repeat("{\"nope\":{}}\n", 12))
	s.g.Message(7, 0, []byte(`{"nope":"`+strings.Repeat("x", 400<<10)+`"}`))
	s.g.Message(7, 0, []byte(`{"nope":"`+strings.Repeat("x", 400<<10)+`"}`))
	if !s.g.find(7).resting {
		t.Fatal("it does not rest")
	}
	s.trace = nil
	s.now = s.now.Add(time.Hour)
	s.g.Flush()
	s.expect() // send 2 is still held, and all behind it
	s.reply(&nodepb.Sent{Tag: s.tagOf(1), Order: 1, Time: 1})
	if s.count("resume") != 1 {
		t.Error("not read again")
	}
}

// Before hello a client may be wrong a few times, not for ever.
func TestBrokenFramesBeforeHello(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	for range limits.BrokenHellos {
		s.say(`{"hello":{"tokn":"good"}}`)
	}
	if n := s.count("< {\"error\""); n != limits.BrokenHellos {
		t.Errorf("%d errors", n)
	}
	s.say(`{"hello":{"tokn":"good"}}`, `{"hello":{"tokn":"good"}}`)
	s.expect("close 4100 too many broken frames before hello")
}

// A watch of many users takes as much of the rate as many watches.
func TestWatchOfManyCountsMore(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	watch := func(round int) {
		var users []string
		for i := range limits.Watched {
			users = append(users, fmt.Sprintf("%q", fmt.Sprintf("u%d-%d", round, i)))
		}
		s.say(`{"watch":{"users":[` + strings.Join(users, ",") + `]}}`)
	}
	for round := range 20 {
		watch(round)
	}
	told := 0
	for _, line := range s.trace {
		if strings.HasSuffix(line, ": watch") {
			told++
		}
	}
	if told > 8*limits.Watched || told < limits.Watched {
		t.Errorf("%d users were asked about", told)
	}
	s.now = s.now.Add(10 * time.Second)
	s.trace = nil
	watch(99)
	if s.count("< {\"error\"") != 0 {
		t.Error("refused after a pause")
	}
}

// What strangers say does not pile up before a device that reads slowly.
func TestMentionsAreDroppedBeforeTheyPileUp(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	ring := &nodepb.Ring{From: &nodepb.Origin{User: "bob", Device: 1}, Bytes: []byte("x")}
	notice := &nodepb.Notice{From: &nodepb.Origin{User: "bob", Device: 1}, On: true}
	s.reply(ring)
	s.reply(notice)
	if len(s.trace) != 2 {
		t.Errorf("%v", s.trace)
	}
	s.trace, s.pending = nil, 100<<10
	s.reply(ring)
	s.reply(notice)
	s.expect()
	s.reply(push(t, 0, 1))
	s.expect(`< {"deliver":{"seq":"1"…`)
}
