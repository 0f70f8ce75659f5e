package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/rookery-im/rookery/internal/invariant"
)

// Frozen is the generation that a checkpoint writes.
type Frozen struct {
	s       *Store
	rows    *overlay // read-only until Thaw
	settles bool     // its completion ends the distrust of PutNew

	hurried sync.Once
	hurry   chan struct{} // closed by Hurry

	// owned by Write, then by Thaw
	touched bool   // some of it may be in Badger
	ts      uint64 // its version there
}

// Freeze starts a checkpoint: the live overlay becomes read-only and a new one
// begins. It is false while a checkpoint is under way.
func (s *Store) Freeze() (*Frozen, bool) {
	if s.frozen != nil {
		return nil, false
	}
	s.cfg.Metrics.Elided.Add(float64(s.elided))
	s.elided = 0
	f := &Frozen{s: s, rows: s.live, settles: s.replayed, hurry: make(chan struct{})}
	s.frozen, s.live = f, newOverlay(s.cfg.Split)
	s.cfg.Metrics.OverlayBytes.Set(float64(f.rows.bytes))
	if f.rows.rows > 0 {
		s.vacant = false
	}
	return f, true
}

// Len is the number of rows and tombstones.
func (f *Frozen) Len() int { return f.rows.rows }

// Bytes is the size, overhead included.
func (f *Frozen) Bytes() int { return f.rows.bytes }

// Hurry ends the pauses of Write. It is for when what is applied meanwhile
// piles up.
func (f *Frozen) Hurry() { f.hurried.Do(func() { close(f.hurry) }) }

// Write puts the generation into Badger and syncs every file, so that the
// checkpoint it belongs to may be recorded once it has returned nil. It reads
// only; any goroutine may call it, once. After ErrNoSpace or the end of ctx the
// rows can be tried again in a later checkpoint, after ErrBroken they cannot.
func (f *Frozen) Write(ctx context.Context) error {
	s := f.s
	start := time.Now()
	s.writer.Lock()
	err := f.write(ctx)
	s.writer.Unlock()
	s.cfg.Metrics.CheckpointTime.Observe(time.Since(start).Seconds())
	result := "done"
	switch {
	case errors.Is(err, ErrNoSpace):
		result = "no_space"
	case err != nil:
		result = "failed"
	}
	s.cfg.Metrics.Checkpoints.WithLabelValues(result).Inc()
	return err
}

func (f *Frozen) write(ctx context.Context) error {
	s := f.s
	if s.broken != nil {
		return fmt.Errorf("%w: %w", ErrBroken, s.broken)
	}
	// Twice: the rows themselves, and the tables made of them.
	if err := s.room(2 * int64(f.rows.bytes)); err != nil {
		return err
	}
	// A version of its own for each try: the same row may have another value
	// in the next one.
	s.ts++
	f.ts = s.ts
	s.discard()
	if err := f.writeRows(ctx); err != nil {
		return err
	}
	if err := s.syncAll(); err != nil {
		return s.fail(err)
	}
	if err := writeMarks(s.cfg.Dir, &s.order); err != nil {
		return s.fail(err)
	}
	return nil
}

// fail breaks the store for good.
func (s *Store) fail(err error) error {
	s.broken = err
	return fmt.Errorf("%w: %w", ErrBroken, err)
}

func (f *Frozen) writeRows(ctx context.Context) error {
	s := f.s
	c := chunk{s: s}
	var err error
	flush := func() bool {
		begun := time.Now()
		if err = context.Cause(ctx); err != nil {
			err = fmt.Errorf("store: checkpoint: %w", err)
			return false
		}
		// The write-ahead file, the table made of it, and a compaction.
		if err = s.room(3 * int64(c.bytes)); err != nil {
			return false
		}
		f.touched = true
		if err = errors.Join(c.write(f.ts), s.syncLogs()); err != nil {
			err = s.fail(err)
			return false
		}
		f.pause(ctx, time.Since(begun))
		if s.interrupt != nil {
			err = s.interrupt()
		}
		return err == nil
	}
	f.rows.each(func(key []byte, r *row) bool {
		c.add(key, r)
		return c.bytes < s.cfg.ChunkBytes || flush()
	})
	if err == nil && len(c.rows) > 0 {
		flush()
	}
	return err
}

