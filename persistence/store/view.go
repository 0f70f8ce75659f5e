package store

import (
	"bytes"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// View is the rows as the last completed checkpoint left them, whatever is
// written meanwhile. Each checkpoint writes under a version of its own, and
// Badger keeps what an open view can see.
type View struct {
	s   *Store
	txn *badger.Txn
	ts  uint64
}

// View opens one; false before a checkpoint has completed since Open, for what
// Badger holds until then may be ahead of any checkpoint. Loop only.
func (s *Store) View() (*View, bool) {
	s.pins.Lock()
	defer s.pins.Unlock()
	if !s.cut.done {
		return nil, false
	}
	ts := s.cut.ts
	s.pinned[ts]++
	return &View{s: s, txn: s.db.NewTransactionAt(ts, false), ts: ts}, true
}

// Close gives the view up. Any goroutine, once, before the store's Close.
func (v *View) Close() {
	v.txn.Discard()
	s := v.s
	s.pins.Lock()
	defer s.pins.Unlock()
	if s.pinned[v.ts]--; s.pinned[v.ts] == 0 {
		delete(s.pinned, v.ts)
	}
}

// Scan is like the store's. Any goroutine, one at a time.
func (v *View) Scan(prefix, from []byte, fn func(key, value []byte) bool) error {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	it := v.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	var buf []byte
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		var err error
		if buf, err = item.ValueCopy(buf[:0]); err != nil {
			return fmt.Errorf("store: view: %w", err)
		}
		value, err := v.s.unseal(item.Key(), buf)
		if err != nil {
			return fmt.Errorf("store: view: %w", err)
		}
		if !fn(item.Key(), value) {
			return nil
		}
	}
	return nil
}

// complete notes that everything up to a version is one checkpoint's outcome.
func (s *Store) complete(ts uint64) {
	s.pins.Lock()
	defer s.pins.Unlock()
	s.cut.ts, s.cut.done = ts, true
}

// discard lets Badger drop the versions that neither the last checkpoint nor a
// view can see.
func (s *Store) discard() {
	s.pins.Lock()
	defer s.pins.Unlock()
	ts := s.cut.ts
	for pinned := range s.pinned {
		ts = min(ts, pinned)
	}
	s.db.SetDiscardTs(ts)
}
