package host

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Nothing an actor says leaves before its batch is committed; while one is in
// flight the next collects.
func TestEffectsWaitForCommit(t *testing.T) {
	w := newWorld(t)
	w.tell("bob", sendTo(7, 1, "too early"))
	w.expect(`bob: host: this node does not hold the shard's term`)

	w.lead(3)
	w.tell("bob", attachTo("bob", 20))
	w.settle()
	w.expect(`
		-- shard 1: read confirmed
		20 < attached, session 3.1, last 0
	`)
	w.tell("bob", sendTo(7, 1, "one"))
	w.tell("bob", sendTo(7, 2, "two"))
	w.tell("carol", sendTo(7, 3, "three"))
	w.expect(``)
	w.shards[1].commit()
	w.expect(`
		-- shard 1: committed append bob/1
		20 < push 1 after 0 "one"
		7 < sent 1 order 1
	`)
	w.settle()
	w.expect(`
		-- shard 1: committed append bob/2, append carol/1
		20 < push 2 after 1 "two"
		7 < sent 2 order 2
		7 < sent 3 order 1
	`)
	w.tell("bob", &nodepb.Typing{Origin: origin(7)})
	w.expect(`20 < typing`)
}

// A page is read when its batch is applied: with what was accepted before the
// pull, without what came after, and the answer to a read waits like any other.
func TestPageIsOfItsBatch(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", sendTo(7, 1, "one")) // in flight
	w.tell("bob", sendTo(7, 2, "two"))
	w.tell("bob", &nodepb.Pull{Origin: origin(20)})
	w.tell("bob", sendTo(7, 3, "three"))
	w.settle()
	w.tell("bob", &nodepb.Pull{Origin: origin(20), After: 1})
	w.expect(`
		-- shard 1: committed append bob/1
		7 < sent 1 order 1
		-- shard 1: committed append bob/2, append bob/3
		7 < sent 2 order 2
		20 < page after 0 up to 2: [1 2]
		7 < sent 3 order 3
	`)
	w.settle()
	w.expect(`
		-- shard 1: read confirmed
		20 < page after 1 up to 3: [2 3]
	`)
}

// Acks wait for company for LazyDelay; anything eager takes them along.
func TestLazyRidesAlong(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", sendTo(7, 1, "one"))
	w.settle()
	w.expect("-- shard 1: committed append bob/1\n7 < sent 1 order 1")
	w.tell("bob", &nodepb.Ack{Origin: origin(20), Seq: 1})
	w.settle()
	w.expect(``)
	w.tell("carol", sendTo(7, 2, "two"))
	w.settle()
	w.expect("-- shard 1: committed delete bob/[1], append carol/1\n7 < sent 2 order 1")
	w.tell("carol", &nodepb.Ack{Origin: origin(21), Seq: 1})
	w.now += 24
	w.settle()
	w.expect(``)
	w.now++
	w.settle()
	w.expect("-- shard 1: committed delete carol/[1]")
}

// While Raft takes nothing, which may be for as long as a disk is full, the loop
// must not be told to come back at once.
func TestHeldBatchIsNotDue(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	s := w.shards[1]
	s.refuses = true
	w.tell("alice", sendTo(7, 1, "one"))
	s.Flush()
	if s.Due() || !s.Pending() {
		t.Errorf("due %v, pending %v", s.Due(), s.Pending())
	}
	s.refuses = false
	w.settle()
	w.expect("-- shard 1: committed append alice/1\n7 < sent 1 order 1")
}

// Nor does an ack wait for a clock that was set back to be where it was.
func TestLazyWhenTheClockIsSetBack(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", sendTo(7, 1, "one"))
	w.settle()
	w.trace.Reset()
	w.tell("bob", &nodepb.Ack{Origin: origin(20), Seq: 1})
	w.now -= 1000
	w.settle()
	w.expect("-- shard 1: committed delete bob/[1]")
}

