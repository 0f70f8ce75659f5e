package raftlog_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rookery-im/rookery/persistence/raftlog"
	"github.com/rookery-im/rookery/persistence/raftlog/faultdisk"
)

var (
	seedFlag = flag.Uint64("raftlog.seed", 0, "run only this seed of the crash test")
	runsFlag = flag.Uint64("raftlog.runs", 150, "how many seeds the crash test runs")
)

const crashGroups = 4

// modelGroup is what a group should hold.
type modelGroup struct {
	term, vote, commit uint64 // the hard state
	index, indexTerm   uint64 // the checkpoint
	data               string
	entries            []modelEntry // from index+1 on
	below              []modelEntry // up to index: some of it may be retained
}

type modelEntry struct {
	term uint64
	data string
}

func (g *modelGroup) last() uint64 { return g.index + uint64(len(g.entries)) }

func (g *modelGroup) termOf(i uint64) uint64 {
	if i == g.index {
		return g.indexTerm
	}
	return g.entries[i-g.index-1].term
}

type model [crashGroups + 1]modelGroup

// event is the least that survives a crash in whole: one group's update, or
// the checkpoints saved together.
type event struct {
	update      *raftlog.Update
	checkpoints []raftlog.Checkpoint
}

func (m model) after(e event) model {
	if u := e.update; u != nil {
		g := &m[u.Group]
		if hs := u.HardState; hs != nil {
			g.term, g.vote, g.commit = hs.GetTerm(), hs.GetVote(), hs.GetCommit()
		}
		if len(u.Entries) > 0 {
			kept := u.Entries[0].GetIndex() - g.index - 1
			g.entries = g.entries[:kept:kept]
			for _, e := range u.Entries {
				g.entries = append(g.entries, modelEntry{e.GetTerm(), string(e.GetData())})
			}
		}
	}
	for _, c := range e.checkpoints {
		g := &m[c.Group]
		switch {
		case c.Reset:
			*g = modelGroup{}
		case c.Index > g.last() || g.termOf(c.Index) != c.Term:
			g.entries, g.below = nil, nil
		default:
			n := c.Index - g.index
			g.below = append(g.below[:len(g.below):len(g.below)], g.entries[:n]...)
			g.entries = g.entries[n:]
		}
		g.index, g.indexTerm, g.data = c.Index, c.Term, string(c.Data)
	}
	return m
}

// differs says how the log differs from the model, "" if not at all.
func (m *model) differs(l *raftlog.Log) string {
	for id := uint32(1); id <= crashGroups; id++ {
		if d := m[id].differs(id, l); d != "" {
			return fmt.Sprintf("group %d: %s", id, d)
		}
	}
	return ""
}

func (g *modelGroup) differs(id uint32, l *raftlog.Log) string {
	s := l.Group(id)
	hs, _, _ := s.InitialState()
	term, vote, commit := g.term, g.vote, max(g.commit, g.index)
	if g.indexTerm > term {
		term, vote = g.indexTerm, 0
	}
	if hs.GetTerm() != term || hs.GetVote() != vote || hs.GetCommit() != commit {
		return fmt.Sprintf("hard state %v, want %d %d %d", hs, term, vote, commit)
	}
	if c, _ := l.Checkpoint(id); c.Index != g.index || c.Term != g.indexTerm || string(c.Data) != g.data {
		return fmt.Sprintf("checkpoint %d %d, want %d %d", c.Index, c.Term, g.index, g.indexTerm)
	}
	if last, _ := s.LastIndex(); last != g.last() {
		return fmt.Sprintf("last %d, want %d", last, g.last())
	}
	if d := g.retainedDiffers(s); d != "" || len(g.entries) == 0 {
		return d
	}
	ents, err := s.Entries(g.index+1, g.last()+1, noLimit)
	if err != nil || len(ents) != len(g.entries) {
		return fmt.Sprintf("%d entries, want %d, %v", len(ents), len(g.entries), err)
	}
	for i, e := range ents {
		want := g.entries[i]
		term, err := s.Term(e.GetIndex())
		if e.GetIndex() != g.index+1+uint64(i) || e.GetTerm() != want.term || term != want.term || err != nil ||
			string(e.GetData()) != want.data {
			return fmt.Sprintf("entry %v, want %d %d", e, g.index+1+uint64(i), want.term)
		}
	}
	return ""
}

