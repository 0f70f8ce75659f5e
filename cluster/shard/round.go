package shard

import (
	"cmp"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Round does everything that can be done now. It blocks for no longer than
// appends and fast syncs take. The error is Err.
func (s *Set) Round() error {
	s.settle()
	if s.err != nil || s.closed || s.out {
		return s.err
	}
	s.feed()
	for s.err == nil && !s.out && s.collect() {
		s.commit()
	}
	if s.err == nil && !s.out {
		s.maybeChange()
		s.maybeErase()
	}
	if s.err == nil {
		s.maybeCheckpoint()
	}
	return s.err
}

// settle takes in what other goroutines have finished.
func (s *Set) settle() {
	if s.closed {
		return
	}
	select {
	case r := <-s.synced:
		s.out = false
		s.config.Metrics.CommitterSyncs.Inc()
		s.afterSync(r)
	default:
	}
	select {
	case o := <-s.written:
		s.finishCheckpoint(o)
	default:
	}
	s.mu.Lock()
	finished := s.finished
	s.finished = nil
	s.mu.Unlock()
	for _, done := range finished {
		done()
	}
}

// feed gives Raft what machines handed in. While a sync is out it waits, so
// that what Raft has not seen can still be dropped for certain.
func (s *Set) feed() {
	intake := s.intake
	s.intake = s.spareIntake[:0]
	for _, g := range intake {
		g.feed()
	}
	clear(intake)
	s.spareIntake = intake
}

// collect fills the batch; false if no group has a Ready.
func (s *Set) collect() bool {
	s.batch, s.updates = s.batch[:0], s.updates[:0]
	dirty := s.dirty
	s.dirty = s.spare[:0]
	for _, g := range dirty {
		g.dirty = false
		if !g.node.HasReady() {
			continue
		}
		s.batch = append(s.batch, ready{g, g.node.Ready()})
		rd := &s.batch[len(s.batch)-1]
		g.observe(&rd.Ready)
		if rd.MustSync {
			// A commit index alone is not written; it goes along here.
			s.updates = append(s.updates, Update{Group: g.id, HardState: g.hardState, Entries: rd.Entries})
			g.hardState = nil
		}
	}
	clear(dirty)
	s.spare = dirty[:0]
	return len(s.batch) > 0
}

// commit makes the batch durable and finishes it, now or when the committer is
// back.
func (s *Set) commit() {
	if len(s.updates) == 0 {
		s.finish()
		return
	}
	s.count()
	if err := s.config.Log.Append(s.updates); err != nil {
		s.fail(wrapLog("append", err))
		return
	}
	s.syncs++
	s.out = true
	if s.config.Offload != nil {
		number := s.syncs
		s.config.Offload(WorkSync, func() { s.sync(number) })
		s.leave()
		return
	}
	wait := s.average < s.config.SlowSync
	if !wait {
		s.left.Store(s.syncs)
	}
	s.requests <- s.syncs
	if wait {
		s.await()
	}
}

// await the sync that is out, but not for long. To wait here, on the loop, costs
// a microsecond more than to sync here; to go on and be woken costs a good part
// of what the sync does.
func (s *Set) await() {
	s.timer.Reset(s.config.SyncWait)
	select {
	case r := <-s.synced:
		s.timer.Stop()
		s.out = false
		s.afterSync(r)
		return
	case <-s.timer.C:
	}
	s.leave()
}

// leave the sync that is out to come back by itself.
func (s *Set) leave() {
	s.left.Store(s.syncs)
	select { // it may be back and not have seen that nobody waits
	case r := <-s.synced:
		s.out = false
		s.afterSync(r)
	default:
	}
}

func (s *Set) afterSync(r syncResult) {
	s.config.Metrics.SyncSeconds.Observe(r.took.Seconds())
	// One sync of an eighth of a second keeps a 2 ms limit exceeded for the next
	// fifteen.
	const weight = 8
	s.average += (r.took - s.average) / weight
	if r.err != nil {
		s.fail(wrapLog("sync", r.err))
		return
	}
	s.finish()
}

// finish releases the batch: it is durable.
func (s *Set) finish() {
	for i := range s.batch {
		rd := &s.batch[i]
		s.send(rd.group, rd.Messages)
	}
	for i := range s.batch {
		rd := &s.batch[i]
		if g := rd.group; mutantEarlyCommit && g.proposal.stage == proposed && g.proposal.index != 0 {
			g.machine.Committed(g.endProposal())
		}
		if err := rd.group.apply(&rd.Ready); err != nil {
			s.fail(err)
			return
		}
		rd.group.node.Advance(rd.Ready)
		rd.group.touch()
	}
	clear(s.batch)
	clear(s.updates)
}

// send hands each node what is for it, in the order in which Raft gave it.
func (s *Set) send(g *Group, messages []*raftpb.Message) {
	if len(messages) == 0 {
		return
	}
	if s.config.Send == nil {
		s.drop(dropNoTransport, len(messages))
		return
	}
	if len(messages) > 1 {
		slices.SortStableFunc(messages, func(a, b *raftpb.Message) int { return cmp.Compare(a.GetTo(), b.GetTo()) })
	}
	for len(messages) > 0 {
		to, n := messages[0].GetTo(), 1
		for n < len(messages) && messages[n].GetTo() == to {
			n++
		}
		if node, ok := g.nodeOf(to); ok {
			s.config.Send(node, g.id, messages[:n:n])
		} else {
			s.drop(dropUnknown, n)
		}
		messages = messages[n:]
	}
}

func (s *Set) count() {
	entries, bytes := 0, 0
	for i := range s.updates {
		entries += len(s.updates[i].Entries)
		bytes += entryBytes(s.updates[i].Entries)
	}
	s.logBytes += bytes
	s.config.Metrics.BatchGroups.Observe(float64(len(s.updates)))
	s.config.Metrics.BatchBytes.Observe(float64(bytes))
	s.config.Metrics.Entries.Add(float64(entries))
}

// Average of recent syncs, weighted to the last.
func (s *Set) Average() time.Duration { return s.average }
