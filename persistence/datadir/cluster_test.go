package datadir

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

const (
	here      = "0d3f2a52-64b9-4dfb-9f0f-3a5a2c1f7f10"
	elsewhere = "5b1a6a0e-5f0e-4c0e-9a59-7f3c4d8e2b11"
)

func reopen(t *testing.T, d *Dir) *Dir {
	t.Helper()
	done(t, d.Close())
	return open(t, d.Path())
}

// inUse makes the folder one whose node has run.
func inUse(t *testing.T, d *Dir) {
	t.Helper()
	for _, part := range []string{d.Log(), d.Store()} {
		done(t, os.WriteFile(filepath.Join(part, "x"), nil, 0o600))
	}
	done(t, d.Established())
}

// Each start is a life of its own, in the same cluster, under the same number.
func TestLives(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "data"))
	done(t, d.Begin(Creates))
	cluster := d.Cluster()
	if cluster == "" || d.Number() != 0 || d.Incarnation() != 1 {
		t.Fatalf("cluster %q, number %d, life %d", cluster, d.Number(), d.Incarnation())
	}
	inUse(t, d)
	d = reopen(t, d)
	done(t, d.Begin(Joins)) // it was stopped before it had its number
	done(t, d.Belong(cluster, 1, 64))
	done(t, d.Belong(cluster, 1, 64))
	for life := uint64(3); life < 5; life++ {
		d = reopen(t, d)
		done(t, d.Begin(Joins)) // it may be started with --join, and stays what it is
		if d.Cluster() != cluster || d.Number() != 1 || d.Shards() != 64 || d.Incarnation() != life {
			t.Errorf("cluster %q, number %d, life %d, want %d", d.Cluster(), d.Number(), d.Incarnation(), life)
		}
	}
	for _, c := range []struct {
		cluster string
		number  uint16
	}{{elsewhere, 1}, {cluster, 2}} {
		if err := d.Belong(c.cluster, c.number, 64); !errors.Is(err, ErrOrigin) {
			t.Errorf("belongs to %+v: %v", c, err)
		}
	}
}

// A folder that was in use without being admitted never becomes a creator's.
func TestWhoJoinsNeverCreates(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "data"))
	done(t, d.Begin(Joins))
	if d.Cluster() != "" {
		t.Errorf("cluster %q", d.Cluster())
	}
	inUse(t, d)
	d = reopen(t, d)
	if err := d.Begin(Creates); !errors.Is(err, ErrOrigin) {
		t.Errorf("got %v", err)
	}
	done(t, d.Begin(Joins))
}

// A first start that was cut short decides nothing, unless the folder was
// prepared: then only what it was prepared for.
func TestPrepared(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "data"))
	done(t, d.Begin(Creates))
	d = reopen(t, d)
	done(t, d.Begin(Joins))
	if d.Cluster() != "" {
		t.Errorf("joins %q, which it was about to create", d.Cluster())
	}
	if err := d.Prepare(here, Joins); !errors.Is(err, ErrOrigin) {
		t.Errorf("prepared after it began: %v", err)
	}

	for _, c := range []struct{ for_, not Origin }{{Creates, Joins}, {Joins, Creates}} {
		d := open(t, filepath.Join(t.TempDir(), "data"))
		done(t, d.Prepare(here, c.for_))
		done(t, d.Prepare(here, c.for_))
		if err := d.Prepare(elsewhere, c.for_); !errors.Is(err, ErrOrigin) {
			t.Errorf("prepared for another: %v", err)
		}
		d = reopen(t, d)
		if err := d.Begin(c.not); !errors.Is(err, ErrOrigin) {
			t.Errorf("it is for one that %s: %v", c.for_, err)
		}
		done(t, d.Begin(c.for_))
		if d.Cluster() != here || d.Incarnation() != 1 {
			t.Errorf("cluster %q, life %d", d.Cluster(), d.Incarnation())
		}
	}
}

func TestViewIsKept(t *testing.T) {
	d := open(t, used(t))
	if v, err := d.View(); v != nil || err != nil {
		t.Errorf("before any: %q, %v", v, err)
	}
	for _, want := range [][]byte{{1, '\n', 0}, {'\n'}} {
		done(t, d.SetView(want))
		if v, err := d.View(); err != nil || !bytes.Equal(v, want) {
			t.Errorf("%q, %v", v, err)
		}
	}
	info, err := os.Stat(filepath.Join(d.Path(), "view"))
	done(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}
