package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func done(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// used makes a folder as a node leaves it that has run.
func used(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	d := open(t, path)
	done(t, os.WriteFile(filepath.Join(d.Log(), "x"), nil, 0o600))
	done(t, os.WriteFile(filepath.Join(d.Store(), "x"), nil, 0o600))
	done(t, d.Established())
	done(t, d.Close())
	return path
}

func refused(t *testing.T, path string, want error, words ...string) {
	t.Helper()
	d, err := Open(path)
	if err == nil {
		d.Close()
		t.Fatal("opened")
	}
	if !errors.Is(err, want) {
		t.Errorf("refused with %v, want %v", err, want)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// The time of the last run is found again; one that cannot be read is said so.
func TestSeen(t *testing.T) {
	d := open(t, used(t))
	if seen, err := d.Seen(); err != nil || !seen.IsZero() {
		t.Errorf("before any: %v, %v", seen, err)
	}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for range 2 {
		done(t, d.SetSeen(at))
		if seen, err := d.Seen(); err != nil || !seen.Equal(at) {
			t.Errorf("%v, %v", seen, err)
		}
		at = at.Add(time.Hour)
	}
	done(t, os.WriteFile(filepath.Join(d.Path(), "clock"), []byte("noon"), 0o600))
	if _, err := d.Seen(); !errors.Is(err, ErrDamaged) {
		t.Errorf("noon: %v", err)
	}
}

func TestNewFolderIsPrivateAndKeepsItsNode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "data")
	d := open(t, path)
	if !d.New() {
		t.Error("not new")
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, "log": 0o700, "store": 0o700, "identity": 0o600, "LOCK": 0o600} {
		info, err := os.Stat(filepath.Join(path, name))
		done(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%q has mode %v, want %v", name, info.Mode().Perm(), mode)
		}
	}
	node := d.Node()
	done(t, d.Close())

	// A first start that was cut short begins again, as the same node.
	done(t, os.Remove(d.Log()))
	d = open(t, path)
	if !d.New() || d.Node() != node {
		t.Errorf("new %v, node %s, want a new %s", d.New(), d.Node(), node)
	}
	done(t, os.WriteFile(filepath.Join(d.Log(), "x"), nil, 0o600))
	done(t, os.WriteFile(filepath.Join(d.Store(), "x"), nil, 0o600))
	done(t, d.Established())
	done(t, d.Close())
	if d = open(t, path); d.New() || d.Node() != node {
		t.Errorf("new %v, node %s, want %s in use", d.New(), d.Node(), node)
	}
}

func TestSecondProcessIsTurnedAway(t *testing.T) {
	path := used(t)
	d := open(t, path)
	refused(t, path, ErrInUse, fmt.Sprintf("process %d since", os.Getpid()))
	done(t, d.Close())
	open(t, path)
}

// What is lost must not look like what is empty.
func TestLostPartIsRefused(t *testing.T) {
	for _, part := range []string{"log", "store"} {
		for _, how := range []string{"folder", "content"} {
			t.Run(part+" "+how, func(t *testing.T) {
				path := used(t)
				lost := filepath.Join(path, part)
				done(t, os.RemoveAll(lost))
				if how == "content" {
					done(t, os.Mkdir(lost, 0o700))
				}
				refused(t, path, ErrMissing, "the "+part+" is missing")
				if _, err := os.Stat(filepath.Join(lost, "x")); err == nil {
					t.Error("something was created in its place")
				}
			})
		}
	}
	t.Run("identity", func(t *testing.T) {
		path := used(t)
		done(t, os.Remove(filepath.Join(path, identityName)))
		refused(t, path, ErrMissing, "no identity")
	})
}

func TestIdentityThatCannotBeTrustedIsRefused(t *testing.T) {
	rewrite := func(t *testing.T, change func(string) string) string {
		path := used(t)
		file := filepath.Join(path, identityName)
		data, err := os.ReadFile(file)
		done(t, err)
		changed := change(string(data))
		if changed == string(data) {
			t.Fatal("nothing changed")
		}
		done(t, os.WriteFile(file, []byte(changed), 0o600))
		return path
	}
	t.Run("newer", func(t *testing.T) {
		path := rewrite(t, func(string) string { return `{"format": 3, "node": {"of": "another shape"}}` })
		refused(t, path, ErrNewer, "says 3", "knows 2")
	})
	t.Run("older", func(t *testing.T) {
		path := rewrite(t, func(string) string { return `{"format": 1, "node": "6e0d52a2-3f57-4c4e-8a3f-0b7f1a0c9d11"}` })
		refused(t, path, ErrOlder, "says 1", "empty folder")
	})
	t.Run("another number", func(t *testing.T) {
		path := rewrite(t, func(s string) string { return strings.Replace(s, `"number": 0`, `"number": 1`, 1) })
		refused(t, path, ErrDamaged)
	})
	t.Run("another id", func(t *testing.T) {
		path := rewrite(t, func(s string) string { return strings.Replace(s, `"node": "`, `"node": "0`, 1) })
		refused(t, path, ErrDamaged)
	})
	t.Run("another state", func(t *testing.T) {
		path := rewrite(t, func(s string) string { return strings.Replace(s, "in use", "new", 1) })
		refused(t, path, ErrDamaged)
	})
	t.Run("torn", func(t *testing.T) {
		path := rewrite(t, func(s string) string { return s[:len(s)/2] })
		refused(t, path, ErrDamaged)
	})
	t.Run("empty", func(t *testing.T) {
		refused(t, rewrite(t, func(string) string { return "" }), ErrDamaged)
	})
}

func TestFileInPlaceOfTheFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	done(t, os.WriteFile(path, nil, 0o600))
	if _, err := Open(path); err == nil {
		t.Error("opened")
	}
	if _, err := Open(""); err == nil {
		t.Error("opened nothing")
	}
}
