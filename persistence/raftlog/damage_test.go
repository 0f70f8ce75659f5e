package raftlog_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/rookery-im/rookery/persistence/raftlog"
	"github.com/rookery-im/rookery/persistence/raftlog/faultdisk"
)

func small(d *faultdisk.Disk) raftlog.Config {
	return raftlog.InLine(raftlog.Config{Disk: d, SegmentBytes: 4 << 10})
}

// appended is one round: some entries for group 1, and a hard state.
func appended(t testing.TB, l *raftlog.Log, m model, first, last uint64) model {
	t.Helper()
	us := []raftlog.Update{
		{Group: 1, Entries: entries(1, first, last, 1)},
		{Group: 2, HardState: hardState(first, 1, 0)},
	}
	must(t, l.Append(us))
	return m.after(event{update: &us[0]}).after(event{update: &us[1]})
}

// smallLog writes a few segments with all kinds of records; what it returns is
// synced.
func smallLog(t testing.TB, d *faultdisk.Disk) (*raftlog.Log, model) {
	l := mustOpen(t, small(d))
	m := filled(t, l, model{})
	if n := l.Stats().Segments; n != 2 {
		t.Fatalf("%d segments, want 2", n)
	}
	return l, m
}

// agedLog is the same on files that were segments before.
func agedLog(t testing.TB, d *faultdisk.Disk) (*raftlog.Log, model) {
	l, m := aged(t, d)
	return l, filled(t, l, m)
}

// aged is a log with no segment that was not one before.
func aged(t testing.TB, d *faultdisk.Disk) (*raftlog.Log, model) {
	l := mustOpen(t, small(d))
	var m model
	for i := uint64(1); d.Bytes("0000000009.seg") == nil; i++ {
		u := raftlog.Update{Group: 3, Entries: entries(1, i, i, 1)}
		must(t, l.Append([]raftlog.Update{u}))
		must(t, l.SaveCheckpoints([]raftlog.Checkpoint{{Group: 3, Index: i, Term: 1}}))
		m = m.after(event{update: &u}).after(event{checkpoints: []raftlog.Checkpoint{{Group: 3, Index: i, Term: 1}}})
	}
	return l, m
}

// logs on new files and on used ones.
var logs = map[string]func(testing.TB, *faultdisk.Disk) (*raftlog.Log, model){"new": smallLog, "aged": agedLog}

func filled(t testing.TB, l *raftlog.Log, m model) model {
	for i := uint64(1); i <= 84; i += 3 {
		m = appended(t, l, m, i, i+2)
		must(t, l.Sync())
		if i == 13 {
			e := event{checkpoints: []raftlog.Checkpoint{{Group: 1, Index: 2, Term: 1, Data: []byte("data")}}}
			must(t, l.SaveCheckpoints(e.checkpoints))
			m = m.after(e)
		}
	}
	return m
}

// exactOrDamaged opens the log and asserts that it is refused as damaged, or
// that nothing is missing and nothing came to it.
func exactOrDamaged(d *faultdisk.Disk, m *model) error {
	l, err := raftlog.Open(small(d))
	if err != nil {
		var damage *raftlog.DamagedError
		if !errors.As(err, &damage) || damage.File == "" || damage.Reason == "" {
			return fmt.Errorf("not reported as damage: %w", err)
		}
		return nil
	}
	if diff := m.differs(l); diff != "" {
		return errors.New(diff)
	}
	return l.Close()
}

// ways in which a process and its machine may end after a sync.
var endings = map[string]func(testing.TB, *faultdisk.Disk, *raftlog.Log){
	"closed":    func(t testing.TB, _ *faultdisk.Disk, l *raftlog.Log) { must(t, l.Close()) },
	"killed":    func(_ testing.TB, d *faultdisk.Disk, _ *raftlog.Log) { d.Kill() },
	"power cut": func(_ testing.TB, d *faultdisk.Disk, _ *raftlog.Log) { d.PowerCut(faultdisk.Nothing) },
}

// eachLog runs a test on new files and on used ones.
func eachLog(t *testing.T, test func(*testing.T, func(testing.TB, *faultdisk.Disk) (*raftlog.Log, model))) {
	for name, begin := range logs {
		t.Run(name, func(t *testing.T) { test(t, begin) })
	}
}

