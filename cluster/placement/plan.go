package placement

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Node is a member of the cluster that may hold replicas.
type Node struct {
	ID uint64 // not 0
	// Zone is what fails together: a rack, a data centre. Nodes that name none
	// share the zone "".
	Zone string
}

// Map says for each shard which nodes hold its replicas: shard s at index s-1.
// The first of them is the node that should lead.
type Map [][]uint64

// Faults that Plan names.
var (
	ErrNoNodes  = errors.New("placement: no nodes")
	ErrReplicas = errors.New("placement: less than one replica")
	ErrNode     = errors.New("placement: node")
)

// Plan says where the replicas of all shards ought to be, given where they are
// (nil where nothing is placed yet). It is an intent: how a shard gets from one
// set of replicas to the next, step by step, is for its Raft group.
//
// What it holds to, the earlier before the later:
//
//  1. Every shard has as many replicas as asked for, on different nodes; as many
//     as there are nodes where those are fewer.
//  2. The replicas of a shard stand in as many zones as possible.
//  3. No node holds two replicas more than another, and none leads two shards
//     more than another, unless the zones leave no choice.
//  4. As little as possible moves: what is placed stays, unless one of the
//     above asks for it, so a node that joins gets its share and nothing else
//     moves.
//  5. Among equals, the node with the highest score for the shard is taken, as
//     in rendezvous hashing (Thaler and Ravishankar, 1998): the same question
//     has the same answer on every node, and which shards move to a node that
//     joins does not depend on the order of anything.
func Plan(shards uint32, replicas int, nodes []Node, now Map) (Map, error) {
	if err := check(replicas, nodes); err != nil {
		return nil, err
	}
	p := newPlan(shards, replicas, nodes)
	p.keep(now)
	for s := range p.replicas {
		for len(p.replicas[s]) < p.want {
			p.add(s, p.choose(s))
		}
	}
	p.spread()
	p.balance()
	p.lead(now)
	return p.result(), nil
}

func check(replicas int, nodes []Node) error {
	var errs []error
	if replicas < 1 {
		errs = append(errs, fmt.Errorf("%w: %d", ErrReplicas, replicas))
	}
	if len(nodes) == 0 {
		errs = append(errs, ErrNoNodes)
	}
	seen := make(map[uint64]bool, len(nodes))
	for _, n := range nodes {
		switch {
		case n.ID == 0:
			errs = append(errs, fmt.Errorf("%w without an id", ErrNode))
		case seen[n.ID]:
			errs = append(errs, fmt.Errorf("%w %d is named twice", ErrNode, n.ID))
		}
		seen[n.ID] = true
	}
	return errors.Join(errs...)
}

// plan in the making. Nodes are numbers: their places in nodes, sorted by id.
type plan struct {
	nodes    []Node
	zones    []int // of the nodes, by number
	want     int   // replicas of each shard
	most     int   // zones that a shard can stand in
	replicas [][]int
	holds    [][]int // shards of each node, unordered
	leads    []int   // shards that each node leads
	leader   []int   // of each shard
}

