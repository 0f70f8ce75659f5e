package faultfs

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// naive is a file as one array, and as it was at the last sync.
type naive struct {
	now, synced []byte
	shortened   bool // since the last sync: zeros may show in between
}

func (n *naive) sync(p []byte) { n.now, n.synced, n.shortened = bytes.Clone(p), bytes.Clone(p), false }

func (n *naive) write(p []byte, off int) {
	if grow := off + len(p) - len(n.now); grow > 0 {
		n.now = append(n.now, make([]byte, grow)...)
	}
	copy(n.now[off:], p)
}

func (n *naive) resize(size int) {
	if size <= len(n.now) {
		n.now, n.shortened = append([]byte{}, n.now[:size]...), true
		return
	}
	n.now = append(n.now, make([]byte, size-len(n.now))...)
}

func content(i *inode) []byte {
	p := make([]byte, i.size)
	return p[:i.read(p, 0)]
}

// Writes, truncations, syncs and cuts in any order: what is read is what was
// written, a cut that keeps nothing is back at the last sync, and one that keeps
// some has in each sector what was synced, or what was written, or where a
// truncation came between, a part of either and zeros.
func TestFileForgetsExactlyWhatWasNotSynced(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 1))
		d := New(seed)
		i := d.newFile()
		d.changeLocked(metadata{of: d.root, add: "f", what: i})
		d.syncLocked(d.root)
		var want naive
		for step := range 60 {
			switch n := random.IntN(20); {
			case n < 10:
				p := make([]byte, random.IntN(3*pageSize))
				for j := range p {
					p[j] = byte(random.Uint32())
				}
				off := random.IntN(6 * pageSize)
				if _, ok := d.writeLocked(i, p, int64(off)); !ok {
					t.Fatal("no room")
				}
				if len(p) > 0 {
					want.write(p, off)
				}
			case n < 13:
				size := random.IntN(8 * pageSize)
				d.resizeLocked(i, int64(size))
				want.resize(size)
			case n < 16:
				d.syncLocked(i)
				want.sync(want.now)
			case n < 17:
				d.PowerCut(Everything)
				want.sync(want.now)
			case n < 18:
				d.PowerCut(Nothing)
				want.sync(want.synced)
			case n < 19:
				d.PowerCut(Some)
				got := content(i)
				for s := 0; s < len(got); s += sector {
					p := got[s:min(s+sector, len(got))]
					if !want.explains(p, s) {
						t.Fatalf("seed %d, step %d: the sector at %d is neither old nor new", seed, step, s)
					}
				}
				want.sync(got)
			}
			if !bytes.Equal(content(i), want.now) {
				t.Fatalf("seed %d, step %d: content differs", seed, step)
			}
		}
	}
}

// explains says whether a cut may leave p at off, a sector.
func (n *naive) explains(p []byte, off int) bool {
	now, was := padded(n.now, off, len(p)), padded(n.synced, off, len(p))
	if bytes.Equal(p, now) || bytes.Equal(p, was) {
		return true
	}
	for i, c := range p {
		if !n.shortened || c != now[i] && c != was[i] && c != 0 {
			return false
		}
	}
	return true
}

// padded is n bytes of p from off, zeros where it ends before.
func padded(p []byte, off, n int) []byte {
	out := make([]byte, n)
	if off < len(p) {
		copy(out, p[off:])
	}
	return out
}

// Of the names of a folder a beginning of what was done survives, and what was
// synced at least.
func TestFolderKeepsABeginning(t *testing.T) {
	outcomes := map[int]int{}
	for seed := range uint64(200) {
		d := New(seed)
		for _, name := range []string{"a", "b"} {
			d.changeLocked(metadata{of: d.root, add: name, what: d.newFile()})
		}
		d.syncLocked(d.root)
		steps := []metadata{{add: "c", what: d.newFile()}, {remove: "a", add: "d", what: d.root.names["a"]}, {remove: "b"}}
		for _, c := range steps {
			c.of = d.root
			d.changeLocked(c)
		}
		d.PowerCut(Some)
		got := ""
		for _, f := range d.Files() {
			got += f.Path[0]
		}
		at := bytes.Index([]byte("ab abc bcd cd "), []byte(got+" "))
		if at < 0 {
			t.Fatalf("seed %d: %q is no beginning", seed, got)
		}
		outcomes[at]++
	}
	if len(outcomes) != 4 {
		t.Errorf("only %d of 4 beginnings were ever seen", len(outcomes))
	}
}
