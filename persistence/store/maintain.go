package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// Bounds of one Maintain.
const (
	maxValueLogs = 16
	// A value log is rewritten when half of it is not needed any more.
	discardRatio = 0.5
)

// Maintenance is what Maintain did.
type Maintenance struct {
	Verified  int // tables
	ValueLogs int // rewritten and removed
	Flattened bool
}

// Maintain verifies tables, reclaims space in value logs, and flattens the tree
// so that tombstones go. Call it off-peak, from any goroutine, one at a time;
// Close must come after it. Each call is bounded: by VerifyBytes and FlattenMax,
// and by 16 value logs, during which a Write waits. ErrDamaged breaks the store:
// the next compaction would lose rows for good.
func (s *Store) Maintain(ctx context.Context) (did Maintenance, err error) {
	if did.Verified, err = s.verifyNext(ctx); err != nil {
		s.writer.Lock()
		defer s.writer.Unlock()
		return did, s.fail(err)
	}
	for did.ValueLogs < maxValueLogs && ctx.Err() == nil {
		again, err := s.collect()
		if err != nil {
			return did, err
		}
		if !again {
			break
		}
		did.ValueLogs++
	}
	if ctx.Err() != nil {
		return did, fmt.Errorf("store: maintain: %w", context.Cause(ctx))
	}
	did.Flattened, err = s.flatten()
	return did, err
}

// collect rewrites one value log. Badger removes the old log at once, though
// neither what it moved nor the rows that point there are synced; but it keeps
// logs while an iterator is open. So one is, until everything is synced.
func (s *Store) collect() (again bool, err error) {
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.broken != nil {
		return false, fmt.Errorf("%w: %w", ErrBroken, s.broken)
	}
	if err := s.room(2 * s.cfg.ValueLogBytes); err != nil {
		return false, err
	}
	hold := s.db.NewTransactionAt(s.ts, false).NewIterator(badger.IteratorOptions{})
	err = s.db.RunValueLogGC(discardRatio)
	if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
		hold.Close()
		return false, nil
	}
	if err == nil {
		err = s.syncAll()
	}
	if err != nil {
		// The old log may be all there is: hold is left open on purpose, so
		// that it stays. The store is of no use any more.
		return false, s.fail(fmt.Errorf("collect a value log: %w", err))
	}
	hold.Close()
	return true, s.syncDir()
}

func (s *Store) syncDir() error {
	if err := s.sync(s.cfg.Dir); err != nil {
		return s.fail(fmt.Errorf("sync folder: %w", err))
	}
	return nil
}

// flatten compacts the tree into one level, where tombstones hide nothing and
// are dropped. It is not worth it when nothing was written since the last time.
func (s *Store) flatten() (bool, error) {
	var size int64
	levels := make(map[int]bool)
	for _, t := range s.db.Tables() {
		size += int64(t.OnDiskSize)
		levels[t.Level] = true
	}
	s.cfg.Metrics.TableBytes.Set(float64(size))
	if len(levels) < 2 && !levels[0] || size > s.cfg.FlattenMax {
		return false, nil
	}
	s.writer.Lock()
	err := s.room(size)
	broken := s.broken
	s.writer.Unlock()
	if broken != nil {
		return false, fmt.Errorf("%w: %w", ErrBroken, broken)
	}
	if err != nil {
		return false, err
	}
	if err := s.db.Flatten(1); err != nil {
		return false, fmt.Errorf("store: flatten %s: %w", filepath.Base(s.cfg.Dir), err)
	}
	return true, nil
}
