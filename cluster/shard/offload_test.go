package shard

import "testing"

// A simulation has neither goroutine nor timer: what the Set does not do on the
// loop waits until the simulation runs it, and what it runs at once is as good
// as a fast disk.
func TestOffloadedWorkRunsWhenTheSimulationSaysSo(t *testing.T) {
	var works []func()
	var inline bool
	n := newSolo(t, func(c *Config) {
		c.Offload = func(_ Work, run func()) {
			if inline {
				run()
				return
			}
			works = append(works, run)
		}
	})
	inline = true
	n.lead()
	n.propose(1, "a=1")
	n.round()
	n.want("append 1", "sync", "apply a=1", "committed 1")

	inline = false
	n.propose(2, "b=1")
	n.round()
	n.round()
	n.want("append 1")
	works[0]()
	n.want("sync")
	(<-n.posted)()
	n.round() // the commit index is the second pass
	n.want("apply b=1", "committed 2")

	n.set.Checkpoint()
	n.round()
	if n.want("freeze"); len(works) != 2 || !n.set.Checkpointing() {
		t.Fatalf("%d works, checkpointing %v", len(works), n.set.Checkpointing())
	}
	works[1]()
	(<-n.posted)()
	n.want("thaw <nil>")
}
