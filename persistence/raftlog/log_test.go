package raftlog_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/persistence/raftlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const noLimit = 1 << 62

func entry(index, term uint64, data string) *raftpb.Entry {
	e := &raftpb.Entry{Index: new(index), Term: new(term), Type: raftpb.EntryNormal.Enum()}
	if data != "" {
		e.Data = []byte(data)
	}
	return e
}

// entries makes entries first to last whose data names group, index and term.
func entries(group uint32, first, last, term uint64) []*raftpb.Entry {
	var out []*raftpb.Entry
	for i := first; i <= last; i++ {
		out = append(out, entry(i, term, fmt.Sprintf("group %d entry %d of term %d", group, i, term)))
	}
	return out
}

func hardState(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

func mustOpen(t testing.TB, cfg raftlog.Config) *raftlog.Log {
	t.Helper()
	l, err := raftlog.Open(cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantEntries asserts what the storage returns for its whole range.
func wantEntries(t testing.TB, g *raftlog.Group, want []*raftpb.Entry) {
	t.Helper()
	first, _ := g.FirstIndex()
	last, _ := g.LastIndex()
	if last+1-first != uint64(len(want)) {
		t.Fatalf("entries %d to %d, want %d of them", first, last, len(want))
	}
	if len(want) == 0 {
		return
	}
	got, err := g.Entries(first, last+1, noLimit)
	must(t, err)
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i := range want {
		if !proto.Equal(got[i], want[i]) {
			t.Fatalf("entry %v, want %v", got[i], want[i])
		}
		if term, err := g.Term(want[i].GetIndex()); err != nil || term != want[i].GetTerm() {
			t.Fatalf("term of %d is %d, %v", want[i].GetIndex(), term, err)
		}
	}
}

// Two groups, a conflicting suffix, a hard state alone: the same is there
// before and after the log is opened again.
func TestLogReopens(t *testing.T) {
	cfg := raftlog.Config{Dir: filepath.Join(t.TempDir(), "log"), SegmentBytes: 64 << 10}
	l := mustOpen(t, cfg)
	must(t, l.Append([]raftlog.Update{
		{Group: 1, HardState: hardState(1, 7, 2), Entries: entries(1, 1, 5, 1)},
		{Group: 2, Entries: entries(2, 1, 3, 1)},
	}))
	must(t, l.Append([]raftlog.Update{{Group: 1, HardState: hardState(2, 0, 2), Entries: entries(1, 4, 7, 2)}}))
	must(t, l.Append([]raftlog.Update{{Group: 2, HardState: hardState(3, 9, 3)}}))
	must(t, l.Sync())
	for range 2 {
		wantEntries(t, l.Group(1), append(entries(1, 1, 3, 1), entries(1, 4, 7, 2)...))
		wantEntries(t, l.Group(2), entries(2, 1, 3, 1))
		hs, conf, err := l.Group(1).InitialState()
		must(t, err)
		if !proto.Equal(hs, hardState(2, 0, 2)) || conf == nil {
			t.Fatalf("hard state %v", hs)
		}
		if hs, _, _ := l.Group(3).InitialState(); hs != nil {
			t.Fatalf("an empty group has the hard state %v", hs)
		}
		must(t, l.Close())
		l = mustOpen(t, cfg)
	}
	must(t, l.Close())
}

func TestStorageRange(t *testing.T) {
	l := mustOpen(t, raftlog.Config{Dir: t.TempDir(), SegmentBytes: 64 << 10})
	defer l.Close()
	g := l.Group(1)
	must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 1, 9, 1)}}))
	conf := &raftpb.ConfState{Voters: []uint64{7}} // alone: nothing is retained
	must(t, l.SaveCheckpoints([]raftlog.Checkpoint{{Group: 1, Index: 4, Term: 1, ConfState: conf, Data: []byte("x")}}))
	for _, c := range []struct {
		lo, hi, max uint64
		want        int
		err         error
	}{
		{4, 6, noLimit, 0, raft.ErrCompacted},
		{5, 10, noLimit, 5, nil},
		{5, 10, 0, 1, nil},
		{9, 10, noLimit, 1, nil},
		{5, 11, noLimit, 0, raft.ErrUnavailable},
		{10, 10, noLimit, 0, raft.ErrUnavailable},
	} {
		got, err := g.Entries(c.lo, c.hi, c.max)
		if len(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("Entries(%d, %d, %d) = %d, %v, want %d, %v", c.lo, c.hi, c.max, len(got), err, c.want, c.err)
		}
	}
	if _, err := g.Term(3); !errors.Is(err, raft.ErrCompacted) {
		t.Errorf("term before the checkpoint: %v", err)
	}
	if term, err := g.Term(4); term != 1 || err != nil {
		t.Errorf("term at the checkpoint: %d, %v", term, err)
	}
	if _, err := g.Term(10); !errors.Is(err, raft.ErrUnavailable) {
		t.Errorf("term after the end: %v", err)
	}
	snap, err := g.Snapshot()
	must(t, err)
	want := &raftpb.SnapshotMetadata{Index: new(uint64(4)), Term: new(uint64(1)), ConfState: conf}
	if !proto.Equal(snap.GetMetadata(), want) || snap.Data != nil {
		t.Errorf("snapshot %v", snap)
	}
}

