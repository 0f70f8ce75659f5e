package slab

import "github.com/rookery-im/rookery/internal/invariant"

// Index finds records by their hashes: tables of record numbers with open
// addressing, 3/8 to 3/4 full, 5 to 11 bytes for each record. A table that has
// partLen places is split in two by the next bit of the hashes instead of grown
// (extendible hashing), so that no call moves more than 3/4 partLen numbers.
//
// The hashes are the records': whoever calls keeps them, or makes them anew.
type Index struct {
	hashOf func(n uint32) uint32
	depth  uint // of the directory, which has 1<<depth places
	dir    []*part
	used   int
}

// partLen bounds what one call does: a split took 50 µs (BenchmarkIndexGrow).
const partLen = 4096

const partMin = 16

// part of the numbers: those whose hashes agree in the first depth bits.
type part struct {
	depth  uint
	used   int
	places []uint32 // 0 for none; a power of two long
}

// NewIndex of records whose hash is hashOf; it must not change while the record
// is in the index.
func NewIndex(hashOf func(n uint32) uint32) *Index {
	return &Index{hashOf: hashOf, dir: []*part{{places: make([]uint32, partMin)}}}
}

// Len is how many numbers are in the index.
func (x *Index) Len() int { return x.used }

// of returns the part that a hash belongs to.
func (x *Index) of(hash uint32) *part { return x.dir[uint64(hash)<<x.depth>>32] }

// Find the number of a record with the hash that is the one meant, or 0.
func (x *Index) Find(hash uint32, is func(n uint32) bool) uint32 {
	p := x.of(hash)
	mask := uint32(len(p.places) - 1)
	for i := hash & mask; p.places[i] != 0; i = (i + 1) & mask {
		if is(p.places[i]) {
			return p.places[i]
		}
	}
	return 0
}

// Add a number that is not there.
func (x *Index) Add(n uint32) {
	hash := x.hashOf(n)
	p := x.of(hash)
	for 4*(p.used+1) > 3*len(p.places) {
		// The depth is bounded, or records of one hash would split for ever.
		if len(p.places) < partLen || p.depth >= 24 {
			p.refill(p.places, 2*len(p.places), x.hashOf)
		} else {
			x.split(hash)
		}
		p = x.of(hash)
	}
	p.insert(hash, n)
	x.used++
}

func (p *part) insert(hash, n uint32) {
	mask := uint32(len(p.places) - 1)
	i := hash & mask
	for p.places[i] != 0 {
		i = (i + 1) & mask
	}
	p.places[i] = n
	p.used++
}

func (p *part) refill(from []uint32, places int, hashOf func(uint32) uint32) {
	p.places, p.used = make([]uint32, places), 0
	for _, n := range from {
		if n != 0 {
			p.insert(hashOf(n), n)
		}
	}
}

// split the part of a hash by one more bit.
func (x *Index) split(hash uint32) {
	p := x.of(hash)
	if p.depth == x.depth {
		dir := make([]*part, 2*len(x.dir))
		for i, p := range x.dir {
			dir[2*i], dir[2*i+1] = p, p
		}
		x.dir, x.depth = dir, x.depth+1
	}
	halves := [2]*part{}
	for i := range halves {
		halves[i] = &part{depth: p.depth + 1, places: make([]uint32, partLen)}
	}
	for _, n := range p.places {
		if n != 0 {
			h := x.hashOf(n)
			halves[h>>(31-p.depth)&1].insert(h, n)
		}
	}
	// The places of p stand side by side.
	span := 1 << (x.depth - p.depth)
	first := int(uint64(hash)<<p.depth>>32) * span
	for i := range span {
		x.dir[first+i] = halves[2*i/span]
	}
}

// Remove a number that is there.
func (x *Index) Remove(n uint32) {
	hash := x.hashOf(n)
	p := x.of(hash)
	mask := uint32(len(p.places) - 1)
	i := hash & mask
	for p.places[i] != n {
		invariant.Check(p.places[i] != 0, "slab: record %d is not in the index", n)
		i = (i + 1) & mask
	}
	// Linear probing without tombstones: close the hole with what may move up.
	for j := (i + 1) & mask; p.places[j] != 0; j = (j + 1) & mask {
		home := x.hashOf(p.places[j]) & mask
		if (j-home)&mask >= (j-i)&mask {
			p.places[i] = p.places[j]
			i = j
		}
	}
	p.places[i] = 0
	p.used--
	x.used--
}

// Bytes held by the tables.
func (x *Index) Bytes() int {
	bytes := 8 * len(x.dir)
	var last *part
	for _, p := range x.dir {
		if p != last {
			bytes += 4 * len(p.places)
		}
		last = p
	}
	return bytes
}
