package shard

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// silence node 1, and tick the others until one leads.
func (n *trio) untilElected(limit int) (ticks int, leader *member) {
	n.t.Helper()
	for ticks = 0; ticks < limit; ticks++ {
		for _, m := range n.nodes[2:] {
			if m.g.Leading() {
				return ticks, m
			}
		}
		for _, m := range n.nodes[1:] {
			if !n.cut[m.id] {
				m.set.Tick()
			}
		}
		n.settle()
	}
	n.t.Fatalf("nobody leads after %d ticks", limit)
	return 0, nil
}

// However Raft draws its timeouts, the first of the survivors is not later than
// its turn.
func TestLeaderIsReplacedInTime(t *testing.T) {
	for range 20 {
		n := newTrio(t)
		n.elect(1)
		n.tick(5)
		n.cut[1] = true
		if ticks, _ := n.untilElected(40); ticks > DefaultElectionTicks+1 {
			t.Errorf("elected after %d ticks", ticks)
		}
	}
}

// Where the first in turn has a log that is behind, the second is not much later.
func TestSecondInTurnStands(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.filter = func(m *raftpb.Message) bool { return m.GetTo() != 2 || m.GetType() != raftpb.MsgApp }
	n.propose(one, 7, "a=1")
	n.settle()
	n.filter = nil
	n.cut[1] = true
	ticks, leader := n.untilElected(40)
	if ticks > DefaultElectionTicks+1+staggerTicks || leader.id != 3 {
		t.Errorf("node %d is elected after %d ticks", leader.id, ticks)
	}
}

// Two that stand at the same moment have one vote each. That costs one more turn,
// and no draw.
func TestSplitVoteIsSoonOver(t *testing.T) {
	n := newTrio(t)
	n.elect(1)
	n.cut[1] = true
	for range DefaultElectionTicks {
		for _, m := range n.nodes[2:] {
			m.set.Tick()
		}
	}
	for _, m := range n.nodes[2:] {
		if err := m.g.Campaign(); err != nil {
			t.Fatal(err)
		}
	}
	n.settle()
	term := n.nodes[2].g.Term()
	if n.nodes[2].g.Leader() != 0 || n.nodes[3].g.Leader() != 0 {
		t.Fatal("the vote was not split")
	}
	ticks, leader := n.untilElected(40)
	if ticks > retryTicks || leader.id != 2 || leader.g.Term() != term+1 {
		t.Errorf("node %d is elected after %d ticks, in term %d after %d", leader.id, ticks, leader.g.Term(), term)
	}
}

// An election that takes longer than a try must not be begun anew for ever.
func TestSlowElectionEnds(t *testing.T) {
	n := newTrio(t)
	n.elect(1)
	n.cut[1] = true
	const late = retryTicks + 1 // so that there and back takes longer than two tries
	var kept []*raftpb.Message
	n.filter = func(m *raftpb.Message) bool { kept = append(kept, m); return false }
	for tick := 0; ; tick++ {
		if n.nodes[2].g.Leading() || n.nodes[3].g.Leading() {
			return
		}
		if tick == 40*DefaultElectionTicks {
			t.Fatal("the election never ends")
		}
		if tick%late == 0 {
			n.queue, kept = kept, nil
			filter := n.filter
			n.filter = nil
			n.deliver()
			n.filter = filter
		}
		for _, m := range n.nodes[2:] {
			m.set.Tick()
		}
		n.settle()
	}
}

// deliver what is in the queue, and nothing that comes of it.
func (n *trio) deliver() {
	queue := n.queue
	n.queue = nil
	for _, m := range queue {
		if !n.cut[m.GetFrom()] && !n.cut[m.GetTo()] {
			_ = n.nodes[m.GetTo()].g.Step(m)
		}
	}
}

// Two that take themselves for the same rank part, because each draws another number.
func TestDrawsDiffer(t *testing.T) {
	a, b := &Group{holding: holding{id: 1}}, &Group{holding: holding{id: 2}}
	same := 0
	for term := range uint64(1000) {
		a.term, b.term = term, term
		if a.draw(DefaultElectionTicks) == b.draw(DefaultElectionTicks) {
			same++
		}
	}
	if same > 300 {
		t.Errorf("%d of 1000 draws are the same", same)
	}
}