// retainedDiffers looks at what stands before the checkpoint: it may be anything
// from all to nothing, but what there is has to be right.
func (g *modelGroup) retainedDiffers(s *raftlog.Group) string {
	first, _ := s.FirstIndex()
	n := g.index + 1 - first
	if first > g.index+1 || n > uint64(len(g.below)) {
		return fmt.Sprintf("first %d, checkpoint %d, %d entries before it", first, g.index, len(g.below))
	}
	for i := first - min(first, 1); i <= g.index && n > 0; i++ {
		back := g.index - i + 1
		if back > uint64(len(g.below)) {
			return fmt.Sprintf("the first entry is %d, and nobody knows the term of the one before", first)
		}
		want := g.below[uint64(len(g.below))-back]
		if term, err := s.Term(i); err != nil || term != want.term {
			return fmt.Sprintf("term %d of retained entry %d, want %d, %v", term, i, want.term, err)
		}
		if i < first {
			continue
		}
		ents, err := s.Entries(i, i+1, noLimit)
		if err != nil || len(ents) != 1 || ents[0].GetTerm() != want.term || string(ents[0].GetData()) != want.data {
			return fmt.Sprintf("retained entry %d: %v, %v", i, ents, err)
		}
	}
	return ""
}

// crashRun is one run of the crash test.
type crashRun struct {
	*testing.T
	random *rand.Rand
	disk   *faultdisk.Disk
	log    *raftlog.Log
	models []model // after each event; 0 is the beginning
	synced int     // models[synced] is durable
	fuse   int     // disk operations until something happens, 0: none
}

var (
	errFuse = errors.New("power cut")
	errDisk = errors.New("disk on fire")
)

// Whatever is synced is there after any crash, in order, and what is there
// besides is the beginning of what was appended after it.
func TestCrashes(t *testing.T) {
	first, last := uint64(1), *runsFlag
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := &crashRun{T: t, random: rand.New(rand.NewPCG(seed, 0)), disk: faultdisk.New(seed), models: make([]model, 1)}
			r.reopen()
			for range 150 {
				r.step()
			}
			r.crash()
			must(t, r.log.Close())
		})
	}
}

func (r *crashRun) config() raftlog.Config {
	return raftlog.InLine(raftlog.Config{Disk: r.disk, SegmentBytes: 4 << 10, TailBytes: 1 << 10, GroupTailBytes: 512, RetainBytes: 20 << 10})
}

func (r *crashRun) step() {
	switch n := r.random.IntN(100); {
	case n < 55:
		r.append()
	case n < 75:
		r.sync()
	case n < 85:
		r.save()
	case n < 90:
		r.burn(errFuse, 12)
	case n < 92:
		r.burn(errDisk, 12)
	case n < 96:
		r.crash()
	case n < 98:
		r.close()
	case r.fuse > 0: // reading would break the log
	default:
		m := r.models[len(r.models)-1]
		if d := m.differs(r.log); d != "" {
			r.Fatal(d)
		}
	}
}

// burn makes the disk fail after some operations, whatever they are.
func (r *crashRun) burn(err error, most int) {
	r.fuse = 1 + r.random.IntN(most)
	r.disk.SetFault(func(op faultdisk.Op, _ string) error {
		if r.fuse--; r.fuse > 0 || err == errDisk && op != faultdisk.Write && op != faultdisk.Sync {
			r.fuse = max(r.fuse, 1)
			return nil
		}
		if err == errFuse {
			r.fuse = 1 // nothing works any more
		} else {
			r.fuse = 1 << 30
		}
		return err
	})
}

func (r *crashRun) unburn() {
	r.disk.SetFault(nil)
	r.fuse = 0
}

