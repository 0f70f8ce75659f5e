package shard

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// trio is three nodes with one group, and a network that can be cut.
type trio struct {
	t     *testing.T
	trace *trace
	clock *clock
	nodes [4]*member // 1 to 3
	queue []*raftpb.Message
	cut   map[uint64]bool
	// filter, where set, says which messages pass.
	filter func(*raftpb.Message) bool
}

type member struct {
	id    uint64
	log   *memLog
	store *memStore
	m     *recorder
	set   *Set
	g     *Group
}

func nodeName(id uint64) string { return fmt.Sprint("node-", id) }

func newTrio(t *testing.T) *trio {
	cryptotest.SetGlobalRandom(t, 1) // election timeouts
	n := &trio{t: t, trace: &trace{}, clock: newClock(), cut: map[uint64]bool{}}
	for id := uint64(1); id <= 3; id++ {
		m := &member{id: id, log: newMemLog(&trace{}, n.clock), store: newMemStore(&trace{})}
		m.m = &recorder{trace: n.trace, name: fmt.Sprintf("%d: ", id), store: m.store, seen: map[uint64]string{}, t: t}
		n.nodes[id] = m
		n.start(m)
		t.Cleanup(func() { m.set.Close() })
	}
	return n
}

// start a node on what its disk holds.
func (n *trio) start(m *member) {
	n.t.Helper()
	set, err := New(Config{
		Log: m.log, Store: m.store, Found: []uint32{1}, Machine: always(m.m), Node: nodeName(m.id), Now: n.clock.Now,
		Post:     func(func()) bool { return false },
		SyncWait: time.Hour,
		Bootstrap: func(uint32) (First, error) {
			return First{m.id, map[uint64]string{1: nodeName(1), 2: nodeName(2), 3: nodeName(3)}}, nil
		},
		Send: func(node string, _ uint32, ms []*raftpb.Message) {
			for _, m := range ms {
				if m.GetTo() <= 3 && node != nodeName(m.GetTo()) {
					n.t.Errorf("a message to %d goes to %s", m.GetTo(), node)
				}
			}
			n.queue = append(n.queue, ms...)
		},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	m.set, m.g = set, set.Group(1)
}

// settle runs rounds and delivers messages until nothing moves.
func (n *trio) settle() {
	n.t.Helper()
	for range 1000 {
		for _, m := range n.nodes[1:] {
			if err := m.set.Round(); err != nil {
				n.t.Fatal(err)
			}
		}
		queue := n.queue
		n.queue = nil
		if len(queue) == 0 {
			return
		}
		for _, m := range queue {
			if m.GetTo() > 3 || n.cut[m.GetFrom()] || n.cut[m.GetTo()] || (n.filter != nil && !n.filter(m)) {
				continue
			}
			// What an unknown term or a removed replica says is refused; no test cares.
			_ = n.nodes[m.GetTo()].g.Step(proto.Clone(m).(*raftpb.Message))
		}
	}
	n.t.Fatal("the network never comes to rest")
}

func (n *trio) tick(times int) {
	n.t.Helper()
	for range times {
		for _, m := range n.nodes[1:] {
			m.set.Tick()
		}
		n.settle()
	}
}

// elect makes a node the leader.
func (n *trio) elect(id uint64) *member {
	n.t.Helper()
	m := n.nodes[id]
	if err := m.g.Campaign(); err != nil {
		n.t.Fatal(err)
	}
	n.settle()
	if !m.g.Leading() {
		n.t.Fatalf("node %d is %v", id, m.g.Role())
	}
	n.trace.take()
	return m
}

func (n *trio) propose(m *member, token uint64, data string) {
	n.t.Helper()
	if err := m.g.Propose(token, []byte(data)); err != nil {
		n.t.Fatal(err)
	}
}

// of returns the trace lines of one node.
func of(id uint64, trace string) (lines []string) {
	for line := range strings.Lines(trace) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), fmt.Sprintf("%d: ", id)); ok {
			lines = append(lines, rest)
		}
	}
	return lines
}

func (n *trio) want(id uint64, trace string, lines ...string) {
	n.t.Helper()
	if got := of(id, trace); strings.Join(got, "\n") != strings.Join(lines, "\n") {
		n.t.Errorf("node %d: %q, want %q", id, got, lines)
	}
}

func TestThreeReplicasAgree(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.propose(one, 7, "a=1")
	n.settle()
	n.tick(3) // followers hear of the commit with the next heartbeat at the latest
	trace := n.trace.take()
	n.want(1, trace, "apply a=1", "committed 7")
	n.want(2, trace, "apply a=1")
	n.want(3, trace, "apply a=1")
	if err := n.nodes[2].g.Propose(8, []byte("b=1")); err == nil {
		t.Error("a follower took a proposal")
	}
	if got := n.nodes[2].g.Leader(); got != 1 {
		t.Errorf("node 2 thinks that %d leads", got)
	}
}

