package sim

import (
	"fmt"
	"maps"
	"slices"
)

// theme of a run: which faults there are.
type theme uint8

const (
	everything   theme = iota
	staleLeaders       // that wake late
	islands            // nodes that are cut off for long
)

// plan draws the faults of the run: what, when, and for how long. The script is
// what a person reads when the run fails.
func (w *world) plan() {
	kinds := []func(from, to micros){
		w.planCrash, w.planCrash, w.planPause, w.planStale, w.planStale, w.planTransfer, w.planCut, w.planCut, w.planLoss, w.planSlowDisk, w.planClock, w.planDrops, w.planGaps, w.planGhosts, w.planGhosts, w.planDelay, w.planEvidence, w.planEvidence, w.planIsland,
		w.planMove, w.planMove, w.planMove, w.planWipe, w.planWipe, w.planRetire, w.planRetire, w.planLost, w.planRotate, w.planJoin,
	}
	switch w.theme {
	case everything:
	case staleLeaders:
		kinds = []func(from, to micros){w.planStale}
	case islands:
		kinds = []func(from, to micros){w.planIsland, w.planIsland, w.planIsland, w.planIsland, w.planIsland, w.planCrash, w.planEvidence, w.planSlowDisk}
	}
	for range 5 + w.random.IntN(9) {
		from := w.now + w.between(200*millisecond, w.shape.chaos-second)
		to := from + w.between(100*millisecond, 5*second)
		kinds[w.random.IntN(len(kinds))](from, to)
	}
}

// during a time, with a line of the script.
func (w *world) during(from, to micros, begin, end func(), format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	number := len(w.script)
	if w.skip[number] {
		what += " (left out)"
	}
	w.script = append(w.script, fmt.Sprintf("%2d. %9.3f to %9.3f: %s", number, float64(from)/1e6, float64(to)/1e6, what))
	if w.skip[number] {
		return
	}
	w.at(from, func() {
		if !w.healed {
			w.note(0, "begins: %s", what)
			begin()
		}
	})
	w.at(to, func() {
		if !w.healed {
			w.note(0, "ends: %s", what)
			end()
		}
	})
}

func (w *world) anyNode() *node { return w.nodes[1+w.random.IntN(len(w.nodes)-1)] }

func (w *world) planCrash(from, to micros) {
	n := w.anyNode()
	how := []end{killed, powerCut}[w.random.IntN(2)]
	if w.chance(8) { // the whole cluster at once
		w.during(from, to, func() {
			for _, n := range w.nodes[1:] {
				n.crash(powerCut)
			}
		}, func() {
			for _, n := range w.nodes[1:] {
				if !n.up && !n.gone {
					n.start()
				}
			}
		}, "all nodes lose power")
		return
	}
	w.during(from, to, func() { n.crash(how) }, func() {
		if !n.up && !n.gone {
			n.start()
		}
	}, "n%d is %v", n.number, how)
}

func (w *world) planPause(from, to micros) {
	n := w.anyNode()
	w.during(from, to, n.pause, n.resume, "n%d is paused", n.number)
}

// planTransfer has leaders hand over to any other replica, also to one that
// cannot take it: until they give that up, Raft drops what is proposed.
func (w *world) planTransfer(from, to micros) {
	var hand func()
	on := false
	hand = func() {
		if !on {
			return
		}
		id := uint32(w.random.IntN(w.shape.shards + 1)) //nolint:gosec // small
		pick := w.random.Uint64()
		if n := w.leads(id); n != nil {
			n.post(func() {
				r := n.shards[id]
				if r == nil {
					return
				}
				members := r.group.Status().Members
				if to := members[pick%uint64(len(members))]; r.group.Transfer(to.Replica) == nil {
					n.note("shard %d is to be led by %s", id, to.Node)
					w.stats.transfers++
					n.lately.handed(id, w.now)
				}
			})
		}
		w.after(w.between(100*millisecond, second), hand)
	}
	w.during(from, to, func() { on = true; hand() }, func() { on = false }, "leadership is handed over, again and again")
}

// planStale has a node sleep while others elect, and wake where nobody can tell
// it: it goes on believing that it leads.
func (w *world) planStale(from, to micros) {
	n := w.anyNode()
	end := max(to, from+2*second+w.between(0, 2*second))
	w.during(from, end, n.pause, n.resume, "n%d is paused", n.number)
	w.during(from, end+second, func() {
		for _, other := range w.nodes[1:] {
			w.net.isolate(n.number, other.number, true)
		}
	}, func() {
		for _, other := range w.nodes[1:] {
			delete(w.net.cut, [2]int{n.number, other.number})
			delete(w.net.cut, [2]int{other.number, n.number})
		}
	}, "n%d is cut off from everybody", n.number)
}

