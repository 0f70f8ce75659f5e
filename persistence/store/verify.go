package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
)

const (
	memSuffix      = ".mem"
	valueLogSuffix = ".vlog"
	manifestName   = badger.ManifestFilename
)

// verifyAll looks at everything that Badger would take without a word: logs and
// manifest cut at the first record that does not check, tables with damaged
// blocks. Badger must not be open.
func verifyAll(cfg Config) error {
	if err := sweepEmpty(cfg.Dir); err != nil {
		return fmt.Errorf("store: open: %w", err)
	}
	if err := verifyMarks(cfg.Dir); err != nil {
		return err
	}
	return verifyTables(cfg)
}

// sweepEmpty removes logs of no bytes, which Badger refuses to open: a crash
// leaves one between creating a log and giving it its size, and between
// truncating one that is not needed any more and removing it.
func sweepEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), memSuffix) && !strings.HasSuffix(e.Name(), valueLogSuffix) {
			continue
		}
		if info, err := e.Info(); err != nil {
			return err
		} else if info.Size() == 0 {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// verifyTables verifies the tables that the manifest names, unless they are too
// many to do at every start.
func verifyTables(cfg Config) error {
	paths, total, err := presentTables(cfg)
	if errors.Is(err, errNoTable) {
		if err := rewindManifest(cfg, err); err != nil {
			return err
		}
		paths, total, err = presentTables(cfg)
	}
	if err != nil {
		return err
	}
	if total > cfg.VerifyBytes {
		cfg.Logger.Warn("too much to verify at start, left to maintenance", "bytes", total, "limit", cfg.VerifyBytes)
		return nil
	}
	err = verifyEach(paths)
	if errors.Is(err, ErrDamaged) {
		cfg.Metrics.Damaged.Inc()
	}
	return err
}

// verifyEach verifies tables on all processors, and returns the first error in
// the order of the paths. Each processor holds one table in memory.
func verifyEach(paths []string) error {
	workers := min(runtime.GOMAXPROCS(0), len(paths))
	errs := make([]error, len(paths))
	var next atomic.Int64
	var failed atomic.Bool
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(paths)) && !failed.Load(); i = next.Add(1) - 1 {
				if errs[i] = verifyTable(paths[i]); errs[i] != nil {
					failed.Store(true)
				}
			}
		})
	}
	running.Wait()
	return cmp.Or(errs...)
}

// errNoTable: the manifest names a table that is not there.
var errNoTable = fmt.Errorf("%w: the manifest names a table that cannot be found", ErrDamaged)

// presentTables are the tables that the manifest names, and their bytes.
func presentTables(cfg Config) (paths []string, total int64, err error) {
	if paths, err = manifestTables(cfg, filepath.Join(cfg.Dir, manifestName)); err != nil {
		return nil, 0, err
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %w", errNoTable, err)
		}
		total += info.Size()
	}
	return paths, total, nil
}

func manifestTables(cfg Config, path string) ([]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store: open: %w", err)
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, 0, cfg.badger())
	if err != nil {
		cfg.Metrics.Damaged.Inc()
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, manifestName, err)
	}
	paths := make([]string, 0, len(m.Tables))
	for id := range m.Tables {
		paths = append(paths, table.NewFilename(id, cfg.Dir))
	}
	slices.Sort(paths)
	return paths, nil
}

// verifyTable compares the checksums of a table's index and blocks. It reads
// the file instead of mapping it: Badger truncates a table before it removes it,
// and a page that is gone under a mapping is a SIGBUS. Badger's code panics over
// some kinds of damage.
func verifyTable(path string) (err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("store: verify: %w", err)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: table %s: %v", ErrDamaged, path, p)
		}
	}()
	t, err := table.OpenInMemoryTable(data, 0, &table.Options{Compression: options.None})
	if err == nil {
		err = t.VerifyChecksum()
	}
	if err != nil {
		return fmt.Errorf("%w: table %s: %w", ErrDamaged, path, err)
	}
	return nil
}

// verifyNext verifies tables in use up to VerifyBytes of them, going on where
// the last call ended. A compaction may remove a table meanwhile; it takes it off
// the list before it touches the file.
func (s *Store) verifyNext(ctx context.Context) (int, error) {
	tables := s.db.Tables()
	slices.SortFunc(tables, func(a, b badger.TableInfo) int { return cmp.Compare(a.ID, b.ID) })
	start, _ := slices.BinarySearchFunc(tables, s.verified+1, func(t badger.TableInfo, id uint64) int {
		return cmp.Compare(t.ID, id)
	})
	var bytes int64
	n := 0
	for _, t := range slices.Concat(tables[start:], tables[:start]) {
		if bytes += int64(t.OnDiskSize); n > 0 && bytes > s.cfg.VerifyBytes || ctx.Err() != nil {
			break
		}
		err := verifyTable(table.NewFilename(t.ID, s.cfg.Dir))
		if err != nil && slices.ContainsFunc(s.db.Tables(), func(now badger.TableInfo) bool { return now.ID == t.ID }) {
			s.cfg.Metrics.Damaged.Inc()
			return n, err
		}
		s.verified = t.ID
		n++
	}
	return n, nil
}
