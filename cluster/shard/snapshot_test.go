package shard

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// The first path: a group of one becomes three, by snapshots of several chunks.
func TestGroupGrows(t *testing.T) {
	n := newTroupe(t, "a", "b", "c")
	n.write("a=1", "b=1", "a="+deleted, "c=2")
	for i := range 12 {
		n.write(big(fmt.Sprint("big", i)))
	}
	n.grow("b")
	n.write("b="+deleted, "d=1")
	n.grow("c")
	n.write("e=1")
	n.tick(3)
	n.want("a", "b", "c")
	for _, name := range []string{"a", "b", "c"} {
		n.clean(name)
	}
	// Now node a is not needed any more.
	n.cut["a"] = true
	n.until("another leads", func() bool { return n.leader() != nil })
	n.write("f=1")
	n.cut["a"] = false
	n.caught("a")
	n.want("a", "b", "c")
	n.crash("b", false)
	n.caught("b")
	n.want("b")
}

// A follower that the log does not reach any more gets the rows beside the old
// ones, and keeps none of the old.
func TestFollowerBehindTheLog(t *testing.T) {
	n := newTroupe(t, "a", "b", "c")
	n.write("a=1", "b=1", "old=1")
	n.grow("b")
	n.grow("c")
	n.checkpoint("c")
	n.cut["c"] = true
	n.write("old="+deleted, "a=2", "new=1")
	n.checkpoint("a")
	n.write("a=3")
	n.cut["c"] = false
	was := n.at("c")
	version := was.version
	n.caught("c")
	if n.at("c") != was || was.version == version {
		t.Errorf("version %d, and was %d", was.version, version)
	}
	n.want("a", "b", "c")
	n.clean("c")
	n.crash("c", true)
	n.caught("c")
	n.want("c")
	n.clean("c")
}

// Who is elected needs a vote for its first entry: of a follower that has to be
// filled before it can give one, where the third is away. Nobody else would do it.
func TestElectedFillsWhomItNeeds(t *testing.T) {
	n := newTroupe(t, "a", "b", "c")
	n.write("a=1")
	n.grow("b")
	n.grow("c")
	n.cut["c"] = true
	n.write("a=2", "b=1")
	n.tick(3)
	n.checkpoint("a")
	n.checkpoint("b")
	n.cut["a"], n.cut["c"] = true, false
	n.until("b leads", func() bool { return n.at("b").Leading() })
	n.write("c=1")
	n.caught("c")
	n.want("b", "c")
}

// A log that is as long as the leader's beginning may end in what was never
// committed: that it reaches so far is not enough to go on from there.
func TestTailThatWasNeverCommitted(t *testing.T) {
	n := newTroupe(t, "a", "b", "c")
	n.write("a=1")
	n.grow("b")
	n.grow("c")
	n.cut["a"] = true
	if err := n.at("a").Propose(9, []byte("lost=1")); err != nil {
		t.Fatal(err)
	}
	n.settle()
	n.until("another leads", func() bool { return n.leader() != nil && n.leader() != n.at("a") })
	n.checkpoint("b")
	n.checkpoint("c")
	n.cut["a"] = false
	n.caught("a")
	n.write("a=2")
	n.caught("a")
	n.want("a", "b", "c")
}

// A leader that is none any more offers a snapshot to a replica that has followed
// the next one further than this one's log goes: what that has applied says
// nothing about what is proposed here.
func TestAnswerOfALaterTerm(t *testing.T) {
	n := newTroupe(t, "a", "b", "c")
	n.write("a=1")
	n.grow("b")
	n.grow("c")
	n.cut["c"] = true
	n.write("a=2")
	n.checkpoint("a")
	a := n.nodes["a"]
	n.until("a snapshot is offered", func() bool { return len(a.set.outgoing) > 0 })
	n.cut["b"] = true
	g, told := n.at("a"), len(a.told)
	must(g.Propose(9, []byte("lost=1")))
	n.settle()
	o := a.set.outgoing[0]
	must(a.set.Take("c", mustMarshal(&shardpb.Parcel{Group: 1, Replica: o.replica, Transfer: o.number, Body: &shardpb.Parcel_Answer{
		Answer: &shardpb.Answer{Verdict: shardpb.Verdict_VERDICT_NEEDS_NOTHING, Index: g.applied + 1},
	}})))
	n.settle()
	if len(a.told) != told {
		t.Error("committed, by two of three who do not have it")
	}
}

