package datadir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestIdentityStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d := open(t, path)
	if !d.New() || d.Settle() != nil {
		t.Fatal("a new directory is not new, or does not settle")
	}
	id := d.Node()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d = open(t, path); d.New() || d.Node() != id {
		t.Errorf("after reopening: new %v, node %s, was %s", d.New(), d.Node(), id)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := t.TempDir()
	open(t, path)
	_, err := Open(path)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("in use by process ", os.Getpid())) {
		t.Errorf("the second Open says %v", err)
	}
}

// What was never settled acknowledged nothing, and is begun anew.
func TestUnsettledIsBegunAnew(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := os.WriteFile(filepath.Join(d.Log(), "rest"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	d = open(t, path)
	if left, _ := os.ReadDir(d.Log()); !d.New() || len(left) != 0 {
		t.Errorf("new %v, left %v", d.New(), left)
	}
}

// A log or store that is gone is never taken for an empty one.
func TestMissingPartsAreRefused(t *testing.T) {
	for _, part := range []string{"log", "store"} {
		path := t.TempDir()
		d := open(t, path)
		if err := d.Settle(); err != nil {
			t.Fatal(err)
		}
		_ = d.Close()
		if err := os.RemoveAll(filepath.Join(path, part)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), part+" is missing") {
			t.Errorf("without %s Open says %v", part, err)
		}
	}
}

func TestNewerFormatAndDamage(t *testing.T) {
	for content, want := range map[string]string{
		`{"format":99,"node":"01935b3e-0000-7000-8000-000000000001","settled":true}`: "run a newer one",
		`{"format":1`:            "is damaged",
		`{"format":1,"node":""}`: "is damaged",
	} {
		path := t.TempDir()
		if err := os.WriteFile(filepath.Join(path, "node"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Open says %v", content, err)
		}
	}
}

// A directory that lost its identity is not begun anew over the data it holds.
func TestLostIdentityIsRefused(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	if err := os.Remove(filepath.Join(path, "node")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("Open says %v", err)
	}
}
