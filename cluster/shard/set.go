package shard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
)

// Set is all Raft groups of a node. Its methods belong to the loop.
type Set struct {
	// immutable
	config Config
	cancel context.CancelFunc // of the checkpoint's writing
	ctx    context.Context

	// owned by the loop
	order  []*Group // by id
	groups map[uint32]*Group
	buried map[uint32]holding // groups of which this node had a replica

	forsaken map[string]bool // nodes that are gone, and have said nothing since
	err      error
	closed   bool
	dirty    []*Group // may have a Ready
	intake   []*Group // have proposals or reads for the next round
	batch    []ready
	updates  []Update
	average  time.Duration // of recent syncs
	out      bool          // a sync is out with the committer, for the batch
	syncs    uint64        // number of the last one
	timer    *time.Timer   // of the wait for one

	spare, spareIntake []*Group // the slices that dirty and intake change places with

	ticks    uint64
	outgoing []*outgoing // snapshots
	incoming []*incoming
	versions map[uint32]uint32 // of key spaces, the last that this process has given out
	changes  []change
	saving   bool // a change is on its way into the log
	waste    []waste
	erasing  bool

	appliedSince bool // since the last checkpoint was begun
	logBytes     int  // appended since the last checkpoint
	checkpoint   checkpointer

	// between goroutines
	requests chan uint64       // to the committer: number of the sync; at most one
	synced   chan syncResult   // from the committer; at most one
	written  chan writeOutcome // from the checkpoint's writer; at most one
	left     atomic.Uint64     // the sync that the loop does not wait for
	running  sync.WaitGroup

	mu       sync.Mutex
	finished []func() // guarded by mu: what jobs have for the loop
}

// ready is a Ready and whose it is.
type ready struct {
	group *Group
	raft.Ready
}

type syncResult struct {
	took time.Duration
	err  error
}

// New opens the groups where their checkpoints left them. Nothing is applied,
// and no machine is called, before the first Round.
func New(config Config) (*Set, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Set{
		config:   config.withDefaults(),
		groups:   map[uint32]*Group{},
		buried:   map[uint32]holding{},
		forsaken: map[string]bool{},
		versions: map[uint32]uint32{},
		requests: make(chan uint64, 1),
		synced:   make(chan syncResult, 1),
		written:  make(chan writeOutcome, 1),
	}
	if err := bootstrap(&s.config); err != nil {
		return nil, err
	}
	for _, id := range s.config.Log.Groups() {
		g, err := open(s, id)
		if err != nil {
			return nil, err
		}
		if g != nil {
			s.add(g)
		}
	}
	s.leftovers()
	if err := s.stand(); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.checkpoint.last = s.config.Now()
	s.timer = time.NewTimer(s.config.SyncWait)
	if s.config.Offload == nil {
		s.running.Go(s.commitLoop)
	}
	return s, nil
}

// add a group to those that are ticked.
func (s *Set) add(g *Group) {
	s.groups[g.id] = g
	at, _ := slices.BinarySearchFunc(s.order, g.id, func(g *Group, id uint32) int { return cmp.Compare(g.id, id) })
	s.order = slices.Insert(s.order, at, g)
}

// stand for election where nobody else can win. Where Raft refuses, because a
// change of the configuration is still to be applied, the election timeout does
// it.
func (s *Set) stand() error {
	for _, g := range s.order {
		if g.singleton() {
			if err := g.Campaign(); err != nil {
				return err
			}
		}
		g.touch()
	}
	return nil
}

// Resume goes on after a log that broke was repaired: each group stands where
// a restart would put it, but that what it has applied is applied. What was in
// flight when the log broke may be in it or not. It returns what still keeps the
// node from accepting; only ErrLog can be mended.
func (s *Set) Resume() error {
	if s.closed || s.out || !errors.Is(s.err, ErrLog) {
		return s.err
	}
	fresh := make([]*Group, len(s.order))
	for i, g := range s.order {
		var err error
		if fresh[i], err = openAt(s, g.id, g.checkpoint()); err != nil {
			return err
		}
		fresh[i].machine, fresh[i].checkpointed = g.machine, g.checkpointed
		fresh[i].cut, fresh[i].leaving = g.cut, g.leaving
	}
	clear(s.batch)
	clear(s.updates)
	s.batch, s.updates, s.dirty, s.intake = s.batch[:0], s.updates[:0], nil, nil
	for i, g := range s.order {
		*g = *fresh[i] // machines know their groups
	}
	s.err = nil
	s.config.Logger.Info("node accepts again")
	if err := s.stand(); err != nil {
		s.fail(err)
	}
	return s.err
}

