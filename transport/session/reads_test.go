package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// readLine is a client's read, with its order for a ref.
func readLine(peer string, order int) string {
	return fmt.Sprintf(`{"ref":%d,"read":{"conversation":{"user":%q},"order":"%d"}}`, order, peer, order)
}

// again has the session attach once more, and clears what was traced until it has.
func (s *scene) again() {
	s.t.Helper()
	s.g.Flush()
	s.trace = nil
	s.reply(&nodepb.Attached{Tag: s.lastAttach(), Session: 5})
}

// A read that was not taken, or was forgotten with its term, is said again to the
// next leader, the newest of each conversation: its client believes it said.
func TestReadsAreSaidAgain(t *testing.T) {
	for _, how := range []string{"taken", "refused by the link", "adrift"} {
		t.Run(how, func(t *testing.T) {
			s := newScene(t, nil)
			s.attach()
			switch how {
			case "refused by the link":
				s.deaf = true
			case "adrift":
				s.g.Moved(is("alice"))
			}
			s.trace = nil
			s.say(readLine("bob", 1), readLine("carol", 2), readLine("bob", 3))
			if how == "taken" {
				s.expect("alice: read 1 of bob", "alice: read 2 of carol", "alice: read 3 of bob")
			}
			s.deaf = false
			s.now = s.now.Add(5 * time.Second)
			s.g.Moved(is("alice"))
			s.again()
			s.expect("alice: pull after 0", "alice: read 2 of carol", "alice: read 3 of bob")
			s.now = s.now.Add(limits.ReadsKeptFor)
			s.g.Moved(is("alice"))
			s.again()
			s.expect("alice: pull after 0")
		})
	}
}

// A read that may have to be said again keeps its session awake, and no longer
// than that.
func TestReadsKeepAwake(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.reply(&nodepb.Page{Session: 5, End: true})
	s.say(readLine("bob", 1))
	if s.doze() {
		t.Error("asleep with a read")
	}
	s.now = s.now.Add(limits.ReadsKeptFor + time.Second)
	s.g.look()
	if !s.doze() {
		t.Error("awake without")
	}
}

// What the client was told to have changed nothing is not said again.
func TestRefusedReadIsNotSaidAgain(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(readLine("bob", 1), readLine("carol", 2))
	s.reply(&nodepb.Refused{Ref: 1, Fault: fault.New(fault.InvalidArgument, "", "beyond")})
	s.g.Moved(is("alice"))
	s.again()
	s.expect("alice: pull after 0", "alice: read 2 of carol")
}

// Past the bound the session ends rather than forget one: its client says them
// again where it connects. That is only where they might be lost.
func TestMoreReadsThanAreKept(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	for i := range limits.ReadsKept + 1 {
		s.say(readLine(fmt.Sprintf("u%d", i), 1))
	}
	s.g.Moved(is("alice"))
	s.again()
	if last := s.trace[len(s.trace)-1]; last != "close 1013 what became of many reads is not known; reconnect and say them again" {
		t.Error(s.trace)
	}
}

// That all sends know of a new device is said until it is heard: who links one
// waits for it.
func TestDevicesSeenIsSaidAgain(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.deaf, s.trace = true, nil
	s.reply(&nodepb.Devices{Session: 5, Epoch: 4, Others: []uint32{2}})
	s.expect()
	s.deaf = false
	s.now = s.now.Add(renewAfter)
	s.g.Flush()
	s.expect("alice: attach 1 acked 0 resumes 5")
	s.reply(&nodepb.Attached{Tag: s.lastAttach(), Session: 5, Epoch: 4, Others: []uint32{2}})
	s.expect("alice: devices seen 4", "alice: pull after 0")
}
