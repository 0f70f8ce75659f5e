package host

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Alice's message has a copy for a user in shard 2. It is in the outbox of the
// same commit, leaves after it, is taken once, and its row goes with the next batch.
func TestStepBetweenShards(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("alice", sendTo(7, 1, "copy bob2 hello"))
	w.expect(``)
	w.settle()
	w.expect(`
		-- shard 1: committed append alice/1, out 2#1
		step 1>2 #1
		7 < sent 1 order 1
		-- shard 2: committed append bob2/1, in 1#1
		confirm 1>2 #1
	`)
	w.tell("alice", sendTo(7, 2, "copy carol the same shard"))
	w.settle()
	w.expect(`
		-- shard 1: committed append alice/2, out 1#1, trim 2#1-1
		step 1>1 #1
		7 < sent 2 order 2
		-- shard 1: committed append carol/1, in 1#1
		confirm 1>1 #1
	`)
	w.after(100 * time.Millisecond)
	w.expect(`-- shard 1: committed trim 1#1-1`)
	for _, s := range w.each() {
		if n := s.outbox.depth(); n != 0 {
			t.Errorf("shard %d: %d steps unconfirmed", s.cfg.Shard, n)
		}
	}
}

// Shard 1 crashes after its commit, before the step got anywhere. Its successor
// finds the step in the rows. Then shard 2 crashes after taking it: the step
// comes again, and is known.
func TestStepsSurviveCrashes(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("alice", sendTo(7, 1, "copy bob2 one"))
	w.shards[1].commit()
	w.mail = nil // lost on the way
	w.shards[1].crash(2)
	w.expect(`
		-- shard 1: committed append alice/1, out 2#1
		step 1>2 #1
		7 < sent 1 order 1
		-- shard 1: crashes, leads term 2
		step 1>2 #1
	`)
	w.mail[0]()
	w.mail = nil
	w.shards[2].Flush()
	w.shards[2].commit()
	w.mail = nil // so is the confirmation
	w.shards[2].crash(3)
	w.expect(`
		-- shard 2: committed append bob2/1, in 1#1
		confirm 1>2 #1
		-- shard 2: crashes, leads term 3
	`)
	w.after(1200 * time.Millisecond)
	w.expect(`
		step 1>2 #1
		confirm 1>2 #1
		-- shard 1: committed trim 2#1-1
	`)
}

// A number that was given in a dropped batch is given again: a hole would stop
// the pair for good.
func TestDroppedStepsGiveTheirNumbersBack(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("alice", sendTo(7, 1, "copy bob2 lost"))
	w.tell("alice", sendTo(7, 2, "copy bob2 lost too"))
	w.shards[1].drop()
	w.tell("alice", sendTo(7, 1, "copy bob2 hello"))
	w.settle()
	w.expect(`
		-- shard 1: dropped
		7 < refused 1 unavailable
		7 < refused 2 unavailable
		-- shard 1: committed append alice/1, out 2#1
		step 1>2 #1
		7 < sent 1 order 1
		-- shard 2: committed append bob2/1, in 1#1
		confirm 1>2 #1
	`)
}

// The same at the receiver: what it had taken in a dropped batch it takes again.
func TestDroppedTakingIsTakenAgain(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("alice", sendTo(7, 1, "copy bob2 hello"))
	w.shards[1].commit()
	w.mail[0]()
	w.mail = nil
	w.shards[2].Flush()
	w.shards[2].drop()
	w.expect(`
		-- shard 1: committed append alice/1, out 2#1
		step 1>2 #1
		7 < sent 1 order 1
		-- shard 2: dropped
	`)
	w.after(1200 * time.Millisecond)
	w.expect(`
		step 1>2 #1
		-- shard 2: committed append bob2/1, in 1#1
		confirm 1>2 #1
		-- shard 1: committed trim 2#1-1
	`)
}

// Steps are lost on the way: the receiver asks once for what is missing, and
// nothing is taken out of turn.
func TestGapIsAskedForOnce(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	for i := range 3 {
		w.tell("alice", sendTo(7, uint32(i), fmt.Sprint("copy bob2 ", i)))
	}
	w.shards[1].commit()
	w.shards[1].Flush()
	w.shards[1].commit()
	w.mail = w.mail[1:]
	w.trace.Reset()
	w.settle()
	w.expect(`
		resend 1>2 from #1
		step 1>2 #1
		step 1>2 #2
		step 1>2 #3
		-- shard 2: committed append bob2/1, append bob2/2, append bob2/3, in 1#3
		confirm 1>2 #3
	`)
}

