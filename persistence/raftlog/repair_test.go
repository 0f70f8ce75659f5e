package raftlog_test

import (
	"errors"
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rookery-im/rookery/persistence/raftlog"
	"github.com/rookery-im/rookery/persistence/raftlog/faultdisk"
)

// A disk without room breaks the log where a segment is full. While there is
// none Repair fails; once there is, the log goes on with all that was synced.
func TestFullDiskIsOutlived(t *testing.T) {
	d := faultdisk.New(1)
	l := mustOpen(t, small(d))
	d.SetCapacity(16 << 10) // LOG and one segment
	var want []*raftpb.Entry
	var err error
	for i := uint64(1); err == nil; i++ {
		next := entries(1, i, i, 1)
		if err = l.Append([]raftlog.Update{{Group: 1, Entries: next}}); err != nil {
			break
		}
		must(t, l.Sync())
		want = append(want, next...)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("broke with %v", err)
	}
	for range 3 {
		if err := l.Repair(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("repaired on a full disk: %v", err)
		}
		if err := l.Append(nil); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("a log that is not repaired says %v", err)
		}
	}
	d.SetCapacity(0)
	must(t, l.Repair())
	wantEntries(t, l.Group(1), want)
	next := uint64(len(want)) + 1
	for i := next; i < next+200; i++ {
		must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, i, i, 1)}}))
		want = append(want, entries(1, i, i, 1)...)
	}
	must(t, l.Close())
	d.Kill()
	l = mustOpen(t, small(d))
	wantEntries(t, l.Group(1), want)
	must(t, l.Close())
}

// What vanished is not begun again, and a log that works or is closed is left
// alone.
func TestRepairBeginsNothing(t *testing.T) {
	d := faultdisk.New(1)
	l := mustOpen(t, small(d))
	must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 1, 3, 1)}}))
	must(t, l.Sync())
	must(t, l.Repair())
	wantEntries(t, l.Group(1), entries(1, 1, 3, 1))
	d.SetFault(func(op faultdisk.Op, _ string) error {
		if op == faultdisk.Sync {
			return syscall.EIO
		}
		return nil
	})
	must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 4, 4, 1)}}))
	if err := l.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	d.SetFault(nil)
	for _, name := range d.Names() {
		must(t, d.Remove(name))
	}
	if err := l.Repair(); !errors.Is(err, raftlog.ErrLost) {
		t.Fatalf("a log whose files are gone: %v", err)
	}
	if err := l.Close(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("close: %v", err)
	}
	if err := l.Repair(); !errors.Is(err, raftlog.ErrClosed) {
		t.Fatalf("repair of a closed log: %v", err)
	}
}
