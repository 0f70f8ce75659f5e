package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// threeIslands: shard 1 (anna) is led by n1, shard 2 (bert) by n2, shard 3
// (carl) by n3, and each knows it.
func threeIslands(t *testing.T) *sea {
	s := newSea(t, "n1", "n2", "n3")
	for shard, name := range []string{1: "n1", 2: "n2", 3: "n3"} {
		if name != "" {
			s.lead(uint32(shard), name)
		}
	}
	s.after(300 * time.Millisecond)
	for _, name := range []string{"anna", "bert", "carl"} {
		s.register(name)
	}
	s.after(300 * time.Millisecond)
	return s
}

func numbers(from, to int) (list []int) {
	for n := from; n <= to; n++ {
		list = append(list, n)
	}
	return list
}

func ids(from, to int) (list []string) {
	for _, n := range numbers(from, to) {
		list = append(list, messageID(n))
	}
	return list
}

// deliver until everything of a list has its sent: what a client does that is
// refused, or cut off.
func (s *sea) deliver(c *client, at, to string, from, upTo int) *client {
	s.t.Helper()
	for range 60 {
		var open []int
		for _, n := range numbers(from, upTo) {
			if c.sent[messageID(n)] == 0 {
				open = append(open, n)
			}
		}
		if len(open) == 0 {
			return c
		}
		if c.closed != 0 {
			sent := c.sent
			c = s.connect(at, c.who)
			c.sent = sent
		}
		c.send(to, open...)
		s.after(500 * time.Millisecond)
	}
	s.t.Fatalf("not everything was sent: %v, closed with %d", c.errors, c.closed)
	return nil
}

// inOrder: each once, in the order in which they were said, and numbered so.
func (s *sea) inOrder(c *client, from, upTo int) {
	s.t.Helper()
	if got := c.delivered(); !slices.Equal(got, ids(from, upTo)) {
		s.t.Errorf("%s got %d: %v", c.who, len(got), got)
	}
	for n, f := range c.got {
		if d := f.GetDeliver(); d != nil && messageID(int(d.GetOrder())+from-1) != d.GetId() {
			s.t.Errorf("frame %d: %s has order %d", n, d.GetId(), d.GetOrder())
		}
	}
}

// Neither sender nor recipient is where the shards are.
func TestUsersAndShardsOnDifferentNodes(t *testing.T) {
	s := threeIslands(t)
	anna, bert := s.connect("n3", "anna/1"), s.connect("n1", "bert/1")
	anna.say(`{"watch":{"users":["bert"]}}`)
	anna.send("bert", numbers(1, 20)...)
	s.calm()
	if len(anna.sent) != 20 || len(anna.errors) > 0 {
		t.Fatalf("%d sent, errors %v, closed with %d", len(anna.sent), anna.errors, anna.closed)
	}
	s.inOrder(bert, 1, 20)
	bert.say(fmt.Sprintf(`{"ack":{"seq":"%d"}}`, bert.got[len(bert.got)-1].GetDeliver().GetSeq()))
	s.after(3 * time.Second)
	var receipt, online bool
	for _, f := range anna.got {
		receipt = receipt || f.GetReceipt().GetDeliveredUpTo() == 20
		online = online || f.GetPresence().GetOnline()
	}
	if !receipt || !online {
		t.Errorf("receipt %v, online %v", receipt, online)
	}
}

// The shard of the recipient moves while sends are on their way, by a leader
// that steps down, and later back: nothing is lost, doubled or out of order, and
// every send is answered or its connection closed. The recipient's session stays.
func TestLeaderMovesWhileSendsArePipelined(t *testing.T) {
	for rounds := range 6 {
		t.Run(fmt.Sprint(rounds), func(t *testing.T) {
			s := threeIslands(t)
			anna, bert := s.connect("n3", "anna/1"), s.connect("n1", "bert/1")
			anna.send("bert", numbers(1, 30)...)
			for range rounds {
				s.round()
			}
			anna.send("bert", numbers(31, 40)...)
			s.lead(2, "n3")
			s.round()
			s.depose(2, "n2")
			s.after(5 * time.Second)
			for _, id := range ids(1, 40) {
				if anna.closed == 0 && anna.sent[id] == 0 && anna.errors[id] == "" {
					t.Errorf("%s is not answered", id)
				}
			}
			anna = s.deliver(anna, "n3", "bert", 1, 40)
			s.lead(2, "n1")
			s.depose(2, "n3")
			s.after(time.Second)
			s.deliver(anna, "n3", "bert", 41, 60)
			s.after(time.Second)
			if bert.closed != 0 {
				t.Errorf("bert's session ended with %d", bert.closed)
			}
			s.inOrder(bert, 1, 60)
		})
	}
}

