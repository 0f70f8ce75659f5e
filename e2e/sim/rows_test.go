package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/persistence/mailbox"
)

// rows is a node's store: what is applied in memory, what the last checkpoint
// wrote on the disk. A crash leaves the disk.
type rows struct {
	live   table
	frozen *table // while a checkpoint is under way
	disk   table
	asOf   table                  // as the last completed checkpoint left it; nil before the first
	sums   map[shard.Space]uint64 // of the live rows, in no order
	bytes  int                    // since the last freeze
	fail   func() bool            // whether the next write fails
	began  func()                 // told of a freeze
	parts  int                    // writes that were cut short
}

// table holds rows by what their keys begin with, up to the user's id.
type table map[string]*bucket

type bucket struct {
	keys   []string // sorted
	values map[string][]byte
}

func newRows() *rows { return &rows{live: table{}, disk: table{}, sums: map[shard.Space]uint64{}} }

var rowSeed = maphash.MakeSeed()

func sumOf(key string, value []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(rowSeed)
	h.WriteString(key)
	h.WriteByte(0)
	h.Write(value)
	return h.Sum64()
}

// spaceBytes is the part of a key that names its space. Sums leave it out:
// replicas of a shard may have theirs under different versions.
const spaceBytes = 8

func spaceOf(key string) shard.Space {
	return shard.Space{Group: binary.BigEndian.Uint32([]byte(key[:4])), Version: binary.BigEndian.Uint32([]byte(key[4:8]))}
}

func prefixOf(s shard.Space) string {
	return string(mailbox.Space{Shard: s.Group, Version: s.Version}.Prefix())
}

func (t table) clone() table {
	c := make(table, len(t))
	for p, b := range t {
		c[p] = &bucket{slices.Clone(b.keys), maps.Clone(b.values)}
	}
	return c
}

func (t table) get(key string) ([]byte, bool) {
	if b := t[key[:mailbox.Part([]byte(key))]]; b != nil {
		v, ok := b.values[key]
		return v, ok
	}
	return nil, false
}

func (t table) put(key string, value []byte) {
	p := key[:mailbox.Part([]byte(key))]
	b := t[p]
	if b == nil {
		b = &bucket{values: map[string][]byte{}}
		t[p] = b
	}
	if _, ok := b.values[key]; !ok {
		at, _ := slices.BinarySearch(b.keys, key)
		b.keys = slices.Insert(b.keys, at, key)
	}
	b.values[key] = value
}

func (t table) remove(key string) {
	b := t[key[:mailbox.Part([]byte(key))]]
	if b == nil {
		return
	}
	if at, ok := slices.BinarySearch(b.keys, key); ok {
		b.keys = slices.Delete(b.keys, at, at+1)
		delete(b.values, key)
	}
}

// Put implements host.Store.
func (r *rows) Put(key, value []byte) {
	k := string(key)
	r.unsum(k)
	v := bytes.Clone(value)
	r.live.put(k, v)
	r.sums[spaceOf(k)] += sumOf(k[spaceBytes:], v)
	r.bytes += len(k) + len(v)
}

// PutNew implements host.Store.
func (r *rows) PutNew(key, value []byte) { r.Put(key, value) }

// Delete implements host.Store.
func (r *rows) Delete(key []byte) {
	r.unsum(string(key))
	r.live.remove(string(key))
	r.bytes += len(key)
}

func (r *rows) unsum(key string) {
	if old, ok := r.live.get(key); ok {
		r.sums[spaceOf(key)] -= sumOf(key[spaceBytes:], old)
	}
}

// Get implements host.Store.
func (r *rows) Get(key []byte) ([]byte, bool, error) {
	v, ok := r.live.get(string(key))
	return v, ok, nil
}

// Scan implements host.Store.
func (r *rows) Scan(prefix, from []byte, fn func(key, value []byte) bool) error {
	p, f := string(prefix), string(max(string(from), string(prefix)))
	if n := mailbox.Part(prefix); n > 0 && n <= len(prefix) {
		if b := r.live[p[:n]]; b != nil {
			b.scan(p, f, fn)
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(r.live)) {
		if !r.live[name].scan(p, f, fn) {
			break
		}
	}
	return nil
}

func (b *bucket) scan(prefix, from string, fn func(key, value []byte) bool) bool {
	at, _ := slices.BinarySearch(b.keys, from)
	for _, k := range slices.Clone(b.keys[at:]) {
		if !strings.HasPrefix(k, prefix) {
			if k > prefix {
				break
			}
			continue
		}
		if !fn([]byte(k), b.values[k]) {
			return false
		}
	}
	return true
}

// Bytes implements shard.Store.
func (r *rows) Bytes() int { return r.bytes }

// Freeze implements shard.Store.
func (r *rows) Freeze() (shard.Frozen, bool) {
	if r.frozen != nil {
		return nil, false
	}
	c := r.live.clone()
	r.frozen, r.bytes = &c, 0
	if r.began != nil {
		r.began()
	}
	return frozenRows{r}, true
}

// Thaw implements shard.Store.
func (r *rows) Thaw(_ shard.Frozen, err error) {
	if err == nil {
		r.asOf = *r.frozen
	}
	r.frozen = nil
}

var errStore = errors.New("sim: the store could not write")

type frozenRows struct{ r *rows }

func (f frozenRows) Hurry() {}

func (f frozenRows) Write(context.Context) error {
	if f.r.fail != nil && f.r.fail() {
		f.r.part()
		return errStore
	}
	f.r.disk = f.r.frozen.clone()
	return nil
}

// part writes every other row of the frozen state, as a crash in the middle does.
func (r *rows) part() {
	if r.frozen == nil {
		return
	}
	r.parts++
	some := func(key string) bool {
		h := fnv.New32a()
		_, _ = h.Write([]byte(key))
		return h.Sum32()>>(r.parts%16)&1 == 0
	}
	for _, b := range *r.frozen {
		for k, v := range b.values {
			if some(k) {
				r.disk.put(k, v)
			}
		}
	}
	var gone []string
	for _, b := range r.disk {
		for k := range b.values {
			if _, ok := r.frozen.get(k); !ok && some(k) {
				gone = append(gone, k)
			}
		}
	}
	for _, k := range gone {
		r.disk.remove(k)
	}
}

// crash is the store that the next process opens.
func (r *rows) crash() *rows {
	next := newRows()
	next.disk, next.live, next.fail, next.parts = r.disk, r.disk.clone(), r.fail, r.parts
	for _, b := range next.live {
		for k, v := range b.values {
			next.sums[spaceOf(k)] += sumOf(k[spaceBytes:], v)
		}
	}
	return next
}

// copied are the same rows, on a disk of their own.
func (r *rows) copied() *rows {
	c := newRows()
	c.disk = r.live.clone()
	return c.crash()
}
