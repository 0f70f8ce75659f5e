package store

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// Badger made tables of its logs and noted them, and the power was cut before
// their names were durable: the logs are there, and so is every row. Without the
// logs, or where the checkpoint's own tables are missing, it is damage.
func TestTableThatAPowerCutTook(t *testing.T) {
	if _, _, ok := identify("."); !ok {
		t.Skip("no marks without the time of a file's birth")
	}
	from := fastDir(t)
	rows := filled(t, from)
	flushed := reopen(t, from)
	if _, err := readAll(t, flushed); err != nil { // closing makes tables of all logs
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(flushed, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	cut := func(t *testing.T) string {
		dir := reopen(t, from)
		path := filepath.Join(dir, manifestName)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(before) >= len(manifest) {
			t.Fatal("nothing was noted")
		}
		if err := os.WriteFile(path, manifest, 0o600); err != nil { // the same file
			t.Fatal(err)
		}
		return dir
	}
	remove := func(t *testing.T, dir, pattern string) {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatal(paths, err)
		}
		if err := os.Remove(paths[0]); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("the logs are there", func(t *testing.T) {
		got, err := readAll(t, cut(t))
		if err != nil || !maps.Equal(got, rows) {
			t.Fatalf("%d rows, want %d, %v", len(got), len(rows), err)
		}
	})
	for _, pattern := range []string{"*" + memSuffix, "*" + tableSuffix} {
		t.Run("without "+pattern, func(t *testing.T) {
			dir := cut(t)
			remove(t, dir, pattern)
			if _, err := readAll(t, dir); !errors.Is(err, ErrDamaged) {
				t.Fatalf("opened: %v", err)
			}
		})
	}
}
