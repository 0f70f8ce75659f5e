package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxPasses bounds the search for a listing without news. One or two are usual.
const maxPasses = 100

// syncAll makes durable everything that was written to Badger before the call.
//
// Badger's own Sync covers the memtable log in use; logs
// filled earlier, whose tables are not built yet, were never synced by anybody.
// So every file of the folder is, by its name.
//
// Badger writes its logs through shared mappings. On Linux these are the page
// cache itself, the first store to a clean page marks it dirty in the file's
// index (its write protection faults), and fsync by any descriptor of the file
// writes out what is marked, as msync does, which is fsync over a range. Badger
// has stored everything into the mapping when a write batch is flushed.
//
// A file that is gone was replaced: a memtable log by a table, tables by tables.
// Badger makes the replacement before it
// removes the original, so a listing taken after the file was missed names the
// replacement. The folder is listed until a listing, taken after every sync,
// names nothing that is not synced yet; then the folder itself is synced.
func (s *Store) syncAll() error {
	start := time.Now()
	done := make(map[string]bool)
	for pass := 0; ; pass++ {
		names, err := s.unsynced(done)
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		if len(names) == 0 {
			break
		}
		if pass == maxPasses {
			return fmt.Errorf("sync: %d passes and still new files, such as %s", pass, names[0])
		}
		for _, name := range names {
			if err := s.sync(filepath.Join(s.cfg.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("sync: %w", err)
			}
			done[name] = true
		}
	}
	if err := s.sync(s.cfg.Dir); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	s.cfg.Metrics.FilesSynced.Add(float64(len(done)))
	s.cfg.Metrics.SyncTime.Observe(time.Since(start).Seconds())
	return nil
}

// syncLogs syncs what the last chunk put into Badger's logs: left to syncAll, a
// whole checkpoint would go to the disk at once, and the Raft log's syncs wait
// behind it.
func (s *Store) syncLogs() error {
	logs, err := filepath.Glob(filepath.Join(s.cfg.Dir, "*"+memSuffix))
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for _, path := range logs {
		if err := s.sync(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sync: %w", err)
		}
	}
	return nil
}

const tableSuffix = ".sst"

// unsynced lists the files that are neither in done nor tables synced before:
// a table never changes and its number is not used again.
func (s *Store) unsynced(done map[string]bool) ([]string, error) {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var names []string
	tables := make(map[string]bool)
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, tableSuffix) && (done[name] || s.tables[name]) {
			tables[name] = true
		} else if e.Type().IsRegular() && !done[name] {
			names = append(names, name)
		}
	}
	s.tables = tables
	return names, nil
}

// syncFile syncs a file or folder by its name.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