func (w *world) planCut(from, to micros) {
	a := w.anyNode().number
	both := w.chance(2)
	var others []int
	for _, n := range w.nodes[1:] {
		if n.number != a && !w.chance(3) {
			others = append(others, n.number)
		}
	}
	outward := w.chance(2)
	pair := func(b int) (int, int) {
		if outward {
			return a, b
		}
		return b, a
	}
	w.during(from, to, func() {
		w.stats.cuts++
		for _, b := range others {
			x, y := pair(b)
			w.net.isolate(x, y, both)
		}
	}, func() {
		for _, b := range others {
			x, y := pair(b)
			delete(w.net.cut, [2]int{x, y})
			if both {
				delete(w.net.cut, [2]int{y, x})
			}
		}
	}, "n%d is cut off from %v, both ways %v, outward %v", a, others, both, outward)
}

// planIsland cuts one or two nodes off for as long as sessions bear, or longer: from
// all others, or so that they only hear nothing.
func (w *world) planIsland(from, _ micros) {
	island := map[int]bool{}
	for range 1 + w.random.IntN(2) {
		island[w.anyNode().number] = true
	}
	deaf := w.chance(3)
	each := func(do func(in, out int)) {
		for _, n := range w.nodes[1:] {
			for _, m := range w.nodes[1:] {
				if island[n.number] && !island[m.number] {
					do(n.number, m.number)
				}
			}
		}
	}
	w.during(from, from+w.between(3*second, 16*second), func() {
		w.stats.cuts++
		each(func(in, out int) { w.net.isolate(out, in, !deaf) })
	}, func() {
		each(func(in, out int) {
			delete(w.net.cut, [2]int{in, out})
			delete(w.net.cut, [2]int{out, in})
		})
	}, "%v are cut off from everybody else, and hear nothing only %v", slices.Sorted(maps.Keys(island)), deaf)
}

func (w *world) planLoss(from, to micros) {
	loss := 10 + w.random.IntN(300)
	w.during(from, to, func() { w.net.loss = loss }, func() { w.net.loss = 0 }, "%d of 1000 messages are lost, some doubled", loss)
}

func (w *world) planDelay(from, to micros) {
	a, b := w.anyNode().number, w.anyNode().number
	d := w.between(10*millisecond, 700*millisecond)
	w.during(from, to, func() { w.net.slow[[2]int{a, b}] = d }, func() { delete(w.net.slow, [2]int{a, b}) }, "n%d to n%d takes %d ms", a, b, d/millisecond)
}

func (w *world) planSlowDisk(from, to micros) {
	n := w.anyNode()
	slow := w.between(5*millisecond, 1500*millisecond)
	w.during(from, to, func() { n.slow = slow }, func() { n.slow = 0 }, "the disk of n%d takes %d ms", n.number, slow/millisecond)
}

func (w *world) planClock(from, to micros) {
	n := w.anyNode()
	leap := w.between(-2*3600*1000, 2*3600*1000)
	w.during(from, to, func() { n.skew += leap }, func() {}, "the clock of n%d leaps by %d ms", n.number, leap)
}

func (w *world) planDrops(from, to micros) {
	n := 2 + w.random.IntN(10)
	w.during(from, to, func() { w.dropping = n }, func() { w.dropping = 0 }, "one proposal in %d is dropped", n)
}

func (w *world) planGaps(from, to micros) {
	n := 2 + w.random.IntN(10)
	w.during(from, to, func() { w.gaps = n }, func() { w.gaps = 0 }, "one push in %d is lost on its way", n)
}

func (w *world) planGhosts(from, to micros) {
	w.during(from, to+5*second, func() { w.haunted = true }, func() { w.haunted = false }, "batches of earlier terms come up again")
}

// heal ends all faults.
func (w *world) heal() {
	w.healed = true
	w.note(0, "all is healed")
	w.net.heal()
	w.dropping, w.gaps, w.haunted = 0, 0, false
	for _, n := range w.nodes[1:] {
		n.slow = 0
		n.resume()
		if !n.up && !n.gone {
			n.start()
		}
	}
	for slot := range w.machines {
		w.renew(slot)
	}
}
