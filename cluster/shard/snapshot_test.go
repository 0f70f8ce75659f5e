package shard

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// troupe is some nodes with one group, which begins on node "a" alone, and a
// network that can be cut. Everything happens in one goroutine.
type troupe struct {
	t     *testing.T
	clock *clock
	nodes map[string]*player
	queue []letter
	cut   map[string]bool
	seen  map[uint64]string // entries, all replicas
	// before, where set, is told of each delivery and each job, and may crash nodes.
	before func(node, what string)
}

type letter struct {
	from, to string
	message  *raftpb.Message
	parcel   []byte
}

type player struct {
	name  string
	log   *memLog
	store *memStore
	rows  *memRows
	set   *Set
	jobs  []func()
	told  []uint64 // tokens committed
	life  int
}

func newTroupe(t *testing.T, names ...string) *troupe {
	cryptotest.SetGlobalRandom(t, 1)
	n := &troupe{t: t, clock: newClock(), nodes: map[string]*player{}, cut: map[string]bool{}, seen: map[uint64]string{}}
	for _, name := range names {
		n.join(name)
	}
	n.settle()
	if g := n.at("a"); !g.Leading() {
		t.Fatalf("node a is %v", g.Role())
	}
	return n
}

// join starts a node with an empty disk.
func (n *troupe) join(name string) *player {
	p := &player{name: name, log: newMemLog(&trace{}, n.clock), store: newMemStore(&trace{})}
	p.rows = &memRows{s: p.store, unsynced: map[string]bool{}}
	n.nodes[name] = p
	n.start(p)
	n.t.Cleanup(func() { p.set.Close() })
	return p
}

func (n *troupe) start(p *player) {
	n.t.Helper()
	p.jobs = nil
	p.life++
	life := p.life
	config := Config{
		Log: p.log, Store: completing{p.store, p.rows}, Node: p.name, Now: n.clock.Now,
		Machine: func(g *Group, version uint32) (Machine, error) {
			return &playing{n: n, p: p, space: Space{g.ID(), version}}, nil
		},
		Post: func(func()) bool { return true },
		Offload: func(_ Work, run func()) {
			p.jobs = append(p.jobs, run)
		},
		Rows: p.rows,
		Send: func(node string, _ uint32, ms []*raftpb.Message) {
			for _, m := range ms {
				n.queue = append(n.queue, letter{from: p.name, to: node, message: proto.Clone(m).(*raftpb.Message)})
			}
		},
		Ship: func(node string, body []byte) error {
			if p.life == life {
				n.queue = append(n.queue, letter{from: p.name, to: node, parcel: body})
			}
			return nil
		},
	}
	if p.name == "a" {
		config.Found = []uint32{1}
	}
	var err error
	if p.set, err = New(config); err != nil {
		n.t.Fatal(err)
	}
}

// crash a node and start it again. What was loaded and not synced is there or not.
func (n *troupe) crash(name string, kept bool) {
	p := n.nodes[name]
	p.set.Close()
	p.log, p.store = p.log.crash(0), p.store.crash()
	if !kept {
		maps.DeleteFunc(p.store.base, func(k, _ string) bool { return p.rows.unsynced[k] })
	}
	p.rows = &memRows{s: p.store, unsynced: map[string]bool{}}
	n.queue = slices.DeleteFunc(n.queue, func(l letter) bool { return l.from == name })
	n.start(p)
}

// completing tells the rows of completed checkpoints.
type completing struct {
	*memStore
	rows *memRows
}

func (s completing) Thaw(f Frozen, err error) {
	s.memStore.Thaw(f, err)
	if err == nil {
		s.rows.completed()
	}
}

// playing is a machine whose rows are in a space.
type playing struct {
	n     *troupe
	p     *player
	space Space
}

func (m *playing) Apply(index, _ uint64, data []byte) error {
	if was, ok := m.n.seen[index]; ok && was != string(data) {
		m.n.t.Errorf("entry %d was %q, and is %q on %s", index, was, data, m.p.name)
	}
	m.n.seen[index] = string(data)
	k, v, _ := strings.Cut(string(data), "=")
	m.p.store.put(m.space.prefix()+k, v)
	return nil
}

func (m *playing) Lead(uint64)            {}
func (m *playing) Follow()                {}
func (m *playing) Committed(token uint64) { m.p.told = append(m.p.told, token) }
func (m *playing) Dropped(uint64)         {}
func (m *playing) Confirmed(uint64)       {}

func (n *troupe) at(name string) *Group { return n.nodes[name].set.Group(1) }

func (n *troupe) event(node, what string) {
	if n.before != nil {
		n.before(node, what)
	}
}

