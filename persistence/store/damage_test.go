package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// filled makes a database as a crash leaves it after a checkpoint: with tables
// and memtable logs that hold rows.
func filled(t *testing.T, dir string) map[string]string {
	t.Helper()
	c := small(fastDir(t))
	c.ChunkBytes = mib
	s := open(t, c)
	rows := make(map[string]string)
	for round := range 3 { // more than one memtable holds
		for i := range 300 {
			k := fmt.Sprintf("%d.%04d", i%3, i+round*200)
			v := strings.Repeat(k, 300+(i%10)/9*600)
			s.Put([]byte(k), []byte(v))
			rows[k] = v
		}
		frozen(t, s)
	}
	// Badger makes its tables when it likes.
	for len(s.db.Tables()) == 0 {
		if t.Context().Err() != nil {
			t.Fatal("no table came")
		}
		runtime.Gosched()
	}
	if err := snapshot(c.Dir, dir); err != nil {
		t.Fatal(err)
	}
	return rows
}

// reopen is a copy of the files with marks of its own: they name files by what
// a copy does not keep.
func reopen(t *testing.T, from string) string {
	t.Helper()
	dir := fastDir(t)
	if err := snapshot(from, dir); err != nil {
		t.Fatal(err)
	}
	if err := writeMarks(dir, settled(dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// settled is the order of a folder that nobody has open: no table is made of what
// is there.
func settled(dir string) *logOrder {
	o := &logOrder{known: true, first: -1 << 30, manifest: 1 << 40}
	o.inode, _, _ = identify(filepath.Join(dir, manifestName))
	return o
}

func readAll(t *testing.T, dir string) (map[string]string, error) {
	t.Helper()
	c := small(dir)
	s, err := Open(c)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	rows := make(map[string]string)
	err = s.Scan(nil, nil, func(k, v []byte) bool {
		rows[string(k)] = string(v)
		return true
	})
	return rows, err
}

// One flipped bit, anywhere: what was checkpointed is read as it was written, or
// there is an error. By itself Badger drops rows and says nothing.
func TestFlippedBitIsNeverSilent(t *testing.T) {
	if _, _, ok := identify("."); !ok {
		t.Skip("files cannot be told apart here")
	}
	base := fastDir(t)
	rows := filled(t, base)
	if got, err := readAll(t, reopen(t, base)); err != nil || !maps.Equal(got, rows) {
		t.Fatalf("undamaged: %d rows, %v, want %d", len(got), err, len(rows))
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, suffix := range []string{tableSuffix, memSuffix, manifestName, marksName} {
		t.Run(suffix, func(t *testing.T) {
			loud := 0
			for range 12 {
				dir := reopen(t, base)
				what := flip(t, rng, dir, suffix)
				got, err := readAll(t, dir)
				if err == nil && !maps.Equal(got, rows) {
					t.Errorf("%s: %d of %d rows and no error", what, len(got), len(rows))
				}
				if errors.Is(err, ErrDamaged) {
					loud++
				} else if err != nil {
					t.Errorf("%s: not said to be damage: %v", what, err)
				}
				os.RemoveAll(dir)
			}
			if loud == 0 {
				t.Error("nothing was found")
			}
		})
	}
}

// flip changes a bit of a file with that suffix, within what is used of it.
func flip(t *testing.T, rng *rand.Rand, dir, suffix string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, path := range paths {
		if n, _, err := measure(path, 1<<62); err == nil && n > 20 {
			used = append(used, path)
		}
	}
	if len(used) == 0 {
		t.Fatalf("no %s holds anything", suffix)
	}
	path := used[rng.IntN(len(used))]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := rng.IntN(len(bytes.TrimRight(data, "\x00")))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bit := byte(1) << rng.IntN(8)
	if _, err := f.WriteAt([]byte{data[at] ^ bit}, int64(at)); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("bit %#x of byte %d of %s", bit, at, filepath.Base(path))
}

// A log that holds rows of the last checkpoint is removed, or emptied: to Badger
// that is one less.
func TestMissingLogIsDamage(t *testing.T) {
	base := fastDir(t)
	filled(t, base)
	logs, _ := filepath.Glob(filepath.Join(base, "*"+memSuffix))
	tried := 0
	for _, path := range logs {
		if n, _, err := measure(path, 1<<62); err != nil || n <= logHeader {
			continue
		}
		for what, harm := range map[string]func(path string) error{
			"removed": os.Remove,
			"emptied": func(path string) error { return os.Truncate(path, 0) },
			"replaced": func(path string) error {
				return errors.Join(os.Remove(path), os.WriteFile(path, make([]byte, 99), 0o600))
			},
		} {
			dir := reopen(t, base)
			if err := harm(filepath.Join(dir, filepath.Base(path))); err != nil {
				t.Fatal(err)
			}
			if got, err := readAll(t, dir); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s %s: %d rows, %v; want ErrDamaged", filepath.Base(path), what, len(got), err)
			}
			tried++
		}
	}
	if tried == 0 {
		t.Error("no log holds rows")
	}
}

// Whoever copies the folder of a node that has ended has the same files by other
// inodes. And a log that became a table since the marks is no damage.
func TestCopiesAndFlushesAreNoDamage(t *testing.T) {
	base := fastDir(t)
	rows := filled(t, base)
	marked, dir := reopen(t, base), fastDir(t)
	if err := snapshot(marked, dir); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each start and end makes tables of logs
		if got, err := readAll(t, dir); err != nil || !maps.Equal(got, rows) {
			t.Fatalf("%d rows of %d, %v", len(got), len(rows), err)
		}
	}
}

// What is after the marks was not synced: a torn end of a log is no damage.
func TestTornTailIsNoDamage(t *testing.T) {
	base := fastDir(t)
	rows := filled(t, base)
	dir := reopen(t, base)
	logs, _ := filepath.Glob(filepath.Join(dir, "*"+memSuffix))
	for _, path := range append(logs, filepath.Join(dir, manifestName)) {
		n, _, err := measure(path, 1<<62)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("\x00\x00\x00\x09torn"), n+8); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if got, err := readAll(t, dir); err != nil || !maps.Equal(got, rows) {
		t.Errorf("%d rows of %d, %v", len(got), len(rows), err)
	}
}

// Badger refuses to open a log of no bytes, which a crash may leave.
func TestEmptyLogsAreSweptAway(t *testing.T) {
	base := fastDir(t)
	rows := filled(t, base)
	dir := reopen(t, base)
	for _, name := range []string{"00900.mem", "000900.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := readAll(t, dir); err != nil || !maps.Equal(got, rows) {
		t.Errorf("%d rows of %d, %v", len(got), len(rows), err)
	}
}

func TestMissingTableIsDamage(t *testing.T) {
	base := fastDir(t)
	filled(t, base)
	tables, _ := filepath.Glob(filepath.Join(base, "*"+tableSuffix))
	if err := os.Remove(tables[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(t, base); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}

// A table that goes bad while it is in use is found by maintenance, before a
// compaction drops its rows for good.
func TestMaintainFindsDamage(t *testing.T) {
	dir := fastDir(t)
	filled(t, dir)
	s := open(t, small(dir))
	flip(t, rand.New(rand.NewPCG(1, 1)), dir, tableSuffix)
	if _, err := s.Maintain(context.Background()); !errors.Is(err, ErrDamaged) {
		t.Fatalf("%v, want ErrDamaged", err)
	}
	f, _ := s.Freeze()
	err := f.Write(context.Background())
	if s.Thaw(f, err); !errors.Is(err, ErrBroken) {
		t.Errorf("a checkpoint after that: %v", err)
	}
}

// Deletes are dropped together with what they hide, and nothing comes back.
func TestMaintainFlattens(t *testing.T) {
	s := open(t, small(fastDir(t)))
	for round := range 4 {
		for i := range 400 {
			s.Put(key("k%03d", i), bytes.Repeat([]byte{byte(round)}, 5000))
		}
		frozen(t, s)
	}
	for i := range 390 {
		s.Delete(key("k%03d", i))
	}
	frozen(t, s)
	var all Maintenance
	// Badger makes its tables when it likes, and may flatten them itself.
	for try := 0; !all.Flattened && try < 100; try++ {
		for i := range 400 {
			s.Put(key("y%03d", i), make([]byte, 3000))
		}
		frozen(t, s)
		did, err := s.Maintain(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		all.Verified += did.Verified
		all.Flattened = did.Flattened
	}
	if all.Verified == 0 || !all.Flattened {
		t.Fatalf("%+v, want some of everything", all)
	}
	for i := range 400 {
		v, ok, err := s.Get(key("k%03d", i))
		if err != nil || ok != (i >= 390) || ok && !bytes.Equal(v, bytes.Repeat([]byte{3}, 5000)) {
			t.Fatalf("row %d: %d bytes %v %v", i, len(v), ok, err)
		}
	}
}
