package shard

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The order of a round is the promise: nothing is applied or answered before
// the sync, and the commit index alone costs no second one.
func TestRoundTripOfOneReplica(t *testing.T) {
	n := newSolo(t, nil)
	n.round()
	n.want("append 1", "sync", "append 1", "sync", "lead 2")

	n.propose(7, "a=1")
	n.want()
	n.round()
	n.want("append 1", "sync", "apply a=1", "committed 7")

	if err := n.g.Read(8); err != nil {
		t.Fatal(err)
	}
	n.round()
	n.want("confirmed 8")
	if !n.set.Idle() {
		t.Error("not idle with nothing in flight")
	}
}

func TestOneProposalInFlight(t *testing.T) {
	n := newSolo(t, nil)
	if err := n.g.Propose(1, []byte("a=1")); !errors.Is(err, ErrNotLeading) {
		t.Errorf("proposal before leading: %v", err)
	}
	n.lead()
	n.propose(1, "a=1")
	if err := n.g.Propose(2, []byte("b=1")); !errors.Is(err, ErrInFlight) {
		t.Errorf("second proposal: %v", err)
	}
	if n.set.Idle() {
		t.Error("idle with a proposal in flight")
	}
}

// A machine that proposes from each Committed must not keep the loop in one
// round for ever.
func TestRoundEndsThoughMachineProposes(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.m.onCommit = func(token uint64) { n.propose(token+1, "a=1") }
	n.propose(1, "a=1")
	n.round()
	n.want("append 1", "sync", "apply a=1", "committed 1")
	if !n.set.Pending() {
		t.Error("the next proposal waits, but the loop would sleep")
	}
	n.round()
	n.want("append 1", "sync", "apply a=1", "committed 2")
}

// What was acknowledged is there after a power cut; what was appended and not
// synced may be there, or not, and both are right.
func TestCrashBetweenAppendAndSync(t *testing.T) {
	for _, c := range []struct {
		name string
		kept int
		want string
	}{
		{"torn off", 0, ""},
		{"on the disk all the same", 10, "2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newSolo(t, nil)
			n.lead()
			n.propose(1, "a=1")
			n.round()
			n.log.syncErr = errDisk
			n.propose(2, "b=2")
			if err := n.set.Round(); !errors.Is(err, errDisk) {
				t.Fatalf("round: %v", err)
			}
			n.crash(c.kept)
			n.lead()
			rows := n.store.rows()
			if rows["a"] != "1" || rows["b"] != c.want {
				t.Errorf("rows %v", rows)
			}
		})
	}
}

// A machine may not decide before it has seen everything that was committed in
// earlier terms, and a term that was led once is never led again.
func TestLeadsAfterReplay(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	for token, data := range []string{"a=1", "b=1"} {
		n.propose(uint64(token), data)
		n.round()
	}
	for _, op := range n.log.durable {
		if u, ok := op.(Update); ok && u.HardState != nil {
			u.HardState.Commit = new(uint64(firstIndex)) // as if that had never been written
		}
	}
	n.crash(0)
	n.trace.take()
	n.round()
	n.want("append 1", "sync", "append 1", "sync", "apply a=1", "apply b=1", "lead 3")
}

// The log says how far was committed, and ends before it: to vote with what is
// left would lose what was acknowledged.
func TestLogThatLostItsEndIsRefused(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	hs := &raftpb.HardState{Term: new(uint64(2)), Vote: new(n.g.Replica()), Commit: new(uint64(9))}
	n.log.durable = append(n.log.durable, Update{Group: 1, HardState: hs})
	_, err := New(Config{Log: n.log.crash(0), Store: n.store, Post: func(func()) bool { return true },
		Found: []uint32{1}, Machine: always(n.m)})
	if err == nil || !strings.Contains(err.Error(), "lost entries") {
		t.Errorf("open: %v", err)
	}
}

