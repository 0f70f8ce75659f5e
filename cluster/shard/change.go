package shard

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// change of what this node holds: a snapshot that is loaded and synced takes the
// place of a replica's state, or a replica is buried. The log says it, in one
// checkpoint; from then on it is so, also after a crash.
type change struct {
	install *incoming
	bury    *Group

	was *Group // that a snapshot is for, where there was one; off the Set meanwhile
	cp  Checkpoint
}

func (c change) group() uint32 {
	if c.install != nil {
		return c.install.space.Group
	}
	return c.bury.id
}

// changesGroup says whether a change of a group is under way.
func (s *Set) changesGroup(group uint32) bool {
	return slices.ContainsFunc(s.changes, func(c change) bool { return c.group() == group })
}

// quit a group whose configuration has this replica no more.
func (s *Set) quit(g *Group) {
	if g.leaving {
		return
	}
	g.leaving = true
	s.changes = append(s.changes, change{bury: g})
}

// maybeChange begins all changes that wait. A checkpoint that is under way would
// save the indexes of before, so they take turns.
func (s *Set) maybeChange() {
	if len(s.changes) == 0 || s.saving {
		return
	}
	if f := s.checkpoint.frozen; f != nil {
		f.Hurry()
		return
	}
	var now, later []change
	var cps []Checkpoint
	for _, c := range s.changes {
		switch {
		case slices.ContainsFunc(now, func(other change) bool { return other.group() == c.group() }):
			later = append(later, c)
		case c.cp.Data != nil || s.prepare(&c):
			now, cps = append(now, c), append(cps, c.cp)
		}
	}
	s.changes = append(now, later...)
	if len(cps) == 0 {
		return
	}
	s.saving = true
	s.job(WorkChange, func() func() {
		err := s.config.Log.SaveCheckpoints(cps)
		return func() { s.changed(len(cps), err) }
	})
}

// prepare takes the group off the loop and makes the checkpoint; false where there
// is nothing to change any more.
func (s *Set) prepare(c *change) bool {
	var err error
	if g := c.bury; g != nil {
		held := holding{buried: append(slices.Clone(g.buried), g.Replica()), version: g.version}
		s.remove(g)
		s.buried[g.id] = held
		c.cp = Checkpoint{Group: g.id, ConfState: &raftpb.ConfState{}, Reset: true}
		c.cp.Data, err = held.encode()
	} else {
		in := c.install
		g := s.groups[in.space.Group]
		outdated := g != nil && (g.applied >= in.offer.GetIndex() || g.Replica() != in.parcel.GetReplica())
		if outdated || s.isBuried(in.space.Group, in.parcel.GetReplica()) {
			s.discard(in.space, atOnce)
			s.acknowledge(in, &shardpb.Taken{Broken: true})
			return false
		}
		held := holding{id: in.parcel.GetReplica(), members: decodeMembers(in.offer.GetMembers()), version: in.space.Version,
			began: in.offer.GetTerm(), buried: s.buried[in.space.Group].buried}
		if g != nil {
			held.buried = g.buried
			s.remove(g)
			c.was = g
		}
		c.cp = Checkpoint{Group: in.space.Group, Index: in.offer.GetIndex(), Term: in.offer.GetCutTerm(), ConfState: in.conf}
		c.cp.Data, err = held.encode()
	}
	if err != nil {
		s.fail(err)
	}
	return err == nil
}

// remove a group from those that are ticked and spoken to. No batch is out.
func (s *Set) remove(g *Group) {
	g.becomeFollower(dropNotLeading)
	delete(s.groups, g.id)
	is := func(other *Group) bool { return other == g }
	s.order = slices.DeleteFunc(s.order, is)
	s.dirty = slices.DeleteFunc(s.dirty, is)
	s.intake = slices.DeleteFunc(s.intake, is)
	g.dirty, g.waits = false, false
	for _, o := range slices.Clone(s.outgoing) {
		if o.group == g {
			s.end(o)
		}
	}
	if s.config.Retire != nil {
		s.config.Retire(g.id, g.machine)
	}
}

// changed takes in that the log has the first n changes. They stay where it could
// not take them, until it is repaired.
func (s *Set) changed(n int, err error) {
	s.saving = false
	if err != nil {
		s.fail(wrapLog("save changes", err))
		return
	}
	done := slices.Clone(s.changes[:n])
	s.changes = slices.Delete(s.changes, 0, n)
	for _, c := range done {
		if c.bury != nil {
			s.config.Logger.Info("a replica was removed", "group", c.bury.id, "replica", c.bury.Replica())
			s.discard(Space{c.bury.id, c.bury.version}, afterCheckpoint)
			continue
		}
		if err := s.installed(c); err != nil {
			s.fail(err)
			return
		}
	}
}

// installed begins a group anew on a snapshot.
func (s *Set) installed(c change) error {
	id := c.cp.Group
	g, err := openAt(s, id, c.cp)
	if err != nil {
		return err
	}
	if c.was != nil {
		s.discard(Space{id, c.was.version}, afterCheckpoint)
		*c.was = *g // machines know their groups
		g = c.was
	}
	if g.machine, err = s.config.Machine(g, g.version); err != nil {
		return fmt.Errorf("shard: group %d: machine: %w", id, err)
	}
	delete(s.buried, id)
	s.add(g)
	s.config.Metrics.Snapshots.WithLabelValues("taken").Inc()
	s.config.Logger.Info("a replica began with a snapshot", "group", id, "index", g.applied)
	s.acknowledge(c.install, &shardpb.Taken{Number: c.install.taken, Index: g.applied})
	g.touch()
	return nil
}

func (s *Set) isBuried(group uint32, replica uint64) bool {
	if g := s.groups[group]; g != nil {
		return slices.Contains(g.buried, replica)
	}
	return replica == raft.None || slices.Contains(s.buried[group].buried, replica)
}

// when a space's rows can be erased.
type when uint8

const (
	atOnce          when = iota // no layer above the disk has any
	afterCheckpoint             // the store may have some in memory
)

// waste is a space that nobody uses any more.
type waste struct {
	Space
	after uint64 // checkpoints completed
}

// discard a space, in the background.
func (s *Set) discard(space Space, at when) {
	w := waste{Space: space}
	if at == afterCheckpoint {
		// One that is under way may hold rows of it, and so may what comes after.
		w.after = s.checkpoint.begun + 1
	}
	s.waste = append(s.waste, w)
}

// maybeErase erases one space after the other.
func (s *Set) maybeErase() {
	if s.erasing || s.config.Rows == nil {
		return
	}
	i := slices.IndexFunc(s.waste, func(w waste) bool { return w.after <= s.checkpoint.done })
	if i < 0 {
		return
	}
	w := s.waste[i]
	s.waste = slices.Delete(s.waste, i, i+1)
	s.erasing = true
	s.job(WorkErase, func() func() {
		err := s.config.Rows.Erase(s.ctx, w.Space)
		return func() {
			s.erasing = false
			if err != nil && s.ctx.Err() == nil {
				// The next start finds it.
				s.config.Logger.Error("rows that nobody needs cannot be erased", "group", w.Group, "version", w.Version, "error", err)
			}
		}
	})
}

// leftovers are erased that a crash left: rows of no replica here.
func (s *Set) leftovers() {
	if s.config.Rows == nil {
		return
	}
	for _, space := range s.config.Rows.Spaces() {
		if g := s.groups[space.Group]; g == nil || g.version != space.Version {
			s.discard(space, atOnce)
		}
	}
}
