package shard

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
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
		Rows: p.rows, Holders: func(uint32) []string { return slices.Collect(maps.Keys(n.nodes)) },
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

// leader of the highest term: one that was cut off may not know of the next.
func (n *troupe) leader() (leader *Group) {
	for _, p := range n.nodes {
		if g := p.set.Group(1); g != nil && g.Leading() && !n.cut[p.name] && (leader == nil || g.Term() > leader.Term()) {
			leader = g
		}
	}
	return leader
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
