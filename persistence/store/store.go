package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/rookery-im/rookery/internal/invariant"
)

var (
	// ErrNoSpace: a checkpoint would eat into Config.Reserve. Nothing is
	// broken: it can be tried again when there is room.
	ErrNoSpace = errors.New("store: not enough free space on the file system")
	// ErrBroken: an earlier write or sync failed. What of it is on disk is
	// unknown, and a repeated sync may succeed without having written, so
	// every later checkpoint fails with this until the process starts anew.
	ErrBroken = errors.New("store: broken by an earlier error")
	// ErrDamaged: something read from disk does not match its checksum.
	ErrDamaged = errors.New("store: damaged")
	// ErrMissing: Config says MustExist and there is no database.
	ErrMissing = errors.New("store: the database is missing")
)

// Store is Badger with a write-back overlay. One loop goroutine calls
// everything but Frozen.Write and Maintain.
type Store struct {
	// immutable
	cfg Config
	db  *badger.DB
	// In managed mode a read transaction holds no snapshot and never waits for
	// a commit in progress, so one serves every read: it sees the newest
	// version of each row. Rows of a checkpoint half written are hidden by the
	// frozen overlay, which has them all.
	read *badger.Txn

	// owned by the loop
	live     *overlay
	frozen   *Frozen // nil while no checkpoint is under way
	vacant   bool    // Badger holds no row, and none is on its way there
	replayed bool    // Replayed was called
	trusting bool    // PutNew is believed
	elided   int     // rows, since the last Freeze

	// guarded by writer, which a checkpoint or a value-log GC holds throughout
	writer sync.Mutex
	ts     uint64          // version of the last checkpoint tried
	tables map[string]bool // tables known to be synced
	broken error
	order  logOrder

	pins sync.Mutex
	cut  struct { // guarded by pins, as is the next
		ts   uint64 // version of the last checkpoint that completed
		done bool   // since Open
	}
	pinned map[uint64]int // versions that views see

	// owned by Maintain
	verified uint64 // number of the table verified last

	sync      func(path string) error // immutable: syncFile, but in tests
	interrupt func() error            // tests: called after each chunk; an error ends the Write
}

// Open opens the database in cfg.Dir. Its tables are verified before Badger may
// touch them.
func Open(cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	if err := presence(cfg); err != nil {
		return nil, err
	}
	if err := roomToOpen(cfg); err != nil {
		return nil, err
	}
	if err := verifyAll(cfg); err != nil {
		return nil, err
	}
	db, err := badger.OpenManaged(cfg.badger())
	if err != nil {
		// What it reads was verified before, but for the key registry.
		var errno syscall.Errno
		if !errors.As(err, &errno) {
			err = fmt.Errorf("%w: %s or another file does not check: %w", ErrDamaged, badger.KeyRegistryFileName, err)
		}
		return nil, fmt.Errorf("store: open %s: %w", cfg.Dir, err)
	}
	s := &Store{
		cfg: cfg, db: db,
		read: db.NewTransactionAt(math.MaxUint64, false),
		live: newOverlay(cfg.Split),
		ts:   db.MaxVersion(),
		sync: syncFile, pinned: map[uint64]int{},
	}
	s.cut.ts = s.ts
	s.vacant = s.ts == 0
	s.trusting = s.vacant
	db.SetDiscardTs(s.ts)
	return s, nil
}

func presence(cfg Config) error {
	_, err := os.Stat(filepath.Join(cfg.Dir, badger.ManifestFilename))
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("store: open: %w", err)
	case cfg.Presence == MustExist:
		return fmt.Errorf("%w: no %s in %s", ErrMissing, badger.ManifestFilename, cfg.Dir)
	}
	return nil
}

// Close ends Badger. What the overlays hold is dropped: the log has it. A Write
// under way is waited for.
func (s *Store) Close() error {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.read.Discard()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// Put stores a row. It copies both slices.
func (s *Store) Put(key, value []byte) {
	as := kept
	if s.vacant {
		as = fresh
	}
	s.put(key, value, as)
}

// PutNew stores a row whose key no earlier entry of the log ever put, such as
// one that ends in a sequence number just given out. When it is deleted before
// the next checkpoint, it leaves no trace. A key that was put before must not
// come here, not even one that was deleted since: a tombstone that is still
// needed would be left out and the old row would come back. Replaying an entry
// is not putting a key again; see the package comment.
func (s *Store) PutNew(key, value []byte) {
	as := kept
	if s.trusting {
		as = fresh
	}
	s.put(key, value, as)
}

func (s *Store) put(key, value []byte, as state) {
	checkKey(key)
	if len(value) > s.cfg.maxValue() {
		invariant.Check(false, "store: value of %d bytes", len(value))
	}
	s.live.put(key, value, as)
}

// Delete removes a row, if there is one. It copies key.
func (s *Store) Delete(key []byte) {
	checkKey(key)
	absent := bury
	if s.vacant {
		absent = forget
	}
	if s.live.delete(key, absent) {
		s.elided++
	}
}

// checkKey guards its invariant call, whose arguments are allocated.
func checkKey(key []byte) {
	if len(key) == 0 || len(key) > maxKey {
		invariant.Check(false, "store: key of %d bytes", len(key))
	}
}

// Get returns the value of a key. It must not be modified, and is valid until
// the next change.
func (s *Store) Get(key []byte) (value []byte, ok bool, err error) {
	if r := s.live.get(key); r != nil {
		return r.value(), r.state != dead, nil
	}
	if s.frozen != nil {
		if r := s.frozen.rows.get(key); r != nil {
			return r.value(), r.state != dead, nil
		}
	}
	if s.vacant {
		return nil, false, nil
	}
	item, err := s.read.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("store: get: %w", err)
	}
	sealed, err := item.ValueCopy(nil)
	if err == nil {
		value, err = s.unseal(key, sealed)
	}
	if err != nil {
		return nil, false, fmt.Errorf("store: get: %w", err)
	}
	return value, true, nil
}

// Bytes is the size of the live overlay, overhead included.
func (s *Store) Bytes() int { return s.live.bytes }

// Replayed says that everything Badger may have known at Open was applied again, in every
// group. The first checkpoint frozen after it ends the distrust of PutNew.
func (s *Store) Replayed() { s.replayed = true }
