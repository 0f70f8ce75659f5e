package raftlog_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/rookery-im/rookery/persistence/raftlog"
	"github.com/rookery-im/rookery/persistence/raftlog/faultdisk"
)

// grown is a log that was killed with something written and not yet synced,
// and what it may be found to hold: from what was synced to all of it.
func grown(t testing.TB) (*faultdisk.Disk, []model) {
	disk := faultdisk.New(1)
	l, m := smallLog(t, disk)
	may := []model{m}
	for i := uint64(85); i <= 93; i += 3 {
		us := []raftlog.Update{
			{Group: 1, Entries: entries(1, i, i+2, 1)},
			{Group: 2, HardState: hardState(i, 1, 0)},
		}
		must(t, l.Append(us))
		for _, u := range us {
			m = m.after(event{update: &u})
			may = append(may, m)
		}
	}
	disk.Kill()
	return disk, may
}

// damage does to a file what the script says: each step is an operation, two
// places and a length, of bytes, or of sectors where the operation is odd.
func damage(b []byte, script []byte) []byte {
	const step = 8
	for ; len(script) >= step && len(b) > 0; script = script[step:] {
		from, to := int(binary.LittleEndian.Uint16(script[1:])), int(binary.LittleEndian.Uint16(script[3:]))
		n := int(binary.LittleEndian.Uint16(script[5:]))
		if script[0]&1 != 0 {
			from, to, n = from*512, to*512, n*512
		}
		from, to = from%len(b), to%len(b)
		n = min(n%(len(b)+1), len(b)-from, len(b)-to)
		switch script[0] >> 1 % 6 {
		case 0: // a run of one byte
			for i := range b[to : to+n] {
				b[to+i] = script[7]
			}
		case 1: // written in another place
			copy(b[to:to+n], append([]byte(nil), b[from:from+n]...))
		case 2: // a flipped bit
			b[to] ^= 1 << (script[7] % 8)
		case 3: // the end is gone
			b = b[:to]
		case 4: // something is taken out
			b = append(b[:from:from], b[from+n:]...)
		case 5: // noise
			for i := range b[to : to+n] {
				b[to+i] = byte((i*i + 7*i) >> 3 * int(script[7]))
			}
		}
	}
	return b
}

// FuzzRecover: whatever is done to one file of a log that was killed, opening
// it finds what was synced and no more than was written, or says that it is
// damaged. It never finds less, or something else.
func FuzzRecover(f *testing.F) {
	disk, may := grown(f)
	names := disk.Names()
	for i := range names {
		f.Add(byte(i), []byte{0, 0, 0, 0, 2, 0, 2, 0})                         // zeros from 512 on
		f.Add(byte(i), []byte{3, 1, 0, 3, 0, 1, 0, 0})                         // a sector in another place
		f.Add(byte(i), []byte{4, 0, 0, 33, 3, 0, 0, 5})                        // a bit
		f.Add(byte(i), []byte{6, 0, 0, 33, 3, 0, 0, 0})                        // cut off
		f.Add(byte(i), []byte{8, 0, 2, 0, 0, 8, 0, 0})                         // a word taken out
		f.Add(byte(i), []byte{11, 0, 0, 2, 0, 1, 0, 77})                       // noise
		f.Add(byte(i), []byte{0, 0, 0, 0, 0, 255, 255, 0, 7, 0, 0})            // nothing but zeros
		f.Add(byte(i), []byte{4, 0, 0, 0, 4, 0, 0, 1, 4, 0, 0, 9, 4, 0, 0, 1}) // two bits
	}
	f.Fuzz(func(t *testing.T, file byte, script []byte) {
		d := disk.Clone(1)
		name := names[int(file)%len(names)]
		d.Put(name, damage(append([]byte(nil), d.Bytes(name)...), script[:min(len(script), 64)]))
		l, err := raftlog.Open(small(d))
		if err != nil {
			if !errors.Is(err, raftlog.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		found := -1
		for i := range may {
			if may[i].differs(l) == "" {
				found = i
			}
		}
		if found < 0 {
			t.Fatalf("found neither what was synced nor more of what was written: %s", may[0].differs(l))
		}
		must(t, l.Close())
		l = mustOpen(t, small(d))
		if diff := may[found].differs(l); diff != "" {
			t.Fatalf("opened again: %s", diff)
		}
		must(t, l.Close())
	})
}