// Raft drops a batch. Bob's state gave seq 1 on it, and on the open batch seq
// 2: both are void, so that seq 1 is given again, to a message that lasts. Carol
// was not touched and stays as she is.
func TestDroppedBatchDiscardsState(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", attachTo("bob", 20))
	w.tell("carol", attachTo("carol", 30))
	w.settle()
	w.trace.Reset()
	w.tell("bob", sendTo(7, 1, "lost"))
	w.tell("bob", sendTo(8, 2, "lost with it"))
	w.shards[1].drop()
	w.expect(`
		-- shard 1: dropped
		7 < refused 1 unavailable
		8 < refused 2 unavailable
		20 lost bob
	`)
	w.tell("bob", sendTo(7, 1, "again"))
	w.tell("carol", sendTo(7, 3, "hello"))
	w.settle()
	w.expect(`
		-- shard 1: committed append bob/1
		7 < sent 1 order 1
		-- shard 1: committed append carol/1
		30 < push 1 after 0 "hello"
		7 < sent 3 order 1
	`)
}

// A gateway that answers Lost at once finds an actor that was loaded anew.
func TestAttachFromWithinLost(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", attachTo("bob", 20))
	w.settle()
	w.trace.Reset()
	w.onLost = func(conn uint64, user string) { w.tell(user, attachTo(user, conn)) }
	w.tell("bob", sendTo(7, 1, "lost"))
	w.shards[1].drop()
	w.settle()
	w.expect(`
		-- shard 1: dropped
		7 < refused 1 unavailable
		20 lost bob
		-- shard 1: read confirmed
		20 < attached, session 1.2, last 0
	`)
}

// Leadership is lost with a batch in flight: nobody knows whether bob/1 was
// accepted, but bob/2 was never proposed.
func TestFollowKeepsNothing(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", attachTo("bob", 20))
	w.settle()
	w.tell("carol", &nodepb.Watch{Origin: origin(20)})
	w.settle()
	w.trace.Reset()
	w.tell("bob", sendTo(7, 1, "who knows"))
	w.tell("bob", &nodepb.Ask{Request: 5})
	w.tell("bob", sendTo(8, 2, "not proposed"))
	s := w.shards[1]
	s.lose()
	w.expect(`
		-- shard 1: leads no longer
		7 unknown
		0 < answer 5: unavailable
		8 < refused 2 unavailable
		all left shard 1
	`)
	w.tell("bob", sendTo(7, 3, "nobody home"))
	w.expect(`bob: host: this node does not hold the shard's term`)
	if s.rows.used != 0 || len(s.presence.watchers) != 0 || len(s.lives) != 1 {
		t.Errorf("%d rows, %d watched, %d live slots are left", s.rows.used, len(s.presence.watchers), len(s.lives)-1)
	}

	s.apply() // it was committed after all, by whoever led
	s.term = 3
	s.Lead(3)
	w.tell("bob", sendTo(7, 4, "next"))
	w.settle()
	w.expect("-- shard 1: committed append bob/2\n7 < sent 4 order 2")
}

// Leadership is lost with a send and an attachment in flight: that one is over with
// the term in any case, so its outcome is known, and a hello has no id to send again.
func TestFollowWithAnAttachmentInFlight(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("carol", sendTo(8, 1, "first"))
	w.tell("bob", sendTo(7, 1, "with it"))
	w.tell("bob", attachTo("bob", 20))
	w.shards[1].commit()
	w.shards[1].Flush()
	w.trace.Reset()
	w.shards[1].lose()
	w.expect("-- shard 1: leads no longer\n7 unknown\n20 < not attached: unavailable\nall left shard 1")
}

// A batch that was made in another term than its entry's is not applied.
func TestApplyRefusesAnotherTerm(t *testing.T) {
	w := newWorld(t)
	w.lead(4)
	w.tell("bob", sendTo(7, 1, "one"))
	s := w.shards[1]
	if err := s.Apply(1, 5, s.data); err != nil {
		t.Fatal(err)
	}
	if len(s.store.rows) != 0 {
		t.Errorf("%d rows were written", len(s.store.rows))
	}
	if err := s.Apply(2, 4, []byte("no batch")); err == nil {
		t.Error("garbage was applied")
	}
}

// The store breaks under an activation: the shard says so once, and answers nothing.
func TestBrokenStoreStopsTheShard(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.shards[1].store.broken = errors.New("input/output error")
	w.tell("bob", sendTo(7, 1, "one"))
	w.expect(`FAIL host: shard 1: load an actor: input/output error`)
	w.tell("bob", sendTo(7, 1, "one"))
	w.after(time.Second)
	w.expect(`bob: host: the shard's store is broken: host: shard 1: load an actor: input/output error`)
}
