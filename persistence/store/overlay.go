package store

import (
	"bytes"
	"strings"
	"unsafe"

	"github.com/tidwall/btree"

	"github.com/rookery-im/rookery/internal/invariant"
)

// What a row and a bucket cost in memory besides the row's data.
const (
	rowOverhead    = 64
	bucketOverhead = 320
)

// overlay is one generation of rows. Rows are found through a map of buckets,
// by the part of the key that Config.Split gives (a mailbox's rows), and ordered
// within their bucket; the index orders the buckets, and changes only when one
// begins. One tree of all rows costs several times as much per change once it
// holds 100,000 of them: each level is a cache miss.
type overlay struct {
	split   func(key []byte) int
	buckets map[string]*bucket
	index   btree.Map[string, *bucket]
	last    *bucket // that was changed: a mutation changes several rows of one
	bytes   int
	rows    int // tombstones included
}

func newOverlay(split func([]byte) int) *overlay {
	return &overlay{split: split, buckets: make(map[string]*bucket)}
}

// begin returns the bucket of a prefix, a new one where there is none.
func (o *overlay) begin(prefix []byte) *bucket {
	if o.last != nil && o.last.prefix == view(prefix) {
		return o.last
	}
	b := o.buckets[view(prefix)]
	if b == nil {
		invariant.Check(len(o.buckets) == 0 || len(prefix) > 0 && o.buckets[""] == nil,
			"store: Split gives nothing for some keys, such as %x", prefix)
		b = newBucket(string(prefix))
		o.buckets[b.prefix] = b
		o.index.Set(b.prefix, b)
		o.bytes += bucketOverhead
	}
	o.last = b
	return b
}

// get returns the row of a key, or nil; valid until the next change.
func (o *overlay) get(key []byte) *row {
	n := o.split(key)
	if b := o.buckets[view(key[:n])]; b != nil {
		return b.find(key[n:])
	}
	return nil
}

// put stores a value. Whether its key is fresh is what the first put of this
// generation said: what is below has not changed since.
func (o *overlay) put(key, value []byte, as state) {
	n := o.split(key)
	b := o.begin(key[:n])
	r := b.find(key[n:])
	if r == nil {
		o.insert(b, newRow(key[n:], value, as))
		return
	}
	if r.state != as && r.state != fresh {
		r.state = kept
	}
	o.overwrite(r, value)
}

func (o *overlay) insert(b *bucket, r row) {
	b.insert(r)
	o.bytes += r.cost()
	o.rows++
}

func (o *overlay) overwrite(r *row, value []byte) {
	o.bytes -= r.cost()
	r.set(value)
	o.bytes += r.cost()
}

// delete a row. One that is fresh leaves nothing; any other leaves a tombstone,
// but one that is not there does so only if asked to.
func (o *overlay) delete(key []byte, absent absence) (elided bool) {
	if absent == forget && o.get(key) == nil {
		return false
	}
	n := o.split(key)
	b := o.begin(key[:n])
	switch r := b.find(key[n:]); {
	case r == nil:
		o.insert(b, newRow(key[n:], nil, dead))
	case r.state == fresh:
		o.remove(b, r)
		return true
	default:
		r.state = dead
		o.overwrite(r, nil)
	}
	return false
}

// absence is what to do about a row that an overlay does not hold.
type absence uint8

const (
	bury   absence = iota // a layer below may hold it: leave a tombstone
	forget                // none does
)

func (o *overlay) remove(b *bucket, r *row) {
	o.bytes -= r.cost()
	o.rows--
	b.remove(r.suffix())
}

// each calls fn for every row, ascending, until it returns false. The key is
// valid during the call only.
func (o *overlay) each(fn func(key []byte, r *row) bool) {
	var c cursor
	for c.seek(o, nil, nil); c.ok; c.next() {
		if !fn(c.key, c.row) {
			return
		}
	}
}

// join lays the newer generation over this one and returns the outcome. The
// smaller one moves.
func (o *overlay) join(newer *overlay) *overlay {
	if newer.rows <= o.rows {
		newer.each(func(key []byte, r *row) bool {
			o.lay(key, r)
			return true
		})
		return o
	}
	o.each(func(key []byte, r *row) bool {
		newer.slip(key, r)
		return true
	})
	return newer
}

// lay puts a row of a newer generation over this one's.
func (o *overlay) lay(key []byte, over *row) {
	n := o.split(key)
	b := o.begin(key[:n])
	old := b.find(key[n:])
	switch {
	case old == nil:
		o.insert(b, newRow(key[n:], over.value(), over.state))
	case over.state == dead && old.state == fresh:
		o.remove(b, old)
	default:
		old.state = joined(old.state, over.state)
		o.overwrite(old, over.value())
	}
}

// slip puts a row of an older generation under this one's.
func (o *overlay) slip(key []byte, under *row) {
	n := o.split(key)
	b := o.begin(key[:n])
	over := b.find(key[n:])
	switch {
	case over == nil:
		o.insert(b, newRow(key[n:], under.value(), under.state))
	case over.state == dead && under.state == fresh:
		o.remove(b, over)
	default:
		over.state = joined(under.state, over.state)
	}
}

// joined is the state of a row that two generations hold, neither of them as a
// fresh row that the newer one deleted.
func joined(older, newer state) state {
	switch {
	case newer == dead:
		return dead
	case older == fresh:
		return fresh
	default:
		return kept
	}
}

// doubt forgets which keys were fresh: some may be below by now.
func (o *overlay) doubt() {
	o.each(func(_ []byte, r *row) bool {
		if r.state == fresh {
			r.state = kept
		}
		return true
	})
}

// cursor stands at a row of an overlay, or past the last with the prefix.
type cursor struct {
	buckets btree.MapIter[string, *bucket]
	bucket  *bucket
	place   place
	single  bool // the prefix is within one bucket
	prefix  []byte
	key     []byte // of the cursor's own
	row     *row
	ok      bool
}

// seek goes to the first row from from on; from begins with prefix or is after
// all that do.
func (c *cursor) seek(o *overlay, prefix, from []byte) {
	c.prefix = prefix
	n := o.split(prefix)
	if n > 0 && n <= len(prefix) {
		c.single = true
		if b := o.buckets[view(prefix[:n])]; b != nil {
			c.enter(b, from)
		}
		return
	}
	c.buckets = o.index.Iter()
	// The bucket that from is in, or the one after.
	n = min(o.split(from), len(from))
	for ok := c.buckets.Seek(string(from[:n])); ok; ok = c.buckets.Next() {
		if c.enter(c.buckets.Value(), from); c.row != nil {
			return
		}
	}
}

// enter a bucket at the first row whose key is not less than from.
func (c *cursor) enter(b *bucket, from []byte) {
	c.bucket, c.place = b, place{len(b.leaves), 0}
	switch {
	case strings.HasPrefix(view(from), b.prefix):
		c.place = b.from(from[len(b.prefix):])
	case b.prefix > view(from):
		c.place = b.settle(place{})
	}
	c.key = append(c.key[:0], b.prefix...)
	c.take()
}

func (c *cursor) next() {
	c.place.row++
	c.place = c.bucket.settle(c.place)
	c.take()
	for c.row == nil && !c.single && c.buckets.Next() {
		c.enter(c.buckets.Value(), nil)
	}
}

// take the row where the cursor stands, if any.
func (c *cursor) take() {
	c.row, c.ok = c.bucket.at(c.place), false
	if c.row != nil {
		c.key = append(c.key[:len(c.bucket.prefix)], c.row.suffix()...)
		c.ok = bytes.HasPrefix(c.key, c.prefix)
	}
}

// view lends a slice as a string.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