// pause leaves processor and disk to others, for whom the checkpoint is not
// urgent.
func (f *Frozen) pause(ctx context.Context, d time.Duration) { rest(ctx, d, f.hurry) }

func rest(ctx context.Context, d time.Duration, hurry <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-hurry:
	case <-ctx.Done():
	}
}

// chunk is what goes to Badger between two looks at space and context.
type chunk struct {
	s     *Store
	names []byte // the keys, one behind the other
	rows  []named
	bytes int
}

// named is a row with its key in a chunk.
type named struct {
	*row
	end int // of the key in names
}

func (c *chunk) add(key []byte, r *row) {
	c.names = append(c.names, key...)
	c.rows = append(c.rows, named{r, len(c.names)})
	c.bytes += len(key) + r.cost()
}

func (c *chunk) write(ts uint64) error {
	wb := c.s.db.NewWriteBatchAt(ts)
	defer wb.Cancel()
	arena := make([]byte, 0, c.bytes) // values with their seals; never grows
	tombstones, from := 0, 0
	for _, r := range c.rows {
		key := c.names[from:r.end:r.end]
		from = r.end
		if r.state == dead {
			tombstones++
			if err := wb.Delete(key); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			continue
		}
		at := len(arena)
		arena = seal(arena, key, r.value())
		if err := wb.SetEntry(badger.NewEntry(key, arena[at:len(arena):len(arena)])); err != nil {
			return fmt.Errorf("put: %w", err)
		}
	}
	if err := wb.Flush(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	c.s.cfg.Metrics.Rows.Add(float64(len(c.rows) - tombstones))
	c.s.cfg.Metrics.Tombstones.Add(float64(tombstones))
	c.names, c.rows, c.bytes = nil, c.rows[:0], 0 // what Badger keeps of keys is its own business
	return nil
}

// room refuses what would leave less than the reserve. Badger writes through
// mapped, sparse files and dies by SIGBUS when there is no block for a page, so
// it must never come to that.
func (s *Store) room(need int64) error {
	free, err := freeBytes(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("store: free space: %w", err)
	}
	if free-need < s.cfg.Reserve {
		return fmt.Errorf("%w: %d MiB free in %s, %d MiB needed, %d MiB kept in reserve",
			ErrNoSpace, free/mib, s.cfg.Dir, need/mib, s.cfg.Reserve/mib)
	}
	return nil
}

// roomToOpen refuses to begin on a disk that is nearly full. Badger makes a log
// and tables of older logs while it opens, and dies by SIGBUS like above. Half of
// the reserve does, so that a node that ran into it can start again.
func roomToOpen(cfg Config) error {
	free, err := freeBytes(cfg.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("store: open: free space: %w", err)
	case free < cfg.Reserve/2:
		return fmt.Errorf("%w: %d MiB free in %s, %d MiB are needed to open it. Nothing is lost; make room and start again",
			ErrNoSpace, free/mib, cfg.Dir, cfg.Reserve/2/mib)
	}
	return nil
}

// Thaw ends a checkpoint with what its Write returned. After an error the rows
// go back below the live ones.
func (s *Store) Thaw(f *Frozen, err error) {
	invariant.Check(f != nil && s.frozen == f, "store: Thaw of a checkpoint that is not under way")
	s.frozen = nil
	if err != nil {
		if f.touched {
			f.rows.doubt()
		}
		s.live = f.rows.join(s.live)
	} else {
		s.complete(f.ts)
		s.trusting = s.trusting || f.settles
	}
	s.cfg.Metrics.OverlayBytes.Set(float64(s.live.bytes))
}
