package shard

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/rookery-im/rookery/persistence/raftlog"
)

// Machine is what a group's entries are for. All of it is called on the loop,
// from Set.Round.
type Machine interface {
	// Apply takes a committed entry. Data is not to be changed. An error stops
	// the whole node: it says that the machine's state can no longer be trusted.
	Apply(index, term uint64, data []byte) error
	// Lead says that this replica leads the term, and that everything committed
	// in earlier terms is applied.
	Lead(term uint64)
	// Follow says that it leads no longer: every proposal and read in flight is void.
	Follow()
	// Committed says that the proposal is committed and applied.
	Committed(token uint64)
	// Dropped says that the proposal is not in the log and never will be.
	Dropped(token uint64)
	// Confirmed says that this replica still led after Read was called, and that
	// what was committed by then is applied.
	Confirmed(token uint64)
}

// Update is what one group adds to the log.
type Update = raftlog.Update

// Checkpoint is the state up to which a group's entries are in the store.
type Checkpoint = raftlog.Checkpoint

// Log is the log that all groups of a node share. After an error it stays
// broken until whoever owns it has it repaired: what a failed sync left on the
// disk is unknown.
type Log interface {
	// Append writes; what it wrote is not durable before Sync.
	Append([]Update) error
	// Sync makes durable what was appended before the call. It is called on
	// another goroutine while the disk is slow, but never while Append runs.
	Sync() error
	// Groups that have a checkpoint, ascending.
	Groups() []uint32
	// Checkpoint returns the last one saved of a group.
	Checkpoint(group uint32) (Checkpoint, bool)
	// SaveCheckpoints makes them durable, in this order. It is called on another
	// goroutine while Append and Sync go on.
	SaveCheckpoints([]Checkpoint) error
	// Storage is Raft's view of a group that has a checkpoint.
	Storage(group uint32) raft.Storage
}

// SegmentLog is the log on the disk.
type SegmentLog struct{ *raftlog.Log }

// Storage returns the group of the log.
func (l SegmentLog) Storage(group uint32) raft.Storage { return l.Group(group) }

// Store is where machines put their rows.
type Store interface {
	// Bytes is how much the overlay holds in memory that is not being written.
	Bytes() int
	// Freeze begins a checkpoint; false while one is under way.
	Freeze() (Frozen, bool)
	// Thaw ends it.
	Thaw(Frozen, error)
}

// ErrStoreBroken: the store cannot be written any more before the next start.
var ErrStoreBroken = errors.New("shard: the store is broken")

// Frozen is an overlay that nobody changes any more.
type Frozen interface {
	// Write returns when it is durable. It is called off the loop. An error is
	// tried again, unless it wraps ErrStoreBroken.
	Write(context.Context) error
	// Hurry says that it should return soon rather than leave processor and
	// disk to others. It is called on the loop, perhaps more than once.
	Hurry()
}

// Work is what does not run on the loop.
type Work uint8

// The kinds of work.
const (
	WorkSync Work = iota
	WorkCheckpoint
	WorkSnapshot // a chunk is read or written
	WorkChange   // the log takes up a snapshot or a replica's end
	WorkErase    // rows that nobody needs any more
)

func (w Work) String() string {
	return [...]string{"sync", "checkpoint", "snapshot", "change", "erase"}[w]
}

// Defaults of a Config.
const (
	DefaultElectionTicks   = 10
	DefaultHeartbeatTicks  = 3
	DefaultSlowSync        = 2 * time.Millisecond
	DefaultSyncWait        = 10 * time.Millisecond
	DefaultCheckpointBytes = 64 << 20
	DefaultCheckpointLog   = 256 << 20
	DefaultCheckpointEvery = time.Minute
	DefaultOverlayBound    = 256 << 20
	DefaultReads           = 4096
	DefaultTransfers       = 4
)

// First is what a group begins with: its first voters, the own one among them,
// and the nodes that hold them.
type First struct {
	Replica uint64
	Members map[uint64]string
}