// Whenever a crash comes while a snapshot is received, the node has what it had
// or what it was sent, gets there in the end, and leaves nothing behind.
func TestCrashWhileReceiving(t *testing.T) {
	for _, behind := range []bool{false, true} {
		for _, kept := range []bool{false, true} {
			for step := 1; ; step++ {
				n := newTroupe(t, "a", "b")
				n.write("a=1", "old=1")
				if behind {
					n.grow("b")
					n.checkpoint("b")
					n.write("c=1")
				}
				if behind { // so that the others can go on without it
					n.join("c")
					n.grow("c")
					n.cut["b"] = true
				}
				n.write("old="+deleted, "a=2", big("x"), big("y"), big("z"), big("w"))
				n.checkpoint("a")
				count, crashed := 0, false
				n.before = func(node, _ string) {
					if node != "b" || crashed {
						return
					}
					if count++; count == step {
						crashed = true
						n.crash("b", kept)
					}
				}
				if behind {
					n.cut["b"] = false
				} else if _, err := n.at("a").AddLearner("b"); err != nil {
					t.Fatal(err)
				}
				n.caught("b")
				n.before = nil
				n.write("end=1")
				n.tick(3)
				n.want("a", "b")
				n.clean("b")
				n.crash("b", kept)
				n.caught("b")
				n.want("b")
				if t.Failed() {
					t.Fatalf("behind %v, kept %v, crash at step %d", behind, kept, step)
				}
				for _, p := range n.nodes {
					p.set.Close()
				}
				if !crashed {
					if step < 8 {
						t.Errorf("only %d steps", step)
					}
					break
				}
			}
		}
	}
}

// A removed replica is told so, forgets everything but that it was there, and
// does not come back; its node may hold another.
func TestRemovedReplicaIsBuried(t *testing.T) {
	n := newTroupe(t, "a", "b", "c")
	n.write("a=1")
	id := n.grow("b")
	n.grow("c")
	for life := range 2 {
		if life == 1 {
			n.cut["b"] = true // and misses it
		}
		must(n.at("a").Remove(id))
		n.tick(3)
		n.write(fmt.Sprint("life=", life))
		n.cut["b"] = false
		n.until("b has left", func() bool { return n.at("b") == nil })
		n.clean("b")
		n.crash("b", true)
		if n.at("b") != nil {
			t.Fatal("the replica is back after a restart")
		}
		late, err := proto.Marshal(&shardpb.Parcel{Group: 1, Replica: id, Transfer: 7, Body: &shardpb.Parcel_Offer{Offer: &shardpb.Offer{
			Term: 99, Index: 99, CutTerm: 99, First: 99, ConfState: mustMarshal(&raftpb.ConfState{Voters: []uint64{1, id}}),
		}}})
		must(err)
		must(n.nodes["b"].set.Take("a", late))
		if len(n.nodes["b"].set.incoming) != 0 {
			t.Fatal("a late offer would resurrect the replica")
		}
		n.queue = nil
		was := id
		if id = n.grow("b"); id == was {
			t.Fatal("an id is used twice")
		}
		n.write("back=1")
		n.tick(3)
		n.want("a", "b", "c")
	}
}

