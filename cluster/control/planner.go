package control

import (
	"fmt"
	"slices"

	"github.com/rookery-im/rookery/cluster/placement"
)

// Replicas of every group, as soon as there are as many nodes for them.
const Replicas = 3

// plan says where the replicas of all groups ought to be, given the members and
// where they are; group 0 is planned like a shard. It is pure.
//
//   - One replica, where it is, until three data nodes are ready: with two a
//     group would stop when either of them dies. Then three.
//   - Never one again: with fewer nodes than three there are as many replicas as
//     nodes, so that what is stored twice stays so.
//   - Only ready data nodes get replicas. Where they are too few for three, those
//     that are lost keep what they have: they may come back, and a group that is
//     counted down to two is no safer than one that misses its third.
//   - Where nobody could hold anything, all stays as it is.
func plan(shards uint32, members []Member, now [][]uint16) ([][]uint16, error) {
	nodes := candidates(members, now)
	if len(nodes) == 0 {
		return now, nil
	}
	want := Replicas
	if len(nodes) < Replicas && !replicated(now) {
		want = 1
		nodes = holders(nodes, now)
	}
	m := make(placement.Map, len(now))
	for g, all := range now {
		for _, n := range all {
			m[g] = append(m[g], uint64(n))
		}
	}
	next, err := placement.Plan(shards+1, want, nodes, m)
	if err != nil {
		return nil, fmt.Errorf("control: plan: %w", err)
	}
	out := make([][]uint16, len(next))
	for g, all := range next {
		for _, id := range all {
			out[g] = append(out[g], uint16(id)) //nolint:gosec // it was one
		}
	}
	return out, nil
}

// candidates are the data nodes that may hold something.
func candidates(members []Member, now [][]uint16) []placement.Node {
	var nodes []placement.Node
	add := func(m Member) { nodes = append(nodes, placement.Node{ID: uint64(m.Number), Zone: m.Zone}) }
	for _, m := range members {
		if m.State == Ready && m.Has(RoleData) {
			add(m)
		}
	}
	for _, m := range members {
		if m.State == Lost && m.Has(RoleData) && len(nodes) < Replicas && holds(now, m.Number) {
			add(m)
		}
	}
	return nodes
}

// holders are those of the nodes that hold something, or all where none does.
func holders(nodes []placement.Node, now [][]uint16) []placement.Node {
	some := slices.DeleteFunc(slices.Clone(nodes), func(n placement.Node) bool {
		return !holds(now, uint16(n.ID)) //nolint:gosec // a number
	})
	if len(some) == 0 {
		return nodes
	}
	return some
}

func holds(now [][]uint16, number uint16) bool {
	return slices.ContainsFunc(now, func(r []uint16) bool { return slices.Contains(r, number) })
}

// replicated says whether anything was ever to be stored more than once.
func replicated(now [][]uint16) bool {
	return slices.ContainsFunc(now, func(r []uint16) bool { return len(r) > 1 })
}
