package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rookery-im/rookery/cluster/placement"
	"github.com/rookery-im/rookery/e2e/history"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// micros is simulated time.
type micros = int64

const (
	microsecond micros = 1
	millisecond        = 1000 * microsecond
	second             = 1000 * millisecond
)

// epoch is the wall clock at the beginning.
const epoch = 1_750_000_000_000

// shape of a run, drawn from the seed.
type shape struct {
	nodes, shards, users, devices int
	// chaos is how long faults come and go.
	chaos micros
}

// world is one run.
type world struct {
	seed   uint64
	shape  shape
	random *rand.Rand
	now    micros
	queue  events
	seq    uint64
	trace  *trace
	faults []error // promises and invariants broken

	nodes []*node // by number, from 1; also those that have gone
	named map[string]*node
	// machines are where nodes are: the disk of one may be lost, and another node begun there.
	machines []*node
	moved    map[uint32]detour // groups that somebody has moved
	orders   int               // to group 0 that are not answered
	net      *network
	fence    *fence
	bounds   *bounds
	places   placement.Map
	devices  []*device
	judge    *history.Judge
	script   []string
	skip     map[int]bool // faults of the script that do not happen
	theme    theme
	quiet    int // a device that could send does so once in so many times
	healed   bool
	// dropping: one proposal in so many is dropped; gaps: one push in so many is
	// lost on its way.
	dropping, gaps int
	haunted        bool // batches of earlier terms come up again
	stats          stats
	asked          uint64 // requests
	answer         *nodepb.Answer
}

// stats are what a run has been put to; a run in which nothing happened proves nothing.
type stats struct {
	steps, sents, delivers, refusals, crashes, pauses, cuts, leaders, reads, syncs, checkpoints, drops, ghosts, gaps, transfers, snapshots, promotions, removals, wipes, partings, returned, full, gone, alive, parted, mended, views, orders, lost int
}

// timed is something that happens at a time.
type timed struct {
	at  micros
	seq uint64
	do  func()
}

type events []timed

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(timed)) }
func (q *events) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = timed{}
	*q = old[:len(old)-1]
	return last
}

func newWorld(seed uint64, all bool) *world {
	w := &world{seed: seed, random: rand.New(rand.NewPCG(seed, 0x5eed)), trace: newTrace(all), named: map[string]*node{}, moved: map[uint32]detour{}, quiet: 5}
	w.shape = shape{
		nodes: 3 + w.random.IntN(3), shards: 2 + w.random.IntN(3), users: 3 + w.random.IntN(3), devices: 2,
		chaos: 8*second + w.random.Int64N(12*second),
	}
	w.net, w.fence, w.bounds = newNetwork(w), newFence(w), &bounds{world: w}
	w.nodes = append(w.nodes, nil)
	for i := range w.shape.nodes {
		n := newNode(w, i+1)
		n.founder, n.belongs = true, true
		w.nodes, w.machines, w.named[n.name] = append(w.nodes, n), append(w.machines, n), n
	}
	w.found()
	return w
}

// found begins the groups where group 0's first view wants them.
func (w *world) found() {
	rows, view, err := establish(w, w.nodes[1:])
	if err != nil {
		w.fault("%w", err)
		return
	}
	w.fence.charter.begin(view)
	w.places = mapOf(view)
	for group, nodes := range w.places {
		id := uint32(group) //nolint:gosec // small
		a := w.fence.groups[id]
		c := configuration{1, map[uint64]member{}}
		for _, number := range nodes {
			n := w.nodes[number]
			replica := replicaID(n.number, id)
			c.members[replica], a.ever[replica] = member{n.name, true}, true
			if id == placement.Control {
				n.rows = rows.copied()
			}
		}
		a.configs, a.known = []configuration{c}, 1
	}
	for _, n := range w.nodes[1:] {
		if n.kept, err = view.Encode(); err != nil {
			w.fault("%w", err)
		}
	}
}

// at has something happen at a time.
func (w *world) at(t micros, do func()) {
	w.seq++
	heap.Push(&w.queue, timed{max(t, w.now), w.seq, do})
}

func (w *world) after(d micros, do func()) { w.at(w.now+d, do) }

// step takes the next event; every invariant is checked after it.
func (w *world) step() bool {
	if len(w.queue) == 0 || len(w.faults) > 0 {
		return false
	}
	e := heap.Pop(&w.queue).(timed)
	w.now = e.at
	w.stats.steps++
	w.bounds.look()
	e.do()
	w.fence.check()
	return len(w.faults) == 0
}

// until runs until something holds, or the time is over; it says whether it held.
func (w *world) until(d micros, holds func() bool) bool {
	for end := w.now + d; w.now < end; {
		if holds != nil && holds() {
			return true
		}
		if !w.step() {
			return false
		}
	}
	return holds == nil || holds()
}

func (w *world) fault(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	w.trace.add(w.now, 0, "BROKEN %v", err)
	w.faults = append(w.faults, err)
}

func (w *world) note(node int, format string, args ...any) {
	w.trace.add(w.now, node, format, args...)
}

// see tells the judge.
func (w *world) see(e history.Event) {
	w.note(0, "%T %+v", e, e)
	if w.judge == nil {
		return
	}
	if faults := w.judge.Hear([]history.Event{e}); len(faults) > 0 {
		for _, err := range faults {
			w.fault("%w", err)
		}
	}
}

// between draws a time.
func (w *world) between(from, to micros) micros { return from + w.random.Int64N(to-from) }

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.random.IntN(n) == 0 }

// leads says which node leads a shard, and nil where none does.
func (w *world) leads(shard uint32) *node {
	var best *node
	for _, n := range w.nodes[1:] {
		s := n.shards[shard]
		if !n.up || s == nil {
			continue
		}
		if _, leads := s.leads(); leads && (best == nil || s.term > best.shards[shard].term) {
			best = n
		}
	}
	return best
}

// run is the whole of it.
func (w *world) run() {
	for _, n := range w.nodes[1:] {
		n.start()
	}
	if !w.populate() {
		if len(w.faults) == 0 {
			w.fault("the cluster did not come up in time")
		}
		return
	}
	for _, d := range w.devices {
		w.after(w.between(0, second), d.connect)
	}
	w.plan()
	if !w.until(w.shape.chaos, nil) {
		return
	}
	w.heal()
	for _, d := range w.devices {
		d.settle()
	}
	if w.bounds.accept(); len(w.faults) > 0 {
		return
	}
	const patience = 90 * second
	rested := w.until(patience, func() bool {
		return !slices.ContainsFunc(w.devices, func(d *device) bool { return !d.rested() })
	})
	if len(w.faults) > 0 {
		return
	}
	if !rested {
		w.fault("devices do not come to rest: %s", w.restless())
		return
	}
	w.rest()
}

// rest waits until the judge misses nothing.
func (w *world) rest() {
	var missing []error
	for range 30 {
		if missing = w.judge.Rest(); len(missing) == 0 || !w.until(second, nil) {
			break
		}
	}
	for _, err := range missing {
		w.fault("at rest: %w", err)
	}
	w.fence.rest()
}

func (w *world) restless() (list string) {
	for _, d := range w.devices {
		if !d.rested() {
			list += d.String() + " "
		}
	}
	return list
}

// wall is the time of a node's clock, Unix milliseconds.
func (n *node) wall() uint64 {
	return uint64(epoch + n.world.now/millisecond + n.skew) //nolint:gosec // after 1970
}

// mono is a clock that nobody sets.
func (w *world) mono() time.Time {
	return time.UnixMilli(epoch).Add(time.Duration(w.now) * time.Microsecond)
}
