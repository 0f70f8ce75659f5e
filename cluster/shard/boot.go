package shard

import (
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A group begins as if one entry had been applied everywhere: the first
// configuration is in no entry, so a replica that joins later has to get it
// with a snapshot, and it gets one because nobody has entry 1.
const firstIndex, firstTerm = 1, 1

// Shards counts the groups from 1 on that the log has: the number of shards
// that this node was created with, 0 on a new one. Group 0 is saved last, so
// that a creation which was cut short counts for nothing. It says nothing where
// another node founded the cluster.
func Shards(log Log) uint32 {
	if _, ok := log.Checkpoint(0); !ok {
		return 0
	}
	for n := uint32(0); ; n++ {
		if _, ok := log.Checkpoint(n + 1); !ok {
			return n
		}
	}
}

// bootstrap gives a checkpoint to every group of Found that has none, durable
// before anything else happens, because a replica id must not be forgotten.
func bootstrap(c *Config) error {
	var fresh []Checkpoint
	for _, id := range slices.Backward(slices.Sorted(slices.Values(c.Found))) {
		if _, ok := c.Log.Checkpoint(id); ok {
			continue
		}
		first, err := c.Bootstrap(id)
		if err != nil {
			return fmt.Errorf("shard: bootstrap group %d: %w", id, err)
		}
		cp, err := first.checkpoint(id)
		if err != nil {
			return fmt.Errorf("shard: bootstrap group %d: %w", id, err)
		}
		fresh = append(fresh, cp)
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := c.Log.SaveCheckpoints(fresh); err != nil {
		return fmt.Errorf("shard: bootstrap %d groups: %w", len(fresh), err)
	}
	return nil
}

func (f First) checkpoint(group uint32) (Checkpoint, error) {
	voters := slices.Sorted(maps.Keys(f.Members))
	if f.Replica == raft.None || !slices.Contains(voters, f.Replica) {
		return Checkpoint{}, fmt.Errorf("replica %x is not among the voters %x", f.Replica, voters)
	}
	data, err := holding{id: f.Replica, members: f.Members}.encode()
	return Checkpoint{
		Group: group, Index: firstIndex, Term: firstTerm, ConfState: &raftpb.ConfState{Voters: voters}, Data: data,
	}, err
}

// bootStorage is the log as Raft sees it, starting from the checkpoint.
type bootStorage struct {
	raft.Storage
	checkpoint Checkpoint
	held       holding
}

// InitialState may have to be ahead of what was written: the commit index rides
// with later writes, and what a checkpoint has, or began with, was applied. In the term of a snapshot's
// leader this replica has not voted: it had not heard of it.
func (s bootStorage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hs, _, err := s.Storage.InitialState()
	if err != nil {
		return nil, nil, fmt.Errorf("initial state: %w", err)
	}
	if raft.IsEmptyHardState(hs) {
		hs = &raftpb.HardState{Term: proto.Uint64(s.checkpoint.Term), Vote: proto.Uint64(raft.None), Commit: proto.Uint64(0)}
	}
	if hs.GetTerm() < s.held.began {
		hs = &raftpb.HardState{Term: proto.Uint64(s.held.began), Vote: proto.Uint64(raft.None), Commit: proto.Uint64(hs.GetCommit())}
	}
	if applied := max(s.checkpoint.Index, s.held.ahead); hs.GetCommit() < applied {
		hs = &raftpb.HardState{Term: proto.Uint64(hs.GetTerm()), Vote: proto.Uint64(hs.GetVote()), Commit: proto.Uint64(applied)}
	}
	return hs, s.checkpoint.ConfState, nil
}

// Snapshot is never there: replicas that have fallen behind the log are filled
// by other means than Raft's messages.
func (bootStorage) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// open starts a group at its checkpoint; nil where this node has no replica of
// it any more.
func open(s *Set, id uint32) (*Group, error) {
	cp, ok := s.config.Log.Checkpoint(id)
	if !ok {
		return nil, fmt.Errorf("shard: group %d has no checkpoint after bootstrap", id)
	}
	held, err := decodeHolding(cp.Data, s.config.Node)
	if err != nil {
		return nil, fmt.Errorf("shard: group %d: checkpoint data: %w", id, err)
	}
	if held.id == raft.None {
		s.buried[id] = held
		return nil, nil
	}
	g, err := openAt(s, id, cp)
	if err != nil {
		return nil, err
	}
	if g.machine, err = s.config.Machine(g, held.version); err != nil {
		return nil, fmt.Errorf("shard: group %d: machine: %w", id, err)
	}
	return g, nil
}

// openAt starts a group of which everything up to there is applied. It has no
// machine yet.
func openAt(s *Set, id uint32, cp Checkpoint) (g *Group, err error) {
	c := &s.config
	held, err := decodeHolding(cp.Data, c.Node)
	if err != nil {
		return nil, fmt.Errorf("shard: group %d: checkpoint data: %w", id, err)
	}
	storage := bootStorage{Storage: c.Log.Storage(id), checkpoint: cp, held: held}
	hs, _, err := storage.InitialState()
	if err != nil {
		return nil, fmt.Errorf("shard: group %d: %w", id, err)
	}
	last, err := storage.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("shard: group %d: last index: %w", id, err)
	}
	if last < hs.GetCommit() {
		return nil, fmt.Errorf("shard: group %d: the log ends at %d, before the commit index %d: it lost entries", id, last, hs.GetCommit())
	}
	// Raft panics on a storage that contradicts itself. On a damaged disk that is
	// an error to report, not a bug.
	defer func() {
		if r := recover(); r != nil {
			g, err = nil, fmt.Errorf("shard: group %d: open: %v", id, r)
		}
	}()
	reads := raft.ReadOnlySafe
	if mutantLeaseRead {
		reads = raft.ReadOnlyLeaseBased
	}
	node, err := raft.NewRawNode(&raft.Config{
		ID:                        held.id,
		ElectionTick:              c.ElectionTicks,
		HeartbeatTick:             c.HeartbeatTicks,
		Storage:                   storage,
		Applied:                   cp.Index,
		MaxSizePerMsg:             maxMessageBytes,
		MaxCommittedSizePerReady:  maxApplyBytes,
		MaxInflightMsgs:           maxInflight,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            reads,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    raftLogger{c.Logger.With("group", id)},
	})
	if err != nil {
		return nil, fmt.Errorf("shard: group %d: open: %w", id, err)
	}
	return &Group{
		id: id, set: s, node: node, holding: held, data: cp.Data,
		term: hs.GetTerm(), applied: cp.Index, appliedTerm: cp.Term, checkpointed: cp.Index,
		conf: cp.ConfState, reads: map[uint64][]uint64{},
	}, nil
}

// Bounds of what one follower is sent before it answers. A batch is bounded by
// its maker, so a message carries one entry or a few small ones.
const (
	maxMessageBytes = 1 << 20
	maxApplyBytes   = 16 << 20
	maxInflight     = 128
)
