package store

import (
	"context"
	"fmt"
)

// Maintenance is what Maintain did.
type Maintenance struct {
	Verified  int // tables
	Flattened bool
}

// Maintain verifies tables and flattens the tree so that tombstones go. Call it
// off-peak, from any goroutine, one at a time; Close must come after it. Each
// call is bounded by VerifyBytes and FlattenMax; a flattening that has begun does
// not look at ctx. ErrDamaged breaks the store: the next compaction would lose
// rows for good.
func (s *Store) Maintain(ctx context.Context) (did Maintenance, err error) {
	if err := s.whole(); err != nil {
		return did, err
	}
	if did.Verified, err = s.verifyNext(ctx); err != nil {
		s.writer.Lock()
		defer s.writer.Unlock()
		return did, s.fail(err)
	}
	if ctx.Err() != nil {
		return did, fmt.Errorf("store: maintain: %w", context.Cause(ctx))
	}
	did.Flattened, err = s.flatten()
	return did, err
}

// whole says what broke the store, if something did.
func (s *Store) whole() error {
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.broken != nil {
		return fmt.Errorf("%w: %w", ErrBroken, s.broken)
	}
	return nil
}

// flatten compacts the tree into one level, where tombstones hide nothing and
// are dropped. Nothing is done to a tree that is flat.
func (s *Store) flatten() (bool, error) {
	var size int64
	levels := make(map[int]bool)
	for _, t := range s.db.Tables() {
		size += int64(t.OnDiskSize)
		levels[t.Level] = true
	}
	s.cfg.Metrics.TableBytes.Set(float64(size))
	flat := len(levels) < 2 && !levels[0]
	if flat || size > s.cfg.FlattenMax {
		return false, nil
	}
	if err := s.room(size); err != nil {
		return false, err
	}
	if err := s.db.Flatten(1); err != nil {
		return false, fmt.Errorf("store: flatten: %w", err)
	}
	return true, nil
}
