package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"sort"
)

// state of a row of an overlay.
type state uint8

const (
	kept  state = iota // a value; layers below may hold the key as well
	fresh              // a value; no layer below holds the key
	dead               // a tombstone
)

func (s state) String() string { return [...]string{"kept", "fresh", "dead"}[s] }

// row is one row of a bucket. It owns its memory, and an overwriting value takes
// the place of the old one where it fits.
type row struct {
	head  uint64 // the suffix's first bytes, so that most comparisons stay within the leaf
	data  []byte // the key's suffix, then the value
	cut   uint16 // where the value begins
	state state
}

func (r *row) suffix() []byte { return r.data[:r.cut] }
func (r *row) value() []byte  { return r.data[r.cut:len(r.data):len(r.data)] }

func newRow(suffix, value []byte, as state) row {
	r := row{head: headOf(suffix), cut: uint16(len(suffix)), state: as}
	// As large as the allocator makes it anyway.
	r.data = append(append(slices.Grow([]byte(nil), len(suffix)+len(value)), suffix...), value...)
	return r
}

// set another value. A much shorter one gets memory of its own.
func (r *row) set(value []byte) {
	need := int(r.cut) + len(value)
	if need > cap(r.data) || cap(r.data) > 2*need+rowOverhead {
		r.data = append(append(slices.Grow([]byte(nil), need), r.suffix()...), value...)
		return
	}
	r.data = append(r.data[:r.cut], value...)
}

// cost of a row in memory.
func (r *row) cost() int { return cap(r.data) + rowOverhead }

// headOf a suffix orders like the suffix, as far as it goes.
func headOf(suffix []byte) uint64 {
	if len(suffix) >= 8 {
		return binary.BigEndian.Uint64(suffix)
	}
	var b [8]byte
	copy(b[:], suffix)
	return binary.BigEndian.Uint64(b[:])
}

// tagOf a suffix tells rows apart that begin alike: a peer's results, entries.
func tagOf(suffix []byte) byte {
	const odd = 0x9e3779b97f4a7c15
	h := uint64(len(suffix)) * odd
	for len(suffix) >= 8 {
		h = (h ^ binary.LittleEndian.Uint64(suffix)) * odd
		h ^= h >> 32
		suffix = suffix[8:]
	}
	for _, c := range suffix {
		h = (h ^ uint64(c)) * odd
	}
	return byte(h >> 56)
}

// leaf is a part of a bucket: rows in order, each with its tag. Most changes
// overwrite a row, and find it by a search through the tags: one cache line or
// two, and then the row itself, where a search by order would touch six others.
type leaf struct {
	tags []byte
	rows []row
}

// leafRows is where a leaf is split.
const leafRows = 128

func (l *leaf) find(suffix []byte, tag byte) (i int, ok bool) {
	for {
		n := bytes.IndexByte(l.tags[i:], tag)
		if n < 0 {
			return 0, false
		}
		if i += n; bytes.Equal(l.rows[i].suffix(), suffix) {
			return i, true
		}
		i++
	}
}

// from is the position of the first row whose suffix is not less.
func (l *leaf) from(suffix []byte) int {
	head := headOf(suffix)
	return sort.Search(len(l.rows), func(i int) bool {
		r := &l.rows[i]
		if r.head != head {
			return r.head > head
		}
		return bytes.Compare(r.suffix(), suffix) >= 0
	})
}

func (l *leaf) insert(i int, r row, tag byte) {
	l.tags = slices.Insert(l.tags, i, tag)
	l.rows = slices.Insert(l.rows, i, r)
}

func (l *leaf) remove(i int) {
	l.tags = slices.Delete(l.tags, i, i+1)
	l.rows = slices.Delete(l.rows, i, i+1)
}

// bucket holds the rows whose keys begin with prefix. All but those of big
// mailboxes have one leaf.
type bucket struct {
	prefix string
	leaves []leaf // in order; only a single one may be empty
}

func newBucket(prefix string) *bucket { return &bucket{prefix: prefix, leaves: make([]leaf, 1)} }

// leafOf the suffix: the only one that may hold it.
func (b *bucket) leafOf(suffix []byte) int {
	if len(b.leaves) == 1 {
		return 0
	}
	n, ok := slices.BinarySearchFunc(b.leaves, suffix, func(l leaf, s []byte) int {
		return cmp.Or(cmp.Compare(l.rows[0].head, headOf(s)), bytes.Compare(l.rows[0].suffix(), s))
	})
	if !ok && n > 0 {
		n--
	}
	return n
}

// find the row of a suffix, or nil; valid until the next insert or remove.
func (b *bucket) find(suffix []byte) *row {
	l := &b.leaves[b.leafOf(suffix)]
	if i, ok := l.find(suffix, tagOf(suffix)); ok {
		return &l.rows[i]
	}
	return nil
}

// insert a row whose suffix is not there.
func (b *bucket) insert(r row) {
	n := b.leafOf(r.suffix())
	l := &b.leaves[n]
	l.insert(l.from(r.suffix()), r, tagOf(r.suffix()))
	if len(l.rows) <= leafRows {
		return
	}
	const half = leafRows / 2
	upper := leaf{tags: slices.Clone(l.tags[half:]), rows: slices.Clone(l.rows[half:])}
	clear(l.rows[half:])
	l.tags, l.rows = l.tags[:half], l.rows[:half]
	b.leaves = slices.Insert(b.leaves, n+1, upper)
}

// remove the row of a suffix, if it is there.
func (b *bucket) remove(suffix []byte) {
	n := b.leafOf(suffix)
	l := &b.leaves[n]
	i, ok := l.find(suffix, tagOf(suffix))
	if !ok {
		return
	}
	l.remove(i)
	if len(l.rows) == 0 && len(b.leaves) > 1 {
		b.leaves = slices.Delete(b.leaves, n, n+1)
	}
}

// place is a position in a bucket.
type place struct {
	leaf, row int
}

// from is the place of the first row whose suffix is not less.
func (b *bucket) from(suffix []byte) place {
	n := b.leafOf(suffix)
	p := place{n, b.leaves[n].from(suffix)}
	return b.settle(p)
}

// settle a place that may be behind the last row of its leaf.
func (b *bucket) settle(p place) place {
	if p.leaf < len(b.leaves) && p.row >= len(b.leaves[p.leaf].rows) {
		return place{p.leaf + 1, 0}
	}
	return p
}

// at is the row at a place, or nil behind the last.
func (b *bucket) at(p place) *row {
	if p.leaf >= len(b.leaves) {
		return nil
	}
	return &b.leaves[p.leaf].rows[p.row]
}
