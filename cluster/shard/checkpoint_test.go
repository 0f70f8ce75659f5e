package shard

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCheckpointByTime(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.clock.advance(DefaultCheckpointEvery)
	n.propose(1, "a=1")
	n.round()
	(<-n.posted)()
	n.want("append 1", "sync", "apply a=1", "committed 1", "freeze", "thaw <nil>")
	cp, _ := n.log.Checkpoint(1)
	if cp.Index != n.g.Applied() || cp.Term != n.g.Term() {
		t.Errorf("checkpoint at %d of term %d, applied %d of term %d", cp.Index, cp.Term, n.g.Applied(), n.g.Term())
	}

	n.clock.advance(DefaultCheckpointEvery)
	n.round()
	n.want() // nothing was applied since

	n.crash(0)
	n.round()
	if trace := n.trace.take(); strings.Contains(trace, "apply") {
		t.Errorf("an entry from before the checkpoint was applied again:\n%s", trace)
	}
	if got := n.store.rows()["a"]; got != "1" {
		t.Errorf("a is %q after the crash", got)
	}
}

func TestCheckpointBySize(t *testing.T) {
	for _, c := range []struct {
		name  string
		tweak func(*Config)
	}{
		{"overlay", func(c *Config) { c.CheckpointBytes = 10 }},
		{"log", func(c *Config) { c.CheckpointLog = 200 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newSolo(t, c.tweak)
			n.lead()
			n.propose(1, "a=1")
			n.round()
			if n.set.Checkpointing() {
				t.Fatal("too early")
			}
			n.propose(2, "b="+strings.Repeat("x", 200))
			n.round()
			if !n.set.Checkpointing() {
				t.Fatal("the bound is exceeded and no checkpoint was begun")
			}
			(<-n.posted)()
			n.trace.take()
			n.propose(3, "c=1") // counting begins anew
			n.round()
			n.want("append 1", "sync", "apply c=1", "committed 3")
		})
	}
}

// A checkpoint may take its time until what comes meanwhile piles up.
func TestCheckpointIsHurried(t *testing.T) {
	n := newSolo(t, func(c *Config) { c.CheckpointBytes = 100 })
	n.lead()
	n.store.gate = make(chan struct{})
	n.propose(1, "a="+strings.Repeat("x", 100))
	n.round()
	n.propose(2, "b=1")
	n.round()
	if trace := n.trace.take(); !n.set.Checkpointing() || strings.Contains(trace, "hurry") {
		t.Fatalf("hurried too early, or no checkpoint:\n%s", trace)
	}
	n.propose(3, "c="+strings.Repeat("x", 100/hurryShare))
	n.round()
	if trace := n.trace.take(); !strings.Contains(trace, "hurry") {
		t.Errorf("not hurried:\n%s", trace)
	}
	close(n.store.gate)
	(<-n.posted)()
}

// What goes on while the checkpoint is being written belongs to the next one.
func TestProposalsDuringCheckpoint(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.store.gate = make(chan struct{})
	n.propose(1, "a=1")
	n.set.Checkpoint()
	n.round()
	at := n.g.Applied()
	n.propose(2, "a=2")
	n.round()
	n.want("append 1", "sync", "apply a=1", "committed 1", "freeze", "append 1", "sync", "apply a=2", "committed 2")
	close(n.store.gate)
	(<-n.posted)()
	if cp, _ := n.log.Checkpoint(1); cp.Index != at {
		t.Errorf("checkpoint at %d, frozen at %d", cp.Index, at)
	}
	n.crash(0)
	n.lead()
	if got := n.store.rows()["a"]; got != "2" {
		t.Errorf("a is %q", got)
	}
}

// The log may not forget what the store does not have for certain.
func TestFailedCheckpointIsTriedAgain(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	was, _ := n.log.Checkpoint(1)
	n.store.fail = errDisk
	n.propose(1, "a=1")
	n.set.Checkpoint()
	n.round()
	(<-n.posted)()
	if cp, _ := n.log.Checkpoint(1); cp.Index != was.Index {
		t.Errorf("checkpoint went from %d to %d", was.Index, cp.Index)
	}
	if n.set.Err() != nil {
		t.Errorf("a failed checkpoint stopped the node: %v", n.set.Err())
	}
	if got := n.store.rows()["a"]; got != "1" {
		t.Errorf("a is %q after the failure", got)
	}
	if err := n.set.CheckpointErr(); !errors.Is(err, errDisk) {
		t.Errorf("the failure is told as %v", err)
	}
	n.trace.take()
	n.round()
	n.want() // not at once
	n.store.fail = nil
	n.clock.advance(retryFirst)
	n.round()
	(<-n.posted)()
	n.want("freeze", "thaw <nil>")
	if cp, _ := n.log.Checkpoint(1); cp.Index != n.g.Applied() {
		t.Errorf("checkpoint at %d, applied %d", cp.Index, n.g.Applied())
	}
	if err := n.set.CheckpointErr(); err != nil {
		t.Errorf("still told after a success: %v", err)
	}
}

// A store that is broken for good would let memory and log grow until they are full.
func TestBrokenStoreStopsTheNode(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.store.fail = fmt.Errorf("%w: %w", ErrStoreBroken, errDisk)
	n.propose(1, "a=1")
	n.set.Checkpoint()
	n.round()
	(<-n.posted)()
	if err := n.set.Err(); !errors.Is(err, ErrStoreBroken) {
		t.Fatalf("the node goes on: %v", err)
	}
	if err := n.g.Propose(2, []byte("a=2")); !errors.Is(err, ErrBroken) {
		t.Errorf("a proposal is taken: %v", err)
	}
}

