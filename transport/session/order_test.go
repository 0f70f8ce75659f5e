package session

import (
	"testing"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

func full() *nodepb.Fault { return fault.New(fault.MailboxFull, "", "full") }

func outOfOrder() *nodepb.Fault {
	return fault.New(fault.FailedPrecondition, fault.ReasonOutOfOrder, "order")
}

// A later send was refused first: by its rate, while earlier ones were under
// way. When an earlier one is refused as well, that one has to come first.
func TestEarlierRefusalTakesTheBlock(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.Sends = Rate{1, 2} })
	s.attach()
	s.say(sendLine(1), sendLine(2), sendLine(3)) // 3 is past the rate
	s.reply(&nodepb.Refused{Tag: s.tagOf(1), Fault: full()})
	s.reply(&nodepb.Refused{Tag: s.tagOf(2), Fault: outOfOrder()})
	s.trace = nil
	s.now = s.now.Add(1 << 33)
	s.say(sendLine(3))
	s.expect(`< {"ref":3,"error":{"id":"` + uuidOf(3) + `","code":"failed_precondition","reason":"out_of_order",…`)
	s.say(sendLine(1), sendLine(2))
	s.expect("bob: send 3 after 0 id 1 others []", "bob: send 4 after 3 id 2 others []")
}

// What was stamped behind a refused send is refused as well, perhaps when all
// of it was sent again already: that says nothing of what comes after.
func TestLateRefusalsLeaveTheChain(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(sendLine(1), sendLine(2), sendLine(3))
	two, three := s.tagOf(2), s.tagOf(3)
	s.reply(&nodepb.Refused{Tag: s.tagOf(1), Fault: full()})
	s.say(sendLine(1), sendLine(2), sendLine(3))
	s.reply(&nodepb.Refused{Tag: two, Fault: outOfOrder()})
	s.reply(&nodepb.Refused{Tag: three, Fault: outOfOrder()})
	s.trace = nil
	s.say(sendLine(4))
	s.expect("bob: send 7 after 6 id 4 others []")
}

// A send is out of order without any refusal before it where the actor lost
// its memory of a final one. It too has to come first.
func TestForgottenRefusalBlocks(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(sendLine(1), sendLine(2))
	s.reply(&nodepb.Refused{Tag: s.tagOf(1), Fault: fault.New(fault.FailedPrecondition, fault.ReasonDevicesMismatch, "devices")})
	s.reply(&nodepb.Refused{Tag: s.tagOf(2), Fault: outOfOrder()})
	s.trace = nil
	s.say(sendLine(3), sendLine(2), sendLine(3))
	s.expect("bob: send 3 after 0 id 2 others []", "bob: send 4 after 3 id 3 others []",
		`< {"ref":3,"error":{"id":"`+uuidOf(3)+`","code":"failed_precondition","reason":"out_of_order",…`)
}

// An id that was refused for its rate, and was under way already, owes nothing
// once it is accepted.
func TestAcceptedIDBlocksNothing(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.Sends = Rate{1, 1} })
	s.attach()
	s.say(sendLine(1), sendLine(1))
	s.reply(&nodepb.Sent{Tag: s.tagOf(1), Order: 1, Time: 1})
	s.trace = nil
	s.now = s.now.Add(1 << 33)
	s.say(sendLine(2))
	s.expect("bob: send 2 after 0 id 2 others []")
}

// A hello that could not be taken is not the fault of a client that went on.
func TestFramesAfterHelloThatWasNotTaken(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"hello":{"token":"good"}}`, sendLine(1))
	s.trace = nil
	s.reply(&nodepb.Attached{Error: fault.New(fault.Unavailable, "", "the shard has moved; try again")})
	s.expect(`< {"error":{…`, "close 1013 …")
}
