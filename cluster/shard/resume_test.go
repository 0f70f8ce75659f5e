package shard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// The log breaks with a proposal in flight and is repaired: the node goes on in
// a new term, with all that it had applied and without applying it again; the
// proposal is in the log or not, as the disk had it.
func TestResumeAfterRepair(t *testing.T) {
	for _, c := range []struct {
		name    string
		breakIt func(*memLog)
		kept    int
		want    []string
	}{
		{"append failed", func(l *memLog) { l.appendErr = errDisk }, 0,
			[]string{"append 1", "sync", "append 1", "sync", "lead 3"}},
		{"sync failed, nothing of it arrived", func(l *memLog) { l.syncErr = errDisk }, 0,
			[]string{"append 1", "sync", "append 1", "sync", "lead 3"}},
		{"sync failed, but it had arrived", func(l *memLog) { l.syncErr = errDisk }, 9,
			[]string{"append 1", "sync", "append 1", "sync", "apply b=2", "lead 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newSolo(t, nil)
			n.lead()
			n.propose(1, "a=1")
			n.round()
			c.breakIt(n.log)
			n.propose(2, "b=2")
			if err := n.set.Round(); !errors.Is(err, errDisk) || !errors.Is(err, ErrLog) {
				t.Fatalf("round: %v", err)
			}
			if err := n.g.Propose(3, []byte("c=3")); !errors.Is(err, ErrBroken) {
				t.Fatalf("propose: %v", err)
			}
			n.log.repair(c.kept)
			n.trace.take()
			must(n.set.Resume())
			n.round()
			n.want(c.want...)
			n.propose(4, "d=4")
			n.round()
			n.want("append 1", "sync", "apply d=4", "committed 4")
		})
	}
}

// What a machine said cannot be mended by the log, and a log that lost what was
// applied is not gone on with.
func TestResumeRefuses(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.m.fail = errors.New("rows do not fit")
	n.propose(1, "a=1")
	if err := n.set.Round(); !errors.Is(err, n.m.fail) {
		t.Fatal(err)
	}
	if err := n.set.Resume(); !errors.Is(err, n.m.fail) {
		t.Errorf("resumed over a broken machine: %v", err)
	}

	n = newSolo(t, nil)
	n.lead()
	for token := range uint64(3) {
		n.propose(token, "a=1")
		n.round()
	}
	n.log.syncErr = errDisk
	n.propose(9, "b=2")
	if err := n.set.Round(); !errors.Is(err, ErrLog) {
		t.Fatal(err)
	}
	n.log.durable = n.log.durable[:len(n.log.durable)-1]
	n.log.repair(0)
	if err := n.set.Resume(); err == nil || n.set.Err() == nil {
		t.Errorf("resumed on a log that lost an entry: %v", err)
	}
}

// At every moment the rows are what the entries say that were committed, over
// breaks, repairs, crashes and checkpoints in any order.
func TestResumeEqualsRestart(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 7))
		n := newSolo(t, nil)
		n.lead()
		acked := map[string]string{}
		for i := range uint64(40) {
			k, v := fmt.Sprint("k", random.IntN(5)), fmt.Sprint(i)
			n.propose(i, k+"="+v)
			n.m.committed = nil
			if random.IntN(4) > 0 {
				n.round()
			} else {
				if random.IntN(2) == 0 {
					n.log.appendErr = errDisk
				} else {
					n.log.syncErr = errDisk
				}
				if err := n.set.Round(); !errors.Is(err, ErrLog) {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if kept := random.IntN(3); random.IntN(3) > 0 {
					n.log.repair(kept)
					must(n.set.Resume())
					n.round()
				} else {
					n.crash(kept)
					n.lead()
				}
			}
			rows := n.store.rows()
			switch {
			case len(n.m.committed) > 0, rows[k] == v:
				acked[k] = v
			}
			for k, v := range acked {
				if rows[k] != v {
					t.Fatalf("seed %d, step %d: %s is %q, and %q was acknowledged", seed, i, k, rows[k], v)
				}
			}
			if random.IntN(6) == 0 {
				n.set.Checkpoint()
				n.round()
				(<-n.posted)()
			}
		}
	}
}