// An actor panics on a step every time. Others' mail to it passes, the pair goes
// on after three attempts, and the step is set aside.
func TestStepThatBreaksItsActorIsSetAside(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("alice", sendTo(7, 1, "copy bob2 panic"))
	w.tell("alice", sendTo(7, 2, "copy bob2 after it"))
	w.settle()
	w.after(3 * time.Second)
	w.expect(`
		-- shard 1: committed append alice/1, out 2#1
		step 1>2 #1
		7 < sent 1 order 1
		step 1>2 #1: host: the actor panicked on the step
		-- shard 1: committed append alice/2, out 2#2
		step 1>2 #2
		7 < sent 2 order 2
		resend 1>2 from #1
		step 1>2 #1
		step 1>2 #2
		step 1>2 #1: host: the actor panicked on the step
		step 1>2 #1
		step 1>2 #2
		-- shard 2: committed append bob2/1, in 1#2
		confirm 1>2 #2
		-- shard 1: committed trim 2#1-2
	`)
}

// Shard 2 is gone. The outbox takes what it may, then says that it is full;
// memory holds a window of it. When the shard is back, everything comes, in order.
func TestOutboxIsBounded(t *testing.T) {
	w := newWorld(t)
	w.shards[1].Lead(1)
	w.shards[1].term = 1
	s := w.shards[1]
	s.outbox.limit = 3 * outboxWindow
	for i := range 4 * outboxWindow {
		if err := s.Tell("alice", sendTo(7, uint32(i), fmt.Sprint("copy bob2 ", i))); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			s.Flush()
			s.commit()
		}
	}
	w.settle()
	if got := s.outbox.depth(); got != 3*outboxWindow {
		t.Fatalf("%d steps in the outbox", got)
	}
	if got := len(s.outbox.pair(2).window); got != outboxWindow {
		t.Fatalf("%d steps in memory", got)
	}
	w.trace.Reset()
	w.shards[2].term = 1
	w.shards[2].Lead(1)
	w.after(2 * time.Second)
	if got := s.outbox.depth(); got != 0 {
		t.Errorf("%d steps left", got)
	}
	core, err := w.load("bob2", w.shards[2].rowsOf("bob2", nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := core.(*fake).seq; got != 3*outboxWindow {
		t.Errorf("bob2 has %d messages, want %d", got, 3*outboxWindow)
	}
	for k := range s.store.rows {
		if len(k) > 9 && k[8] == 0 && k[9] == 'o' {
			t.Fatal("a row of the outbox is left")
		}
	}
}

func TestInboxJudges(t *testing.T) {
	p := inPair{taken: 5, committed: 4}
	for number, want := range map[uint64]verdict{1: verdictKnown, 5: verdictKnown, 6: verdictNext, 7: verdictGap} {
		if got := p.judge(number); got != want {
			t.Errorf("#%d is %v, want %v", number, got, want)
		}
	}
	asked := []bool{p.ask(0, 1000), p.ask(999, 1000), p.ask(1000, 1000)}
	if want := []bool{true, false, true}; !slices.Equal(asked, want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
}

func TestOutboxConfirms(t *testing.T) {
	o := newOutbox(limits.OutboxSteps)
	for range 3 {
		n := o.give(2)
		if !o.commit(2, n, &storepb.Step{}, 0) {
			t.Fatalf("#%d is not sent", n)
		}
	}
	o.give(2) // not committed
	for _, c := range []struct {
		number uint64
		news   bool
		left   int
	}{{0, false, 3}, {2, true, 1}, {1, false, 1}, {4, false, 1}, {3, true, 0}} {
		if got := o.confirm(2, c.number, 0); got != c.news || len(o.pair(2).window) != c.left {
			t.Errorf("confirm #%d: news %v, %d left, want %v, %d", c.number, got, len(o.pair(2).window), c.news, c.left)
		}
	}
	o.rollback()
	if got := o.give(2); got != 4 {
		t.Errorf("gave #%d, want #4", got)
	}
}

// The outbox number of a step that cannot be encoded is not spent.
func TestUnencodableOutputTakesNothing(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("alice", sendTo(7, 1, "copy bad\xff2 x"))
	w.tell("alice", &nodepb.Ask{Request: 1})
	w.settle()
	w.expect(`
		7 < refused 1 internal
		-- shard 1: read confirmed
		0 < answer 1
	`)
	if got := w.shards[1].outbox.pair(2).given; got != 0 {
		t.Errorf("%d numbers were given", got)
	}
}