func TestCheckpointBackoffIsBounded(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.store.fail = errDisk
	n.propose(1, "a=1")
	n.set.Checkpoint()
	for want := retryFirst; want < 4*retryMax; want *= 2 {
		n.round()
		(<-n.posted)()
		if got := n.set.checkpoint.retry; got != min(want, retryMax) {
			t.Fatalf("retry after %v, want %v", got, min(want, retryMax))
		}
		n.clock.advance(retryMax)
	}
}

func TestCloseDuringCheckpoint(t *testing.T) {
	n := newSolo(t, nil)
	n.lead()
	n.store.gate = make(chan struct{}) // for ever
	n.propose(1, "a=1")
	n.set.Checkpoint()
	n.round()
	n.set.Close()
}

// Whatever the order of proposals, checkpoints that succeed, fail half way or
// are interrupted, and crashes that keep more or less of the unsynced tail: the
// rows are those that applying every entry once, in order, gives; and nothing
// that was committed is lost.
func TestReplayFromCheckpointEqualsNoCrash(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := newSolo(t, nil)
		n.round()
		token := uint64(0)
		acknowledged := map[uint64]string{}
		in := map[uint64]string{}
		note := func() {
			for _, token := range n.m.committed {
				acknowledged[token] = in[token]
			}
			n.m.committed = nil
		}
		n.run(rt, map[string]func(){
			"propose": func() {
				token++
				value := fmt.Sprint(token)
				if rapid.Bool().Draw(rt, "delete") {
					value = deleted + value
				}
				// The token makes every entry unlike the others.
				data := fmt.Sprintf("%s=%s", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key"), value)
				if n.g.Propose(token, []byte(data)) == nil {
					in[token] = data
				}
			},
			"round":           func() { n.round(); note() },
			"checkpoint":      func() { n.checkpoint(nil, 0) },
			"half checkpoint": func() { n.checkpoint(errDisk, rapid.IntRange(0, 3).Draw(rt, "rows")) },
			"crash in checkpoint": func() {
				n.checkpointCut(rapid.IntRange(0, 3).Draw(rt, "rows"))
				n.round()
			},
			"crash": func() { n.crash(0); n.round() },
			"crash in sync": func() {
				n.log.syncErr = errDisk
				if n.g.proposal.stage == queued {
					if err := n.set.Round(); !errors.Is(err, errDisk) {
						rt.Fatal(err)
					}
				}
				n.crash(rapid.IntRange(0, 2).Draw(rt, "kept"))
				n.round()
			},
		})
		n.crash(0)
		n.round()
		n.checkRows(rt, acknowledged)
		n.set.Close()
	})
}

func (n *solo) run(rt *rapid.T, actions map[string]func()) {
	names := []string{"propose", "round", "propose", "round", "checkpoint", "half checkpoint", "crash in checkpoint", "crash", "crash in sync"}
	for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 1, 40).Draw(rt, "script") {
		actions[name]()
	}
}

// checkpoint runs one to its end, with a store that fails after some rows.
func (n *solo) checkpoint(err error, rows int) {
	n.store.fail, n.store.partial = err, rows
	n.clock.advance(retryMax)
	n.set.Checkpoint()
	n.round()
	if n.set.Checkpointing() {
		(<-n.posted)()
	}
	n.store.fail = nil
}

// checkpointCut crashes after the store has written some rows, before the log
// has heard of it.
func (n *solo) checkpointCut(rows int) {
	n.store.fail, n.store.partial = errDisk, rows
	n.clock.advance(retryMax)
	n.set.Checkpoint()
	n.round()
	n.crash(0)
}

func (n *solo) checkRows(rt *rapid.T, acknowledged map[uint64]string) {
	want := map[string]string{}
	applied := map[string]int{}
	for index := uint64(0); index <= n.g.Applied(); index++ {
		if data, ok := n.seen[index]; ok {
			k, v, _ := strings.Cut(data, "=")
			want[k] = v
			applied[data]++
		}
	}
	maps.DeleteFunc(want, func(_, v string) bool { return strings.HasPrefix(v, deleted) })
	if got := n.store.rows(); !maps.Equal(got, want) {
		rt.Errorf("rows %v, want %v", got, want)
	}
	for token, data := range acknowledged {
		if applied[data] == 0 {
			rt.Errorf("proposal %d (%q) was acknowledged, and is gone", token, data)
		}
	}
}

// A crash in the middle leaves the store ahead of the checkpoint. How far at most
// the log knows, and that all of it is committed: the replica needs nobody to
// apply it again, and until then counts as one whose store is not exact.
func TestCrashInACheckpoint(t *testing.T) {
	for _, tail := range []bool{false, true} {
		n := newTrio(t)
		one := n.elect(1)
		n.propose(one, 1, "a=1")
		n.settle()
		at := one.g.Applied()
		one.store.fail, one.store.partial = errDisk, 1
		one.set.Checkpoint()
		must(one.set.Round())
		for one.set.Checkpointing() {
			runtime.Gosched()
			must(one.set.Round())
		}
		n.cut[1] = true
		if tail {
			n.propose(one, 2, "a=2") // never committed
			n.settle()
		}

		one.set.Close()
		one.log, one.store = one.log.crash(0), one.store.crash()
		one.m.store = one.store
		n.start(one)
		if one.store.base["a"] != "1" || one.set.Replayed() {
			t.Errorf("the store has %v, applied is %d, and that counts as replayed", one.store.base, one.g.Applied())
		}
		n.settle()
		if got := one.g.Applied(); got != at || !one.set.Replayed() {
			t.Errorf("tail %v: applied %d without the others, want %d", tail, got, at)
		}
		n.cut[1] = false
		n.tick(3 * DefaultElectionTicks)
		n.same()
	}
}
