package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fastDir is in memory where the system has a folder for that: most tests here
// sync a lot and are not about it.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "store-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func open(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func key(format string, args ...any) []byte { return fmt.Appendf(nil, format, args...) }

// frozen runs a checkpoint and returns how many rows it had to write.
func frozen(t testing.TB, s *Store) int {
	t.Helper()
	f, ok := s.Freeze()
	if !ok {
		t.Fatal("a checkpoint is under way")
	}
	n := f.Len()
	err := f.Write(context.Background())
	s.Thaw(f, err)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestElision(t *testing.T) {
	dir := fastDir(t)
	s := open(t, small(dir))
	churn := func(s *Store, from, to int) {
		for i := from; i < to; i++ {
			s.PutNew(key("n%d", i), []byte("v"))
			s.Delete(key("n%d", i))
		}
	}
	expect := func(s *Store, want int, why string) {
		t.Helper()
		if got := frozen(t, s); got != want {
			t.Errorf("%d rows to write, want %d: %s", got, want, why)
		}
	}
	churn(s, 0, 10)
	expect(s, 0, "an empty database has nothing to hide")
	s.Put(key("old"), []byte("v"))
	expect(s, 1, "it stays")
	churn(s, 10, 20)
	expect(s, 0, "new keys are nowhere below")
	s.Put(key("p"), []byte("v"))
	s.Delete(key("p"))
	s.Delete(key("old"))
	expect(s, 2, "a Put may be below")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, small(dir))
	churn(s, 20, 30)
	expect(s, 10, "Badger may be ahead of the log")
	churn(s, 30, 40)
	expect(s, 10, "a checkpoint before all was applied again settles nothing")
	s.Replayed()
	churn(s, 40, 50)
	expect(s, 10, "nor does anything before the next")
	churn(s, 50, 60)
	expect(s, 0, "from here on it is sure")
}

// The loop goes on while a checkpoint is written. Run it with -race.
func TestWriteBesideTheLoop(t *testing.T) {
	s := open(t, small(fastDir(t)))
	for round := range 5 {
		for i := range 200 {
			s.Put(key("k%d", i), fmt.Appendf(nil, "%d", round))
		}
		f, _ := s.Freeze()
		written := make(chan error, 1)
		go func() { written <- f.Write(context.Background()) }()
		var err error
		for waiting, i := true, 0; waiting; i++ {
			select {
			case err = <-written:
				waiting = false
			default:
			}
			s.PutNew(key("n%d.%d", round, i), []byte("v"))
			s.Delete(key("n%d.%d", round, i))
			s.Delete(key("k%d", i%200))
			s.Put(key("k%d", i%200), fmt.Appendf(nil, "%d", round))
			n := 0
			if err := s.Scan(key("k"), key("k%d", i%200), func(_, v []byte) bool {
				if string(v) != fmt.Sprint(round) {
					t.Fatalf("%q in round %d", v, round)
				}
				n++
				return n < 5
			}); err != nil {
				t.Fatal(err)
			}
			if v, ok, err := s.Get(key("k%d", (i+7)%200)); err != nil || !ok || string(v) != fmt.Sprint(round) {
				t.Fatalf("%q %v %v in round %d", v, ok, err, round)
			}
		}
		if s.Thaw(f, err); err != nil {
			t.Fatal(err)
		}
	}
}

// Badger's Sync leaves out the logs that are full and not yet tables. After
// Write every file that is there was synced, the folder last.
func TestEveryFileIsSynced(t *testing.T) {
	dir := fastDir(t)
	c := small(dir)
	c.ChunkBytes = 64 * mib
	s := open(t, c)
	var synced []string
	s.sync = func(path string) error {
		synced = append(synced, filepath.Base(path))
		return syncFile(path)
	}
	most := 0 // logs there at once
	for round := 0; most < 2 && round < 30; round++ {
		for i := range 2000 { // several memtables
			s.Put(key("k%d.%d", round, i), bytes.Repeat([]byte{1}, 2000+(i%5)*1000))
		}
		synced = nil
		frozen(t, s)
		seen, logs := make(map[string]bool), 0
		for _, name := range synced {
			seen[name] = true
			if strings.HasSuffix(name, memSuffix) {
				logs++
			}
		}
		most = max(most, logs)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := e.Name()
			// Tables that Badger makes afterwards it syncs itself.
			if !seen[name] && !s.tables[name] && name != marksName && !strings.HasSuffix(name, tableSuffix) {
				t.Errorf("round %d: %s is not synced", round, name)
			}
		}
		if last := synced[len(synced)-1]; last != filepath.Base(dir) {
			t.Errorf("round %d: %s is synced last, want the folder", round, last)
		}
	}
	if most < 2 {
		t.Error("there never was a second log, so nothing is shown")
	}
}

