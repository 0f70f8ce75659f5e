package session

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func push(t *testing.T, previous, seq uint64) *nodepb.Push {
	t.Helper()
	p := &nodepb.Push{Session: 5, Previous: previous}
	entry(t, `{"session":"5","entry":{"message":{"id":"AAAAAAAAAAAAAAAAAAAAAA==","from":"bob","device":1,"peer":"bob","order":"1","kind":1}}}`, p)
	p.Previous, p.Entry.Seq = previous, seq
	return p
}

func TestHello(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"ref":1,"hello":{"token":"good","heartbeat":"1s","acked":"3"}}`)
	s.expect("admit 10s", "alice: attach 1 acked 3")
	s.reply(&nodepb.Attached{Session: 5, Cursor: 3, LastSeq: 4, Time: 9})
	s.expect("alice: pull after 3", `< {"ref":1,"welcome":{"user":"alice","device":1,"session":"5","heartbeat":"10s","limits":{…`)
	p := &nodepb.Page{}
	entry(t, `{"session":"5","after":"3","entries":[{"seq":"4","deviceEvent":{"unlinked":[2]}}],"end":true}`, p)
	s.reply(p)
	s.expect(`< {"deviceEvent":{"seq":"4","unlinked":[2]}}`, `< {"drained":{"seq":"4"}}`)
	s.reply(push(t, 4, 5))
	s.trace = nil
	reg := prometheus.NewRegistry()
	reg.MustRegister(s.g.metrics.MailboxDepth)
	depth, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if h := depth[0].GetMetric()[0].GetHistogram(); h.GetSampleSum() != 1 || h.GetSampleCount() != 1 {
		t.Errorf("mailbox depth: %v; want one sample of 1", h)
	}
}

func TestBadBeginnings(t *testing.T) {
	for name, test := range map[string]struct {
		say  string
		want []string
	}{
		"bad token":       {`{"hello":{"token":"bad"}}`, []string{"close 4101 the token is not valid"}},
		"undecided token": {`{"hello":{"token":"undecided"}}`, []string{"close 1013 the token cannot be checked yet"}},
		"no token":        {`{"hello":{}}`, []string{"close 4101 hello.token: missing"}},
		"not hello":       {`{"ping":{}}`, []string{"close 4100 the first frame must be hello"}},
		"not JSON":        {`hello`, []string{"close 4100 …"}},
		"long client":     {`{"ref":4,"hello":{"token":"good","client":"` + longName + `"}}`, []string{`< {"ref":4,"error":{"code":"invalid_argument","message":"hello.client: …`}},
		"unknown field":   {`{"ref":4,"hello":{"tokn":"good"}}`, []string{`< {"ref":4,"error":{"code":"invalid_argument","reason":"unknown_field",…`}},
		"early heartbeat": {`{"ref":4,"hello":{"token":"good","heartbeat":"-1s"}}`, []string{`< {"ref":4,"error":{"code":"invalid_argument","message":"hello.heartbeat: …`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, nil)
			s.open()
			s.say(test.say)
			s.expect(test.want...)
		})
	}
}

const longName = "0123456789012345678901234567890123456789012345678901234567890123456789"

// A browser cannot see why an upgrade failed, so that a bad token there ends
// the connection; what it is worth is not yet known where keys are missing.
func TestTokenOfTheUpgrade(t *testing.T) {
	for bearer, want := range map[string][]string{
		"bad": {"close 4101 the token is not valid"}, "good": nil, "undecided": nil, "": nil,
	} {
		t.Run(bearer, func(t *testing.T) {
			s := newScene(t, nil)
			s.openWith(bearer)
			s.expect(want...)
		})
	}
	s := newScene(t, nil)
	s.openWith("good")
	s.say(`{"hello":{}}`)
	s.expect("admit 30s", "alice: attach 1 acked 0")
}

func TestMessageOfTheOtherSubprotocol(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.g.Message(7, frames.Protobuf, []byte(`{"hello":{"token":"good"}}`))
	s.expect("close 4100 the subprotocol's messages are text")
}

// A client may say hello and go on: nothing tells it to wait for welcome.
func TestFramesRightAfterHello(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"ref":1,"hello":{"token":"good"}}`, sendLine(2), `{"ref":3,"ping":{}}`)
	s.expect("admit 30s", "alice: attach 1 acked 0", "pause", "pause")
	s.reply(&nodepb.Attached{Session: 5})
	s.expect("alice: pull after 0", "bob: send 1 after 0 id 2 others []", "resume", `< {"ref":1,"welcome":{…`, `< {"ref":3,"pong":{}}`)
}

// What came right after a hello that was refused is no first frame either.
func TestFramesRightAfterRefusedHello(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"hello":{"token":"good","acked":"9"}}`, `{"hello":{"token":"good"}}`, `{"ping":{}}`)
	s.trace = nil
	s.reply(&nodepb.Attached{Error: fault.New(fault.InvalidArgument, "", "hello.acked: beyond")})
	s.expect("admit 30s", "alice: attach 1 acked 0", `< {"error":{…`)
	s.reply(&nodepb.Attached{Error: fault.New(fault.InvalidArgument, "", "hello.acked: beyond")})
	s.expect(`< {"error":{…`, "close 4100 the first frame must be hello")
}

func TestHelloWithoutAnswer(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"hello":{"token":"good"}}`)
	s.now = s.now.Add(3 * time.Second)
	s.g.Sweep()
	s.expect("admit 30s", "alice: attach 1 acked 0")
	s.now = s.now.Add(time.Second)
	s.g.Sweep()
	s.expect("close 1013 …")
}

// A device that was unlinked has a token that is still good by its signature.
func TestAttachRefused(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"hello":{"token":"good"}}`)
	s.trace = nil
	s.reply(&nodepb.Attached{Error: fault.New(fault.Unauthenticated, fault.ReasonDeviceUnlinked, "not linked")})
	s.expect("close 4101 not linked")
}