// The owner dies with words that it has received, or that were on their way to
// it: their connection is closed, and what the client says again is taken once.
func TestOwnerDiesBetweenWordAndAnswer(t *testing.T) {
	for rounds := range 4 {
		t.Run(fmt.Sprint(rounds), func(t *testing.T) {
			s := threeIslands(t)
			anna, bert := s.connect("n3", "anna/1"), s.connect("n1", "bert/1")
			anna.send("bert", numbers(1, 10)...)
			for range rounds {
				s.round()
			}
			s.crash("n2")
			s.after(time.Second)
			s.lead(2, "n1")
			s.after(3 * time.Second)
			if anna.closed != 1013 && len(anna.sent)+len(anna.errors) != 10 {
				t.Errorf("closed with %d, %d sent, errors %v", anna.closed, len(anna.sent), anna.errors)
			}
			s.deliver(anna, "n3", "bert", 1, 10)
			s.after(time.Second)
			s.inOrder(bert, 1, 10)
			if bert.closed != 0 {
				t.Errorf("bert's session ended with %d", bert.closed)
			}
		})
	}
}

// A gateway starts again, and gives its first connection to somebody else: what
// actors had for the one that it had before does not reach it, and is forgotten.
func TestGatewayStartsAgain(t *testing.T) {
	s := threeIslands(t)
	bert, watcher := s.connect("n3", "bert/1"), s.connect("n2", "carl/1")
	watcher.say(`{"watch":{"users":["bert"]}}`)
	s.after(time.Second)
	anna := s.connect("n1", "anna/1")
	s.crash("n3")
	s.lead(3, "n2")
	s.after(500 * time.Millisecond)
	other := s.connect("n3", "anna/1") // displaces the other session of hers
	if other.conn&0xffff != bert.conn&0xffff || other.conn == bert.conn {
		t.Fatalf("connection %x after %x", other.conn, bert.conn)
	}
	s.after(time.Second)
	if anna.closed != 4102 {
		t.Errorf("the session that was displaced ended with %d", anna.closed)
	}
	other.send("bert", 1)
	s.after(2 * time.Second)
	if other.closed != 0 || len(other.delivered()) > 0 || other.sent[messageID(1)] == 0 {
		t.Errorf("closed with %d, got %v, sent %v", other.closed, other.delivered(), other.sent)
	}
	last := true
	for _, f := range watcher.got {
		if p := f.GetPresence(); p != nil {
			last = p.GetOnline()
		}
	}
	if last {
		t.Error("bert is shown online still")
	}
	again := s.connect("n3", "bert/1")
	s.inOrder(again, 1, 1)
}

// Nothing more goes into a link: what is said is refused for certain, and what
// actors said meanwhile is pulled once there is room.
func TestLinkIsFull(t *testing.T) {
	s := threeIslands(t)
	anna, bert := s.connect("n3", "anna/1"), s.connect("n1", "bert/1")
	s.full[[2]string{"n3", "n2"}] = true
	anna.send("bert", 1, 2)
	s.calm()
	if anna.errors[messageID(1)] != "unavailable" || anna.closed != 0 {
		t.Errorf("errors %v, closed with %d", anna.errors, anna.closed)
	}
	clear(s.full)
	s.after(time.Second)
	s.full[[2]string{"n2", "n1"}] = true
	anna = s.deliver(anna, "n3", "bert", 1, 5)
	if got := bert.delivered(); len(got) > 0 {
		t.Fatalf("through a full link: %v", got)
	}
	clear(s.full)
	s.after(time.Second)
	s.inOrder(bert, 1, 5)
	s.deliver(anna, "n3", "bert", 6, 9)
	s.inOrder(bert, 1, 9)
}

// A leader that was paused wakes, with words that were for it: it answers none
// of them as if it led, and what it says without the others is not heard.
func TestStaleLeaderWakes(t *testing.T) {
	s := threeIslands(t)
	anna, bert, carl := s.connect("n3", "anna/1"), s.connect("n1", "bert/1"), s.connect("n3", "carl/1")
	carl.say(`{"watch":{"users":["bert"]}}`)
	s.deliver(anna, "n3", "bert", 1, 5)
	s.islands["n2"].asleep = true
	anna.send("bert", 6, 7)
	s.calm()
	s.lead(2, "n1")
	s.after(3 * time.Second)
	if anna.closed != 1013 {
		t.Fatalf("closed with %d, sent %v", anna.closed, anna.sent)
	}
	anna = s.deliver(anna, "n3", "bert", 6, 10)
	before := len(carl.got)
	if err := s.islands["n2"].shards[2].Tell("bert", &nodepb.Typing{Origin: &nodepb.Origin{User: "carl", Device: 1}, On: true}); err != nil {
		t.Fatal(err) // it does not know yet
	}
	s.islands["n2"].asleep = false
	s.calm()
	s.depose(2, "n2")
	s.after(3 * time.Second)
	if bert.closed != 0 || anna.closed != 0 {
		t.Errorf("bert's session ended with %d, anna's with %d", bert.closed, anna.closed)
	}
	s.inOrder(bert, 1, 10)
	for _, f := range append(carl.got[before:], bert.got...) {
		if p := f.GetPresence(); p != nil && !p.GetOnline() || f.GetTyping() != nil {
			t.Errorf("from a leader that is none: %v", f)
		}
	}
}

