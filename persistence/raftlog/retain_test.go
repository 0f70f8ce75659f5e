package raftlog_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/rookery-im/rookery/persistence/raftlog"
	"github.com/rookery-im/rookery/persistence/raftlog/faultdisk"
)

// A follower that was away for a while is served from before the checkpoint, as
// far back as the bound goes, also after a restart; with nobody elsewhere nothing
// is kept.
func TestEntriesAreRetained(t *testing.T) {
	const segment, retained = 16 << 10, 64 << 10
	for _, c := range []struct {
		name        string
		voters      []uint64
		bound       int
		most, least int // segments
	}{
		{"three replicas", []uint64{1, 2, 3}, retained, 6, 4},
		{"one replica", []uint64{1}, retained, 2, 1},
		{"no bound", []uint64{1, 2, 3}, -1, 2, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := faultdisk.New(1)
			cfg := raftlog.InLine(raftlog.Config{Disk: d, SegmentBytes: segment, RetainBytes: c.bound})
			l := mustOpen(t, cfg)
			data := strings.Repeat("x", 1000)
			conf := &raftpb.ConfState{Voters: c.voters}
			last := uint64(0)
			for range 20 {
				for range 10 {
					last++
					must(t, l.Append([]raftlog.Update{{Group: 1, HardState: hardState(1, 1, last), Entries: []*raftpb.Entry{entry(last, 1, data)}}}))
				}
				must(t, l.SaveCheckpoints([]raftlog.Checkpoint{{Group: 1, Index: last, Term: 1, ConfState: conf}}))
			}
			if n := l.Stats().Segments; n > c.most || n < c.least {
				t.Errorf("%d segments, want %d to %d", n, c.least, c.most)
			}
			before, err := l.Group(1).FirstIndex()
			must(t, err)
			for range 2 {
				first, err := l.Group(1).FirstIndex()
				must(t, err)
				if kept := int(last + 1 - first); c.least > 1 && (kept < 30 || first != before) || c.least == 1 && kept > 16 {
					t.Errorf("first entry %d of %d", first, last)
				}
				if _, err := l.Group(1).Entries(first-1, last+1, noLimit); !errors.Is(err, raft.ErrCompacted) {
					t.Errorf("entry %d: %v", first-1, err)
				}
				if first <= last {
					ents, err := l.Group(1).Entries(first, last+1, noLimit)
					if must(t, err); len(ents) != int(last-first+1) {
						t.Errorf("%d entries from %d on", len(ents), first)
					}
					if term, err := l.Group(1).Term(first - 1); term != 1 || err != nil {
						t.Errorf("term before the first: %d, %v", term, err)
					}
				}
				must(t, l.Close())
				l = mustOpen(t, cfg)
			}
			must(t, l.Close())
		})
	}
}

// A replica that was removed leaves nothing but the data of its tombstone; the
// next one of the group begins without its votes.
func TestGroupBeginsAnew(t *testing.T) {
	cfg := raftlog.Config{Dir: t.TempDir(), SegmentBytes: 64 << 10}
	l := mustOpen(t, cfg)
	must(t, l.Append([]raftlog.Update{{Group: 3, HardState: hardState(7, 5, 9), Entries: entries(3, 1, 9, 7)}}))
	must(t, l.SaveCheckpoints([]raftlog.Checkpoint{{Group: 3, Index: 6, Term: 7, ConfState: &raftpb.ConfState{Voters: []uint64{5}}}}))
	if err := l.SaveCheckpoints([]raftlog.Checkpoint{{Group: 3, Data: []byte("gone")}}); err == nil {
		t.Error("a checkpoint went back without a reset")
	}
	must(t, l.SaveCheckpoints([]raftlog.Checkpoint{{Group: 3, Data: []byte("gone"), Reset: true}}))
	for range 2 {
		c, ok := l.Checkpoint(3)
		if !ok || c.Index != 0 || c.Reset || string(c.Data) != "gone" || len(c.ConfState.GetVoters()) != 0 {
			t.Errorf("checkpoint %+v, %v", c, ok)
		}
		if hs, _, _ := l.Group(3).InitialState(); hs != nil {
			t.Errorf("hard state %v", hs)
		}
		if last, _ := l.Group(3).LastIndex(); last != 0 || !slices.Equal(l.Groups(), []uint32{3}) {
			t.Errorf("last %d, groups %d", last, l.Groups())
		}
		must(t, l.Close())
		l = mustOpen(t, cfg)
	}
	must(t, l.SaveCheckpoints([]raftlog.Checkpoint{{Group: 3, Index: 4, Term: 2, ConfState: &raftpb.ConfState{Voters: []uint64{8}}}}))
	if hs, _, _ := l.Group(3).InitialState(); hs.GetTerm() != 2 || hs.GetVote() != 0 || hs.GetCommit() != 4 {
		t.Errorf("hard state %v", hs)
	}
	must(t, l.Close())
}
