package sim

import (
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"
)

// number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// simulate runs a seed, without some of its faults.
func simulate(t *testing.T, seed uint64, skip map[int]bool) *world {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	w := newWorld(seed, os.Getenv("SIM_TRACE") == "all")
	w.skip = skip
	w.guarded()
	return w
}

// guarded runs, and takes a panic for a broken promise.
func (w *world) guarded() {
	defer func() {
		if r := recover(); r != nil {
			w.fault("panic: %v\n%s", r, debug.Stack())
		}
	}()
	w.run()
}

// shrink leaves out every fault without which the seed fails as well. Without it
// the run is another one, so it may fail otherwise; shorter it is in any case.
func (w *world) shrink(t *testing.T) *world {
	for n := len(w.script) - 1; n >= 0; n-- {
		if w.skip[n] {
			continue
		}
		skip := maps.Clone(w.skip)
		if skip == nil {
			skip = map[int]bool{}
		}
		skip[n] = true
		if less := simulate(t, w.seed, skip); len(less.faults) > 0 {
			w = less
		}
	}
	return w
}

// skipped faults, from SIM_SKIP.
func skipped(t *testing.T) map[int]bool {
	t.Helper()
	skip := map[int]bool{}
	for _, text := range strings.FieldsFunc(os.Getenv("SIM_SKIP"), func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("SIM_SKIP: %v", err)
		}
		skip[n] = true
	}
	return skip
}

// report a failure as somebody wants to read it.
func (w *world) report(t *testing.T) {
	t.Helper()
	for i, err := range w.faults {
		if i == 5 {
			break
		}
		t.Errorf("seed %d: %v", w.seed, err)
	}
	var text strings.Builder
	w.trace.write(&text, len(w.nodes)-1)
	t.Logf("seed %d: %d nodes, %d shards on %v, %d devices\n%s\nlast events:\n%s",
		w.seed, w.shape.nodes, w.shape.shards, w.places, len(w.devices), strings.Join(w.script, "\n"), text.String())
	t.Logf("in the end:\n%s", w.standing())
	var skip []string
	for _, n := range slices.Sorted(maps.Keys(w.skip)) {
		skip = append(skip, strconv.Itoa(n))
	}
	t.Logf("again: SIM_SEED=%d SIM_SKIP=%s go test ./e2e/sim -run TestSeeds", w.seed, strings.Join(skip, ","))
}

// standing of every replica.
func (w *world) standing() (text string) {
	for _, n := range w.nodes[1:] {
		for _, r := range n.order {
			st := r.group.Status()
			text += fmt.Sprintf("%s shard %d: %v of term %d behind %s, applied %d, %+v\n", n.name, r.shard, st.Role, st.Term, st.LeaderNode, st.Applied, st.Members)
		}
	}
	return text
}

// enough seeds that every kind of fault comes, and the rarest of the bugs that are put
// in on purpose shows.
const enough = 40

// TestSeeds runs seeds from SIM_FROM on, SIM_SEEDS of them, or SIM_SEED alone.
func TestSeeds(t *testing.T) {
	from, count := number(t, "SIM_FROM", 1), number(t, "SIM_SEEDS", few)
	if seed := number(t, "SIM_SEED", 0); seed != 0 {
		from, count = seed, 1
	}
	debug.SetGCPercent(400) // most of a run is young
	var all stats
	began := time.Now()
	for seed := from; seed < from+count; seed++ {
		w := simulate(t, seed, skipped(t))
		all.add(w.stats)
		if len(w.faults) > 0 {
			w.report(t)
			t.Log("with fewer faults:")
			w.shrink(t).report(t)
			return
		}
	}
	if idle := all.idle(); count >= enough && idle {
		t.Errorf("some kind of fault, or of work, never came: %+v", all)
	}
	t.Logf("%d seeds in %v: %+v", count, elapsed(began), all)
}

// Nodes sleep while others elect, and wake where nobody can tell them: whatever
// they say then, they say without having asked.
func TestStaleLeaders(t *testing.T) {
	for seed := uint64(1); seed <= few; seed++ {
		cryptotest.SetGlobalRandom(t, seed)
		w := newWorld(seed, false)
		w.theme = staleLeaders
		if w.guarded(); len(w.faults) > 0 {
			w.report(t)
			return
		}
	}
}

// Nodes are cut off for long: they refuse, and end their sessions, in time.
func TestIslands(t *testing.T) {
	var all stats
	seeds := number(t, "SIM_SEEDS", few)
	for seed := uint64(1); seed <= seeds; seed++ {
		cryptotest.SetGlobalRandom(t, seed)
		w := newWorld(seed, os.Getenv("SIM_TRACE") == "all")
		w.theme, w.shape.chaos, w.quiet = islands, 25*second, 40
		if w.guarded(); len(w.faults) > 0 {
			w.report(t)
			return
		}
		all.add(w.stats)
	}
	if seeds >= enough && min(all.partings, all.parted) == 0 {
		t.Errorf("no session was cut off for long enough: %+v", all)
	}
	t.Logf("%+v", all)
}

func (s *stats) add(o stats) {
	s.steps += o.steps
	s.sents += o.sents
	s.delivers += o.delivers
	s.refusals += o.refusals
	s.crashes += o.crashes
	s.pauses += o.pauses
	s.cuts += o.cuts
	s.leaders += o.leaders
	s.reads += o.reads
	s.syncs += o.syncs
	s.checkpoints += o.checkpoints
	s.drops += o.drops
	s.ghosts += o.ghosts
	s.gaps += o.gaps
	s.transfers += o.transfers
	s.snapshots += o.snapshots
	s.promotions += o.promotions
	s.removals += o.removals
	s.wipes += o.wipes
	s.partings += o.partings
	s.returned += o.returned
	s.full += o.full
	s.gone += o.gone
	s.alive += o.alive
	s.parted += o.parted
	s.views += o.views
	s.orders += o.orders
	s.lost += o.lost
	s.mended = max(s.mended, o.mended)
}

// idle says whether something never happened.
func (s *stats) idle() bool {
	return min(s.sents, s.delivers, s.refusals, s.crashes, s.pauses, s.cuts, s.leaders, s.reads, s.syncs, s.checkpoints, s.drops, s.ghosts, s.gaps, s.transfers, s.snapshots, s.promotions, s.removals, s.wipes, s.returned, s.gone, s.alive, s.views, s.orders, s.lost) == 0
}

// What a seed does it does again, to the last event: or a failure could not be
// looked into.
func TestReplay(t *testing.T) {
	t.Setenv("SIM_TRACE", "all")
	from := number(t, "SIM_FROM", 1)
	for seed := from; seed < from+3; seed++ {
		one, two := simulate(t, seed, nil).trace, simulate(t, seed, nil).trace
		if one.sum == two.sum && one.count == two.count {
			continue
		}
		for i := range min(one.count, two.count) {
			if a, b := one.every[i].text(), two.every[i].text(); a != b {
				t.Fatalf("seed %d, event %d: first %s, then %s", seed, i, a, b)
			}
		}
		t.Fatalf("seed %d: %d events, then %d", seed, one.count, two.count)
	}
}