func (r *crashRun) update(m *model) *raftlog.Update {
	u := &raftlog.Update{Group: uint32(1 + r.random.IntN(crashGroups))}
	g := &m[u.Group]
	term := max(g.term, g.termOf(g.last()), 1) + uint64(r.random.IntN(8)/7)
	base := max(g.commit, g.index)
	from := g.last() + 1
	if r.random.IntN(4) == 0 {
		from = base + 1 + r.random.Uint64N(g.last()-base+1)
	}
	for i := from; i < from+uint64(r.random.IntN(4)); i++ {
		size := r.random.IntN(120)
		if r.random.IntN(40) == 0 {
			size = r.random.IntN(9000)
		}
		u.Entries = append(u.Entries, entry(i, term, string(bytes.Repeat([]byte{byte(i), byte(term), 0}, size/3))))
	}
	if len(u.Entries) == 0 || r.random.IntN(2) == 0 {
		last := g.last()
		if len(u.Entries) > 0 {
			last = from + uint64(len(u.Entries)) - 1
		}
		u.HardState = hardState(term, uint64(r.random.IntN(3)), base+r.random.Uint64N(last-base+1))
	}
	return u
}

func (r *crashRun) append() {
	m := r.models[len(r.models)-1]
	models := r.models
	var updates []raftlog.Update
	for range 1 + r.random.IntN(4) {
		u := r.update(&m)
		m = m.after(event{update: u})
		models = append(models, m)
		updates = append(updates, *u)
	}
	// What failed may be on the disk all the same.
	err := r.log.Append(updates)
	r.models = models
	r.check(err)
}

func (r *crashRun) close() {
	err := r.log.Close()
	if err != nil {
		if !errors.Is(err, errFuse) && !errors.Is(err, errDisk) {
			r.Fatal(err)
		}
		r.crash()
		return
	}
	r.synced = len(r.models) - 1
	r.reopen()
}

func (r *crashRun) sync() {
	err := r.log.Sync()
	if err == nil {
		r.synced = len(r.models) - 1
	}
	r.check(err)
}

func (r *crashRun) save() {
	m := r.models[len(r.models)-1]
	var e event
	for id := uint32(1); id <= crashGroups; id++ {
		g := &m[id]
		if r.random.IntN(4) == 0 {
			continue
		}
		e.checkpoints = append(e.checkpoints, r.checkpoint(id, g))
	}
	if len(e.checkpoints) == 0 {
		return
	}
	err := r.log.SaveCheckpoints(e.checkpoints)
	r.models = append(r.models, m.after(e))
	if err == nil {
		r.synced = len(r.models) - 1
	}
	r.check(err)
}

func (r *crashRun) checkpoint(id uint32, g *modelGroup) raftlog.Checkpoint {
	c := raftlog.Checkpoint{Group: id, ConfState: new(raftpb.ConfState), Data: make([]byte, r.random.IntN(40))}
	if id%2 == 0 {
		c.ConfState.Voters = []uint64{1, 2, 3} // others may be behind
	}
	committed := max(g.commit, g.index)
	switch n := r.random.IntN(20); {
	case n == 2: // the replica is gone, or another takes its place
		c.Reset, c.Index, c.Term = true, r.random.Uint64N(3)*(g.last()+1)/2, 1
	case n == 0: // a leader's snapshot, past the end
		c.Index, c.Term = g.last()+1+r.random.Uint64N(3), max(g.term, g.termOf(g.last()), 1)
	case n == 1 && committed < g.last(): // one that differs from the log
		c.Index, c.Term = committed+1+r.random.Uint64N(g.last()-committed), max(g.term, g.termOf(g.last()))+1
	default:
		c.Index = g.index + r.random.Uint64N(committed-g.index+1)
		c.Term = g.termOf(c.Index)
	}
	return c
}

// check crashes after an error, or has the log repaired where only the disk
// failed, having seen that it stays broken.
func (r *crashRun) check(err error) {
	if err == nil {
		return
	}
	if !errors.Is(err, errFuse) && !errors.Is(err, errDisk) {
		r.Fatal(err)
	}
	for _, again := range []error{r.log.Append(nil), r.log.Sync(), r.log.SaveCheckpoints(nil)} {
		if again != err {
			r.Fatalf("after %v: %v", err, again)
		}
	}
	if errors.Is(err, errDisk) && r.random.IntN(2) == 0 {
		r.repair()
		return
	}
	r.crash()
}