func newPlan(shards uint32, replicas int, nodes []Node) *plan {
	p := &plan{nodes: slices.Clone(nodes), want: min(replicas, len(nodes)), replicas: make([][]int, shards)}
	slices.SortFunc(p.nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	names := map[string]int{}
	for _, n := range p.nodes {
		z, ok := names[n.Zone]
		if !ok {
			z = len(names)
			names[n.Zone] = z
		}
		p.zones = append(p.zones, z)
	}
	p.most = min(p.want, len(names))
	p.holds = make([][]int, len(nodes))
	p.leads, p.leader = make([]int, len(nodes)), make([]int, shards)
	return p
}

// number of a node, or -1 where it is no longer a member.
func (p *plan) number(id uint64) int {
	n, ok := slices.BinarySearchFunc(p.nodes, id, func(n Node, id uint64) int { return cmp.Compare(n.ID, id) })
	if !ok {
		return -1
	}
	return n
}

// score of a node for a shard. XXH64 of both numbers: well mixed, and the same
// on every machine.
func (p *plan) score(shard, node int) uint64 {
	var b [12]byte
	binary.BigEndian.PutUint32(b[:], uint32(shard)+1)
	binary.BigEndian.PutUint64(b[4:], p.nodes[node].ID)
	return xxhash.Sum64(b[:])
}

// keep what is placed on members, and the leaders in front.
func (p *plan) keep(now Map) {
	for s := range min(len(now), len(p.replicas)) {
		for _, id := range now[s] {
			n := p.number(id)
			if n >= 0 && len(p.replicas[s]) < p.want && !slices.Contains(p.replicas[s], n) {
				p.add(s, n)
			}
		}
	}
}

func (p *plan) add(s, n int) {
	p.replicas[s] = append(p.replicas[s], n)
	p.holds[n] = append(p.holds[n], s)
}

// move a replica of a shard.
func (p *plan) move(s, from, to int) {
	p.replicas[s][slices.Index(p.replicas[s], from)] = to
	at := slices.Index(p.holds[from], s)
	p.holds[from] = slices.Delete(p.holds[from], at, at+1)
	p.holds[to] = append(p.holds[to], s)
}

// choose the node for one more replica of a shard: in a zone that the shard is
// not in yet, then with the fewest replicas if it would pass the bound, then
// with the highest score.
func (p *plan) choose(s int) int {
	bound := (len(p.replicas)*p.want + len(p.nodes) - 1) / len(p.nodes)
	best := -1
	for n := range p.nodes {
		if slices.Contains(p.replicas[s], n) {
			continue
		}
		if best < 0 || p.better(s, n, best, bound) {
			best = n
		}
	}
	return best
}

func (p *plan) better(s, n, than, bound int) bool {
	if a, b := p.has(s, p.zones[n], -1), p.has(s, p.zones[than], -1); a != b {
		return b
	}
	a, b := max(0, len(p.holds[n])+1-bound), max(0, len(p.holds[than])+1-bound)
	if a != b {
		return a < b
	}
	return p.score(s, n) > p.score(s, than)
}

// has says whether a replica of the shard, except the one on a node, is in a zone.
func (p *plan) has(s, zone, except int) bool {
	for _, n := range p.replicas[s] {
		if n != except && p.zones[n] == zone {
			return true
		}
	}
	return false
}

// spread the shards that stand in fewer zones than they could: one of two
// replicas in a zone goes to a zone that has none.
func (p *plan) spread() {
	for s := range p.replicas {
		for p.stands(s) < p.most {
			from := p.crowded(s)
			p.move(s, from, p.choose(s))
		}
	}
}

// stands is the number of zones that a shard is in.
func (p *plan) stands(s int) (zones int) {
	for i, n := range p.replicas[s] {
		if !slices.ContainsFunc(p.replicas[s][:i], func(m int) bool { return p.zones[m] == p.zones[n] }) {
			zones++
		}
	}
	return zones
}

// crowded is the fullest of the replicas that share a zone with another.
func (p *plan) crowded(s int) int {
	fullest := -1
	for _, n := range p.replicas[s] {
		if p.has(s, p.zones[n], n) && (fullest < 0 || len(p.holds[n]) > len(p.holds[fullest])) {
			fullest = n
		}
	}
	return fullest
}

// balance moves replicas until no node has two more than another that could
// take one from it, over others if need be.
func (p *plan) balance() {
	sizes := func(n int) int { return len(p.holds[n]) }
	edge := func(from, to int) int { return p.movable(from, to) }
	for p.level(sizes, edge, func(s, from, to int) { p.move(s, from, to) }) {
	}
}

// movable is the shard that one node should give to another: the one for which
// the other scores highest, among those that stand in no fewer zones then; -1
// where there is none.
func (p *plan) movable(from, to int) int {
	best, most := -1, uint64(0)
	for _, s := range p.holds[from] {
		if slices.Contains(p.replicas[s], to) || p.narrows(s, from, to) {
			continue
		}
		if score := p.score(s, to); best < 0 || score > most {
			best, most = s, score
		}
	}
	return best
}

// narrows says whether a move would leave the shard in fewer zones.
func (p *plan) narrows(s, from, to int) bool {
	return p.has(s, p.zones[to], from) && !p.has(s, p.zones[from], from)
}

// lead says who leads each shard: who did, or the first replica, as long as
// nobody leads two more than another who could lead one of them.
func (p *plan) lead(now Map) {
	for s, replicas := range p.replicas {
		p.leader[s] = replicas[0]
		if s < len(now) && len(now[s]) > 0 {
			if n := p.number(now[s][0]); n >= 0 && slices.Contains(replicas, n) {
				p.leader[s] = n
			}
		}
		p.leads[p.leader[s]]++
	}
	sizes := func(n int) int { return p.leads[n] }
	edge := func(from, to int) int {
		for _, s := range p.holds[from] {
			if p.leader[s] == from && slices.Contains(p.replicas[s], to) {
				return s
			}
		}
		return -1
	}
	for p.level(sizes, edge, func(s, from, to int) {
		p.leader[s] = to
		p.leads[from]--
		p.leads[to]++
	}) {
	}
}

// level makes one node with the most, if it has two more than some other that
// can be reached, give one away: along the shortest path of nodes each of which
// can hand a shard to the next. It says whether anything changed.
func (p *plan) level(size func(node int) int, edge func(from, to int) (shard int), hand func(shard, from, to int)) bool {
	order := p.bySize(size)
	for _, from := range order {
		if size(from)-size(order[len(order)-1]) < 2 {
			return false
		}
		if path := p.path(from, order, size, edge); path != nil {
			for i := len(path) - 1; i > 0; i-- {
				s := edge(path[i-1], path[i])
				if s < 0 {
					return false // the hand behind took the zone that this one counted on
				}
				hand(s, path[i-1], path[i])
			}
			return true
		}
	}
	return false
}

// bySize is all nodes, the fullest first.
func (p *plan) bySize(size func(int) int) []int {
	order := make([]int, len(p.nodes))
	for n := range order {
		order[n] = n
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(size(b), size(a)) })
	return order
}

// path from a node to the emptiest one that has two less, by as few others as
// possible; nil where there is none. Breadth first.
func (p *plan) path(from int, order []int, size func(int) int, edge func(from, to int) int) []int {
	before := map[int]int{from: -1}
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		for i := len(order) - 1; i >= 0; i-- { // the emptiest first
			to := order[i]
			if _, seen := before[to]; seen || edge(queue[0], to) < 0 {
				continue
			}
			before[to] = queue[0]
			if size(to) <= size(from)-2 {
				return trace(before, to)
			}
			queue = append(queue, to)
		}
	}
	return nil
}

func trace(before map[int]int, to int) []int {
	var path []int
	for n := to; n >= 0; n = before[n] {
		path = append(path, n)
	}
	slices.Reverse(path)
	return path
}

func (p *plan) result() Map {
	m := make(Map, len(p.replicas))
	for s, replicas := range p.replicas {
		m[s] = make([]uint64, 0, len(replicas))
		m[s] = append(m[s], p.nodes[p.leader[s]].ID)
		for _, n := range replicas {
			if n != p.leader[s] {
				m[s] = append(m[s], p.nodes[n].ID)
			}
		}
	}
	return m
}
