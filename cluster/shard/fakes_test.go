package shard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

var errDisk = errors.New("disk on fire")

// trace is what happened, in order, for people and for assertions.
type trace struct {
	mu    sync.Mutex
	lines []string
}

func (tr *trace) add(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf(format, args...))
}

// take returns what came since the last call.
func (tr *trace) take() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	s := strings.Join(tr.lines, "\n")
	tr.lines = nil
	return s
}

// memLog is a log whose disk is a list: what was appended and not synced may or
// may not survive a crash.
type memLog struct {
	trace *trace
	clock *clock

	mu      sync.Mutex
	groups  map[uint32]*memGroup
	durable []any // Update or []Checkpoint, in order
	pending []any // appended, not synced

	appendErr, syncErr, saveErr error
	syncTakes                   time.Duration
	gate                        chan struct{} // where set, Sync waits for it
	entered                     chan struct{} // where set, Sync says that it is in
}

type memGroup struct {
	*raft.MemoryStorage
	cp Checkpoint
}

func newMemLog(tr *trace, c *clock) *memLog {
	return &memLog{trace: tr, clock: c, groups: map[uint32]*memGroup{}}
}

func (l *memLog) Append(us []Update) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trace.add("append %d", len(us))
	if l.appendErr != nil {
		return l.appendErr
	}
	for _, u := range us {
		u.Entries = slices.Clone(u.Entries)
		l.pending = append(l.pending, u)
		l.apply(u)
	}
	return nil
}

func (l *memLog) apply(op any) {
	switch op := op.(type) {
	case Update:
		g := l.groups[op.Group]
		if op.HardState != nil {
			must(g.SetHardState(op.HardState))
		}
		must(g.MemoryStorage.Append(op.Entries))
	case []Checkpoint:
		for _, cp := range op {
			l.save(cp)
		}
	}
}

func (l *memLog) save(cp Checkpoint) {
	g := l.groups[cp.Group]
	differs := true // what the log has there, or it has nothing
	if g != nil {
		term, err := g.Term(cp.Index)
		differs = errors.Is(err, raft.ErrUnavailable) || err == nil && term != cp.Term
	}
	if cp.Reset || differs {
		fresh := &memGroup{MemoryStorage: raft.NewMemoryStorage()}
		if g != nil && !cp.Reset {
			hs, _, _ := g.InitialState()
			must(fresh.SetHardState(hs))
		}
		g = fresh
		l.groups[cp.Group] = g
		index, term := cp.Index, cp.Term
		must(g.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: &term, ConfState: cp.ConfState}}))
	} else if first, _ := g.FirstIndex(); cp.Index >= first {
		must(g.Compact(cp.Index))
	}
	cp.Reset = false
	g.cp = cp
}

func (l *memLog) Sync() error {
	l.mu.Lock()
	gate, entered, takes := l.gate, l.entered, l.syncTakes
	l.mu.Unlock()
	if entered != nil {
		entered <- struct{}{}
	}
	if gate != nil {
		<-gate
	}
	l.clock.advance(takes)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.syncErr != nil {
		l.trace.add("sync failed")
		return l.syncErr
	}
	l.trace.add("sync")
	l.durable = append(l.durable, l.pending...)
	l.pending = nil
	return nil
}

func (l *memLog) Checkpoint(group uint32) (Checkpoint, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g, ok := l.groups[group]
	if !ok {
		return Checkpoint{}, false
	}
	return g.cp, true
}

func (l *memLog) Groups() []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.groups))
}

func (l *memLog) SaveCheckpoints(cps []Checkpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.saveErr != nil {
		return l.saveErr
	}
	op := slices.Clone(cps)
	l.durable = append(l.durable, op)
	l.apply(op)
	return nil
}

func (l *memLog) Storage(group uint32) raft.Storage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.groups[group].MemoryStorage
}

// crash returns what is on the disk after a power cut: everything synced, and
// the first kept of what was not.
func (l *memLog) crash(kept int) *memLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	after := newMemLog(l.trace, l.clock)
	after.durable = slices.Concat(l.durable, l.pending[:min(kept, len(l.pending))])
	// A checkpoint that was saved while something unsynced stood before it in
	// memory is later on the disk than it: replay in that order.
	for _, op := range after.durable {
		after.apply(op)
	}
	return after
}

// repair does to a log in use what crash does to one that is opened next.
func (l *memLog) repair(kept int) {
	after := l.crash(kept)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.groups, l.durable, l.pending = after.groups, after.durable, nil
	l.appendErr, l.syncErr, l.saveErr = nil, nil, nil
}

// memStore holds rows in the three layers that the real one has.
type memStore struct {
	trace              *trace
	live, frozen, base map[string]string
	bytes              int
	fail               error
	partial            int           // a failed Write leaves this many rows behind
	gate               chan struct{} // where set, Write waits for it
}

func newMemStore(tr *trace) *memStore {
	return &memStore{trace: tr, live: map[string]string{}, base: map[string]string{}}
}

const deleted = "\x00" // begins the value of a tombstone

func (s *memStore) put(k, v string) { s.live[k] = v; s.bytes += len(k) + len(v) }

func (s *memStore) rows() map[string]string {
	all := maps.Clone(s.base)
	maps.Copy(all, s.frozen)
	maps.Copy(all, s.live)
	maps.DeleteFunc(all, func(_, v string) bool { return strings.HasPrefix(v, deleted) })
	return all
}

func (s *memStore) Bytes() int { return s.bytes }

