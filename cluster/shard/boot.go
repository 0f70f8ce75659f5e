package shard

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// A group begins as if one entry had been applied everywhere: the first
// configuration is in no entry, so a replica that joins later has to get it
// with a snapshot, and it gets one because nobody has entry 1.
const firstIndex, firstTerm = 1, 1

// Shards counts the groups from 1 on that the log has: the number of shards
// that this node was created with, 0 on a new one. Group 0 is saved last, so
// that a creation which was cut short counts for nothing.
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

// bootstrap gives a checkpoint to every group that has none, durable before
// anything else happens, because a replica id must not be forgotten.
func bootstrap(c *Config, ids []uint32) error {
	var fresh []Checkpoint
	for _, id := range slices.Backward(ids) {
		if _, ok := c.Log.Checkpoint(id); ok {
			continue
		}
		replica, voters, err := c.Bootstrap(id)
		if err != nil {
			return fmt.Errorf("shard: bootstrap group %d: %w", id, err)
		}
		if replica == raft.None || !slices.Contains(voters, replica) {
			return fmt.Errorf("shard: bootstrap group %d: replica %x is not among its voters %x", id, replica, voters)
		}
		data, err := proto.Marshal(&shardpb.Replica{Id: replica})
		if err != nil {
			return fmt.Errorf("shard: bootstrap group %d: %w", id, err)
		}
		fresh = append(fresh, Checkpoint{
			Group: id, Index: firstIndex, Term: firstTerm,
			ConfState: &raftpb.ConfState{Voters: slices.Clone(voters)}, Data: data,
		})
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := c.Log.SaveCheckpoints(fresh); err != nil {
		return fmt.Errorf("shard: bootstrap %d groups: %w", len(fresh), err)
	}
	return nil
}

// bootStorage is the log as Raft sees it, starting from the checkpoint.
type bootStorage struct {
	raft.Storage
	checkpoint Checkpoint
}

// InitialState may have to be ahead of what was written: the commit index rides
// with later writes, and the checkpoint knows better.
func (s bootStorage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hs, _, err := s.Storage.InitialState()
	if err != nil {
		return nil, nil, fmt.Errorf("initial state: %w", err)
	}
	if raft.IsEmptyHardState(hs) {
		hs = &raftpb.HardState{Term: proto.Uint64(s.checkpoint.Term), Vote: proto.Uint64(raft.None), Commit: proto.Uint64(0)}
	}
	if hs.GetCommit() < s.checkpoint.Index {
		hs = &raftpb.HardState{Term: proto.Uint64(hs.GetTerm()), Vote: proto.Uint64(hs.GetVote()), Commit: proto.Uint64(s.checkpoint.Index)}
	}
	return hs, s.checkpoint.ConfState, nil
}

// Snapshot is never there: replicas that have fallen behind the log are filled
// by other means than Raft's messages.
func (bootStorage) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// open starts a group at its checkpoint.
func open(s *Set, id uint32, machine Machine) (*Group, error) {
	cp, ok := s.config.Log.Checkpoint(id)
	if !ok {
		return nil, fmt.Errorf("shard: group %d has no checkpoint after bootstrap", id)
	}
	return openAt(s, id, machine, cp)
}

// openAt starts a group of which everything up to there is applied.
func openAt(s *Set, id uint32, machine Machine, cp Checkpoint) (g *Group, err error) {
	c := &s.config
	var replica shardpb.Replica
	if err := proto.Unmarshal(cp.Data, &replica); err != nil {
		return nil, fmt.Errorf("shard: group %d: checkpoint data: %w", id, err)
	}
	storage := bootStorage{Storage: c.Log.Storage(id), checkpoint: cp}
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
	node, err := raft.NewRawNode(&raft.Config{
		ID:                        replica.GetId(),
		ElectionTick:              c.ElectionTicks,
		HeartbeatTick:             c.HeartbeatTicks,
		Storage:                   storage,
		Applied:                   cp.Index,
		MaxSizePerMsg:             maxMessageBytes,
		MaxCommittedSizePerReady:  maxApplyBytes,
		MaxInflightMsgs:           maxInflight,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		DisableProposalForwarding: true,
		Logger:                    raftLogger{c.Logger.With("group", id)},
	})
	if err != nil {
		return nil, fmt.Errorf("shard: group %d: open: %w", id, err)
	}
	return &Group{
		id: id, replica: replica.GetId(), machine: machine, set: s, node: node, data: cp.Data,
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
