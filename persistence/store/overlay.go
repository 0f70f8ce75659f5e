package store

import (
	"strings"
	"unsafe"

	"github.com/tidwall/btree"

	"github.com/rookery-im/rookery/internal/invariant"
)

// state of a row of an overlay.
type state uint8

const (
	kept  state = iota // a value; layers below may hold the key as well
	fresh              // a value; no layer below holds the key
	dead               // a tombstone
)

func (s state) String() string { return [...]string{"kept", "fresh", "dead"}[s] }

type row struct {
	value []byte
	state state
}

// What a row and a bucket cost in memory besides keys and values.
const (
	rowOverhead    = 64
	bucketOverhead = 320
)

func cost(key string, r row) int { return len(key) + len(r.value) + rowOverhead }

// overlay is one generation of rows. Rows are found through a map of buckets,
// by the part of the key that Config.Split gives (a mailbox's rows), and ordered
// within their bucket; the index orders the buckets, and changes only when one
// begins. One tree of all rows costs two to three times as much per change once
// it holds 100,000 of them: each level is a cache miss.
//
// Keys are strings made of the callers' slices without copying; neither is ever
// modified again.
type overlay struct {
	split   func(key []byte) int
	buckets map[string]*bucket
	index   btree.Map[string, *bucket]
	bytes   int
	rows    int // tombstones included
}

type bucket struct {
	rows btree.Map[string, row]
}

func newOverlay(split func([]byte) int) *overlay {
	return &overlay{split: split, buckets: make(map[string]*bucket)}
}

// of returns the bucket that key belongs to, or nil.
func (o *overlay) of(key string) *bucket { return o.buckets[key[:o.split(bytesOf(key))]] }

func (o *overlay) begin(key string) *bucket {
	prefix := key[:o.split(bytesOf(key))]
	b := o.buckets[prefix]
	if b == nil {
		invariant.Check(len(o.buckets) == 0 || len(prefix) > 0 && o.buckets[""] == nil,
			"store: Split gives nothing for some keys, such as %x", key)
		b = new(bucket)
		prefix = strings.Clone(prefix) // outlives the row whose key it came with
		o.buckets[prefix] = b
		o.index.Set(prefix, b)
		o.bytes += bucketOverhead
	}
	return b
}

func (o *overlay) get(key string) (row, bool) {
	if b := o.of(key); b != nil {
		return b.rows.Get(key)
	}
	return row{}, false
}

func (o *overlay) set(key string, r row) {
	o.account(key, r, o.begin(key))
}

func (o *overlay) account(key string, r row, b *bucket) (old row, replaced bool) {
	old, replaced = b.rows.Set(key, r)
	if replaced {
		o.bytes += len(r.value) - len(old.value)
	} else {
		o.bytes += cost(key, r)
		o.rows++
	}
	return old, replaced
}

// put stores a value. Whether its key is fresh is what the first put of this
// generation said: what is below has not changed since.
func (o *overlay) put(key string, value []byte, as state) {
	b := o.begin(key)
	old, replaced := o.account(key, row{value, as}, b)
	if replaced && old.state != as {
		as = kept
		if old.state == fresh {
			as = fresh
		}
		b.rows.Set(key, row{value, as})
	}
}

// remove takes a row out and returns what it was.
func (o *overlay) remove(key string) (row, bool) {
	b := o.of(key)
	if b == nil {
		return row{}, false
	}
	old, ok := b.rows.Delete(key)
	if ok {
		o.bytes -= cost(key, old)
		o.rows--
	}
	return old, ok
}

// each calls fn for every row, ascending, until it returns false.
func (o *overlay) each(fn func(key string, r row) bool) {
	o.index.Scan(func(_ string, b *bucket) bool {
		more := true
		b.rows.Scan(func(key string, r row) bool {
			more = fn(key, r)
			return more
		})
		return more
	})
}

// join lays the newer generation over this one and returns the outcome. The
// smaller one moves.
func (o *overlay) join(newer *overlay) *overlay {
	if newer.rows <= o.rows {
		newer.each(func(key string, r row) bool {
			o.lay(key, r)
			return true
		})
		return o
	}
	o.each(func(key string, r row) bool {
		over, ok := newer.get(key)
		newer.set(key, r)
		if ok {
			newer.lay(key, over)
		}
		return true
	})
	return newer
}

// lay puts a row of a newer generation over this one's.
func (o *overlay) lay(key string, r row) {
	old, ok := o.get(key)
	switch {
	case ok && r.state == dead && old.state == fresh:
		o.remove(key)
		return
	case ok && r.state != dead:
		r.state = kept
		if old.state == fresh {
			r.state = fresh
		}
	}
	o.set(key, r)
}

// doubt forgets which keys were fresh: some may be below by now.
func (o *overlay) doubt() {
	o.index.Scan(func(_ string, b *bucket) bool {
		var keys []string
		b.rows.Scan(func(key string, r row) bool {
			if r.state == fresh {
				keys = append(keys, key)
			}
			return true
		})
		for _, key := range keys {
			r, _ := b.rows.Get(key)
			r.state = kept
			b.rows.Set(key, r)
		}
		return true
	})
}

// cursor stands at a row of an overlay, or past the last with the prefix.
type cursor struct {
	buckets btree.MapIter[string, *bucket]
	rows    btree.MapIter[string, row]
	single  bool // the prefix is within one bucket
	prefix  string
	key     string
	row     row
	ok      bool
}

// seek goes to the first row from from on; from begins with prefix or is after
// all that do.
func (c *cursor) seek(o *overlay, prefix, from string) {
	c.prefix = prefix
	n := o.split(bytesOf(prefix))
	if n > 0 && n <= len(prefix) {
		c.single = true
		if b := o.buckets[prefix[:n]]; b != nil {
			c.rows = b.rows.Iter()
			c.take(c.rows.Seek(from))
		}
		return
	}
	c.buckets = o.index.Iter()
	// The bucket that from is in, or the one after.
	n = min(o.split(bytesOf(from)), len(from))
	for ok := c.buckets.Seek(from[:n]); ok; ok = c.buckets.Next() {
		c.rows = c.buckets.Value().rows.Iter()
		if c.rows.Seek(from) {
			c.take(true)
			return
		}
	}
}

func (c *cursor) next() {
	ok := c.rows.Next()
	for !ok && !c.single && c.buckets.Next() {
		c.rows = c.buckets.Value().rows.Iter()
		ok = c.rows.First()
	}
	c.take(ok)
}

func (c *cursor) take(ok bool) {
	if c.ok = ok && strings.HasPrefix(c.rows.Key(), c.prefix); c.ok {
		c.key, c.row = c.rows.Key(), c.rows.Value()
	}
}

// view lends a slice as a string and bytesOf lends it back.
func view(b []byte) string    { return unsafe.String(unsafe.SliceData(b), len(b)) }
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