// A token that is good admits the connection for as long as it lives, though a
// hello that was refused begins no session: it has to be said again soon.
func TestRefusedHelloIsSaidAgainSoon(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"hello":{"token":"good","acked":"9"}}`)
	s.reply(&nodepb.Attached{Error: fault.New(fault.InvalidArgument, "", "hello.acked: beyond")})
	s.trace = nil
	s.now = s.now.Add(3 * time.Second)
	s.g.Sweep()
	s.expect()
	s.now = s.now.Add(time.Second)
	s.g.Sweep()
	s.expect("close 4101 …")
}

// Who was refused for the moment, and does not say it again, is not told that
// anything is wrong with its token.
func TestRefusedForTheMoment(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"hello":{"token":"good"}}`)
	s.reply(&nodepb.Attached{Error: fault.New(fault.Unavailable, "", "the shard has moved; try again")})
	s.trace = nil
	s.now = s.now.Add(4 * time.Second)
	s.g.Sweep()
	s.expect("close 1013 …")
}

// An acked beyond the mailbox changes nothing: hello can be said again.
func TestHelloAgainAfterFault(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"ref":1,"hello":{"token":"good","acked":"9"}}`)
	s.reply(&nodepb.Attached{Error: fault.New(fault.InvalidArgument, "", "hello.acked: beyond")})
	s.say(`{"ref":2,"hello":{"token":"good"}}`)
	s.expect("admit 30s", "alice: attach 1 acked 9",
		`< {"ref":1,"error":{"code":"invalid_argument","message":"hello.acked: beyond","retryable":false}}`,
		"admit 30s", "alice: attach 1 acked 0")
}

// Three sends are under way when the second is finally refused. The third was
// stamped with the second as its predecessor; it is accepted, and the fourth
// names it.
func TestFinalRefusalLeavesNoGap(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(sendLine(1), sendLine(2), sendLine(3))
	s.expect("bob: send 1 after 0 id 1 others []", "bob: send 2 after 1 id 2 others []", "bob: send 3 after 2 id 3 others []")
	s.reply(&nodepb.Refused{Tag: s.tagOf(2), Fault: fault.New(fault.FailedPrecondition, fault.ReasonDevicesMismatch, "devices")})
	s.reply(&nodepb.Sent{Tag: s.tagOf(3), Order: 2, Time: 8})
	s.say(sendLine(4))
	s.expect(`< {"ref":2,"error":{"id":"`+uuidOf(2)+`","code":"failed_precondition","reason":"devices_mismatch","message":"send.devices","retryable":false}}`,
		`< {"ref":3,"sent":{"id":"`+uuidOf(3)+`","conversation":{"user":"bob"},"order":"2","time":"8"}}`,
		"bob: send 4 after 3 id 4 others []")
}

// The actor lost its memory of a final refusal: what was chained to it is out
// of order, and comes again chained to the send before.
func TestChainMendsAfterForgottenRefusal(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(sendLine(1), sendLine(2), sendLine(3))
	s.reply(&nodepb.Refused{Tag: s.tagOf(2), Fault: fault.New(fault.FailedPrecondition, fault.ReasonDevicesMismatch, "devices")})
	s.reply(&nodepb.Refused{Tag: s.tagOf(3), Fault: fault.New(fault.FailedPrecondition, fault.ReasonOutOfOrder, "order")})
	s.trace = nil
	s.say(sendLine(3))
	s.expect("bob: send 4 after 1 id 3 others []")
}

// After a retryable refusal later sends to that user wait for the id, those to
// others do not.
func TestRetryableRefusalBlocks(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(sendLine(1))
	s.reply(&nodepb.Refused{Tag: s.tagOf(1), Fault: fault.New(fault.MailboxFull, "", "full")})
	s.say(sendLine(2), `{"send":{"id":"`+uuidOf(9)+`","to":{"user":"carol"}}}`, sendLine(1), sendLine(2))
	s.expect("bob: send 1 after 0 id 1 others []",
		`< {"ref":1,"error":{"id":"`+uuidOf(1)+`","code":"mailbox_full","message":"send.full","retryable":true}}`,
		"carol: send 2 after 0 id 9 others []",
		"bob: send 3 after 0 id 1 others []", "bob: send 4 after 3 id 2 others []",
		`< {"ref":2,"error":{"id":"`+uuidOf(2)+`","code":"failed_precondition","reason":"out_of_order",…`)
}

func TestNoLeaderIsRetryable(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.deaf = true
	s.say(sendLine(1), sendLine(2))
	s.deaf = false
	s.say(sendLine(1))
	s.expect(`< {"ref":1,"error":{"id":"`+uuidOf(1)+`","code":"unavailable",…`,
		`< {"ref":2,"error":{"id":"`+uuidOf(2)+`","code":"failed_precondition","reason":"out_of_order",…`,
		"bob: send 2 after 0 id 1 others []")
}

func TestRateOfSends(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.Sends = Rate{1, 1} })
	s.attach()
	s.say(sendLine(1), sendLine(2))
	s.expect("bob: send 1 after 0 id 1 others []",
		`< {"ref":2,"error":{"id":"`+uuidOf(2)+`","code":"rate_limited","message":"sends: more than 1 a second","retryable":true,"retryAfterMs":1001}}`)
	s.now = s.now.Add(time.Second)
	s.say(sendLine(2))
	s.expect("bob: send 2 after 1 id 2 others []")
}

// Past the bound nothing is refused: what was read is held, and nothing more
// is read until a send is decided.
func TestInFlightBound(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.InFlightPerConversation = 2 })
	s.attach()
	s.say(sendLine(1), sendLine(2), sendLine(3), `{"ref":99,"ping":{}}`)
	s.expect("bob: send 1 after 0 id 1 others []", "bob: send 2 after 1 id 2 others []", "pause", "pause")
	s.reply(&nodepb.Sent{Tag: s.tagOf(1), Order: 1, Time: 1})
	s.expect("bob: send 3 after 2 id 3 others []", "resume",
		`< {"ref":1,"sent":{"id":"`+uuidOf(1)+`","conversation":{"user":"bob"},"order":"1","time":"1"}}`, `< {"ref":99,"pong":{}}`)
}

// A push that does not name the last entry written means that one was lost:
// nothing is forwarded, and the session pulls.
func TestGapIsPulled(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.reply(push(t, 0, 1))
	s.reply(push(t, 2, 3))
	s.expect(`< {"deliver":{"seq":"1",…`, "alice: pull after 1")
	s.reply(push(t, 3, 4)) // while the page is under way
	s.expect()
	p := &nodepb.Page{Session: 5, After: 1, End: true}
	for _, seq := range []uint64{2, 3, 4} {
		p.Entries = append(p.Entries, push(t, 0, seq).GetEntry())
	}
	s.reply(p)
	s.reply(push(t, 4, 5))
	s.expect(`< {"deliver":{"seq":"2",…`, `< {"deliver":{"seq":"3",…`, `< {"deliver":{"seq":"4",…`, `< {"deliver":{"seq":"5",…`)
}

// What was written once is not written again, and nothing of an earlier
// session is.
func TestStaleEntriesAreDropped(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.reply(push(t, 0, 1))
	s.reply(push(t, 0, 1))
	old := push(t, 1, 2)
	old.Session = 4
	s.reply(old)
	s.reply(&nodepb.Page{Session: 5, After: 0, Entries: []*storepb.Entry{push(t, 0, 1).GetEntry()}, End: true})
	s.expect(`< {"deliver":{"seq":"1",…`)
}

// A peer that does not read is not pushed to; it pulls when there is room.
func TestLagIsPulled(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.pending = 1 << 30
	s.reply(push(t, 0, 1))
	s.reply(push(t, 1, 2))
	s.expect()
	s.pending = 0
	s.g.Drained(7)
	s.expect("alice: pull after 0")
}

func TestAckBeyondDelivered(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.reply(push(t, 0, 1))
	s.say(`{"ref":8,"ack":{"seq":"2"}}`, `{"ack":{"seq":"1"}}`, `{"ack":{"seq":"1"}}`)
	s.expect(`< {"deliver":{"seq":"1",…`, "alice: ack 1", `< {"ref":8,"error":{"code":"invalid_argument","message":"ack.seq: 2 …`)
}

// A new device is confirmed only once no send is open that was stamped without it.
func TestDevicesBarrier(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(sendLine(1))
	s.reply(&nodepb.Devices{Session: 5, Epoch: 12, Others: []uint32{2}})
	s.say(sendLine(2))
	s.expect("bob: send 1 after 0 id 1 others []", "bob: send 2 after 1 id 2 others [2]")
	s.reply(&nodepb.Sent{Tag: s.tagOf(1), Order: 1, Time: 1})
	s.expect("alice: devices seen 12", `< {"ref":1,"sent":…`)
}

func TestDevicesBarrierWhenIdle(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.reply(&nodepb.Devices{Session: 5, Epoch: 12, Others: []uint32{2}})
	s.expect("alice: devices seen 12")
}

// Every send is answered, or its connection closed.
func TestOverdueSendEndsTheSession(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(sendLine(1))
	s.now = s.now.Add(3 * time.Second)
	s.say(sendLine(2))
	s.reply(&nodepb.Sent{Tag: s.tagOf(1), Order: 1, Time: 1})
	s.now = s.now.Add(3 * time.Second)
	s.g.Sweep()
	s.trace = nil
	s.now = s.now.Add(2 * time.Second)
	s.g.Sweep()
	s.expect("close 1013 the outcome of a send is not known; send it again")
	s.g.Closed(7)
	s.expect("alice: detach")
}

// A send that was held past the bound counts from when it was read.
func TestOverdueHeldSendEndsTheSession(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.InFlight = 1 })
	s.attach()
	s.say(sendLine(1), sendLine(2))
	s.now = s.now.Add(3 * time.Second)
	s.reply(&nodepb.Sent{Tag: s.tagOf(1), Order: 1, Time: 1})
	s.trace = nil
	s.g.Sweep()
	s.expect()
	s.now = s.now.Add(2 * time.Second)
	s.g.Sweep()
	s.expect("close 1013 the outcome of a send is not known; send it again")
}

// A session remembers no conversation in which nothing is open.
func TestChainsEndWithTheirSends(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(sendLine(1))
	s.reply(&nodepb.Sent{Tag: s.tagOf(1), Order: 1, Time: 1})
	if a := s.g.find(7).busy; a != nil && len(a.chains) != 0 { // nil: it slept, which it may with no chain only
		t.Errorf("%d conversations remembered", len(a.chains))
	}
	s.trace = nil
	s.say(sendLine(2))
	s.expect("bob: send 2 after 0 id 2 others []")
}

func TestKick(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.reply(&nodepb.Kick{Session: 4, Code: 4102, Reason: "an earlier one"})
	s.expect()
	s.reply(&nodepb.Kick{Session: 5, Code: 4102, Reason: "elsewhere"})
	s.reply(push(t, 0, 1))
	s.say(sendLine(1))
	s.expect("close 4102 elsewhere")
}

func TestWatchIsReplacedAndEnded(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(`{"watch":{"users":["bob"]}}`, `{"watch":{"users":["carol"]}}`)
	s.expect("bob: watch", "bob: unwatch", "carol: watch")
	s.g.Closed(7)
	s.expect("carol: unwatch", "alice: detach")
}

func TestConfigNamesEveryFault(t *testing.T) {
	err := Config{}.Validate()
	if err == nil {
		t.Fatal("an empty configuration is not valid")
	}
	var n int
	for range err.(interface{ Unwrap() []error }).Unwrap() {
		n++
	}
	if n != 11 {
		t.Errorf("%d faults named, want 11: %v", n, err)
	}
}

// A node that goes away answers the sends it has taken; those it holds were
// never taken, and it takes no more.
func TestGoAwayAnswersFirst(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.InFlight = 1 })
	s.attach()
	s.say(sendLine(1), sendLine(2))
	s.g.GoAway(7, time.Second, nil)
	s.g.Flush()
	s.expect("bob: send 1 after 0 id 1 others []", "pause", "pause", `< {"goAway":{"reason":"the node is restarting","reconnectAfterMs":1000}}`)
	if n := s.g.Leaving(); n != 1 {
		t.Errorf("%d sessions are leaving, want 1", n)
	}
	s.reply(&nodepb.Sent{Tag: s.tagOf(1), Order: 1, Time: 1})
	s.expect(`< {"ref":1,"sent":…`, "close 1012 the node is restarting")
	if n := s.g.Leaving(); n != 0 {
		t.Errorf("%d sessions are leaving, want 0", n)
	}
}

// Whoever waits for the last one to leave must not wait for one that broke off,
// nor count one twice.
func TestLeavingOneThatBreaksOff(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.say(sendLine(1))
	s.g.GoAway(7, time.Second, nil)
	s.g.GoAway(7, time.Second, nil)
	if n := s.g.Leaving(); n != 1 {
		t.Errorf("%d sessions are leaving, want 1", n)
	}
	s.g.Closed(7)
	if n := s.g.Leaving(); n != 0 {
		t.Errorf("%d sessions are leaving, want 0", n)
	}
}

func TestGoAwayWhenIdle(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.g.GoAway(7, time.Second, nil)
	s.expect(`< {"goAway":…`, "close 1012 the node is restarting")
}

// Whoever unlinked the device hears that its session is over when it takes nothing
// more, and not when the client has closed its connection.
func TestUnlinkedSaysSo(t *testing.T) {
	s := newScene(t, nil)
	s.attach()
	s.reply(&nodepb.Kick{Session: 5, Code: CloseUnlinked, Reason: "this device was unlinked"})
	s.say(sendLine(1))
	s.expect("close 4103 this device was unlinked", "alice: detach")

	s = newScene(t, nil)
	s.attach()
	s.reply(&nodepb.Kick{Session: 5, Code: 4102, Reason: "elsewhere"}) // and the client leaves it at that
	s.reply(&nodepb.Kick{Session: 5, Code: CloseUnlinked, Reason: "this device was unlinked"})
	s.expect("close 4102 elsewhere", "alice: detach")
}

// Who has been told that no copies are taken sends nothing that needs one, and what
// it wanted to say blocks the conversation as any refusal of the moment does.
func TestCopiesFull(t *testing.T) {
	devices := func(s *scene, full bool, others ...uint32) {
		s.reply(&nodepb.Devices{Session: 5, Epoch: 3, Others: others, Full: full})
	}
	for name, told := range map[string]func(s *scene){
		"as it goes": func(s *scene) { s.attach(); devices(s, true, 4) },
		"with welcome": func(s *scene) {
			s.open()
			s.say(`{"ref":1,"hello":{"token":"good"}}`)
			s.reply(&nodepb.Attached{Session: 5, Others: []uint32{4}, Full: true})
			s.reply(&nodepb.Page{Session: 5, End: true})
		},
		"attached again": func(s *scene) {
			s.attach()
			s.g.Lost(7, "alice")
			s.g.Flush()
			s.reply(&nodepb.Attached{Tag: s.lastAttach(), Session: 5, Epoch: 9, Others: []uint32{4}, Full: true})
		},
		"before a rest": func(s *scene) {
			s.attach()
			devices(s, true, 4)
			s.doze()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, nil)
			told(s)
			s.trace = nil
			s.say(sendLine(1), sendLine(2))
			s.expect(`< {"ref":1,"error":{"id":"`+uuidOf(1)+`","code":"mailbox_full","reason":"own_copies",…`,
				`< {"ref":2,"error":{"id":"`+uuidOf(2)+`","code":"failed_precondition","reason":"out_of_order",…`)
			devices(s, false, 4)
			s.trace = nil
			s.say(sendLine(1))
			s.expect("bob: send 1 after 0 id 1 others [4]")
			s.reply(&nodepb.Sent{Tag: s.tagOf(1), Order: 1, Time: 1})
			devices(s, true) // there is no other device
			s.trace = nil
			s.say(sendLine(2))
			s.expect("bob: send 2 after 0 id 2 others []") // nothing is open
		})
	}
}