// raft must be able to start a group from nothing but a checkpoint.
func TestCheckpointBeginsGroup(t *testing.T) {
	cfg := raftlog.Config{Dir: t.TempDir(), SegmentBytes: 64 << 10}
	l := mustOpen(t, cfg)
	must(t, l.SaveCheckpoints([]raftlog.Checkpoint{
		{Group: 5, Index: 1, Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{3}}}}))
	must(t, l.Close())
	l = mustOpen(t, cfg)
	defer l.Close()
	node, err := raft.NewRawNode(&raft.Config{ID: 3, ElectionTick: 10, HeartbeatTick: 1, Storage: l.Group(5),
		Logger:        &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 8, Applied: 1, PreVote: true, CheckQuorum: true})
	must(t, err)
	must(t, node.Campaign())
	for range 8 {
		if !node.HasReady() {
			break
		}
		rd := node.Ready()
		must(t, l.Append([]raftlog.Update{{Group: 5, HardState: rd.HardState, Entries: rd.Entries}}))
		must(t, l.Sync())
		node.Advance(rd)
	}
	if st := node.BasicStatus(); st.RaftState != raft.StateLeader || st.GetCommit() != 2 {
		t.Fatalf("status %+v", st)
	}
}

func TestAppendRefuses(t *testing.T) {
	l := mustOpen(t, raftlog.Config{Dir: t.TempDir(), SegmentBytes: 64 << 10})
	defer l.Close()
	must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 1, 3, 1)}}))
	for name, u := range map[string]raftlog.Update{
		"gap":             {Group: 1, Entries: entries(1, 5, 6, 1)},
		"zero":            {Group: 1, Entries: entries(1, 0, 2, 1)},
		"not consecutive": {Group: 1, Entries: append(entries(1, 4, 4, 1), entries(1, 6, 6, 1)...)},
		"commit":          {Group: 1, HardState: hardState(1, 1, 4)},
	} {
		if err := l.Append([]raftlog.Update{u}); err == nil {
			t.Errorf("%s: appended", name)
		}
	}
	must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 4, 4, 1)}, {Group: 1, Entries: entries(1, 5, 5, 1)}}))
	wantEntries(t, l.Group(1), entries(1, 1, 5, 1))
}

// Segments go when every group's entries in them are checkpointed, and hard
// states and checkpoints written there stay.
func TestSegmentsDropped(t *testing.T) {
	dir := t.TempDir()
	cfg := raftlog.Config{Dir: dir, SegmentBytes: 4 << 10}
	l := mustOpen(t, cfg)
	must(t, l.Append([]raftlog.Update{{Group: 9, HardState: hardState(4, 2, 0)}}))
	must(t, l.SaveCheckpoints([]raftlog.Checkpoint{{Group: 8, Index: 11, Term: 3, Data: []byte("kept")}}))
	must(t, l.Append([]raftlog.Update{{Group: 2, Entries: entries(2, 1, 1, 1)}}))
	for i := uint64(1); i <= 500; i++ {
		must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, i, i, 1)}}))
	}
	before := l.Stats().Segments
	if before < 5 {
		t.Fatalf("%d segments", before)
	}
	must(t, l.SaveCheckpoints([]raftlog.Checkpoint{{Group: 1, Index: 490, Term: 1}}))
	if n := l.Stats().Segments; n != before {
		t.Fatalf("%d segments dropped, which group 2 needs", before-n)
	}
	must(t, l.SaveCheckpoints([]raftlog.Checkpoint{{Group: 2, Index: 1, Term: 1}}))
	if n := l.Stats().Segments; n > 2 {
		t.Fatalf("%d segments left", n)
	}
	must(t, l.Close())
	l = mustOpen(t, cfg)
	defer l.Close()
	wantEntries(t, l.Group(1), entries(1, 491, 500, 1))
	if hs, _, _ := l.Group(9).InitialState(); !proto.Equal(hs, hardState(4, 2, 0)) {
		t.Fatalf("hard state %v", hs)
	}
	if c, ok := l.Checkpoint(8); !ok || c.Index != 11 || c.Term != 3 || string(c.Data) != "kept" {
		t.Fatalf("checkpoint %v", c)
	}
}

