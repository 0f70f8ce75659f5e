package sim

import (
	"go.etcd.io/raft/v3"

	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/persistence/raftlog"
)

// durable is a node's log, and what of it has been synced for certain. It is
// asked by Raft's rules alone: how the log keeps its promise is raftlog's.
type durable struct {
	node *node
	shard.SegmentLog
	synced  map[replicaOf]*extent
	holds   map[uint32]uint64       // the replica that a group's log is of
	changes map[uint32][]confChange // of configurations, that the logs have
	written []raftlog.Update        // not synced yet
}

// replicaOf a group. One that was removed counts for what it had: it may have been
// counted.
type replicaOf struct {
	group   uint32
	replica uint64
}

// extent of a group's log: the term of each entry up to last. What a checkpoint
// took out of the log has no term here, and needs none.
type extent struct {
	first, last uint64 // first that has a term
	terms       map[uint64]uint64
}

func newDurable(n *node, log *raftlog.Log) *durable {
	return &durable{node: n, SegmentLog: shard.SegmentLog{Log: log}, synced: map[replicaOf]*extent{}, holds: map[uint32]uint64{}, changes: map[uint32][]confChange{}}
}

// opened takes in what the disk held.
func (d *durable) opened(group uint32, replica uint64) {
	e := &extent{terms: map[uint64]uint64{}}
	d.synced[replicaOf{group, replica}], d.holds[group] = e, replica
	d.changes[group] = nil
	s := d.Storage(group)
	first, err1 := s.FirstIndex()
	last, err2 := s.LastIndex()
	if err1 != nil || err2 != nil {
		d.node.world.fault("n%d: read the log: %v, %v", d.node.number, err1, err2)
		return
	}
	e.first, e.last = first, last
	for i := first; i <= last; i++ {
		term, err := s.Term(i)
		if err != nil {
			d.node.world.fault("n%d: term of %d: %w", d.node.number, i, err)
			return
		}
		e.terms[i] = term
	}
	if last < first {
		return
	}
	entries, err := s.Entries(first, last+1, 1<<40)
	if err != nil {
		d.node.world.fault("n%d: entries of shard %d: %w", d.node.number, group, err)
		return
	}
	d.changed(raftlog.Update{Group: group, Entries: entries})
}

// Append implements shard.Log.
func (d *durable) Append(us []raftlog.Update) error {
	err := d.SegmentLog.Append(us)
	if err == nil {
		for _, u := range us {
			d.changed(u)
			// Only what is asked about: the entries are Raft's.
			d.written = append(d.written, raftlog.Update{Group: u.Group, Entries: append(u.Entries[:0:0], u.Entries...)})
		}
	}
	return err
}

// Sync implements shard.Log.
func (d *durable) Sync() error {
	written := d.written
	err := d.SegmentLog.Sync()
	if err != nil {
		return err
	}
	d.written = d.written[len(written):]
	for _, u := range written {
		e := d.synced[replicaOf{u.Group, d.holds[u.Group]}]
		for _, entry := range u.Entries {
			e.last = entry.GetIndex()
			e.terms[entry.GetIndex()] = entry.GetTerm()
		}
	}
	return nil
}

// Storage implements shard.Log.
func (d *durable) Storage(group uint32) raft.Storage { return d.SegmentLog.Storage(group) }

// has says whether the entry is on the disk.
func (e *extent) has(index, term uint64) bool {
	return e != nil && index <= e.last && (index < e.first || e.terms[index] == term)
}