// One flipped bit anywhere in what is synced never makes less of it.
func TestFlippedBits(t *testing.T) {
	eachLog(t, func(t *testing.T, begin func(testing.TB, *faultdisk.Disk) (*raftlog.Log, model)) {
		for _, end := range endings {
			disk := faultdisk.New(1)
			l, m := begin(t, disk)
			end(t, disk, l)
			for _, file := range disk.Names() {
				end := used(disk, file)
				for i := range disk.Bytes(file) {
					if (i >= end || raceEnabled) && i%11 != 0 {
						continue // of unused space some are enough
					}
					d := disk.Clone(1)
					d.Bytes(file)[i] ^= 1 << (i % 8)
					if err := exactOrDamaged(d, &m); err != nil {
						t.Fatalf("bit %d of byte %d of %s flipped: %v", i%8, i, file, err)
					}
				}
			}
		}
	})
}

// Nor does a file that lost its end, or is gone.
func TestTruncatedFiles(t *testing.T) {
	eachLog(t, func(t *testing.T, begin func(testing.TB, *faultdisk.Disk) (*raftlog.Log, model)) {
		for _, end := range endings {
			disk := faultdisk.New(1)
			l, m := begin(t, disk)
			inUse := l.Stats().Segments
			end(t, disk, l)
			for _, file := range disk.Names() {
				for n := 0; n < len(disk.Bytes(file)); n += 56 {
					d := disk.Clone(1)
					d.Put(file, disk.Bytes(file)[:n])
					if err := exactOrDamaged(d, &m); err != nil {
						t.Fatalf("%s cut to %d bytes: %v", file, n, err)
					}
				}
				if strings.HasSuffix(file, ".seg") {
					inUse--
				}
				if inUse < 0 || strings.HasSuffix(file, ".old") {
					continue // nothing was written to it yet
				}
				d := disk.Clone(1)
				must(t, d.Remove(file))
				if _, err := raftlog.Open(small(d)); !errors.Is(err, raftlog.ErrDamaged) {
					t.Fatalf("%s removed: %v", file, err)
				}
			}
		}
	})
}

// Sectors, or runs of them, that turn to zeros or to noise in the synced part.
// After a power cut that took the last mark with it, a synced end that turns to
// zeros looks like one that never arrived: nothing can be promised then.
func TestLostSectors(t *testing.T) {
	eachLog(t, func(t *testing.T, begin func(testing.TB, *faultdisk.Disk) (*raftlog.Log, model)) {
		for _, name := range []string{"closed", "killed"} {
			disk := faultdisk.New(1)
			l, m := begin(t, disk)
			endings[name](t, disk, l)
			random := rand.New(rand.NewPCG(1, 1))
			for _, file := range disk.Names() {
				size := len(disk.Bytes(file))
				for off := 0; off < size; off += 512 {
					for n := 512; off+n <= size; n *= 2 {
						d := disk.Clone(1)
						for i := off; i < off+n; i++ {
							d.Bytes(file)[i] = byte(random.Uint32() * uint32(n/512%2))
						}
						if err := exactOrDamaged(d, &m); err != nil {
							t.Fatalf("%d bytes at %d of %s lost: %v", n, off, file, err)
						}
					}
				}
			}
		}
	})
}

// Alice's entry is synced, Bob's and Carol's are written after it, and the
// power goes: of Bob's nothing is left, Carol's arrived. Nobody was promised
// either, so the log ends with Alice's.
func TestTornTail(t *testing.T) {
	d := faultdisk.New(1)
	l := mustOpen(t, small(d))
	must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 1, 1, 1)}}))
	must(t, l.Sync())
	begin := used(d, firstSegment)
	must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 2, 40, 1)}}))
	end := used(d, firstSegment)
	must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 41, 45, 1)}}))
	d.Kill()
	unwritten(d, firstSegment, begin, end-512)
	for range 2 {
		l = mustOpen(t, small(d))
		wantEntries(t, l.Group(1), entries(1, 1, 1, 1))
		if n := used(d, firstSegment); n > begin {
			t.Fatalf("%d bytes left after the end", n-begin)
		}
		must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 2, 3, 7)}}))
		must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 2, 2, 8)}}))
		wantEntries(t, l.Group(1), append(entries(1, 1, 1, 1), entries(1, 2, 2, 8)...))
		d.PowerCut(faultdisk.Nothing)
	}
}

const firstSegment = "0000000001.seg"

// used is the length of a file without the zeros and stamps at its end, in words.
func used(d *faultdisk.Disk, file string) int {
	b := d.Bytes(file)
	for len(b) >= 8 && (stamp(file, len(b)-8) || binary.LittleEndian.Uint64(b[len(b)-8:]) == 0) {
		b = b[:len(b)-8]
	}
	return len(b)
}

// stamp reports whether that word of a file is a sector's stamp.
func stamp(file string, off int) bool {
	return strings.HasSuffix(file, ".seg") && off > 512 && off%512 == 504
}