// Group returns a group of this node, or nil.
func (s *Set) Group(id uint32) *Group { return s.groups[id] }

// Groups of which this node holds a replica, by id. The slice is the Set's.
func (s *Set) Groups() []*Group { return s.order }

// Replayed says whether every group has applied all that its store may have known
// at the start: from then on the store is ahead of nothing.
func (s *Set) Replayed() bool {
	for _, g := range s.order {
		if !g.exact() {
			return false
		}
	}
	return true
}

// Err says why the node has stopped accepting; nil while it works.
func (s *Set) Err() error { return s.err }

// Idle says whether nothing is in flight: no proposal, no read, no sync.
func (s *Set) Idle() bool {
	if s.out || s.Pending() {
		return false
	}
	for _, g := range s.order {
		if !g.idle() {
			return false
		}
	}
	return true
}

// Pending says whether a Round would have something to do at once, so that the
// loop should not wait before it.
func (s *Set) Pending() bool {
	return s.err == nil && !s.out && (len(s.intake) > 0 || len(s.dirty) > 0)
}

// Tick is Raft's clock.
func (s *Set) Tick() {
	s.ticks++
	if s.err != nil {
		return
	}
	for _, g := range s.order {
		g.tick()
	}
	s.tickOutgoing()
	s.tickIncoming()
}

// Beats says whether the last tick was one with which idle leaders send heartbeats.
func (s *Set) Beats() bool {
	return s.ticks%uint64(s.config.HeartbeatTicks) == 0 //nolint:gosec // positive
}

// Close stops the goroutines and waits for them, so for a sync that is out. It is
// for the loop, or for whoever has seen the loop end. The log and the store are the
// caller's to close, after it.
func (s *Set) Close() {
	if s.closed {
		return
	}
	s.closed = true
	s.cancel()
	close(s.requests)
	s.running.Wait()
	for _, o := range s.outgoing {
		o.cut.Close()
	}
}

// fail stops accepting, for good or until Resume. What is in flight gets no answer but Follow:
// it may be in the log.
func (s *Set) fail(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.config.Logger.Error("node stops accepting", "error", err)
	for _, g := range s.order {
		g.becomeFollower(dropBroken)
	}
}

func (s *Set) drop(reason string, n int) {
	s.config.Metrics.Dropped.WithLabelValues(reason).Add(float64(n))
}

// post gets back onto the loop, to find what is in the channels.
func (s *Set) post() {
	// A lost wake-up costs the time until the next round, which looks as well.
	s.config.Post(s.settle)
}

// commitLoop is the committer: a sync may take for ever, and the loop may not.
func (s *Set) commitLoop() {
	for number := range s.requests {
		s.sync(number)
	}
}

func (s *Set) sync(number uint64) {
	start := s.config.Now()
	var err error
	if !mutantSkipSync {
		err = s.config.Log.Sync()
	}
	s.synced <- syncResult{s.config.Now().Sub(start), err}
	if s.left.Load() == number {
		s.post()
	}
}

// offload work that takes the disk's time.
func (s *Set) offload(work Work, run func()) {
	if s.config.Offload != nil {
		s.config.Offload(work, run)
		return
	}
	s.running.Go(run)
}

// job runs something off the loop, and what it returns on the loop.
func (s *Set) job(work Work, run func() func()) {
	s.offload(work, func() {
		done := run()
		s.mu.Lock()
		s.finished = append(s.finished, done)
		s.mu.Unlock()
		s.post()
	})
}

func wrapLog(op string, err error) error { return fmt.Errorf("%w: %s: %w", ErrLog, op, err) }