// A node that is cut off refuses within two seconds, and ends its sessions after
// ten: those of users whose shards it still leads are not its business here.
func TestCutOff(t *testing.T) {
	s := threeIslands(t)
	anna := s.connect("n3", "anna/1")
	for _, other := range []string{"n1", "n2"} {
		s.cut[[2]string{"n3", other}], s.cut[[2]string{other, "n3"}] = true, true
	}
	s.after(2 * time.Second)
	anna.send("bert", 1)
	s.calm()
	if anna.errors[messageID(1)] != "unavailable" {
		t.Errorf("errors %v", anna.errors)
	}
	s.after(7 * time.Second)
	if anna.closed != 0 {
		t.Errorf("closed with %d too soon", anna.closed)
	}
	s.after(2 * time.Second)
	if anna.closed != 1013 {
		t.Errorf("closed with %d", anna.closed)
	}
	if c := s.connect("n3", "anna/1"); c.closed != 1013 {
		t.Errorf("a session began, closed with %d", c.closed)
	}
}

// hangUp: the client gives its connection up.
func (c *client) hangUp() { c.island.ended = append(c.island.ended, c.conn) }

// What a hello had said waits in a link that is cut, while the device gives up,
// connects elsewhere and works there. It comes at last: before, or after, the
// session has attached again to another leader, and the session that lives stays.
func TestHelloComesLate(t *testing.T) {
	for _, moved := range []bool{false, true} {
		t.Run(fmt.Sprint("moved ", moved), func(t *testing.T) {
			s := threeIslands(t)
			s.cut[[2]string{"n1", "n2"}] = true
			bert := s.connect("n1", "bert/1")
			bert.hangUp()
			s.calm()
			s.after(time.Second)
			bert = s.connect("n3", "bert/1")
			anna := s.deliver(s.connect("n3", "anna/1"), "n3", "bert", 1, 3)
			if moved {
				// The same node leads anew, and hears the word that was held up first.
				s.depose(2, "n2")
				s.lead(2, "n2")
			}
			delete(s.cut, [2]string{"n1", "n2"})
			s.after(3 * time.Second)
			anna = s.deliver(anna, "n3", "bert", 4, 6)
			s.after(time.Second)
			if bert.closed != 0 {
				t.Errorf("closed with %d", bert.closed)
			}
			s.inOrder(bert, 1, 6)
			// A hello that is not late takes one round trip, wherever it is said, and
			// the device has one session.
			second := s.connect("n1", "bert/1")
			if second.got[0].GetWelcome() == nil || bert.closed != 4102 {
				t.Errorf("got %v; the one before is closed with %d", second.got, bert.closed)
			}
			s.deliver(anna, "n3", "bert", 7, 7)
			if n := len(bert.delivered()); n != 6 {
				t.Errorf("%d delivered to the session that was displaced", n)
			}
		})
	}
}

// The owner dies with a read that it has not taken in, or that was on its way.
// The reader's connection lives on, and the sender learns of it nevertheless.
func TestReadOutlivesOwner(t *testing.T) {
	for rounds := range 4 {
		t.Run(fmt.Sprint(rounds), func(t *testing.T) {
			s := threeIslands(t)
			bert := s.connect("n1", "bert/1")
			anna := s.deliver(s.connect("n3", "anna/1"), "n3", "bert", 1, 3)
			bert.say(`{"read":{"conversation":{"user":"anna"},"order":"3"}}`)
			for range rounds {
				s.round()
			}
			s.crash("n2")
			s.after(time.Second)
			s.lead(2, "n3")
			s.after(3 * time.Second)
			var read uint64
			for _, f := range anna.got {
				read = max(read, f.GetReceipt().GetReadUpTo())
			}
			if read != 3 || bert.closed != 0 {
				t.Errorf("read up to %d; bert's session ended with %d", read, bert.closed)
			}
		})
	}
}
