package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/rookery-im/rookery/client/internal/journal"
)

// FileStore is a Store in one file, for one client at a time.
//
// The file is a journal: Apply appends what changes, and when most of it is
// out of date it is written anew beside the old one, which is then replaced.
// Beside it lies an empty file with the ending .lock. The file holds the
// device's token: it is readable by its owner only, and so should backups be.
// A copy is no backup of a device, though: two devices in the place of one
// displace each other, and an old copy says again what was said.
type FileStore struct {
	// immutable
	path string
	lock *os.File

	mu     sync.Mutex
	file   *os.File
	table  map[string][]byte
	live   int64 // bytes of the table's keys and values
	size   int64 // of the file
	synced int64 // how much of it is known to be on disk
	broken error // a write that failed: what the file holds is not known
}

const (
	compactAbove = 256 << 10 // bytes; a smaller file is left alone
	compactTimes = 4         // by how much the file outgrows what is in force
)

// OpenFileStore opens the file, or makes it (mode 0600) where there is none.
// ErrStoreLocked where another process or client has it; ErrStoreDamaged where
// its content was changed otherwise than by a crash in the middle of a write.
func OpenFileStore(path string) (*FileStore, error) {
	s, err := openFileStore(path)
	if err != nil {
		return nil, fmt.Errorf("client: open store %s: %w", path, err)
	}
	return s, nil
}

func openFileStore(path string) (_ *FileStore, err error) {
	s := &FileStore{path: path, table: map[string][]byte{}}
	if s.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unlockFile(s.lock))
		}
	}()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := s.replace(journal.Begin(nil)); err != nil {
			return nil, err
		}
	}
	if err := s.recover(); err != nil {
		return nil, err
	}
	return s, nil
}

// recover reads the journal and cuts off a torn end.
func (s *FileStore) recover() error {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	end, err := journal.Read(data, func(key string, value []byte) { s.put(key, value) })
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStoreDamaged, err)
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	// What is read now may have been in memory only: from here on it counts.
	err = f.Truncate(end)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		return err
	}
	s.file, s.size, s.synced = f, end, end
	return nil
}

func (s *FileStore) put(key string, value []byte) {
	if old, ok := s.table[key]; ok {
		s.live -= int64(len(key) + len(old))
	}
	if value == nil {
		delete(s.table, key)
		return
	}
	s.table[key] = append([]byte{}, value...)
	s.live += int64(len(key) + len(value))
}

// Load gives all records.
func (s *FileStore) Load(context.Context) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil, fs.ErrClosed
	}
	return sorted(s.table), nil
}

// Apply appends the records to the file.
func (s *FileStore) Apply(_ context.Context, records []Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return err
	}
	if len(records) == 0 {
		return nil
	}
	batch := journal.Batch{Synced: s.synced}
	for _, r := range records {
		batch.Add(r.Key, r.Value)
	}
	if err := s.appendLocked(batch); err != nil {
		return err
	}
	for _, r := range records {
		s.put(r.Key, r.Value)
	}
	if s.size > compactAbove && s.size > compactTimes*s.live {
		return s.compactLocked()
	}
	return nil
}

func (s *FileStore) usableLocked() error {
	if s.file == nil {
		return fs.ErrClosed
	}
	return s.broken
}

func (s *FileStore) appendLocked(b journal.Batch) error {
	n, err := s.file.Write(b.Bytes())
	s.size += int64(n)
	if err != nil {
		s.broken = fmt.Errorf("append: %w", err)
	}
	return s.broken
}

// Sync syncs the file.
func (s *FileStore) Sync(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return err
	}
	return s.syncLocked()
}

func (s *FileStore) syncLocked() error {
	if s.synced == s.size {
		return nil
	}
	// A sync that failed may have dropped what it could not write: never again.
	if err := s.file.Sync(); err != nil {
		s.broken = fmt.Errorf("sync: %w", err)
		return s.broken
	}
	s.synced = s.size
	return nil
}

// compactLocked writes what is in force into a new file and puts it in the
// place of the old one.
func (s *FileStore) compactLocked() error {
	var all journal.Batch
	for _, r := range sorted(s.table) {
		all.Add(r.Key, r.Value)
	}
	err := s.replace(journal.Begin(&all))
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(s.path, os.O_RDWR|os.O_APPEND, 0)
	}
	var info os.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	if err != nil {
		s.broken = fmt.Errorf("compact: %w", err)
		return s.broken
	}
	s.file.Close()
	s.file, s.size, s.synced = f, info.Size(), info.Size()
	return nil
}

// replace writes a whole file, which is there at once or not at all.
func (s *FileStore) replace(data []byte) error {
	if err := replaceFile(s.path, data); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Close writes down that all is well, closes the file and lets go of its lock.
func (s *FileStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	var err error
	if s.broken == nil {
		if err = s.syncLocked(); err == nil {
			// From now on, a flaw anywhere before it is damage and no torn end.
			err = s.appendLocked(journal.Batch{Synced: s.synced})
		}
	}
	err = errors.Join(err, s.file.Close(), unlockFile(s.lock))
	s.file = nil
	return err
}
