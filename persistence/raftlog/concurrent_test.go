package raftlog_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/rookery-im/rookery/persistence/raftlog"
)

// One goroutine appends, one syncs, one saves checkpoints, one reads, as a node
// with a slow disk does. It is for the race detector; and the end is right.
func TestConcurrentUse(t *testing.T) {
	const rounds, groups = 400, 4
	cfg := raftlog.Config{Dir: t.TempDir(), SegmentBytes: 16 << 10, TailBytes: 4 << 10, GroupTailBytes: 1 << 10}
	l := mustOpen(t, cfg)
	done := make(chan struct{})
	var wg sync.WaitGroup
	// each runs until the appender is done, and once more.
	each := func(f func() error) {
		wg.Go(func() {
			for over := false; !over; {
				select {
				case <-done:
					over = true
				default:
				}
				if err := f(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	each(l.Sync)
	each(func() error { return checkpointHalf(l, groups) })
	each(func() error { return readSome(l, groups) })
	for i := uint64(1); i <= rounds; i++ {
		var us []raftlog.Update
		for id := uint32(1); id <= groups; id++ {
			us = append(us, raftlog.Update{Group: id, HardState: hardState(1, 1, i), Entries: entries(id, i, i, 1)})
		}
		must(t, l.Append(us))
	}
	close(done)
	wg.Wait()
	for range 2 {
		for id := uint32(1); id <= groups; id++ {
			first, _ := l.Group(id).FirstIndex()
			wantEntries(t, l.Group(id), entries(id, first, rounds, 1))
		}
		must(t, l.Close())
		l = mustOpen(t, cfg)
	}
	must(t, l.Close())
}

func checkpointHalf(l *raftlog.Log, groups uint32) error {
	var all []raftlog.Checkpoint
	for id := uint32(1); id <= groups; id++ {
		first, _ := l.Group(id).FirstIndex()
		last, _ := l.Group(id).LastIndex()
		if index := (first + last) / 2; index >= first {
			all = append(all, raftlog.Checkpoint{Group: id, Index: index, Term: 1})
		}
	}
	return l.SaveCheckpoints(all)
}

func readSome(l *raftlog.Log, groups uint32) error {
	for id := uint32(1); id <= groups; id++ {
		first, _ := l.Group(id).FirstIndex()
		last, _ := l.Group(id).LastIndex()
		ents, err := l.Group(id).Entries(first, last+1, noLimit)
		if errors.Is(err, raft.ErrCompacted) || errors.Is(err, raft.ErrUnavailable) {
			continue
		}
		if err != nil || uint64(len(ents)) != last+1-first {
			return fmt.Errorf("%d entries, want %d to %d: %w", len(ents), first, last, err)
		}
		for i, e := range ents {
			if e.GetIndex() != first+uint64(i) {
				return fmt.Errorf("entry %d in the place of %d", e.GetIndex(), first+uint64(i))
			}
		}
	}
	return nil
}

// Append and Sync of a round: entries of 140 bytes, spread over 64 groups.
func BenchmarkRound(b *testing.B) {
	for _, batch := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("entries=%d", batch), func(b *testing.B) { benchmarkRound(b, batch, (*raftlog.Log).Sync) })
	}
}

// BenchmarkAppend leaves the sync out: what a round costs of processor.
func BenchmarkAppend(b *testing.B) {
	noSync := func(*raftlog.Log) error { return nil }
	for _, batch := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("entries=%d", batch), func(b *testing.B) { benchmarkRound(b, batch, noSync) })
	}
}

func benchmarkRound(b *testing.B, batch int, sync func(*raftlog.Log) error) {
	const groups = 64
	l := mustOpen(b, raftlog.Config{Dir: b.TempDir()})
	data := make([]byte, 140)
	for i := range data {
		data[i] = byte(i) + 1
	}
	var indexes [groups]uint64
	updates := make([]raftlog.Update, 0, groups)
	next := 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		updates = updates[:0]
		for n := range batch {
			g := next % groups
			next++
			indexes[g]++
			e := &raftpb.Entry{Index: new(indexes[g]), Term: new(uint64(1)), Type: raftpb.EntryNormal.Enum(), Data: data}
			if n < groups {
				updates = append(updates, raftlog.Update{Group: uint32(g), Entries: []*raftpb.Entry{e}})
			} else {
				u := &updates[n-groups]
				u.Entries = append(u.Entries, e)
			}
		}
		must(b, l.Append(updates))
		must(b, sync(l))
		if i%4096 == 4095 { // as a node does, or the log only grows
			b.StopTimer()
			must(b, checkpointHalf(l, groups))
			b.StartTimer()
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "entries/s")
	must(b, l.Close())
}
