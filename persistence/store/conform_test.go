package store

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rookery-im/rookery/persistence/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a configuration whose files are small and whose checkpoints come in
// many chunks.
func small(dir string) Config {
	return Config{
		Dir: dir, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry()),
		Split:   func(key []byte) int { return min(1, len(key)) },
		Reserve: 1, ChunkBytes: 300, MemTableBytes: mib, BlockCacheBytes: mib,
	}
}

// subject is a Store that crashes by having its files copied.
type subject struct {
	*Store
	t storetest.Cleaner
	f *Frozen
}

var errInterrupted = errors.New("interrupted, as asked")

func openSubject(t storetest.Cleaner, dir string) storetest.Subject {
	st, err := Open(small(dir))
	if err != nil {
		t.Fatalf("%v", err)
	}
	s := &subject{Store: st, t: t}
	t.Cleanup(func() {
		_ = st.Close() // a second Close of a crashed one says nothing new
		os.RemoveAll(dir)
	})
	return storetest.Subject{Rows: s, Life: s}
}

func (s *subject) Freeze() (ok bool) {
	f, ok := s.Store.Freeze()
	if ok {
		s.f = f
	}
	return ok
}

func (s *subject) Write(o storetest.Outcome) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	s.interrupt = nil
	switch o {
	case storetest.Untouched:
		cancel(errInterrupted)
	case storetest.Partial:
		s.interrupt = func() error { return errInterrupted }
	}
	err := s.f.Write(ctx)
	if err == nil && (o == storetest.Untouched || o == storetest.Partial) { // there was nothing to write
		err = errInterrupted
	}
	return err
}

func (s *subject) Thaw(err error) { s.Store.Thaw(s.f, err) }

func (s *subject) Crash() storetest.Subject {
	dir, err := os.MkdirTemp(filepath.Dir(s.cfg.Dir), "store-crashed-")
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	if err := snapshot(s.cfg.Dir, dir); err != nil {
		s.t.Fatalf("%v", err)
	}
	if err := s.Store.Close(); err != nil {
		s.t.Fatalf("%v", err)
	}
	return openSubject(s.t, dir)
}

// snapshot copies the files as a kill -9 would leave them. Whatever Badger does
// by itself to other files than its logs it writes into its manifest, so the
// copy is of one moment when that and the names are the same after it.
func snapshot(from, to string) error {
	for {
		before, err := copyFiles(from, to)
		if err != nil {
			return err
		}
		after, err := fingerprint(from)
		if err != nil {
			return err
		}
		if slices.Equal(before, after) {
			return nil
		}
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
	}
}

func fingerprint(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "MANIFEST"))
	names := []string{string(manifest)}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func copyFiles(from, to string) ([]string, error) {
	names, err := fingerprint(from)
	if err != nil {
		return nil, err
	}
	for _, name := range names[1:] {
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return names, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

func TestStoreConforms(t *testing.T) {
	base := fastDir(t)
	storetest.Conform(t, func(c storetest.Cleaner) storetest.Subject {
		dir, err := os.MkdirTemp(base, "store-")
		if err != nil {
			c.Fatalf("%v", err)
		}
		return openSubject(c, dir)
	})
}
