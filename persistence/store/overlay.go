package store

import (
	"unsafe"

	"github.com/tidwall/btree"
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

// rowOverhead is what a row costs in memory besides its key and value.
const rowOverhead = 64

// overlay is one generation of rows, ordered by key. Keys are strings made of
// the callers' slices without copying; both are never modified again.
type overlay struct {
	rows  btree.Map[string, row]
	bytes int
}

func cost(key string, r row) int { return len(key) + len(r.value) + rowOverhead }

func (o *overlay) get(key []byte) (row, bool) { return o.rows.Get(view(key)) }

func (o *overlay) set(key string, r row) {
	old, replaced := o.rows.Set(key, r)
	if replaced {
		o.bytes -= cost(key, old)
	}
	o.bytes += cost(key, r)
}

func (o *overlay) remove(key string) {
	if old, ok := o.rows.Delete(key); ok {
		o.bytes -= cost(key, old)
	}
}

// put stores a value. A key that this generation holds as fresh stays so: what
// is below has not changed.
func (o *overlay) put(key string, value []byte, as state) {
	old, replaced := o.rows.Set(key, row{value, as})
	if !replaced {
		o.bytes += len(key) + len(value) + rowOverhead
		return
	}
	o.bytes += len(value) - len(old.value)
	if old.state != as {
		as = kept
		if old.state == fresh {
			as = fresh
		}
		o.rows.Set(key, row{value, as})
	}
}

// view lends a slice as a string and bytes lends it back.
func view(b []byte) string    { return unsafe.String(unsafe.SliceData(b), len(b)) }
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// doubt forgets which keys were fresh: some may be below by now.
func (o *overlay) doubt() {
	var keys []string
	o.rows.Scan(func(key string, r row) bool {
		if r.state == fresh {
			keys = append(keys, key)
		}
		return true
	})
	for _, key := range keys {
		r, _ := o.rows.Get(key)
		r.state = kept
		o.rows.Set(key, r)
	}
}

// lay puts a row of a newer generation over this one.
func (o *overlay) lay(key string, r row) {
	old, ok := o.rows.Get(key)
	if !ok {
		o.set(key, r)
		return
	}
	switch {
	case r.state == dead && old.state == fresh:
		o.remove(key)
	case r.state == dead:
		o.set(key, r)
	case old.state == fresh:
		o.set(key, row{r.value, fresh})
	default:
		o.set(key, row{r.value, kept})
	}
}