func (s *memStore) Freeze() (Frozen, bool) {
	if s.frozen != nil {
		return nil, false
	}
	s.trace.add("freeze")
	s.frozen, s.live, s.bytes = s.live, map[string]string{}, 0
	return &memFrozen{s, s.frozen}, true
}

func (s *memStore) Thaw(_ Frozen, err error) {
	s.trace.add("thaw %v", err)
	if err != nil {
		merged := maps.Clone(s.frozen)
		maps.Copy(merged, s.live)
		s.live = merged
	}
	s.frozen = nil
}

// crash loses the overlays.
func (s *memStore) crash() *memStore {
	after := newMemStore(s.trace)
	after.base = s.base
	return after
}

type memFrozen struct {
	s    *memStore
	rows map[string]string
}

func (f *memFrozen) Hurry() { f.s.trace.add("hurry") }

func (f *memFrozen) Write(ctx context.Context) error {
	if f.s.gate != nil {
		select {
		case <-f.s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	keys := slices.Sorted(maps.Keys(f.rows))
	if f.s.fail != nil {
		keys = keys[:min(f.s.partial, len(keys))]
	}
	for _, k := range keys {
		f.s.base[k] = f.rows[k]
	}
	return f.s.fail
}

// recorder is a machine that applies "key=value" to a store.
type recorder struct {
	trace *trace
	name  string
	store *memStore
	seen  map[uint64]string // index to data, over all lives of the machine
	t     testing.TB
	fail  error

	group     *Group
	committed []uint64
	onCommit  func(token uint64)
}

func (m *recorder) Apply(index, term uint64, data []byte) error {
	if m.fail != nil {
		return m.fail
	}
	m.trace.add("%sapply %s", m.name, data)
	if was, ok := m.seen[index]; ok && was != string(data) {
		m.t.Errorf("entry %d was %q, and is %q", index, was, data)
	}
	m.seen[index] = string(data)
	k, v, _ := strings.Cut(string(data), "=")
	m.store.put(k, v)
	return nil
}

func (m *recorder) Lead(term uint64) { m.trace.add("%slead %d", m.name, term) }
func (m *recorder) Follow()          { m.trace.add("%sfollow", m.name) }
func (m *recorder) Committed(token uint64) {
	m.trace.add("%scommitted %d", m.name, token)
	m.committed = append(m.committed, token)
	if m.onCommit != nil {
		m.onCommit(token)
	}
}
func (m *recorder) Dropped(token uint64)   { m.trace.add("%sdropped %d", m.name, token) }
func (m *recorder) Confirmed(token uint64) { m.trace.add("%sconfirmed %d", m.name, token) }

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// solo is a node with one group of one.
type solo struct {
	t      testing.TB
	trace  *trace
	clock  *clock
	log    *memLog
	store  *memStore
	seen   map[uint64]string
	m      *recorder
	set    *Set
	g      *Group
	posted chan func()
	tweak  func(*Config)
}

func newSolo(t testing.TB, tweak func(*Config)) *solo {
	tr, c := &trace{}, newClock()
	n := &solo{t: t, trace: tr, clock: c, log: newMemLog(tr, c), store: newMemStore(tr), seen: map[uint64]string{}, tweak: tweak}
	n.start()
	t.Cleanup(func() { n.set.Close() })
	return n
}

func (n *solo) start() {
	n.t.Helper()
	n.posted = make(chan func(), 16)
	n.m = &recorder{trace: n.trace, store: n.store, seen: n.seen, t: n.t}
	posted := n.posted
	config := Config{
		Log: n.log, Store: n.store, Found: []uint32{1}, Machine: always(n.m),
		Now: n.clock.Now, Post: func(f func()) bool { posted <- f; return true }, SyncWait: time.Hour,
	}
	if n.tweak != nil {
		n.tweak(&config)
	}
	set, err := New(config)
	if err != nil {
		n.t.Fatal(err)
	}
	n.set, n.g = set, set.Group(1)
	n.m.group = n.g
}

// crash loses what was not on the disk, and starts again.
func (n *solo) crash(kept int) {
	n.t.Helper()
	n.set.Close()
	n.log, n.store = n.log.crash(kept), n.store.crash()
	n.start()
}

func (n *solo) round() {
	n.t.Helper()
	if err := n.set.Round(); err != nil {
		n.t.Fatal(err)
	}
}

// lead runs the first round and forgets its trace.
func (n *solo) lead() {
	n.t.Helper()
	n.round()
	if !n.g.Leading() {
		n.t.Fatalf("a group of one does not lead after its first round: %v\n%s", n.g.Role(), n.trace.take())
	}
	n.trace.take()
}

func (n *solo) propose(token uint64, data string) {
	n.t.Helper()
	if err := n.g.Propose(token, []byte(data)); err != nil {
		n.t.Fatal(err)
	}
}

// want compares the trace since the last look.
func (n *solo) want(lines ...string) {
	n.t.Helper()
	if got, want := n.trace.take(), strings.Join(lines, "\n"); got != want {
		n.t.Errorf("trace:\n%s\nwant:\n%s", got, want)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// always makes the same machine.
func always(m Machine) func(*Group, uint32) (Machine, error) {
	return func(*Group, uint32) (Machine, error) { return m, nil }
}

// among makes the machine of each group.
func among(machines map[uint32]Machine) func(*Group, uint32) (Machine, error) {
	return func(g *Group, _ uint32) (Machine, error) { return machines[g.ID()], nil }
}
