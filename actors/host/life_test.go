package host

import (
	"fmt"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

func (r *rig) counts() string {
	live := len(r.lives) - 1 - len(r.vacant)
	return fmt.Sprintf("%d live, %d rows, %d attachments, %d timers", live, r.rows.used, r.rows.usedAtt, r.wheel.armed)
}

func (r *rig) is(want string) {
	r.world.t.Helper()
	if got := r.counts(); got != want {
		r.world.t.Errorf("shard %d has %s, want %s", r.cfg.Shard, got, want)
	}
}

// Bob is attached and falls silent: what stays is his row. A message brings him
// back with his attachment, where the stream goes on as if nothing had been.
// Carol is not attached: of her nothing stays.
func TestHibernation(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	s := w.shards[1]
	w.tell("bob", attachTo("bob", 20))
	w.tell("bob", sendTo(7, 1, "one"))
	w.tell("carol", sendTo(7, 2, "one"))
	w.settle()
	w.trace.Reset()
	s.is("2 live, 2 rows, 0 attachments, 2 timers")
	w.after(40 * time.Second)
	w.tell("bob", &nodepb.Ask{Request: 1})
	w.after(40 * time.Second)
	s.is("1 live, 1 rows, 0 attachments, 1 timers")
	w.after(30 * time.Second)
	s.is("0 live, 1 rows, 1 attachments, 0 timers")
	if n := registered(w.system); n != 0 {
		t.Errorf("%d actors are registered with protoactor", n)
	}
	w.trace.Reset()
	w.tell("bob", sendTo(7, 3, "two"))
	w.settle()
	w.expect(`
		-- shard 1: committed append bob/2
		20 < push 2 after 1 "two"
		7 < sent 3 order 2
	`)
	w.tell("bob", &nodepb.Detach{Origin: origin(20)})
	w.after(2 * time.Minute)
	s.is("0 live, 0 rows, 0 attachments, 0 timers")
}

// registered counts the actors that protoactor knows.
func registered(y *System) int {
	n := 0
	for _, m := range y.system.ProcessRegistry.LocalPIDs.LocalPIDs {
		for item := range m.IterBuffered() {
			if _, ok := item.Val.(*actor.ActorProcess); ok {
				n++
			}
		}
	}
	return n
}

// An actor does not go to rest while a batch of its is in flight: the store
// that it would be loaded from does not have it yet.
func TestNoHibernationAheadOfTheStore(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	s := w.shards[1]
	w.tell("bob", sendTo(7, 1, "one")) // in flight for two minutes
	for range 1200 {
		w.now += 100
		s.Tick()
	}
	s.is("1 live, 1 rows, 0 attachments, 1 timers")
	w.tell("bob", sendTo(7, 2, "two"))
	w.settle()
	w.expect(`
		-- shard 1: committed append bob/1
		7 < sent 1 order 1
		-- shard 1: committed append bob/2
		7 < sent 2 order 2
	`)
}

// Short times to live are kept: by a live actor, by a hibernated one, and by one
// that nobody has asked for since the node restarted.
func TestDeadlines(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	s := w.shards[1]
	w.tell("ann", sendTo(7, 1, "ttl 10s"))
	w.tell("bob", sendTo(7, 2, "ttl 5m"))
	w.tell("cid", sendTo(7, 3, "ttl 10m"))
	w.tell("dan", sendTo(7, 4, "ttl 720h"))
	w.settle()
	w.trace.Reset()
	w.after(11 * time.Second)
	w.expect(`-- shard 1: committed delete ann/[1]`)
	w.after(2 * time.Minute)
	s.is("0 live, 2 rows, 0 attachments, 2 timers") // bob and cid; dan's is for a sweep
	w.after(3 * time.Minute)
	w.expect(`-- shard 1: committed delete bob/[1]`)

	s.crash(2)
	s.is("0 live, 0 rows, 0 attachments, 0 timers")
	for range 10 {
		s.Sweep(2)
	}
	s.is("0 live, 1 rows, 0 attachments, 1 timers")
	w.trace.Reset()
	w.after(6 * time.Minute)
	w.expect(`-- shard 1: committed delete cid/[1]`)

	s.crash(3)
	w.now += 721 * 3_600_000 // the node was off
	s.Sweep(1000)
	w.trace.Reset()
	w.after(time.Second)
	w.expect(`-- shard 1: committed delete dan/[1]`)
}

// A clock that is not trusted expires nothing, and is not asked in a hurry.
func TestUntrustedClockExpiresNothing(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	s := w.shards[1]
	trusted := false
	s.cfg.Expiry = func() uint64 {
		if trusted {
			return w.now
		}
		return 0
	}
	w.tell("ann", sendTo(7, 1, "ttl 10s"))
	w.settle()
	w.trace.Reset()
	w.after(3 * time.Minute)
	w.expect(``)
	trusted = true
	w.after(2 * time.Second)
	w.expect(`-- shard 1: committed delete ann/[1]`)
}

// The step breaks Bob's actor while a batch of his is in flight. What it had
// said before stands; it is loaded again only when the store has that, and mail
// waits in order until then. His sessions attach again.
func TestPanicRehydratesFromTheStore(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", attachTo("bob", 20))
	w.settle()
	w.tell("bob", &nodepb.Watch{Origin: origin(30)})
	w.settle()
	w.trace.Reset()
	w.tell("bob", sendTo(7, 1, "one")) // in flight
	w.tell("bob", sendTo(7, 2, "two")) // in the open batch
	w.tell("bob", sendTo(7, 3, "panic"))
	w.tell("bob", sendTo(7, 4, "four"))
	w.tell("bob", sendTo(7, 5, "five"))
	w.expect(`
		7 < refused 3 internal
		20 lost bob
		30 < presence of bob: online false
	`)
	w.settle()
	w.expect(`
		-- shard 1: committed append bob/1
		20 < push 1 after 0 "one"
		7 < sent 1 order 1
		-- shard 1: committed append bob/2
		20 < push 2 after 1 "two"
		7 < sent 2 order 2
		-- shard 1: committed append bob/3, append bob/4
		7 < sent 4 order 3
		7 < sent 5 order 4
	`)
}

// The batch in flight is dropped while the actor waits: it is loaded from what
// there is, and the mail that waited is not lost with the batch.
func TestPanicThenDrop(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", sendTo(7, 1, "one"))
	w.tell("bob", sendTo(7, 2, "panic"))
	w.tell("bob", sendTo(7, 3, "three"))
	w.shards[1].drop()
	w.settle()
	w.expect(`
		7 < refused 2 internal
		-- shard 1: dropped
		7 < refused 1 unavailable
		-- shard 1: committed append bob/1
		7 < sent 3 order 1
	`)
}

// Three restarts, then the actor is stopped. Others never notice, and the next
// message finds a new one.
func TestPanicTooOften(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	for i := range 4 {
		w.tell("bob", sendTo(7, uint32(i), "panic"))
	}
	w.shards[1].is("0 live, 0 rows, 0 attachments, 0 timers")
	if n := registered(w.system); n != 0 {
		t.Errorf("%d actors are registered with protoactor", n)
	}
	w.tell("bob", sendTo(7, 9, "hello"))
	w.settle()
	w.expect(`
		7 < refused 0 internal
		7 < refused 1 internal
		7 < refused 2 internal
		7 < refused 3 internal
		-- shard 1: committed append bob/1
		7 < sent 9 order 1
	`)
}

// While an actor that is to be stopped waits for its batch, nothing is taken.
func TestStoppingTakesNothing(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", sendTo(7, 1, "one"))
	l := w.shards[1].lives[1]
	l.failures = []uint64{w.now, w.now, w.now}
	w.tell("bob", sendTo(7, 2, "panic"))
	w.tell("bob", sendTo(7, 3, "three"))
	w.settle()
	w.expect(`
		7 < refused 2 internal
		bob: host: the shard or the actor has all the work it may queue
		-- shard 1: committed append bob/1
		7 < sent 1 order 1
	`)
	w.shards[1].is("0 live, 0 rows, 0 attachments, 0 timers")
}

// An actor that is told something from within its own step does it next.
func TestTellFromWithinAStep(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", sendTo(7, 1, "self"))
	w.settle()
	w.expect(`
		-- shard 1: committed append bob/1, append bob/2
		7 < sent 1 order 1
		7 < sent 2 order 2
	`)
}

// Mail for an actor that waits for its restart is bounded; a Detach is not mail
// that may be refused.
func TestWaitingMailIsBounded(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	s := w.shards[1]
	w.tell("bob", sendTo(7, 0, "one"))
	w.tell("bob", sendTo(7, 0, "panic"))
	taken := 0
	for s.Tell("bob", sendTo(7, 1, "x")) == nil {
		taken++
	}
	if taken != limits.ActorMail {
		t.Errorf("%d messages wait, want %d", taken, limits.ActorMail)
	}
	if err := s.Tell("bob", &nodepb.Detach{Origin: origin(20)}); err != nil {
		t.Error(err)
	}
}

// Raft takes no proposal: nothing is void, the batch waits. When it is taken
// the answers come, and what rode with it rides again.
func TestRefusedProposalIsHeld(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("alice", sendTo(7, 1, "copy bob2 hello"))
	w.settle()
	w.trace.Reset()
	s := w.shards[1]
	s.refuses = true
	w.tell("alice", sendTo(7, 2, "two"))
	w.tell("alice", sendTo(7, 3, "three"))
	w.settle()
	w.expect(``)
	s.refuses = false
	w.settle()
	w.expect(`
		-- shard 1: committed append alice/2, append alice/3, trim 2#1-1
		7 < sent 2 order 2
		7 < sent 3 order 3
	`)
}

// Strangers' names are tried one after the other: idle actors make room.
func TestLiveActorsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	s := w.shards[1]
	s.cfg.Live = 10
	for i := range 100 {
		w.tell(fmt.Sprint("nobody", i, "x"), &nodepb.Ask{Request: 1})
		w.settle()
	}
	if n := len(s.lives) - 1 - len(s.vacant); n > 11 {
		t.Errorf("%d actors live, 10 may", n)
	}
}