// The batch was sent by a leader that a cut then deposed: it must hear that the
// batch is void, and nothing else, for the new leader may know nothing of it.
func TestLeadershipLostWithProposalInFlight(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.cut[1] = true
	n.propose(one, 7, "a=1")
	n.settle()
	n.trace.take()

	two := n.elect2(2)
	n.trace.take()
	n.propose(two, 8, "a=2")
	n.settle()
	n.cut[1] = false
	n.tick(3)
	trace := n.trace.take()
	n.want(1, trace, "follow", "apply a=2")
	n.want(2, trace, "apply a=2", "committed 8")
	n.same()
}

// The other way round: the batch reached one follower, which becomes the leader
// and commits it. The old leader applies it like any entry, and still must not
// say Committed, because whoever asked has been told that the outcome is unknown.
func TestLostProposalCommitsUnderTheNextTerm(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	// Node 2 gets the entry, its answer and everything to node 3 are lost.
	n.filter = func(m *raftpb.Message) bool {
		return m.GetFrom() == 1 && m.GetTo() == 2 && m.GetType() == raftpb.MsgApp
	}
	n.propose(one, 7, "a=1")
	n.settle()
	n.filter = nil
	n.cut[1] = true
	n.want(1, n.trace.take())

	n.elect2(2)
	n.cut[1] = false
	n.tick(3)
	trace := n.trace.take()
	n.want(1, trace, "follow", "apply a=1")
	n.same()
}

// elect2 is elect while another node still thinks that it leads. Node id must
// not have heard of that one for an election timeout to get its votes.
func (n *trio) elect2(id uint64) *member {
	n.t.Helper()
	for range 3 * DefaultElectionTicks {
		for _, m := range n.nodes[1:] {
			if !n.cut[m.id] {
				m.set.Tick()
			}
		}
		n.settle()
		if n.nodes[id].g.Leading() {
			return n.nodes[id]
		}
	}
	if lead := n.nodes[id].g.Leader(); lead != 0 && lead != id && !n.cut[lead] {
		n.nodes[lead].g.node.TransferLeader(id)
		n.nodes[lead].g.touch()
		n.settle()
	}
	if !n.nodes[id].g.Leading() {
		n.t.Fatalf("node %d is %v", id, n.nodes[id].g.Role())
	}
	return n.nodes[id]
}

func (n *trio) step(m *member, msg *raftpb.Message) {
	n.t.Helper()
	if err := m.g.Step(msg); err != nil {
		n.t.Fatal(err)
	}
}

// same checks that all three nodes have the same rows.
func (n *trio) same() {
	n.t.Helper()
	want := fmt.Sprint(n.nodes[1].store.rows())
	for _, m := range n.nodes[2:] {
		if got := fmt.Sprint(m.store.rows()); got != want {
			n.t.Errorf("node %d has %s, node 1 has %s", m.id, got, want)
		}
	}
}

// A leader that is cut off may answer no read, however long it believes in
// itself: the others may have moved on.
func TestStaleLeaderConfirmsNoRead(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	if err := one.g.Read(1); err != nil {
		t.Fatal(err)
	}
	n.settle()
	n.want(1, n.trace.take(), "confirmed 1")

	n.cut[1] = true
	if err := one.g.Read(2); err != nil {
		t.Fatal(err)
	}
	n.settle()
	if !one.g.Leading() {
		t.Fatal("the test is about a leader that does not know yet")
	}
	n.want(1, n.trace.take())
	n.elect2(2)
	n.cut[1] = false
	n.tick(3)
	n.want(1, n.trace.take(), "follow")
	if !one.set.Idle() {
		t.Error("the void read is still waited for")
	}
}

// CheckQuorum: a leader without a majority steps down by itself.
func TestLeaderAloneStepsDown(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.cut[1] = true
	n.propose(one, 7, "a=1")
	for range 2 * DefaultElectionTicks {
		one.set.Tick()
		n.settle()
	}
	n.want(1, n.trace.take(), "follow")
	if one.g.Leading() {
		t.Error("still leading")
	}
}

// Nor does it wait for a sync that takes for ever, of a batch that is in its log then.
func TestLonelyLeaderDoesNotWaitForItsDisk(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	var synced func()
	one.set.config.Offload = func(_ Work, run func()) { synced = run }
	n.cut[1] = true
	n.propose(one, 7, "a=1")
	n.tick(2*DefaultElectionTicks + 1)
	n.want(1, n.trace.take(), "follow")
	if synced == nil || one.g.Leading() || one.set.Idle() {
		t.Fatalf("a sync is out: %v; node 1 is %v", synced != nil, one.g.Role())
	}
	one.set.config.Offload = func(_ Work, run func()) { run() }
	synced()
	n.settle()
	n.cut[1] = false
	n.tick(4 * DefaultElectionTicks)
	n.want(1, n.trace.take())
	if leader := one.g.Leader(); leader == 0 || leader == 1 {
		t.Errorf("node 1 follows %d", leader)
	}
}

