package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/rookery-im/rookery/persistence/raftlog"
)

// The same over the log that is really used: what was acknowledged is there
// after a restart, whether a checkpoint came in between or not.
func TestOverSegmentLog(t *testing.T) {
	dir := t.TempDir()
	tr, store := &trace{}, newMemStore(&trace{})
	machines := map[uint32]Machine{}
	for id := range uint32(3) {
		machines[id] = &recorder{trace: tr, name: fmt.Sprintf("%d: ", id), store: store, seen: map[uint64]string{}, t: t}
	}
	posted := make(chan func(), 1)
	replicas := map[uint32]uint64{}
	for life := range 4 {
		config := raftlog.Config{Dir: dir, SegmentBytes: 64 << 10}
		if life > 0 {
			config.Missing = raftlog.Refuse
		}
		log, err := raftlog.Open(config)
		if err != nil {
			t.Fatal(err)
		}
		set, err := New(Config{Log: SegmentLog{log}, Store: store, Found: []uint32{0, 1, 2}, Machine: among(machines),
			Post: func(f func()) bool { posted <- f; return true }, SyncWait: time.Hour, SlowSync: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		round(t, set)
		for id := range uint32(3) {
			g := set.Group(id)
			if !g.Leading() {
				t.Fatalf("life %d: group %d is %v", life, id, g.Role())
			}
			if was, ok := replicas[id]; ok && was != g.Replica() {
				t.Errorf("group %d: replica %x is now %x", id, was, g.Replica())
			}
			replicas[id] = g.Replica()
			if err := g.Propose(1, fmt.Appendf(nil, "%d/%d=x", id, life)); err != nil {
				t.Fatal(err)
			}
		}
		round(t, set)
		if life%2 == 0 {
			set.Checkpoint()
			round(t, set)
			(<-posted)()
			if err := set.Err(); err != nil {
				t.Fatal(err)
			}
		}
		set.Close()
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		if got := Shards(SegmentLog{log}); got != 2 {
			t.Errorf("%d shards", got)
		}
		if rows := store.rows(); len(rows) != 3*(life+1) {
			t.Errorf("life %d: rows %v", life, rows)
		}
		store = store.crash()
		for _, m := range machines {
			m.(*recorder).store = store
		}
	}
}

func round(t *testing.T, set *Set) {
	t.Helper()
	if err := set.Round(); err != nil {
		t.Fatal(err)
	}
}