// The open batch is bounded while one is in flight.
func TestOpenBatchIsBounded(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", sendTo(7, 0, "one"))
	taken := 0
	for ; taken <= 2*limits.BatchMutations; taken++ {
		if w.shards[1].Tell("bob", sendTo(7, 1, "x")) != nil {
			break
		}
	}
	if taken > limits.BatchMutations || taken == 0 {
		t.Errorf("%d taken into a batch of %d", taken, limits.BatchMutations)
	}
	w.settle()
	w.trace.Reset()
	w.tell("bob", &nodepb.Ask{Request: 1})
	w.settle()
	w.expect("-- shard 1: read confirmed\n0 < answer 1")
}

// Every entry that is pushed reaches its session once the batch is committed.
func TestEveryPushIsDelivered(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", attachTo("bob", 20))
	w.settle()
	w.trace.Reset()
	want := ""
	for i := range 20 {
		w.tell("bob", sendTo(7, uint32(i), "x"))
		w.settle()
		want += fmt.Sprintf("-- shard 1: committed append bob/%d\n20 < push %d after %d \"x\"\n7 < sent %d order %d\n", i+1, i+1, i, i, i+1)
	}
	w.expect(want)
}

// Who watches is told once the batch is out; who may no longer is told so.
func TestPresence(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", &nodepb.Watch{Origin: origin(30)})
	w.tell("bob", &nodepb.Watch{Origin: origin(31)})
	w.settle()
	w.trace.Reset()
	w.tell("bob", attachTo("bob", 20))
	w.expect(``)
	w.settle()
	w.expect(`
		-- shard 1: read confirmed
		20 < attached, session 1.1, last 0
		30 < presence of bob: online true
		31 < presence of bob: online true
	`)
	s := w.shards[1]
	s.presence.hide("bob", "user of 30")
	s.announce("bob", false, 0)
	w.expect(`31 < presence of bob: online false`)
	// What the actor is asked anew may not bring back a watch that has ended.
	s.do(&pending{user: "bob", effect: user.Rewatch{}})
	w.trace.Reset()
	s.do(&pending{user: "bob", effect: user.DropWatch{Conn: 30}})
	s.do(&pending{user: "bob", effect: user.DropWatch{Conn: 31}})
	w.settle()
	w.trace.Reset()
	if len(s.presence.watchers) != 0 {
		t.Error("watchers are left")
	}
	if s.presence.add("bob", watcher{conn: 1}, 1); s.presence.add("bob", watcher{conn: 2}, 1) {
		t.Error("more watchers than may be")
	}
}

// While a shard takes nothing new, watches still end, as connections do, and
// what was hidden to be asked anew does not stay hidden.
func TestWatchesWhileBusy(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", &nodepb.Watch{Origin: origin(30)})
	w.tell("bob", &nodepb.Watch{Origin: origin(31)})
	w.settle()
	s := w.shards[1]
	s.refuses = true
	for !s.Shard.open.full() {
		w.tell("carol", &nodepb.Ask{Request: 1})
	}
	w.trace.Reset()
	w.tell("bob", &nodepb.Unwatch{Origin: origin(30)})
	w.tell("bob", &nodepb.Watch{Origin: origin(32)})
	s.rewatch("bob", "")
	w.expect("bob: " + ErrBusy.Error())
	s.refuses = false
	w.settle()
	w.trace.Reset()
	s.announce("bob", true, 0)
	w.expect(`31 < presence of bob: online true`)
}