func TestBrokenLogReleasesNothing(t *testing.T) {
	for _, c := range []struct {
		name      string
		breakIt   func(*memLog)
		wantTrace []string
	}{
		{"append", func(l *memLog) { l.appendErr = errDisk }, []string{"append 1", "follow"}},
		{"sync", func(l *memLog) { l.syncErr = errDisk }, []string{"append 1", "sync failed", "follow"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newSolo(t, nil)
			n.lead()
			c.breakIt(n.log)
			n.propose(1, "a=1")
			if err := n.g.Read(2); err != nil {
				t.Fatal(err)
			}
			if err := n.set.Round(); !errors.Is(err, errDisk) {
				t.Fatalf("round: %v", err)
			}
			n.want(c.wantTrace...)
			n.set.Tick()
			if err := n.set.Round(); !errors.Is(err, errDisk) || !errors.Is(n.set.Err(), errDisk) {
				t.Errorf("the error did not stay: %v, %v", err, n.set.Err())
			}
			if err := n.g.Propose(3, []byte("b=1")); !errors.Is(err, ErrBroken) || !errors.Is(err, errDisk) {
				t.Errorf("proposal after the error: %v", err)
			}
			n.want()
		})
	}
}

func TestMachineErrorStopsTheNode(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.m.fail = errDisk
	n.propose(1, "a=1")
	if err := n.set.Round(); !errors.Is(err, errDisk) {
		t.Fatalf("round: %v", err)
	}
	n.want("append 1", "sync", "follow")
}

// slow makes the disk slow enough that the next sync leaves the loop, and holds
// that one until the gate opens.
func (n *solo) slow() {
	n.log.syncTakes = time.Second
	n.propose(100, "slow=1")
	n.round()
	n.log.syncTakes = time.Millisecond
	n.log.gate, n.log.entered = make(chan struct{}), make(chan struct{}, 1)
	n.trace.take()
}

// A disk that stalls must not stall the sockets: the round comes back, and
// nothing is released until the sync does.
func TestSlowSyncLeavesTheLoop(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.slow()
	n.propose(1, "a=1")
	n.round() // comes back, though the sync does not
	<-n.log.entered
	if err := n.g.Read(2); err != nil {
		t.Fatal(err)
	}
	n.set.Tick()
	n.round()
	n.want("append 1")
	if n.set.Idle() || n.set.Pending() {
		t.Errorf("idle %v, pending %v while a sync is out", n.set.Idle(), n.set.Pending())
	}

	close(n.log.gate)
	(<-n.posted)()
	n.round()
	n.want("sync", "apply a=1", "committed 1", "confirmed 2")

	// The disk is fast again: after some syncs, the loop does them itself.
	inline := 0
	n.log.entered = nil
	for token := uint64(10); token < 200 && inline == 0; token++ {
		n.propose(token, "a=2")
		n.round()
		if len(n.m.committed) > 0 && n.m.committed[len(n.m.committed)-1] == token {
			inline++
			continue
		}
		(<-n.posted)()
		n.round()
	}
	if inline == 0 {
		t.Errorf("the loop never took syncs back; average %v", n.set.Average())
	}
}

// Nor may the first sync that a disk takes for ever: nothing was slow before it.
func TestFirstStallLeavesTheLoop(t *testing.T) {
	n := newSolo(t, func(c *Config) { c.SyncWait = time.Millisecond })
	for !n.g.Leading() { // whatever this machine's own pauses are
		n.round()
	}
	for len(n.posted) > 0 {
		<-n.posted
	}
	n.trace.take()
	n.set.average = 0
	n.log.gate, n.log.entered = make(chan struct{}), make(chan struct{}, 1)
	n.propose(1, "a=1")
	n.round() // comes back, though the sync does not
	<-n.log.entered
	n.want("append 1")
	close(n.log.gate)
	(<-n.posted)()
	n.round()
	n.want("sync", "apply a=1", "committed 1")
}

func TestSlowSyncThatFails(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.slow()
	n.propose(1, "a=1")
	n.round()
	<-n.log.entered
	n.log.mu.Lock()
	n.log.syncErr = errDisk
	n.log.mu.Unlock()
	close(n.log.gate)
	(<-n.posted)()
	n.want("append 1", "sync failed", "follow")
	if !errors.Is(n.set.Err(), errDisk) {
		t.Errorf("error %v", n.set.Err())
	}
}

