package sim

import (
	"slices"
	"testing"
	"testing/cryptotest"
)

// Evidence that a node's process has ended is what cluster/peer gives: its links
// broke, and nobody listens where it was. It is right as a rule, and nobody may
// rely on that: the process may be back before it is told, or something between
// two nodes refused in its stead.

// ended: a node's process has. Where its machine goes on, that refuses whoever
// dials, so the others know within a tenth of a second; one without power does so
// once it has started, at the best. Some hear of it late, whom a cut keeps from
// dialling never.
func (n *network) ended(of *node, how end) {
	w := n.world
	for _, to := range w.nodes[1:] {
		after := w.between(5*millisecond, 100*millisecond)
		if how == powerCut || n.late > 0 && w.chance(n.late) {
			after = w.between(200*millisecond, 4*second)
		}
		if n.deaf || to == of || !to.up || how == powerCut && w.chance(2) {
			continue
		}
		// It has its turn after all that the node said.
		after = max(after, n.said[[2]int{of.number, to.number}]-w.now)
		if l := n.links[[2]int{of.number, to.number}]; l != nil {
			after = max(after, l.last-w.now)
		}
		n.evident(of, to, after)
	}
}

// evident has a node learn that another's process has ended, or so it seems.
func (n *network) evident(of, to *node, after micros) {
	w, incarnation := n.world, to.incarnation
	w.after(after, func() {
		if !to.up || to.incarnation != incarnation || n.cut[[2]int{of.number, to.number}] || n.cut[[2]int{to.number, of.number}] {
			return
		}
		w.stats.gone++
		if of.up {
			w.stats.alive++
		}
		to.post(func() {
			to.note("n%d's process has ended, it seems", of.number)
			to.set.Forsake(of.name)
			to.office.exchange.Gone(of.name)
		})
	})
}

// planEvidence has some nodes be told that another has ended, again and again,
// whatever it does.
func (w *world) planEvidence(from, to micros) {
	of := w.anyNode()
	var told []*node
	for _, n := range w.nodes[1:] {
		if n != of && !w.chance(3) {
			told = append(told, n)
		}
	}
	every, on := w.between(20*millisecond, 1500*millisecond), false
	var tell func()
	tell = func() {
		if !on || w.healed {
			return
		}
		for _, n := range told {
			w.net.evident(of, n, w.between(0, 50*millisecond))
		}
		w.after(every, tell)
	}
	var numbers []int
	for _, n := range told {
		numbers = append(numbers, n.number)
	}
	w.during(from, to, func() { on = true; tell() }, func() { on = false }, "n%d is said to have ended, to %v, every %d ms", of.number, numbers, every/millisecond)
}

// failovers kills nodes that lead, one after another, and says how long their
// shards had no leader.
func (w *world) failovers() (list []micros) {
	for _, n := range w.nodes[1:] {
		n.start()
	}
	if !w.populate() {
		return nil
	}
	led := func() bool {
		for id := range w.fence.groups {
			if w.leads(id) == nil {
				return false
			}
		}
		return true
	}
	for range 4 {
		w.until(3*second+w.between(0, second), nil)
		n := w.leads(uint32(1 + w.random.IntN(w.shape.shards))) //nolint:gosec // small
		if n == nil {
			w.fault("a shard has no leader, though nothing has happened")
			return nil
		}
		n.crash(killed)
		from := w.now
		if !w.until(10*second, led) {
			w.fault("n%d is dead for 10 s, and some shard has no leader", n.number)
			return nil
		}
		list = append(list, w.now-from)
		n.start()
	}
	return list
}

// Where a process ends and its machine goes on, the others do not wait for an
// election timeout.
func TestEvidenceSpeedsFailover(t *testing.T) {
	var with, without []micros
	for seed := uint64(1); seed <= few/2; seed++ {
		for _, deaf := range []bool{false, true} {
			cryptotest.SetGlobalRandom(t, seed)
			w := newWorld(seed, false)
			w.net.deaf, w.net.late = deaf, 0
			list := w.failovers()
			if len(w.faults) > 0 {
				w.report(t)
				return
			}
			if deaf {
				without = append(without, list...)
			} else {
				with = append(with, list...)
			}
		}
	}
	slices.Sort(with)
	slices.Sort(without)
	middle, last := without[len(without)/2], with[len(with)-1]
	t.Logf("%d failovers take %d to %d ms; without evidence %d to %d", len(with),
		with[0]/millisecond, last/millisecond, without[0]/millisecond, without[len(without)-1]/millisecond)
	if last > 600*millisecond || middle <= last {
		t.Errorf("the slowest failover took %d ms; without evidence half of them took %d", last/millisecond, middle/millisecond)
	}
}