// A log that goes while files are being synced was replaced by a table, which
// has to be found.
func TestSyncFindsReplacements(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1.mem")
	write("2.mem")
	var synced []string
	s := &Store{cfg: small(dir)}
	s.sync = func(path string) error {
		switch filepath.Base(path) {
		case "1.mem":
			write("1.sst")
			os.Remove(filepath.Join(dir, "2.mem"))
		case "1.sst":
			write("2.sst")
			os.Remove(filepath.Join(dir, "1.sst"))
		}
		synced = append(synced, filepath.Base(path))
		return syncFile(path)
	}
	if err := s.syncAll(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint([]string{"1.mem", "2.mem", "1.sst", "2.sst", filepath.Base(dir)})
	if fmt.Sprint(synced) != want {
		t.Errorf("synced %v, want %v", synced, want)
	}
	synced = nil
	s.sync = func(path string) error { synced = append(synced, filepath.Base(path)); return nil }
	if err := s.syncAll(); err != nil || fmt.Sprint(synced) != fmt.Sprint([]string{"1.mem", filepath.Base(dir)}) {
		t.Errorf("then synced %v (%v), want no table again", synced, err)
	}
}

// After a failed sync the next one may say yes and mean nothing.
func TestFailedSyncBreaksTheStore(t *testing.T) {
	s := open(t, small(fastDir(t)))
	io := errors.New("input/output error")
	s.sync = func(string) error { return io }
	s.Put(key("a"), []byte("1"))
	for i := range 2 {
		f, ok := s.Freeze()
		if !ok {
			t.Fatal("a checkpoint is under way")
		}
		err := f.Write(context.Background())
		if s.Thaw(f, err); !errors.Is(err, ErrBroken) || !errors.Is(err, io) {
			t.Errorf("try %d: %v", i, err)
		}
		s.sync = syncFile
	}
	if _, err := s.Maintain(context.Background()); !errors.Is(err, ErrBroken) {
		t.Errorf("maintenance: %v", err)
	}
	if v, ok, err := s.Get(key("a")); string(v) != "1" || !ok || err != nil {
		t.Errorf("the row is %q %v %v", v, ok, err)
	}
}

// A full disk kills Badger, so it must not get there; with room again nothing
// has happened, and what was new is still known to be.
func TestNoSpace(t *testing.T) {
	s := open(t, small(fastDir(t)))
	s.Put(key("x"), []byte("1"))
	frozen(t, s)
	s.PutNew(key("a"), []byte("1"))
	s.cfg.Reserve = 1 << 60
	f, _ := s.Freeze()
	err := f.Write(context.Background())
	if s.Thaw(f, err); !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrBroken) {
		t.Fatalf("%v, want ErrNoSpace", err)
	}
	s.Delete(key("a"))
	s.Put(key("b"), []byte("2"))
	s.cfg.Reserve = 1
	if n := frozen(t, s); n != 1 {
		t.Errorf("%d rows to write, want 1", n)
	}
}

// A row that a failed checkpoint may have written is not new any more.
func TestRowOfAFailedCheckpointIsNotElided(t *testing.T) {
	s := open(t, small(fastDir(t)))
	s.PutNew(key("a"), []byte("1"))
	s.interrupt = func() error { return errInterrupted }
	f, _ := s.Freeze()
	err := f.Write(context.Background())
	s.interrupt = nil
	if s.Thaw(f, err); !errors.Is(err, errInterrupted) {
		t.Fatalf("%v, want it interrupted", err)
	}
	s.Delete(key("a"))
	if v, ok, err := s.Get(key("a")); ok || err != nil {
		t.Errorf("deleted and still %q (%v)", v, err)
	}
}

func TestLostDatabaseIsRefused(t *testing.T) {
	c := small(t.TempDir())
	c.Presence = MustExist
	if _, err := Open(c); !errors.Is(err, ErrMissing) {
		t.Errorf("%v, want ErrMissing", err)
	}
	if entries, _ := os.ReadDir(c.Dir); len(entries) != 0 {
		t.Errorf("left %v behind", entries)
	}
}

func TestConfigNamesEveryFault(t *testing.T) {
	err := Config{Presence: 7, Reserve: -1, MemTableBytes: 5}.Validate()
	for _, word := range []string{"Dir", "Logger", "Metrics", "Presence", "Reserve", "MemTableBytes"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not name %s", err, word)
		}
	}
	if err := small("x").Validate(); err != nil {
		t.Error(err)
	}
}
