package shard

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func (n *trio) refused(err, want error) {
	n.t.Helper()
	if !errors.Is(err, want) {
		n.t.Errorf("got %v, want %v", err, want)
	}
}

// One change at a time, by the leader, and none that the group would not survive.
func TestChangesAreRefused(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	_, err := n.nodes[2].g.AddLearner("node-4")
	n.refused(err, ErrNotLeading)
	_, err = one.g.AddLearner("node-2")
	n.refused(err, ErrMember)
	n.refused(one.g.Promote(2), ErrMember)
	n.refused(one.g.Remove(1), ErrMember)
	n.refused(one.g.Remove(9), ErrMember)
	n.refused(one.g.Transfer(1), ErrMember)
	n.refused(one.g.Transfer(9), ErrMember)

	if _, err = one.g.AddLearner("node-4"); err != nil {
		t.Fatal(err)
	}
	n.refused(one.g.Remove(3), ErrChanging)
	n.refused(one.g.Transfer(2), ErrChanging)
	n.settle()
	if one.g.Changing() {
		t.Fatal("the change never ends")
	}
	st := one.g.Status()
	if len(st.Members) != 4 || st.Leader != 1 || st.LeaderNode != "node-1" {
		t.Fatalf("status %+v", st)
	}
	for _, p := range st.Members {
		if p.Learner != (p.Node == "node-4") || !p.Active {
			t.Errorf("member %+v", p)
		}
	}

	// Node 3 is not heard of any more: without node 2 nobody would be left.
	n.cut[3] = true
	for range 2 * DefaultElectionTicks {
		n.tick(1)
	}
	n.refused(one.g.Remove(2), ErrUnsafe)
	must(one.g.Remove(3))
	n.settle()
	if len(one.g.Members()) != 3 {
		t.Errorf("members %v", one.g.Members())
	}
	n.tick(3) // node 2 hears of the commit
	if len(n.nodes[2].g.Members()) != 3 {
		t.Errorf("node 2 knows of %v", n.nodes[2].g.Members())
	}
}

func TestTransfer(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	must(one.g.Transfer(2))
	n.refused(one.g.Remove(3), ErrChanging)
	n.settle()
	two := n.nodes[2]
	if !two.g.Leading() || one.g.LeaderNode() != "node-2" {
		t.Fatalf("node 2 is %v, and node 1 takes %q for the leader", two.g.Role(), one.g.LeaderNode())
	}
	must(two.g.Remove(1))
	n.settle()
	n.tick(3)
	if len(n.nodes[3].g.Members()) != 2 {
		t.Errorf("members %v", n.nodes[3].g.Members())
	}
}

// What is in flight when leadership is handed over is decided before.
func TestTransferWaitsForTheProposal(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.propose(one, 7, "a=1")
	must(one.g.Transfer(2))
	n.settle()
	n.want(1, n.trace.take(), "apply a=1", "committed 7", "follow")
	n.refused(one.g.Propose(8, []byte("a=2")), ErrNotLeading)
	if two := n.nodes[2]; !two.g.Leading() {
		t.Errorf("node 2 is %v", two.g.Role())
	}
}

// Who is handing over takes no proposal, and does again when that came to nothing.
func TestTransferComesToNothing(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.cut[2] = true
	must(one.g.Transfer(2))
	n.settle()
	n.refused(one.g.Propose(7, []byte("a=1")), ErrHandover)
	n.tick(DefaultElectionTicks + 1)
	if one.g.Changing() {
		t.Error("it is still being handed over")
	}
	n.propose(one, 8, "a=1")
	n.settle()
	n.want(1, n.trace.take(), "apply a=1", "committed 8")
}

// Members outlive a restart, in the checkpoint as well as in the log after it.
func TestMembersOutliveRestart(t *testing.T) {
	n := newSolo(t, func(c *Config) { c.Node = "here" })
	n.lead()
	id, err := n.g.AddLearner("there")
	if err != nil {
		t.Fatal(err)
	}
	n.round()
	for range 2 {
		if got := n.g.Members(); len(got) != 2 || got[id] != "there" || got[n.g.Replica()] != "here" {
			t.Fatalf("members %v", got)
		}
		n.crash(0)
		n.round()
		n.set.Checkpoint()
		n.round()
		(<-n.posted)()
	}
}

// A message counts only from where its sender can be, and only for whom it is for.
func TestStepIsForTheReplica(t *testing.T) {
	n := newTrio(t)
	n.elect(1)
	two := n.nodes[2]
	beat := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(two.g.Term())}
	must(two.set.Step("node-1", 1, beat))
	n.refused(two.set.Step("node-3", 1, beat), ErrNoReplica)
	n.refused(two.set.Step("node-1", 9, beat), ErrNoReplica)
	late := proto.Clone(beat).(*raftpb.Message)
	late.To = new(uint64(7))
	n.refused(two.set.Step("node-1", 1, late), ErrNoReplica)
	for _, kind := range []raftpb.MessageType{raftpb.MsgProp, raftpb.MsgReadIndex, raftpb.MsgTransferLeader, raftpb.MsgHup} {
		odd := proto.Clone(beat).(*raftpb.Message)
		odd.Type = kind.Enum()
		n.refused(two.set.Step("node-1", 1, odd), ErrMessage)
	}
	// From a replica that this one has not heard of yet, with an answer to where it is.
	other := proto.Clone(beat).(*raftpb.Message)
	other.From, other.Term = new(uint64(9)), new(two.g.Term()+1)
	must(two.set.Step("node-9", 1, other))
	n.refused(two.set.Step("node-9", 1, beat), ErrNoReplica)
	if at, ok := two.g.nodeOf(9); !ok || at != "node-9" {
		t.Errorf("9 is on %q", at)
	}
}

// What a leader that nobody followed wrote was not applied, so it is in no store,
// and not waited for.
func TestReplayedDoesNotWaitForATail(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.cut[1] = true
	for i := range uint64(3) {
		n.propose(one, i, "a=1")
		must(one.set.Round())
		one.g.becomeFollower(dropNotLeading) // to be given the next at once
		one.g.role = Leading
	}
	n.queue = nil
	n.elect2(2)

	one.set.Close()
	one.log, one.store = one.log.crash(0), one.store.crash()
	one.m.store = one.store
	n.start(one)
	if n.settle(); !one.set.Replayed() {
		t.Errorf("applied %d, waits for %d", one.g.Applied(), one.g.ahead)
	}
	n.cut[1] = false
	n.tick(5)
	n.same()
}
