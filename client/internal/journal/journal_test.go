package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"testing"
)

// three batches of one record each; the second says that the first had been
// on disk, the third says it of nothing more.
func sample() (file []byte, ends [4]int) {
	file = Begin(nil)
	ends[0] = len(file)
	for i := range 3 {
		b := Batch{}
		if i > 0 {
			b.Synced = int64(ends[1])
		}
		b.Add(fmt.Sprint(i), []byte("value"))
		file = append(file, b.Bytes()...)
		ends[i+1] = len(file)
	}
	return file, ends
}

func read(file []byte) (map[string]string, int64, error) {
	got := map[string]string{}
	end, err := Read(file, func(k string, v []byte) { got[k] = string(v) })
	return got, end, err
}

// Whatever bit flips: what had been on disk is missed, what had not is cut off.
func TestFlips(t *testing.T) {
	file, ends := sample()
	for at := ends[0]; at < len(file); at++ {
		for bit := range 8 {
			flipped := bytes.Clone(file)
			flipped[at] ^= 1 << bit
			got, end, err := read(flipped)
			switch {
			case at < ends[1]:
				if !errors.Is(err, ErrDamaged) || len(got) > 0 {
					t.Errorf("bit %d of byte %d, on disk: %v %v", bit, at, got, err)
				}
			default: // the batch with the flip and those behind it are gone
				whole := 1
				if at >= ends[2] {
					whole = 2
				}
				if err != nil || len(got) != whole || end != int64(ends[whole]) {
					t.Errorf("bit %d of byte %d, not on disk: %v, end %d, %v", bit, at, got, end, err)
				}
			}
		}
	}
}

func TestCuts(t *testing.T) {
	file, ends := sample()
	for cut := ends[0]; cut <= len(file); cut++ {
		got, end, err := read(file[:cut])
		whole := 0
		for whole < 3 && cut >= ends[whole+1] {
			whole++
		}
		if err != nil || len(got) != whole || end != int64(ends[whole]) {
			t.Errorf("cut at %d: %v, end %d, %v", cut, got, end, err)
		}
	}
	for cut := range ends[0] {
		if _, _, err := read(file[:cut]); !errors.Is(err, ErrNotOne) {
			t.Errorf("cut at %d in the header: %v", cut, err)
		}
	}
}

// A value may look like a batch that says anything. It is no witness unless it
// stands behind a flaw, and then the flaw was there to be seen before.
func TestBatchInsideValue(t *testing.T) {
	inner := Batch{Synced: 20}
	inner.Add("inner", []byte("x"))
	outer := Batch{}
	outer.Add("outer", inner.Bytes())
	got, _, err := read(Begin(&outer))
	if err != nil || len(got) != 1 || got["inner"] != "" {
		t.Errorf("%v %v", got, err)
	}
}

func FuzzRead(f *testing.F) {
	file, ends := sample()
	f.Add(file)
	f.Add(file[:ends[2]-1])
	f.Add([]byte(header))
	f.Add(append([]byte(header), 8, 0, 0, 0))
	f.Fuzz(func(t *testing.T, file []byte) {
		got, end, err := read(file)
		if err != nil {
			if len(got) > 0 {
				t.Fatalf("%v, and records: %v", err, got)
			}
			return
		}
		if end > int64(len(file)) {
			t.Fatalf("end %d of %d", end, len(file))
		}
		// What was read reads the same again, also with more behind it.
		more := Batch{Synced: end}
		more.Add("more", []byte{})
		again, _, err := read(append(bytes.Clone(file[:end]), more.Bytes()...))
		if err != nil {
			t.Fatal(err)
		}
		got["more"] = ""
		if !maps.Equal(got, again) {
			t.Fatalf("%v, then %v", got, again)
		}
	})
}

// A length that asks for more than there is must not be believed.
func TestHugeLength(t *testing.T) {
	file := Begin(nil)
	file = binary.LittleEndian.AppendUint32(file, 0xffffffff)
	file = append(file, make([]byte, 64)...)
	if got, end, err := read(file); err != nil || end != int64(len(header)) || len(got) > 0 {
		t.Errorf("%v %d %v", got, end, err)
	}
}
