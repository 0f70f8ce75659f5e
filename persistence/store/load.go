package store

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Row is a key with its value.
type Row struct{ Key, Value []byte }

// Load puts rows into Badger beside the overlay. See "Rows from elsewhere" in the
// package comment for which keys it may be given.
type Load struct{ s *Store }

// Load begins to take rows. Loop only; the Load's methods are for any goroutine,
// one at a time.
func (s *Store) Load() *Load {
	s.vacant = false
	return &Load{s}
}

// Write rows, in steps that are synced, with pauses for others between them. It
// waits for a checkpoint under way.
func (l *Load) Write(ctx context.Context, rows []Row) error {
	s := l.s
	c := chunk{s: s}
	for _, r := range rows {
		if len(r.Key) == 0 || len(r.Key) > maxKey || len(r.Value) > s.cfg.maxValue() {
			return fmt.Errorf("store: load: a row of %d and %d bytes", len(r.Key), len(r.Value))
		}
		row := newRow(r.Key, r.Value, kept)
		c.add(r.Key, &row)
		if c.bytes < s.cfg.ChunkBytes {
			continue
		}
		if err := s.step(ctx, &c, (*Store).syncLogs); err != nil {
			return err
		}
	}
	if len(c.rows) == 0 {
		return nil
	}
	return s.step(ctx, &c, (*Store).syncLogs)
}

// Sync makes everything durable that was written.
func (l *Load) Sync() error {
	s := l.s
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.broken != nil {
		return fmt.Errorf("%w: %w", ErrBroken, s.broken)
	}
	if err := s.syncAll(); err != nil {
		return s.fail(err)
	}
	if err := writeMarks(s.cfg.Dir, &s.order); err != nil {
		return s.fail(err)
	}
	return nil
}

// step writes a chunk under a version of its own, and rests as long as that took.
func (s *Store) step(ctx context.Context, c *chunk, sync func(*Store) error) error {
	begun := time.Now()
	if err := s.writeStep(ctx, c, sync); err != nil {
		return err
	}
	rest(ctx, time.Since(begun), nil)
	return nil
}

func (s *Store) writeStep(ctx context.Context, c *chunk, sync func(*Store) error) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.broken != nil {
		return fmt.Errorf("%w: %w", ErrBroken, s.broken)
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := s.room(3 * int64(c.bytes)); err != nil {
		return err
	}
	s.ts++
	if err := c.write(s.ts); err != nil {
		return s.fail(err)
	}
	if err := sync(s); err != nil {
		return s.fail(err)
	}
	return nil
}

// eraseRows is how many rows one step of Erase deletes.
const eraseRows = 512

// Erase deletes all rows of Badger whose key begins with prefix, in small steps,
// none of them synced: what a crash leaves is for the next Erase. Nobody may put
// such rows any more, and no layer above may hold any. Any goroutine.
func (s *Store) Erase(ctx context.Context, prefix []byte) error {
	from := prefix
	for {
		c := chunk{s: s}
		s.keys(prefix, from, func(key []byte) (next []byte, more bool) {
			row := newRow(key, nil, dead)
			c.add(key, &row)
			from = bytes.Clone(key)
			return nil, len(c.rows) < eraseRows
		})
		if len(c.rows) == 0 {
			return nil
		}
		more := len(c.rows) == eraseRows
		if err := s.step(ctx, &c, func(*Store) error { return nil }); err != nil || !more {
			return err
		}
	}
}

// Prefixes are the first n bytes of Badger's keys that begin with under, each
// once, ascending. Any goroutine.
func (s *Store) Prefixes(under []byte, n int) [][]byte {
	var all [][]byte
	s.keys(under, under, func(key []byte) (next []byte, more bool) {
		if len(key) < n {
			return nil, true
		}
		all = append(all, bytes.Clone(key[:n]))
		next = after(key[:n])
		return next, next != nil
	})
	return all
}

// keys calls fn for keys of Badger with the prefix, from one on, while it wants
// more. It may name the key to go on from instead of the next one.
func (s *Store) keys(prefix, from []byte, fn func(key []byte) (next []byte, more bool)) {
	it := s.read.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(from); it.Valid(); {
		next, more := fn(it.Item().Key())
		switch {
		case !more:
			return
		case next == nil:
			it.Next()
		default:
			it.Seek(next)
		}
	}
}

// after is the least key that comes after all that begin with a prefix; nil where
// there is none.
func after(prefix []byte) []byte {
	next := bytes.Clone(prefix)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next[:i+1]
		}
	}
	return nil
}