// A process that is known to be gone is not waited for.
func TestForsakenLeaderIsReplacedAtOnce(t *testing.T) {
	n := newTrio(t)
	n.elect(1)
	n.tick(5)
	n.cut[1] = true
	for _, m := range n.nodes[2:] {
		m.set.Forsake(nodeName(1))
	}
	if ticks, leader := n.untilElected(40); ticks > 1 || leader.id != 2 {
		t.Errorf("node %d is elected after %d ticks", leader.id, ticks)
	}
}

// Evidence that only one has deposes nobody, as long as the other hears the leader.
func TestEvidenceOfOneIsNotEnough(t *testing.T) {
	for _, of := range []uint64{2, 3} {
		n := newTrio(t)
		one := n.elect(1)
		term := one.g.Term()
		n.tick(3)
		m := n.nodes[of]
		m.set.Forsake(nodeName(1))
		n.tick(4 * DefaultElectionTicks)
		if !one.g.Leading() || one.g.Term() != term || m.g.Leader() != 1 {
			t.Errorf("node %d forsook the leader of term %d: it is %v in term %d now", of, term, one.g.Role(), one.g.Term())
		}
		if tries := m.g.turn.tries; tries != 0 {
			t.Errorf("node %d still counts %d tries", of, tries)
		}
	}
}

// The leader's next message may come in the very round: then it was never lost.
func TestHeartbeatAfterEvidence(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.tick(3)
	two := n.nodes[2]
	two.set.Forsake(nodeName(1))
	n.step(two, &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(one.g.Term())})
	n.settle()
	if two.g.Leader() != 1 || two.g.turn != (candidacy{last: 1}) {
		t.Errorf("node 2 follows %d, %+v", two.g.Leader(), two.g.turn)
	}
}

// Leadership is not handed over to a process that is gone: proposals would be
// refused for an election timeout.
func TestTransferToForsaken(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.cut[2] = true
	if err := one.g.Transfer(2); err != nil {
		t.Fatal(err)
	}
	n.settle()
	one.set.Forsake("node-9")
	if !one.g.Changing() {
		t.Error("that was about another")
	}
	one.set.Forsake(nodeName(2))
	for _, p := range one.g.Status().Members {
		if p.Active != (p.Replica != 2) {
			t.Errorf("member %+v", p)
		}
	}
	n.propose(one, 7, "a=1")
	n.settle()
	n.want(1, n.trace.take(), "apply a=1", "committed 7")

	// It is back as soon as it says something.
	answer := &raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(one.g.Term())}
	if err := one.set.Step(nodeName(2), 1, answer); err != nil {
		t.Fatal(err)
	}
	for _, p := range one.g.Status().Members {
		if !p.Active {
			t.Errorf("member %+v", p)
		}
	}
}

// Even where both were wrong there is a leader again, at most one election later.
func TestWrongEvidence(t *testing.T) {
	n := newTrio(t)
	n.elect(1)
	n.tick(3)
	for _, m := range n.nodes[2:] {
		m.set.Forsake(nodeName(1))
	}
	n.tick(DefaultHeartbeatTicks + retryTicks)
	leading := 0
	for _, m := range n.nodes[1:] {
		if m.g.Leading() {
			leading++
		}
	}
	if leading != 1 {
		t.Errorf("%d lead", leading)
	}
}

// Follows tells of a leader that is heard, and that has begun to commit.
func TestFollows(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.tick(3)
	two := n.nodes[2]
	if node, term, ok := two.g.Follows(); !ok || node != nodeName(1) || term != one.g.Term() {
		t.Errorf("node 2 follows %q in term %d, %v", node, term, ok)
	}
	if _, _, ok := one.g.Follows(); ok {
		t.Error("the leader follows itself")
	}
	n.cut[1] = true
	for range 2 * DefaultHeartbeatTicks {
		two.set.Tick()
	}
	if _, _, ok := two.g.Follows(); ok {
		t.Error("node 2 says that it follows a leader of which it hears nothing")
	}
}
