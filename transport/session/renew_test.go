package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

func is(name string) func(string) bool { return func(user string) bool { return user == name } }

func aPush(previous, seq uint64) *nodepb.Push {
	return &nodepb.Push{Session: 5, Previous: previous, Entry: &storepb.Entry{Seq: seq, Body: &storepb.Entry_DeviceEvent{DeviceEvent: &storepb.DeviceEvent{}}}}
}

// lastAttach is the tag of the attachment that was asked for last.
func (s *scene) lastAttach() uint32 {
	s.t.Helper()
	for i := len(s.told) - 1; i >= 0; i-- {
		if m, ok := s.told[i].(*nodepb.Attach); ok {
			return m.GetTag()
		}
	}
	s.t.Fatal("nobody attached")
	return 0
}

// Whether awake or asleep, a session whose actor has forgotten it attaches
// again with its number and what it acked, and goes on after the last entry that
// it wrote. The client hears nothing of it.
func TestSessionGoesOnElsewhere(t *testing.T) {
	for _, how := range []string{"awake", "asleep", "lost"} {
		t.Run(how, func(t *testing.T) {
			s := newScene(t, nil)
			s.attach()
			s.reply(aPush(0, 3))
			s.say(`{"ack":{"seq":"3"}}`)
			s.reply(aPush(3, 4))
			s.trace = nil
			if how == "asleep" && !s.doze() {
				t.Fatal("awake")
			}
			if how == "lost" {
				s.g.Lost(7, "alice")
			} else {
				s.g.Moved(is("alice"))
			}
			s.g.Flush()
			s.expect("alice: attach 1 acked 3 resumes 5")
			s.reply(aPush(4, 5)) // of who led before
			s.reply(&nodepb.Page{Session: 5, After: 4, End: true})
			s.expect()
			s.reply(&nodepb.Attached{Tag: s.lastAttach(), Session: 5, Cursor: 3, LastSeq: 9, Epoch: 9, Others: []uint32{2}})
			s.expect("alice: devices seen 9", "alice: pull after 4")
			s.reply(&nodepb.Page{Session: 5, After: 4, End: true, Entries: []*storepb.Entry{aPush(4, 9).GetEntry()}})
			s.expect(`< {"deviceEvent":{"seq":"9"…`)
			s.reply(aPush(9, 10))
			s.expect(`< {"deviceEvent":{"seq":"10"…`)
			s.say(sendLine(1))
			s.expect("bob: send 1 after 0 id 1 others [2]")
		})
	}
}

// While nobody leads, the session asks again and again, and what it acks is
// said when it is attached. Its sends ask for copies: it may not know of a device.
func TestSessionAdrift(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.reply(aPush(0, 3))
	s.trace, s.deaf = nil, true
	s.g.Moved(is("alice"))
	s.g.Flush()
	for range 20 {
		s.now = s.now.Add(renewAfter)
		s.g.Flush()
	}
	s.expect()
	s.deaf = false
	s.say(`{"ack":{"seq":"3"}}`, sendLine(1))
	s.expect("bob: send 1 after 0 id 1 others []")
	if m := s.told[len(s.told)-1].(*nodepb.Send); !m.GetCopy() {
		t.Error("a send of a session that is adrift asks for no copy")
	}
	s.now = s.now.Add(renewAfter)
	s.g.Flush()
	s.expect("alice: attach 1 acked 3 resumes 5")
	// An answer that never comes is asked for again, one that says no as well.
	s.now = s.now.Add(renewAgain)
	s.g.Flush()
	s.expect("alice: attach 1 acked 3 resumes 5")
	s.reply(&nodepb.Attached{Tag: s.lastAttach() - 1, Session: 5})
	s.expect()
	s.reply(&nodepb.Attached{Tag: s.lastAttach(), Error: fault.New(fault.Unavailable, "", "busy")})
	s.now = s.now.Add(renewAfter)
	s.g.Flush()
	s.expect("alice: attach 1 acked 3 resumes 5")
	s.reply(&nodepb.Attached{Tag: s.lastAttach(), Error: fault.New(fault.Unauthenticated, "", "unlinked")})
	s.expect("close 4103 unlinked")
}

// One that has not begun yet is to come again: nothing was shown to it.
func TestMovedWhileAttaching(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"ref":1,"hello":{"token":"good"}}`)
	s.trace = nil
	s.g.Moved(is("alice"))
	s.expect("close 1013 the attachment was lost; reconnect")
}

// A watch of a user elsewhere begins again as well.
func TestWatchBeginsAgain(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(`{"watch":{"users":["bob","carol"]}}`)
	s.trace = nil
	s.g.Moved(is("bob"))
	s.g.Flush()
	s.expect("bob: watch")
	s.g.Lost(7, "carol")
	s.g.Flush()
	s.expect()
	s.now = s.now.Add(renewAfter)
	s.g.Flush()
	s.expect("carol: watch")
}

// What was asked of the shard before it moved and is not answered ends the
// session; what was asked since then, or of others, does not.
func TestUnsure(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(sendLine(1))
	moved := s.now.Add(time.Millisecond)
	s.g.Unsure(is("carol"), moved)
	s.g.Unsure(is("bob"), s.now)
	s.trace = nil
	s.g.Unsure(is("bob"), moved)
	s.expect("close 1013 the outcome of a request is not known; reconnect and send again")
}

// However many there are, a round attaches some of them, and all have their turn.
func TestRenewalsArePaced(t *testing.T) {
	const many = 3*limits.Renewals + limits.Passed
	g := newCrowd(t, many)
	told := 0
	g.users = tell(func(_ string, msg any) error {
		if _, ok := msg.(*nodepb.Attach); ok {
			told++
		}
		return nil
	})
	g.Moved(func(string) bool { return true })
	for g.Due() {
		before := told
		g.Flush()
		if n := told - before; n > limits.Renewals || n == 0 && g.Due() && len(g.renewals.passing) == 0 {
			t.Fatalf("%d in one round", n)
		}
	}
	if told != many {
		t.Errorf("%d of %d attached again", told, many)
	}
}

type tell func(user string, msg any) error

func (f tell) Tell(user string, msg any) error { return f(user, msg) }

// newCrowd is a gateway of sessions that sleep.
func newCrowd(t *testing.T, many int) *Gateway {
	t.Helper()
	g := newScene(t, nil).g
	for i := range many {
		g.sleepers.add(&session{conn: uint64(i + 1), user: fmt.Sprintf("u%d", i), device: 1, number: uint64(i + 1)})
	}
	return g
}