// Config of a Set. Log, Store, Machine and Post are required.
type Config struct {
	Log   Log
	Store Store
	// Node is this node's UUID.
	Node string
	// Found are the groups to begin where the log has nothing of them. Every
	// other group comes from another node.
	Found []uint32
	// Machine makes what a replica's entries are for, its rows under that version
	// of the group's key space. It is called from New, and on the loop when a
	// snapshot takes the place of what a replica had.
	Machine func(g *Group, version uint32) (Machine, error)
	// Retire, where set, is told that the machine is called no more.
	Retire func(group uint32, m Machine)

	// Led, where set, is told that a group is led here, once its machine was.
	Led func(group uint32)

	// Send hands messages to the group's replica on that node and does not block.
	// It may lose them; it may keep the messages, and not the slice. Those of one
	// round come one group after the other. Nil where there are no other replicas.
	Send func(node string, group uint32, messages []*raftpb.Message)
	// Post runs f on the loop soon; false if it does not. A lost call costs time,
	// nothing else: Round finds what it was for.
	Post func(f func()) bool
	// Rows are what snapshots are made of, and Ship tells another node about them:
	// a body for Take there. It does not block, and bodies for one node arrive in
	// order, or not at all. Both nil where there are no other replicas.
	Rows Rows
	Ship func(node string, body []byte) error
	// Holders, where set, are nodes that hold a group as far as is known, beside
	// those that its configuration names here: a replica that missed its removal may
	// know of nobody else who is still there.
	Holders func(group uint32) []string
	// Transfers bounds the snapshots that are sent to one node at once, and those
	// that are taken from all of them.
	Transfers int
	// Bootstrap says what a group of Found begins with. By default it is one voter,
	// here, with a random id.
	Bootstrap func(group uint32) (First, error)
	// Now is the clock: of syncs and of checkpoints, Raft's is Tick.
	Now func() time.Time
	// Offload runs work that takes the disk's time, one sync, one checkpoint, one change and
	// one erasure at once at most, and one snapshot's chunk for each transfer, and may run it before it returns or never. Nil: goroutines
	// of the Set's own. It is for simulations, which have no goroutine and no
	// real clock.
	Offload func(work Work, run func())

	ElectionTicks, HeartbeatTicks int

	// SlowSync is the average from which on a round does not wait for its sync;
	// SyncWait is how long it does otherwise, by the real clock.
	SlowSync, SyncWait time.Duration
	// A checkpoint is due when the overlay or the log since the last one has
	// outgrown its bound, or when something was applied and the time is over.
	CheckpointBytes, CheckpointLog int
	CheckpointEvery                time.Duration
	// OverlayBound is the overlay from which on proposals are refused, because
	// checkpoints fail or do not keep up. Bytes.
	OverlayBound int
	// Reads bounds the reads that wait in one group.
	Reads int

	Logger  *slog.Logger
	Metrics *Metrics
}

func (c Config) withDefaults() Config {
	def := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	def(&c.ElectionTicks, DefaultElectionTicks)
	def(&c.HeartbeatTicks, DefaultHeartbeatTicks)
	def(&c.CheckpointBytes, DefaultCheckpointBytes)
	def(&c.CheckpointLog, DefaultCheckpointLog)
	def(&c.OverlayBound, DefaultOverlayBound)
	def(&c.Reads, DefaultReads)
	def(&c.Transfers, DefaultTransfers)
	if c.SlowSync == 0 {
		c.SlowSync = DefaultSlowSync
	}
	if c.SyncWait == 0 {
		c.SyncWait = DefaultSyncWait
	}
	if c.CheckpointEvery == 0 {
		c.CheckpointEvery = DefaultCheckpointEvery
	}
	if c.Bootstrap == nil {
		c.Bootstrap = c.alone
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// Validate reports everything that is wrong, defaults filled in.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("shard: "+format, args...))
		}
	}
	need(c.Log != nil, "no log")
	need(c.Store != nil, "no store")
	need(c.Post != nil, "no way back onto the loop")
	need(c.Machine != nil, "no machines")
	need(c.HeartbeatTicks > 0, "heartbeat of %d ticks", c.HeartbeatTicks)
	need(c.ElectionTicks > c.HeartbeatTicks, "election after %d ticks, heartbeat after %d", c.ElectionTicks, c.HeartbeatTicks)
	need(c.SlowSync > 0 && c.SyncWait > 0, "slow sync of %v, wait of %v", c.SlowSync, c.SyncWait)
	need(c.CheckpointBytes > 0 && c.CheckpointLog > 0 && c.CheckpointEvery > 0, "checkpoint bounds must be positive")
	need(c.OverlayBound >= c.CheckpointBytes, "overlay bound of %d is below the %d of a checkpoint", c.OverlayBound, c.CheckpointBytes)
	need(c.Transfers > 0, "%d transfers", c.Transfers)
	need(c.Reads > 0, "%d reads", c.Reads)
	return errors.Join(errs...)
}

// alone makes a group of one.
func (c Config) alone(uint32) (First, error) {
	id, err := NewReplica()
	return First{id, map[uint64]string{id: c.Node}}, err
}

// NewReplica draws the id of a new replica.
func NewReplica() (uint64, error) {
	var b [8]byte
	for {
		if _, err := rand.Read(b[:]); err != nil {
			return 0, fmt.Errorf("draw replica id: %w", err)
		}
		id := binary.BigEndian.Uint64(b[:])
		if id != raft.None && id != raft.LocalAppendThread && id != raft.LocalApplyThread {
			return id, nil
		}
	}
}
