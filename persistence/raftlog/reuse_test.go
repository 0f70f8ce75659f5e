package raftlog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/rookery-im/rookery/persistence/raftlog"
	"github.com/rookery-im/rookery/persistence/raftlog/faultdisk"
)

// Once checkpoints have freed a few segments, no further file is made, and no
// more of them are kept than are used.
func TestSegmentsAreUsedAgain(t *testing.T) {
	d := faultdisk.New(1)
	l, m := aged(t, d)
	d.SetFault(func(op faultdisk.Op, name string) error {
		if op == faultdisk.Create {
			t.Errorf("%s was created", name)
		}
		return nil
	})
	next, _ := l.Group(3).LastIndex()
	for i := next + 1; i < next+200; i++ {
		u := raftlog.Update{Group: 3, Entries: entries(1, i, i, 1)}
		c := []raftlog.Checkpoint{{Group: 3, Index: i, Term: 1}}
		must(t, l.Append([]raftlog.Update{u}))
		must(t, l.SaveCheckpoints(c))
		m = m.after(event{update: &u}).after(event{checkpoints: c})
	}
	if n := len(d.Names()); n > 5 {
		t.Errorf("files %q", d.Names())
	}
	must(t, l.Close())
	d.SetFault(nil)
	l = mustOpen(t, small(d))
	defer l.Close()
	if diff := m.differs(l); diff != "" {
		t.Error(diff)
	}
	if slices.ContainsFunc(d.Names(), func(name string) bool { return strings.HasSuffix(name, ".old") }) {
		t.Errorf("files %q: what another process kept is not to be trusted", d.Names())
	}
}

// A record on a used file did not arrive: where it should be stands what an
// earlier segment left. That is a torn tail, not damage.
func TestTornTailOnUsedFiles(t *testing.T) {
	for seed := range uint64(200) {
		d := faultdisk.New(seed)
		l, m := aged(t, d)
		must(t, l.Sync())
		may := []model{m}
		for i := uint64(1); i <= 3; i++ {
			u := raftlog.Update{Group: 1, Entries: entries(1, i*20-19, i*20, 1)}
			must(t, l.Append([]raftlog.Update{u}))
			m = m.after(event{update: &u})
			may = append(may, m)
		}
		d.PowerCut([]faultdisk.Keep{faultdisk.Some, faultdisk.Pages, faultdisk.Nothing}[seed%3])
		for range 2 {
			l = mustOpen(t, small(d))
			if !slices.ContainsFunc(may, func(m model) bool { return m.differs(l) == "" }) {
				t.Fatalf("seed %d: %s", seed, may[0].differs(l))
			}
			d.Kill()
		}
	}
}