// While leadership is handed over Raft takes nothing: that is a definite no.
func TestProposalDroppedByRaft(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.cut[2] = true // the transfer cannot finish
	one.g.node.TransferLeader(2)
	n.propose(one, 7, "a=1")
	n.settle()
	n.want(1, n.trace.take(), "dropped 7")
}

// Deposed before Raft saw the proposal: it is dropped for certain, not handed on
// to the new leader, which may commit it when its maker has long given up.
func TestProposalQueuedAtDeposedLeader(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.propose(one, 7, "a=1")
	n.step(one, &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(one.g.Term() + 1)})
	if err := one.set.Round(); err != nil {
		t.Fatal(err)
	}
	n.want(1, n.trace.take(), "dropped 7", "follow")
	for _, m := range n.queue {
		if m.GetType() == raftpb.MsgProp {
			t.Error("the proposal was handed on")
		}
	}
}

// Pre-vote: a node that was cut off must not depose the leader when it is back.
func TestReturningNodeDoesNotDisturb(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	term := one.g.Term()
	n.cut[3] = true
	n.tick(5 * DefaultElectionTicks)
	n.cut[3] = false
	n.tick(3)
	n.want(1, n.trace.take())
	if one.g.Term() != term {
		t.Errorf("term %d, was %d", one.g.Term(), term)
	}
}

// A vote that is forgotten can be given twice.
func TestVoteSurvivesCrash(t *testing.T) {
	n := newTrio(t)
	term := n.elect(1).g.Term()
	hs, _, err := n.nodes[2].log.crash(0).Storage(1).InitialState()
	if err != nil || hs.GetTerm() != term || hs.GetVote() != 1 {
		t.Errorf("hard state %v, error %v; voted for 1 in term %d", hs, err, term)
	}
}

func TestSnapshotMessageIsRefused(t *testing.T) {
	n := newTrio(t)
	if err := n.nodes[1].g.Step(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(uint64(2))}); !errors.Is(err, ErrMessage) {
		t.Errorf("step: %v", err)
	}
}

// A follower that fell over with a broken log stays silent; the others go on.
func TestNodeWithBrokenLogLeavesTheOthers(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.nodes[3].log.syncErr = errDisk
	n.propose(one, 7, "a=1")
	if err := one.set.Round(); err != nil {
		t.Fatal(err)
	}
	for _, m := range n.queue {
		_ = n.nodes[m.GetTo()].g.Step(proto.Clone(m).(*raftpb.Message))
	}
	n.queue = nil
	if err := n.nodes[3].set.Round(); err == nil {
		t.Fatal("node 3 did not notice")
	}
	if len(n.queue) != 0 {
		t.Errorf("node 3 acknowledged what is not on its disk: %v", n.queue)
	}
	if err := n.nodes[2].set.Round(); err != nil {
		t.Fatal(err)
	}
	for _, m := range n.queue {
		_ = n.nodes[m.GetTo()].g.Step(m)
	}
	if err := one.set.Round(); err != nil {
		t.Fatal(err)
	}
	n.want(1, n.trace.take(), "apply a=1", "committed 7")
}

// Whenever a leader was elected, its heartbeats go with those of all others of
// its node, and as often.
func TestHeartbeatsKeepStep(t *testing.T) {
	for late := range DefaultHeartbeatTicks {
		n := newTrio(t)
		n.tick(late)
		leader := n.elect(1)
		var at []uint64
		n.filter = func(m *raftpb.Message) bool {
			if m.GetType() == raftpb.MsgHeartbeat && m.GetTo() == 2 {
				at = append(at, leader.set.ticks)
			}
			return true
		}
		n.tick(5 * DefaultHeartbeatTicks)
		if len(at) < 4 {
			t.Fatalf("elected %d ticks late: heartbeats with ticks %v", late, at)
		}
		for i, tick := range at[1:] { // the first may be out of step
			if tick%DefaultHeartbeatTicks != 0 || i > 0 && tick-at[i] != DefaultHeartbeatTicks {
				t.Errorf("elected %d ticks late: heartbeats with ticks %v", late, at)
				break
			}
		}
	}
}

// Whoever is heard is active all the time, and who is not no more after an election
// timeout; what a leader shows of that does not come and go with its checks.
func TestActive(t *testing.T) {
	n := newTrio(t)
	one := n.elect(1)
	n.tick(2)
	active := func() (ids []uint64) {
		for _, p := range one.g.Status().Members {
			if p.Active {
				ids = append(ids, p.Replica)
			}
		}
		return ids
	}
	for range 5 * DefaultElectionTicks {
		for _, m := range n.nodes[1:] {
			m.set.Tick()
		}
		if got := active(); len(got) != 3 {
			t.Fatalf("active are %v, and all are there", got)
		}
		n.settle()
	}
	n.cut[3] = true
	n.tick(DefaultElectionTicks + DefaultHeartbeatTicks + 1)
	if got := active(); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("active are %v without 3", got)
	}
	n.refused(one.g.Remove(2), ErrUnsafe)
}
