package host

import (
	"testing"
	"time"

	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// talk is a world with the real core, where Alice in shard 1 and Bob in shard 2
// are connected, a device each, and have met.
type talk struct {
	*world
	alice, bob *nodepb.Origin
	numbers    uint64
}

func newTalk(t *testing.T) *talk {
	w := &talk{world: newWorld(t)}
	w.load = func(id string, rows user.Rows, att []user.Attachment) (Core, error) {
		s, err := user.Load(id, rows, att)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	w.lead(1)
	for _, id := range []string{"alice", "bob2"} {
		for _, a := range []*nodepb.Ask{
			{User: id, Request: 99, Body: &nodepb.Ask_Register{Register: &nodepb.Register{Name: id, Password: "x"}}},
			{User: id, Request: 99, Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Password: "x"}}},
		} {
			w.tell(id, a)
			w.settle()
		}
	}
	w.alice = w.attach("alice", 10)
	w.bob = w.attach("bob2", 20)
	w.send()
	w.ack(w.bob, 1)
	w.settle()
	w.ack(w.alice, 1)
	w.after(2 * time.Second)
	w.trace.Reset()
	return w
}

func (w *talk) attach(id string, conn uint64) *nodepb.Origin {
	s := w.shards[shardOf(id)]
	o := &nodepb.Origin{User: id, Conn: conn, Device: 1}
	w.tell(id, &nodepb.Attach{Origin: o})
	w.settle()
	o.Session = s.term<<32 | uint64(s.sessions)
	w.tell(id, &nodepb.Pull{Origin: o, MaxEntries: 100, MaxBytes: 1 << 20})
	w.settle()
	return o
}

// send from Alice to Bob.
func (w *talk) send() {
	w.numbers++
	w.tell("bob2", &nodepb.Send{
		Origin: w.alice, To: "bob2", Tag: uint32(w.numbers), Number: w.numbers, Previous: w.numbers - 1,
		Id: append(make([]byte, 15), byte(w.numbers)), Kind: 1, Payload: []byte("hello"),
	})
	w.settle()
}

func (w *talk) ack(o *nodepb.Origin, seq uint64) {
	w.tell(o.GetUser(), &nodepb.Ack{Origin: o, Seq: seq})
}

// Bob's ack is told to Alice beforehand. When that is durable the ack is taken
// in, and no outbox was needed. Alice's ack of the receipt tells nobody
// anything: it waits for company, and goes in with her next one.
func TestReceiptBeforehand(t *testing.T) {
	w := newTalk(t)
	w.send()
	w.ack(w.bob, 2)
	w.after(100 * time.Millisecond)
	w.ack(w.alice, 2)
	w.after(100 * time.Millisecond)
	w.expect(`
		-- shard 2: committed accept bob2/2
		10 < sent 2 order 2
		20 < push 2 after 1 "hello"
		tell 2>1
		-- shard 1: committed append alice/2
		10 < push 2 after 1 ""
		told 2>1
		-- shard 2: committed delete bob2/[2]
	`)
	w.send()
	w.ack(w.bob, 3)
	w.after(100 * time.Millisecond)
	w.ack(w.alice, 3)
	w.trace.Reset()
	w.after(limits.AckDelay)
	w.expect(`
		-- shard 2: committed delete bob2/[3]
		-- shard 1: committed delete alice/[3]
	`) // 2 was replaced
}

// What was told beforehand is lost on the way: after a while the ack is taken
// in all the same, and the outbox sees to it.
func TestReceiptBeforehandIsLost(t *testing.T) {
	w := newTalk(t)
	w.send()
	w.trace.Reset()
	w.ack(w.bob, 2)
	w.mail = nil
	w.after(limits.AckDelay - 100*time.Millisecond)
	w.expect(`tell 2>1`)
	w.after(300 * time.Millisecond)
	w.expect(`
		-- shard 2: committed delete bob2/[2], out 1#1
		step 2>1 #1
		-- shard 1: committed append alice/2, in 2#1
		10 < push 2 after 1 ""
		confirm 2>1 #1
		-- shard 2: committed trim 1#1-1
	`)
}