// A leader that was deposed, and does not know of a replica, cannot bury it.
func TestStaleLeaderBuriesNobody(t *testing.T) {
	n := newTroupe(t, "a", "b", "c", "d")
	n.write("a=1")
	n.grow("b")
	n.grow("c")
	n.cut["a"] = true
	n.until("another leads", func() bool { return n.leader() != nil })
	id := n.grow("d")
	if g := n.at("a"); !g.Leading() {
		g.role = Leading // as far as it knows; its term is what it was
	}
	n.at("a").tellRemoved("d", id)
	letters := n.queue
	n.queue = nil
	if len(letters) == 0 {
		t.Fatal("nothing was said")
	}
	for _, l := range letters {
		must(n.nodes["d"].set.Take("a", l.parcel))
	}
	n.at("a").role = Follower
	n.settle()
	if n.at("d") == nil {
		t.Error("buried by a leader of the past")
	}
}

// The leader changes in the middle of a transfer: the next one begins it again.
func TestLeaderChangesDuringTransfer(t *testing.T) {
	n := newTroupe(t, "a", "b", "c")
	n.write("a=1", big("x"), big("y"), big("z"), big("w"))
	n.grow("b")
	_, err := n.at("a").AddLearner("c")
	must(err)
	chunks := 0
	n.before = func(node, what string) {
		if node == "c" && what == "job" {
			if chunks++; chunks == 2 {
				n.before = nil
				must(n.at("a").Transfer(other(n.at("a"))))
			}
		}
	}
	n.until("b leads", func() bool { return n.at("b").Leading() })
	n.caught("c")
	n.want("b", "c")
	n.clean("a")
	n.clean("c")
}

func other(g *Group) uint64 {
	for id := range g.Members() {
		if id != g.Replica() && slices.Contains(g.conf.GetVoters(), id) {
			return id
		}
	}
	return 0
}

// A disk that was wiped comes back as another node with another replica.
func TestWipedDisk(t *testing.T) {
	n := newTroupe(t, "a", "b", "c")
	n.write("a=1")
	n.grow("b")
	id := n.grow("c")
	n.nodes["c"].set.Close()
	delete(n.nodes, "c")
	n.write("b=1")
	n.join("c2")
	n.grow("c2")
	must(n.leader().Remove(id))
	n.write("c=1")
	n.tick(3)
	n.want("a", "b", "c2")
	if got := len(n.leader().Members()); got != 3 {
		t.Errorf("%d members", got)
	}
}

// What the view says is what stood at the index, though more was applied since.
func TestSnapshotIsExactlyTheCheckpoint(t *testing.T) {
	n := newTroupe(t, "a", "b")
	n.write("a=1", "b=1")
	n.grow("b")
	g := n.at("a")
	n.checkpoint("a")
	at := *g.cut
	want := n.rowsOf("a")
	n.write("a=2", "b="+deleted, "c=1")
	cut, ok := n.nodes["a"].rows.Cut(Space{1, g.version})
	if !ok || at.Index >= g.Applied() {
		t.Fatal("no cut")
	}
	defer cut.Close()
	rows, next, err := readChunk(cut, nil)
	must(err)
	read, err := readRows(rows)
	must(err)
	got := map[string]string{}
	for _, r := range read {
		got[string(r.Key)] = string(r.Value)
	}
	if next != nil || !maps.Equal(got, want) {
		t.Errorf("cut has %v, want %v", got, want)
	}
}

// Before a replica has applied again what a checkpoint was begun with, the store may
// be ahead of it: nothing is cut then.
func TestNoCutBeforeReplay(t *testing.T) {
	n := newTroupe(t, "a", "b", "c")
	n.grow("b")
	n.grow("c")
	n.write("a=1")
	g := n.at("a")
	g.cut, g.ahead = nil, g.applied+1
	n.checkpoint("a")
	if g.cut != nil {
		t.Error("a cut that the store may be ahead of")
	}
	g.ahead = g.applied
	n.checkpoint("a")
	if g.cut == nil || g.cut.Index != g.applied {
		t.Error("no cut after the replay")
	}
}

func mustMarshal(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	must(err)
	return b
}