// What a machine handed in while the sync was out has not reached Raft: when
// the sync fails, that is not in the log for certain, the rest is unknown.
func TestQueuedProposalIsDroppedWhenTheLogBreaks(t *testing.T) {
	other := &recorder{name: "2: ", seen: map[uint64]string{}, t: t}
	n := newSolo(t, func(c *Config) {
		first, _ := c.Machine(nil, 0)
		c.Found, c.Machine = []uint32{1, 2}, among(map[uint32]Machine{1: first, 2: other})
	})
	other.trace, other.store = n.trace, n.store
	n.lead()
	n.slow()
	n.propose(1, "a=1")
	n.round()
	<-n.log.entered
	if err := n.set.Group(2).Propose(2, []byte("b=1")); err != nil {
		t.Fatal(err)
	}
	n.round()
	n.log.mu.Lock()
	n.log.syncErr = errDisk
	n.log.mu.Unlock()
	close(n.log.gate)
	(<-n.posted)()
	n.want("append 1", "sync failed", "follow", "2: dropped 2", "2: follow")
}

// Post may fail when the loop's inbox is full: the next round finds the sync.
func TestSlowSyncWithoutWakeUp(t *testing.T) {
	refused := make(chan struct{}, 4)
	n := newSolo(t, func(c *Config) {
		c.Post = func(func()) bool { refused <- struct{}{}; return false }
	})
	n.lead()
	n.slow()
	n.propose(1, "a=1")
	n.round()
	<-n.log.entered
	close(n.log.gate)
	<-refused
	n.round()
	n.want("append 1", "sync", "apply a=1", "committed 1")
}

func TestOverloadedStoreTakesNoProposals(t *testing.T) {
	n := newSolo(t, func(c *Config) { c.CheckpointBytes, c.OverlayBound = 50, 100 })
	n.lead()
	n.store.fail = errDisk
	n.store.bytes = 100
	if err := n.g.Propose(1, []byte("a=1")); !errors.Is(err, ErrOverloaded) {
		t.Errorf("proposal: %v", err)
	}
	n.want()
	if err := n.g.Read(2); err != nil {
		t.Errorf("reads go on, but: %v", err)
	}
}

func TestReadsAreBounded(t *testing.T) {
	n := newSolo(t, func(c *Config) { c.Reads = 2 })
	n.lead()
	for token, want := range []error{nil, nil, ErrOverloaded} {
		if err := n.g.Read(uint64(token)); !errors.Is(err, want) {
			t.Errorf("read %d: %v, want %v", token, err, want)
		}
	}
	n.round()
	n.want("confirmed 0", "confirmed 1")
}

// Raft may confirm an index before all up to it is applied.
func TestReadWaitsForItsIndex(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.g.confirmed = []waiting{{n.g.Applied() + 1, []uint64{1}}, {n.g.Applied(), []uint64{2}}}
	n.g.confirm()
	n.want("confirmed 2")
	n.propose(3, "a=1")
	n.round()
	n.want("append 1", "sync", "apply a=1", "committed 3", "confirmed 1")
}

func TestReplicaIDIsSavedFirstAndKept(t *testing.T) {
	n := newSolo(t, nil)
	id := n.g.Replica()
	if id == 0 {
		t.Fatal("no replica id")
	}
	n.crash(0) // nothing was synced yet
	if n.g.Replica() != id {
		t.Errorf("replica %x came back as %x", id, n.g.Replica())
	}
	if other := newSolo(t, nil); other.g.Replica() == id {
		t.Error("a wiped disk came back under the same id")
	}
}

// A creation that was cut short leaves the groups that were saved first.
func TestShardsAreCountedOnceAllAreThere(t *testing.T) {
	n := newSolo(t, func(c *Config) { c.Found = []uint32{2, 0, 1, 3} })
	if got := Shards(n.log); got != 3 {
		t.Errorf("%d shards", got)
	}
	saved := n.log.durable[0].([]Checkpoint)
	n.log.durable[0] = saved[:3]
	if got := Shards(n.log.crash(0)); got != 0 {
		t.Errorf("%d shards in a log without group 0", got)
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	_, err := New(Config{ElectionTicks: 1})
	for _, part := range []string{"no log", "no store", "no way back", "no machines", "election after 1"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
}