// unwritten makes a file as if what stands from one word up to another had not
// arrived; the sector in which it begins had arrived before.
func unwritten(d *faultdisk.Disk, file string, from, to int) {
	b := d.Bytes(file)
	for off := from; off < to; off += 8 {
		if !stamp(file, off) || off-off%512 >= from {
			clear(b[off : off+8])
		}
	}
}

// The marks are lost, as a power cut may lose them, but the third record says
// that the second one was synced.
func TestLaterRecordProvesDamage(t *testing.T) {
	d := faultdisk.New(1)
	l := mustOpen(t, small(d))
	marks := append([]byte(nil), d.Bytes("LOG")...)
	var begin int
	for i := uint64(1); i <= 3; i++ {
		if i == 2 {
			begin = used(d, firstSegment)
		}
		must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, i*40-39, i*40, 1)}}))
		must(t, l.Sync())
	}
	d.Kill()
	d.Put("LOG", marks)
	unwritten(d, firstSegment, begin, begin+512)
	_, err := raftlog.Open(small(d))
	var damage *raftlog.DamagedError
	if !errors.As(err, &damage) || damage.File != firstSegment || damage.Offset != int64(begin) {
		t.Fatalf("open: %v, want damage at %d", err, begin)
	}
	if !strings.Contains(err.Error(), "restore") {
		t.Errorf("%q does not say what to do", err)
	}
}

// What a newer program wrote is not damage to be cut off.
func TestNewerFormat(t *testing.T) {
	d := faultdisk.New(1)
	must(t, mustOpen(t, small(d)).Close())
	d.Bytes("LOG")[8]++
	if _, err := raftlog.Open(small(d)); err == nil {
		t.Fatal("opened")
	}
}

// A full disk breaks the log when the next segment cannot be made, and leaves
// everything that was written.
func TestDiskFull(t *testing.T) {
	d := faultdisk.New(1)
	l := mustOpen(t, small(d))
	d.SetCapacity(20 << 10)
	var err error
	i := uint64(0)
	for ; err == nil && i < 1000; i++ {
		if err = l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, i+1, i+1, 1)}}); err == nil {
			must(t, l.Sync())
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if again := l.Append(nil); again != err {
		t.Errorf("append: %v", again)
	}
	if again := l.Close(); !errors.Is(again, syscall.ENOSPC) {
		t.Errorf("close: %v", again)
	}
	d.SetCapacity(0)
	l = mustOpen(t, small(d))
	defer l.Close()
	wantEntries(t, l.Group(1), entries(1, 1, i-1, 1))
}

// After a failed sync the kernel may hold as clean what the disk does not
// have: the next sync would succeed over it.
func TestSyncFails(t *testing.T) {
	d := faultdisk.New(1)
	l := mustOpen(t, small(d))
	errSync := errors.New("sync failed")
	must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 1, 9, 1)}}))
	d.SetFault(func(op faultdisk.Op, _ string) error {
		if op == faultdisk.Sync {
			return errSync
		}
		return nil
	})
	err := l.Sync()
	d.SetFault(nil)
	if !errors.Is(err, errSync) {
		t.Fatal(err)
	}
	for _, again := range []error{l.Sync(), l.Append(nil), l.SaveCheckpoints(nil)} {
		if again != err {
			t.Errorf("after %v: %v", err, again)
		}
	}
	// The process starts again on the same machine and finds the page cache:
	// what Open shows is durable all the same.
	d.Kill()
	l = mustOpen(t, small(d))
	last, _ := l.Group(1).LastIndex()
	d.PowerCut(faultdisk.Nothing)
	l = mustOpen(t, small(d))
	wantEntries(t, l.Group(1), entries(1, 1, last, 1))
}

// What is read back is checked again.
func TestReadBackChecked(t *testing.T) {
	d := faultdisk.New(1)
	cfg := small(d)
	cfg.GroupTailBytes = 1
	l := mustOpen(t, cfg)
	must(t, l.Append([]raftlog.Update{{Group: 1, Entries: entries(1, 1, 9, 1)}}))
	wantEntries(t, l.Group(1), entries(1, 1, 9, 1))
	d.Bytes(firstSegment)[used(d, firstSegment)-20] ^= 1
	if _, err := l.Group(1).Entries(1, 10, noLimit); !errors.Is(err, raftlog.ErrDamaged) {
		t.Fatal(err)
	}
	if err := l.Append(nil); !errors.Is(err, raftlog.ErrDamaged) {
		t.Fatal(err)
	}
}