// Memory holds only so much; what it does not is read from the segments.
func TestTailBounded(t *testing.T) {
	cfg := raftlog.Config{Dir: t.TempDir(), SegmentBytes: 16 << 10, TailBytes: 8 << 10, GroupTailBytes: 4 << 10}
	l := mustOpen(t, cfg)
	defer l.Close()
	for i := uint64(1); i <= 300; i++ {
		var us []raftlog.Update
		for id := uint32(1); id <= 4; id++ {
			us = append(us, raftlog.Update{Group: id, Entries: entries(id, i, i, 1+i/100)})
		}
		must(t, l.Append(us))
		if n := l.Stats().Tail; n > cfg.TailBytes {
			t.Fatalf("%d bytes in memory", n)
		}
	}
	for id := uint32(1); id <= 4; id++ {
		var want []*raftpb.Entry
		for i := uint64(1); i <= 300; i++ {
			want = append(want, entries(id, i, i, 1+i/100)...)
		}
		wantEntries(t, l.Group(id), want)
		some, err := l.Group(id).Entries(200, 301, 500)
		must(t, err)
		size := 0
		for _, e := range want[199 : 199+len(some)+1] {
			size += proto.Size(e)
		}
		next := proto.Size(want[199+len(some)])
		if size-next > 500 || size <= 500 || some[0].GetIndex() != 200 {
			t.Fatalf("%d entries of %d bytes, the next of %d", len(some), size-next, next)
		}
	}
}

// An update larger than a segment gets one of its own size.
func TestLargeUpdate(t *testing.T) {
	cfg := raftlog.Config{Dir: t.TempDir(), SegmentBytes: 4 << 10}
	l := mustOpen(t, cfg)
	var want []*raftpb.Entry
	for i := uint64(1); i < 40; i++ {
		size := 100
		if i%5 == 0 {
			size = 10_000
		}
		e := entry(i, 1, string(make([]byte, size)))
		want = append(want, e)
		must(t, l.Append([]raftlog.Update{{Group: 1, Entries: []*raftpb.Entry{e}}}))
	}
	must(t, l.Close())
	l = mustOpen(t, cfg)
	defer l.Close()
	wantEntries(t, l.Group(1), want)
}

// A directory that a log was in is not begun again.
func TestMissingLog(t *testing.T) {
	dir := t.TempDir()
	if _, err := raftlog.Open(raftlog.Config{Dir: dir, Missing: raftlog.Refuse}); !errors.Is(err, raftlog.ErrLost) {
		t.Errorf("empty directory: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "other"), nil, 0o600))
	if _, err := raftlog.Open(raftlog.Config{Dir: dir}); !errors.Is(err, raftlog.ErrLost) {
		t.Errorf("other files: %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, "other")))
	l := mustOpen(t, raftlog.Config{Dir: dir, SegmentBytes: 64 << 10})
	if _, err := raftlog.Open(raftlog.Config{Dir: dir}); err == nil {
		t.Error("opened twice")
	}
	must(t, l.Close())
	must(t, os.Remove(filepath.Join(dir, "0000000001.seg")))
	if _, err := raftlog.Open(raftlog.Config{Dir: dir}); !errors.Is(err, raftlog.ErrLost) || !errors.Is(err, raftlog.ErrDamaged) {
		t.Errorf("no segments: %v", err)
	}
}

func TestClosed(t *testing.T) {
	l := mustOpen(t, raftlog.Config{Dir: t.TempDir(), SegmentBytes: 64 << 10})
	must(t, l.Close())
	must(t, l.Close())
	if err := l.Append(nil); !errors.Is(err, raftlog.ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if err := l.Sync(); !errors.Is(err, raftlog.ErrClosed) {
		t.Errorf("sync: %v", err)
	}
	if err := l.SaveCheckpoints(nil); !errors.Is(err, raftlog.ErrClosed) {
		t.Errorf("checkpoint: %v", err)
	}
}

// A round costs no memory but what holds its entries.
func TestAppendAllocates(t *testing.T) {
	l := mustOpen(t, raftlog.Config{Dir: t.TempDir(), SegmentBytes: 1 << 20, GroupTailBytes: 16 << 10})
	defer l.Close()
	var rounds [][]raftlog.Update
	for i := uint64(1); i <= 1001; i++ {
		rounds = append(rounds, []raftlog.Update{
			{Group: 1, HardState: hardState(1, 1, i), Entries: entries(1, i, i, 1)},
			{Group: 2, Entries: entries(2, i, i, 1)},
		})
	}
	next := 0
	perRound := testing.AllocsPerRun(1000, func() {
		must(t, l.Append(rounds[next]))
		must(t, l.Sync())
		next++
	})
	if perRound > 1 {
		t.Errorf("%v allocations per round", perRound)
	}
}