// settle until nothing moves.
func (n *troupe) settle() {
	n.t.Helper()
	for range 3000 {
		moved := false
		for _, name := range slices.Sorted(maps.Keys(n.nodes)) {
			p := n.nodes[name]
			if err := p.set.Round(); err != nil {
				n.t.Fatalf("%s: %v", name, err)
			}
			if len(p.jobs) > 0 {
				job := p.jobs[0]
				n.event(name, "job")
				if len(p.jobs) > 0 {
					p.jobs = p.jobs[1:]
					job()
				}
				moved = true
			}
		}
		for range len(n.queue) {
			l := n.queue[0]
			if n.queue = n.queue[1:]; n.cut[l.from] || n.cut[l.to] || n.nodes[l.to] == nil {
				continue
			}
			moved = true
			n.event(l.to, "letter")
			if l.parcel != nil {
				must(n.nodes[l.to].set.Take(l.from, l.parcel))
			} else {
				// What a replica that is no more says is refused.
				_ = n.nodes[l.to].set.Step(l.from, 1, l.message)
			}
			if len(n.queue) == 0 {
				break
			}
		}
		if !moved && len(n.queue) == 0 {
			return
		}
	}
	n.t.Fatal("the nodes never come to rest")
}

func (n *troupe) tick(times int) {
	n.t.Helper()
	for range times {
		for _, name := range slices.Sorted(maps.Keys(n.nodes)) {
			n.nodes[name].set.Tick()
		}
		n.settle()
	}
}

// until ticks until something is so.
func (n *troupe) until(what string, ok func() bool) {
	n.t.Helper()
	for range 1500 {
		if ok() {
			return
		}
		n.tick(1)
	}
	n.t.Fatalf("never: %s", what)
}

func (n *troupe) leader() *Group {
	for _, p := range n.nodes {
		if g := p.set.Group(1); g != nil && g.Leading() && !n.cut[p.name] {
			return g
		}
	}
	return nil
}

func (n *troupe) write(rows ...string) {
	n.t.Helper()
	for i, row := range rows {
		n.until("a leader takes it", func() bool { g := n.leader(); return g != nil && g.Propose(uint64(i), []byte(row)) == nil })
		n.settle()
	}
}

func (n *troupe) checkpoint(name string) {
	n.nodes[name].set.Checkpoint()
	n.settle()
}

// rowsOf a node in the space that its group uses.
func (n *troupe) rowsOf(name string) map[string]string {
	g := n.at(name)
	if g == nil {
		return nil
	}
	prefix := Space{1, g.version}.prefix()
	rows := map[string]string{}
	for k, v := range n.nodes[name].store.rows() {
		if key, ok := strings.CutPrefix(k, prefix); ok {
			rows[key] = v
		}
	}
	return rows
}

// want that nodes have the rows that all entries give, and nothing else.
func (n *troupe) want(names ...string) {
	n.t.Helper()
	want := map[string]string{}
	for _, index := range slices.Sorted(maps.Keys(n.seen)) {
		k, v, _ := strings.Cut(n.seen[index], "=")
		if want[k] = v; strings.HasPrefix(v, deleted) {
			delete(want, k)
		}
	}
	for _, name := range names {
		if got := n.rowsOf(name); !maps.Equal(got, want) {
			n.t.Errorf("node %s has %d rows, want %d", name, len(got), len(want))
		}
	}
}

// clean wants that a node has no rows but those of its group's space.
func (n *troupe) clean(name string) {
	n.t.Helper()
	n.checkpoint(name)
	n.checkpoint(name)
	p := n.nodes[name]
	for _, space := range p.rows.Spaces() {
		if g := n.at(name); g == nil || space.Version != g.version {
			n.t.Errorf("node %s still has rows of %v", name, space)
		}
	}
	if len(p.set.outgoing) == 0 && p.rows.open != 0 {
		n.t.Errorf("node %s has %d cuts open", name, p.rows.open)
	}
}

// grow adds a voter on a node and waits until it is one.
func (n *troupe) grow(name string) uint64 {
	n.t.Helper()
	id, err := n.leader().AddLearner(name)
	if err != nil {
		n.t.Fatal(err)
	}
	n.caught(name)
	n.until("promoted", func() bool { g := n.leader(); return g != nil && g.Promote(id) == nil })
	n.until("votes", func() bool { return slices.Contains(n.at(name).conf.GetVoters(), id) })
	return id
}

func (n *troupe) caught(name string) {
	n.t.Helper()
	n.until(name+" has caught up", func() bool {
		g, l := n.at(name), n.leader()
		return g != nil && l != nil && g.Applied() == l.Applied() && g.Applied() > 0
	})
}

func big(key string) string { return key + "=" + key + strings.Repeat("x", chunkBytes/3) }

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
				voters := len(n.at("a").conf.GetVoters())
				if behind { // so that the others can go on without it
					n.join("c")
					n.grow("c")
					n.cut["b"] = true
					voters++
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

// Before a replica has applied again what its log held, the store may be ahead of
// it: nothing is cut then.
func TestNoCutBeforeReplay(t *testing.T) {
	n := newTroupe(t, "a", "b", "c")
	n.grow("b")
	n.grow("c")
	n.write("a=1")
	g := n.at("a")
	g.cut, g.replayTo = nil, g.applied+1
	n.checkpoint("a")
	if g.cut != nil {
		t.Error("a cut that the store may be ahead of")
	}
	g.replayTo = g.applied
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
