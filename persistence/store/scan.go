package store

import (
	"bytes"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Scan calls fn for each row whose key begins with prefix, ascending, from the
// key from on (from the first, when it is nil), until fn returns false. Key and
// value are valid during the call only and must not be modified; fn must not
// change the store.
func (s *Store) Scan(prefix, from []byte, fn func(key, value []byte) bool) error {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	var m merge
	m.upper.seek(s.live, prefix, from)
	if s.frozen != nil {
		m.lower.seek(s.frozen.rows, prefix, from)
	}
	if !s.vacant {
		o := badger.IteratorOptions{Prefix: prefix}
		m.below = s.read.NewIterator(o)
		defer m.below.Close()
		m.below.Seek(from)
	}
	return s.scanMerged(&m, fn)
}

// merge walks the layers side by side.
type merge struct {
	upper, lower cursor
	below        *badger.Iterator // nil: nothing is there
}

func (s *Store) scanMerged(m *merge, fn func(key, value []byte) bool) error {
	var buf []byte
	for {
		c := &m.upper
		if m.lower.ok && (!c.ok || bytes.Compare(m.lower.key, c.key) < 0) {
			c = &m.lower
		}
		if m.below != nil && m.below.Valid() {
			item := m.below.Item()
			if !c.ok || bytes.Compare(item.Key(), c.key) < 0 {
				var err error
				if buf, err = item.ValueCopy(buf[:0]); err != nil {
					return fmt.Errorf("store: scan: %w", err)
				}
				value, err := s.unseal(item.Key(), buf)
				if err != nil {
					return fmt.Errorf("store: scan: %w", err)
				}
				if !fn(item.Key(), value) {
					return nil
				}
				m.below.Next()
				continue
			}
		}
		if !c.ok {
			return nil
		}
		if c.row.state != dead && !fn(c.key, c.row.value()) {
			return nil
		}
		m.pass(c.key)
	}
}

// pass moves every layer that stands at key past it. The key is one layer's own,
// and changes as that layer moves.
func (m *merge) pass(key []byte) {
	below := m.below != nil && m.below.Valid() && bytes.Equal(m.below.Item().Key(), key)
	lower := m.lower.ok && bytes.Equal(m.lower.key, key)
	upper := m.upper.ok && bytes.Equal(m.upper.key, key)
	if below {
		m.below.Next()
	}
	if lower {
		m.lower.next()
	}
	if upper {
		m.upper.next()
	}
}
