package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

func load(t testing.TB, s *Store, rows ...Row) {
	t.Helper()
	l := s.Load()
	if err := errors.Join(l.Write(context.Background(), rows), l.Sync()); err != nil {
		t.Fatal(err)
	}
}

func scan(t testing.TB, scan func(prefix, from []byte, fn func(k, v []byte) bool) error, prefix string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := scan([]byte(prefix), nil, func(k, v []byte) bool { all[string(k)] = string(v); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

// Before a checkpoint has completed, what Badger holds may be ahead of any.
func TestNoViewBeforeACheckpoint(t *testing.T) {
	dir := fastDir(t)
	s := open(t, small(dir))
	if _, ok := s.View(); ok {
		t.Error("a view of nothing")
	}
	s.Put(key("a"), []byte("1"))
	f, _ := s.Freeze()
	err := f.Write(context.Background())
	if _, ok := s.View(); ok {
		t.Error("a view before the log has heard of the checkpoint")
	}
	s.Thaw(f, err)
	v, ok := s.View()
	if !ok {
		t.Fatal("no view after a checkpoint")
	}
	v.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := open(t, small(dir)).View(); ok {
		t.Error("a view after a restart")
	}
}

// A view shows one checkpoint's rows, to the last tombstone, whatever later
// checkpoints, failed ones, loads, erasures and compactions do to them.
func TestViewStandsStill(t *testing.T) {
	s := open(t, small(fastDir(t)))
	random := rand.New(rand.NewPCG(1, 2))
	type open struct {
		*View
		want map[string]string
	}
	var views []open
	for round := range 40 {
		for range 100 {
			k := key("k%d", random.IntN(150))
			if random.IntN(3) == 0 {
				s.Delete(k)
			} else {
				s.Put(k, fmt.Appendf(nil, "%d.%d", round, random.Int()))
			}
		}
		want := scan(t, s.Scan, "k")
		f, _ := s.Freeze()
		s.Put(key("k%d", random.IntN(150)), []byte("later"))
		if round%5 == 4 { // half of it arrives
			s.interrupt = func() error { return errors.New("interrupted") }
		}
		err := f.Write(context.Background())
		s.interrupt = nil
		s.Thaw(f, err)
		if err == nil && len(views) < 5 {
			v, _ := s.View()
			views = append(views, open{v, want})
		}
		load(t, s, Row{key("l%d", round), []byte("v")})
		if round%10 == 9 {
			if err := s.Erase(context.Background(), []byte("l")); err != nil {
				t.Fatal(err)
			}
			if err := s.db.Flatten(1); err != nil {
				t.Fatal(err)
			}
		}
		for i, v := range views {
			if got := scan(t, v.Scan, "k"); !maps.Equal(got, v.want) {
				t.Fatalf("round %d: view %d has %d rows that are not the %d of its checkpoint", round, i, len(got), len(v.want))
			}
		}
		if len(views) == 5 && round%3 == 0 {
			views[0].Close()
			views = views[1:]
		}
	}
	for _, v := range views {
		v.Close()
	}
	if len(s.pinned) != 0 {
		t.Errorf("still pinned: %v", s.pinned)
	}
}

// Loaded rows are there, also after a restart, and are overwritten and deleted
// like any other; those of another prefix stay.
func TestLoadAndErase(t *testing.T) {
	dir := fastDir(t)
	s := open(t, small(dir))
	s.PutNew(key("b0"), []byte("own"))
	var rows []Row
	for i := range 2 * eraseRows {
		rows = append(rows, Row{key("a%04d", i), []byte("loaded")})
	}
	load(t, s, rows...)
	s.Put(key("a0001"), []byte("new"))
	s.Delete(key("a0002"))
	s.PutNew(key("c1"), []byte("x"))
	s.Delete(key("c1"))
	frozen(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, small(dir))
	got := scan(t, s.Scan, "a")
	if len(got) != len(rows)-1 || got["a0001"] != "new" || got["a0002"] != "" || got["a0003"] != "loaded" {
		t.Errorf("%d rows: %q, %q, %q", len(got), got["a0001"], got["a0002"], got["a0003"])
	}
	if p := fmt.Sprintf("%s", s.Prefixes(nil, 1)); p != "[a b]" {
		t.Errorf("prefixes %s", p)
	}
	if err := s.Erase(context.Background(), []byte("a")); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, s.Scan, ""); len(got) != 1 || got["b0"] != "own" {
		t.Errorf("left are %d rows", len(got))
	}
	if p := fmt.Sprintf("%s", s.Prefixes([]byte("a"), 1)); p != "[]" {
		t.Errorf("prefixes %s", p)
	}
	if err := s.Load().Write(context.Background(), []Row{{nil, nil}}); err == nil {
		t.Error("a row without a key was taken")
	}
}

func TestAfter(t *testing.T) {
	for in, want := range map[string]string{"a": "b", "a\xff": "b", "\xff\xff": "", "": ""} {
		if got := string(after([]byte(in))); got != want {
			t.Errorf("after %q is %q, want %q", in, got, want)
		}
	}
}
