package raftlog_test

import (
	"errors"
	"testing"

	"github.com/rookery-im/rookery/persistence/raftlog"
	"github.com/rookery-im/rookery/persistence/raftlog/faultdisk"
)

// Whatever is written over a segment, opening the log shows all that was
// synced or reports damage; what opens can be used and opened again.
func FuzzOpen(f *testing.F) {
	disk := faultdisk.New(1)
	l, m := smallLog(f, disk)
	must(f, l.Close())
	whole := disk.Bytes(firstSegment)
	f.Add(uint16(0), uint16(512), whole[600:700])
	f.Add(uint16(1), uint16(0), whole[:600])
	f.Add(uint16(0), uint16(4000), []byte{})
	f.Add(uint16(2), uint16(4096), disk.Bytes("LOG")[4096:4200])
	f.Fuzz(func(t *testing.T, file, off uint16, patch []byte) {
		d := disk.Clone(1)
		names := d.Names()
		b := d.Bytes(names[int(file)%len(names)])
		copy(b[int(off)%len(b):], patch)
		l, err := raftlog.Open(small(d))
		if err != nil {
			if !errors.Is(err, raftlog.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if diff := m.differs(l); diff != "" {
			t.Fatal(diff)
		}
		after := appended(t, l, m, 85, 90)
		must(t, l.Close())
		l = mustOpen(t, small(d))
		if diff := after.differs(l); diff != "" {
			t.Fatal(diff)
		}
		must(t, l.Close())
	})
}