// The word that it was told is lost: the outbox tells it again, which changes
// nothing.
func TestToldTwice(t *testing.T) {
	w := newTalk(t)
	w.send()
	w.trace.Reset()
	w.ack(w.bob, 2)
	w.mail[0]()
	w.mail = nil
	w.now += 50
	w.shards[1].Flush()
	w.shards[1].commit()
	w.mail = nil
	w.trace.Reset()
	w.after(limits.AckDelay + 300*time.Millisecond)
	w.expect(`
		-- shard 2: committed delete bob2/[2], out 1#1
		step 2>1 #1
		-- shard 1: committed in 2#1
		confirm 2>1 #1
		-- shard 2: committed trim 1#1-1
	`)
}

// Alice's shard loses the batch that took what she was told beforehand:
// nothing says that it is durable.
func TestToldBeforehandInALostBatch(t *testing.T) {
	w := newTalk(t)
	w.send()
	w.trace.Reset()
	w.ack(w.bob, 2)
	w.mail[0]()
	w.mail = nil
	w.now += 50
	w.shards[1].Flush()
	w.shards[1].drop()
	w.settle()
	w.expect(`
		tell 2>1
		-- shard 1: dropped
		10 lost alice
	`)
	w.after(limits.AckDelay + 300*time.Millisecond)
	w.expect(`
		-- shard 2: committed delete bob2/[2], out 1#1
		step 2>1 #1
		-- shard 1: committed append alice/2, in 2#1
		confirm 2>1 #1
		-- shard 2: committed trim 1#1-1
	`)
}

// Bob's shard crashes with his ack in memory. Alice knows what is true: he has
// said it. He is given the message again, says so again, and she is told
// nothing new.
func TestAckIsForgotten(t *testing.T) {
	w := newTalk(t)
	w.send()
	w.trace.Reset()
	w.ack(w.bob, 2)
	w.mail[0]()
	w.mail = nil
	w.shards[2].crash(2)
	w.after(100 * time.Millisecond)
	w.bob = w.attach("bob2", 21)
	w.ack(w.bob, 2)
	w.after(100 * time.Millisecond)
	w.expect(`
		tell 2>1
		-- shard 2: crashes, leads term 2
		-- shard 1: committed append alice/2
		10 < push 2 after 1 ""
		told 2>1
		-- shard 2: read confirmed
		21 < attached, session 2.1, last 2
		-- shard 2: read confirmed
		21 < page after 0 up to 2: [2]
		-- shard 2: committed delete bob2/[2], out 1#1
		step 2>1 #1
		-- shard 1: committed in 2#1
		confirm 2>1 #1
	`)
}

// What the device itself says or asks comes after its ack; what others say
// does not hurry it, newer acks replace it, and no actor rests while one waits.
func TestWhatPassesAnAck(t *testing.T) {
	w := newTalk(t)
	w.send()
	w.send()
	w.ack(w.bob, 2)
	w.mail = nil
	w.send()
	w.ack(w.bob, 3)
	w.mail = nil
	s := w.shards[2]
	l := s.lives[s.rows.at(s.rows.find("bob2")).live]
	if l.late == nil || l.late.ack.GetSeq() != 3 || len(l.late.steps) != 1 {
		t.Fatalf("late is %v", l.late)
	}
	if s.hibernate(l) {
		t.Error("the actor rests, and its ack is lost")
	}
	w.trace.Reset()
	w.tell("bob2", &nodepb.Detach{Origin: w.bob})
	w.after(150 * time.Millisecond)
	w.expect(`
		-- shard 2: committed delete bob2/[2 3], out 1#1, *storepb.Mutation_Row
		step 2>1 #1
		-- shard 1: committed append alice/2, in 2#1
		10 < push 2 after 1 ""
		confirm 2>1 #1
		-- shard 2: committed trim 1#1-1
	`)
	if l.late != nil {
		t.Error("an ack still waits")
	}
}