// repair goes on with the same log, on a disk that fails a few times more.
func (r *crashRun) repair() {
	for range r.random.IntN(3) {
		r.burn(errDisk, 12)
		err := r.log.Repair()
		r.unburn()
		if err == nil {
			break
		}
		if !errors.Is(err, errDisk) {
			r.Fatalf("repair: %v", err)
		}
		if r.log.Append(nil) == nil || r.log.Sync() == nil {
			r.Fatal("the log works though its repair failed")
		}
	}
	r.unburn()
	must(r.T, r.log.Repair())
	r.found(r.log)
}

func (r *crashRun) crash() {
	if r.random.IntN(4) == 0 {
		r.disk.Kill()
	} else {
		r.disk.PowerCut(faultdisk.Keep(r.random.IntN(4)))
	}
	r.reopen()
}

// reopen opens the log, through more crashes, and finds out how much is there.
func (r *crashRun) reopen() {
	r.unburn()
	for range r.random.IntN(3) {
		r.burn(errFuse, 12)
		l, err := raftlog.Open(r.config())
		r.unburn()
		if err == nil {
			r.found(l)
			r.disk.PowerCut(faultdisk.Keep(r.random.IntN(4)))
		} else if errors.Is(err, errFuse) {
			r.disk.PowerCut(faultdisk.Keep(r.random.IntN(4)))
		} else {
			r.Fatalf("open: %v", err)
		}
	}
	l, err := raftlog.Open(r.config())
	if err != nil {
		r.Fatalf("open: %v", err)
	}
	r.log = l
	r.found(l)
}

// found looks which beginning of the events the log holds, and goes on from
// there: what was opened is durable.
func (r *crashRun) found(l *raftlog.Log) {
	var d string
	for n := len(r.models) - 1; n >= r.synced; n-- {
		if d = r.models[n].differs(l); d == "" {
			r.models = r.models[:n+1]
			r.synced = n
			return
		}
	}
	r.Fatalf("lost: not even what was synced is there: %s", d)
}

// A process that crashes again and again while it opens the log, and clears a
// torn tail, finds the same each time.
func TestCrashesWhileOpening(t *testing.T) {
	for seed := range uint64(300) {
		r := &crashRun{T: t, random: rand.New(rand.NewPCG(seed, 1)), disk: faultdisk.New(seed), models: make([]model, 1)}
		r.log = mustOpen(t, r.config())
		for range 5 {
			r.append()
		}
		must(t, r.log.Sync())
		want := r.models[len(r.models)-1]
		size := 1 + r.random.IntN(3000)
		must(t, r.log.Append([]raftlog.Update{{Group: 9, Entries: []*raftpb.Entry{entry(1, 1, string(make([]byte, size)))}}}))
		r.disk.PowerCut(faultdisk.Some)
		for range 10 {
			r.burn(errFuse, 30)
			l, err := raftlog.Open(r.config())
			for i := 0; err == nil && i < 5; i++ {
				if err = l.Append([]raftlog.Update{{Group: 9, HardState: hardState(1, 1, 0)}}); err == nil {
					err = l.Sync()
				}
			}
			if err != nil && !errors.Is(err, errFuse) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			r.unburn()
			r.disk.PowerCut(faultdisk.Some)
		}
		l := mustOpen(t, r.config())
		if d := want.differs(l); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
		must(t, l.Close())
	}
}

// The newest segment is empty after a crash; the one before it says what the
// groups' hard states are and stays.
func TestEmptySegmentHoldsNoState(t *testing.T) {
	d := faultdisk.New(1)
	l := mustOpen(t, small(d))
	must(t, l.Append([]raftlog.Update{{Group: 2, HardState: hardState(5, 6, 0)}}))
	for i := uint64(1); l.Stats().Segments == 1; i++ {
		must(t, l.Sync())
		must(t, l.Append([]raftlog.Update{{Group: 1, HardState: hardState(i, 1, 0)}}))
	}
	clear(d.Bytes("0000000002.seg")[512:])
	d.Kill()
	for range 2 {
		l = mustOpen(t, small(d))
		must(t, l.SaveCheckpoints(nil))
		if hs, _, _ := l.Group(2).InitialState(); hs.GetTerm() != 5 || hs.GetVote() != 6 {
			t.Fatalf("hard state %v", hs)
		}
		d.Kill()
	}
}
