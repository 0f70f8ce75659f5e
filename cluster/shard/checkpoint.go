package shard

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A checkpoint that failed is tried again after this, doubled each time.
const (
	retryFirst = time.Second
	retryMax   = time.Minute
)

// A checkpoint is hurried when this share of the next one has come together.
const hurryShare = 4

// checkpointer is the loop's side of checkpoints.
type checkpointer struct {
	last     time.Time // begun
	notUntil time.Time // after a failure
	retry    time.Duration
	failed   error // why the last one failed
	forced   bool
	begun    uint64 // how many
	done     uint64 // number of the last one that completed

	// while one is under way
	frozen   Frozen
	marks    []Checkpoint
	cuts     []cut
	logBytes int
}

// cut is where a group stood at Freeze, to be what its snapshots are of.
type cut struct {
	group   *Group
	version uint32
	at      Checkpoint
}

type writeOutcome struct {
	took time.Duration
	err  error
}

// Checkpoint asks for a checkpoint at the end of the next round that can begin one.
func (s *Set) Checkpoint() { s.checkpoint.forced = true }

// Checkpointing says whether one is under way.
func (s *Set) Checkpointing() bool { return s.checkpoint.frozen != nil }

// CheckpointErr says why the last checkpoint failed; nil where it did not. Until
// one succeeds memory and log grow, up to their bounds.
func (s *Set) CheckpointErr() error { return s.checkpoint.failed }

func (s *Set) checkpointDue(now time.Time) bool {
	c := &s.checkpoint
	switch {
	case c.frozen != nil || now.Before(c.notUntil) || len(s.changes) > 0:
		return false
	case c.forced:
		return true
	case !s.appliedSince:
		return false
	}
	return s.config.Store.Bytes() >= s.config.CheckpointBytes ||
		s.logBytes >= s.config.CheckpointLog ||
		now.Sub(c.last) >= s.config.CheckpointEvery
}

// maybeCheckpoint begins one. Between rounds every group's applied index is
// exactly what the overlay holds.
func (s *Set) maybeCheckpoint() {
	if c := &s.checkpoint; c.frozen != nil && s.config.Store.Bytes() >= s.config.CheckpointBytes/hurryShare {
		c.frozen.Hurry()
	}
	now := s.config.Now()
	if !s.checkpointDue(now) {
		return
	}
	frozen, ok := s.config.Store.Freeze()
	if !ok {
		return
	}
	c := &s.checkpoint
	c.frozen, c.marks, c.cuts, c.last, c.forced = frozen, nil, nil, now, false
	c.begun++
	for _, g := range s.order {
		at := g.checkpoint()
		if g.applied > g.checkpointed {
			c.marks = append(c.marks, at)
		}
		if g.exact() {
			c.cuts = append(c.cuts, cut{g, g.version, at})
		}
	}
	c.logBytes, s.appliedSince = s.logBytes, false
	marks := c.marks
	s.offload(WorkCheckpoint, func() {
		start := s.config.Now()
		err := writeCheckpoint(s.ctx, frozen, s.config.Log, s.config.Node, marks)
		s.written <- writeOutcome{s.config.Now().Sub(start), err}
		s.post()
	})
}

// writeCheckpoint may save what is applied only after it is on the disk, and may
// write no outcome before the log says that it may be there.
func writeCheckpoint(ctx context.Context, f Frozen, log Log, node string, marks []Checkpoint) error {
	if err := announce(log, node, marks); err != nil {
		return err
	}
	if err := f.Write(ctx); err != nil {
		return fmt.Errorf("shard: checkpoint: write the store: %w", err)
	}
	if len(marks) == 0 {
		return nil
	}
	if err := log.SaveCheckpoints(marks); err != nil {
		return wrapLog("save checkpoints", err)
	}
	return nil
}

// announce has the log say how far ahead of its checkpoints the store may be from
// now on. Without it a replica would have to wait, after a crash, until all that its
// log held is applied or replaced before it could give a snapshot; where its
// peers need one to agree on anything, that never comes.
func announce(log Log, node string, marks []Checkpoint) error {
	if len(marks) == 0 || mutantSilentWrite {
		return nil
	}
	last := make([]Checkpoint, len(marks))
	for i, m := range marks {
		cp, ok := log.Checkpoint(m.Group)
		if !ok {
			return fmt.Errorf("shard: group %d has no checkpoint", m.Group)
		}
		held, err := decodeHolding(cp.Data, node)
		if err != nil {
			return fmt.Errorf("shard: group %d: checkpoint data: %w", m.Group, err)
		}
		held.ahead = max(held.ahead, m.Index)
		if cp.Data, err = held.encode(); err != nil {
			return fmt.Errorf("shard: group %d: %w", m.Group, err)
		}
		last[i] = cp
	}
	if err := log.SaveCheckpoints(last); err != nil {
		return wrapLog("announce a checkpoint", err)
	}
	return nil
}

func (s *Set) finishCheckpoint(o writeOutcome) {
	c := &s.checkpoint
	s.config.Store.Thaw(c.frozen, o.err)
	c.frozen = nil
	s.config.Metrics.CheckpointSeconds.Observe(o.took.Seconds())
	if o.err != nil {
		c.failed = o.err
		c.retry = min(max(2*c.retry, retryFirst), retryMax)
		c.notUntil = s.config.Now().Add(c.retry)
		s.appliedSince, c.forced = true, true
		s.config.Metrics.CheckpointErrors.Inc()
		s.config.Logger.Error("checkpoint failed", "error", o.err, "retry", c.retry)
		if errors.Is(o.err, ErrStoreBroken) {
			// Memory and log would only grow until they are full.
			s.fail(o.err)
		}
		return
	}
	c.retry, c.failed = 0, nil
	s.logBytes -= c.logBytes
	c.done = c.begun
	for _, m := range c.marks {
		s.groups[m.Group].checkpointed = m.Index
	}
	for _, k := range c.cuts {
		if k.group.version == k.version {
			k.group.cut = &k.at
		}
	}
	s.config.Metrics.Checkpoints.Inc()
}
