package raftlog

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/limits"
)

// Checkpoint is the place up to which a group's state is on disk elsewhere.
// Replay begins after it, and raft takes it for the group's last snapshot.
type Checkpoint struct {
	Group       uint32
	Index, Term uint64
	ConfState   *raftpb.ConfState // nil: as in the checkpoint before
	Data        []byte            // the caller's own, small: it is copied into each new segment

	// Reset has the group begin anew: all that the log has of it, its hard state
	// included, is forgotten, and Index may be lower than before. It is for a
	// replica that is gone, and for another that takes its place.
	Reset bool
}

// SaveCheckpoints appends the checkpoints, syncs, and then drops the segments
// that no group needs any more, but for Config.RetainBytes of them, out of which
// followers are served that are behind. All checkpoints survive a crash or none. The
// groups' storage shows them at once, they are durable when it returns. A checkpoint may not go back,
// unless it resets its group. One that the
// group's log does not reach, or that differs from it in term, replaces the
// log: it is a snapshot received from a leader, or the group's beginning.
func (l *Log) SaveCheckpoints(checkpoints []Checkpoint) error {
	l.saving.Lock()
	defer l.saving.Unlock()
	if err := l.appendCheckpoints(checkpoints); err != nil {
		return err
	}
	if err := l.Sync(); err != nil {
		return err
	}
	return l.dropSegments()
}

func (l *Log) appendCheckpoints(checkpoints []Checkpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	if len(checkpoints) == 0 {
		return nil
	}
	all, err := l.stageCheckpoints(checkpoints)
	if err != nil {
		return err
	}
	if l.buf, err = appendCheckpoints(openFrame(l.buf[:0]), all); err != nil {
		return fmt.Errorf("raftlog: encode checkpoints: %w", err)
	}
	l.buf = closeFrame(l.buf, 0)
	if _, err := l.write(); err != nil {
		return err
	}
	for _, s := range all {
		l.groups[s.Group].install(s)
	}
	return nil
}

func (l *Log) stageCheckpoints(checkpoints []Checkpoint) ([]savedCheckpoint, error) {
	all := make([]savedCheckpoint, len(checkpoints))
	for i, c := range checkpoints {
		g := l.group(c.Group)
		if c.Index < g.checkpoint.Index && !c.Reset {
			return nil, fmt.Errorf("raftlog: group %d: checkpoint %d is behind %d", c.Group, c.Index, g.checkpoint.Index)
		}
		if slices.ContainsFunc(checkpoints[:i], func(d Checkpoint) bool { return d.Group == c.Group }) {
			return nil, fmt.Errorf("raftlog: group %d: two checkpoints at once", c.Group)
		}
		c = g.own(c)
		all[i] = savedCheckpoint{c, c.Reset || g.replaces(c)}
	}
	return all, nil
}

// own returns a copy that the caller cannot change, with a ConfState.
func (g *Group) own(c Checkpoint) Checkpoint {
	c.Data = slices.Clone(c.Data)
	switch {
	case c.ConfState != nil:
		c.ConfState = proto.Clone(c.ConfState).(*raftpb.ConfState)
	case g.checkpoint.ConfState != nil && !c.Reset:
		c.ConfState = g.checkpoint.ConfState
	default:
		c.ConfState = new(raftpb.ConfState)
	}
	return c
}

// dropSegments removes, oldest first, the segments before the first one that
// some group still needs, and before those that followers may need. The oldest
// that stays has a durable state frame.
func (l *Log) dropSegments() error {
	l.mu.Lock()
	if l.failed != nil {
		defer l.mu.Unlock()
		return l.failed
	}
	needed := l.synced.seg
	if l.synced.off == segmentHeader {
		needed-- // nothing was written to the newest yet
	}
	shared := false
	for _, g := range l.order {
		shared = shared || g.shared()
		if g.last > g.checkpoint.Index {
			needed = min(needed, g.places[g.findPlace(g.checkpoint.Index+1)].at.seg)
		}
	}
	n := slices.IndexFunc(l.segments, func(s *segment) bool { return s.seq >= needed })
	if shared {
		for room := l.cfg.RetainBytes - int(l.segments[max(n-1, 0)].size); n > 0 && room >= 0; room -= int(l.segments[max(n-1, 0)].size) {
			n--
		}
	}
	for _, g := range l.order {
		g.trim(l.segments[n].seq)
	}
	dropped := l.segments[:n]
	l.segments = slices.Clone(l.segments[n:])
	l.cfg.Metrics.segments.Set(float64(len(l.segments)))
	l.mu.Unlock()

	for _, s := range dropped {
		if err := l.drop(s); err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.fail(err)
		}
	}
	return nil
}

// drop keeps the file for a further segment, or removes it. The name is gone for
// good before the content may change.
func (l *Log) drop(s *segment) error {
	l.mu.Lock()
	keep := len(l.free) < limits.LogFree && s.size == room(uint32(l.cfg.SegmentBytes))
	l.mu.Unlock()
	if err := s.file.Close(); err != nil || !keep {
		return errors.Join(err, removeFile(l.disk, segmentName(s.seq)))
	}
	if err := l.disk.Rename(segmentName(s.seq), freeName(s.seq)); err != nil {
		return fmt.Errorf("raftlog: rename %s: %w", segmentName(s.seq), err)
	}
	if err := l.disk.Sync(); err != nil {
		return fmt.Errorf("raftlog: sync directory: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, freeName(s.seq))
	return nil
}

// Checkpoint returns the group's last checkpoint. It must not be changed.
func (l *Log) Checkpoint(group uint32) (Checkpoint, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.groups[group]
	if g == nil || g.checkpoint.ConfState == nil {
		return Checkpoint{}, false
	}
	return g.checkpoint, true
}

// Groups that have a checkpoint, ascending.
func (l *Log) Groups() []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []uint32
	for _, g := range l.order {
		if g.checkpoint.ConfState != nil {
			ids = append(ids, g.id)
		}
	}
	slices.Sort(ids)
	return ids
}
