package placement

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func plain(ids ...uint64) (nodes []Node) {
	for _, id := range ids {
		nodes = append(nodes, Node{ID: id})
	}
	return nodes
}

func mustPlan(t testing.TB, shards uint32, replicas int, nodes []Node, now Map) Map {
	t.Helper()
	m, err := Plan(shards, replicas, nodes, now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// loads are the replicas and the leads of each node.
func loads(nodes []Node, m Map) (replicas, leads map[uint64]int) {
	replicas, leads = map[uint64]int{}, map[uint64]int{}
	for _, n := range nodes {
		replicas[n.ID], leads[n.ID] = 0, 0
	}
	for _, r := range m {
		leads[r[0]]++
		for _, id := range r {
			replicas[id]++
		}
	}
	return replicas, leads
}

func width(loads map[uint64]int) int {
	values := slices.Collect(maps.Values(loads))
	return slices.Max(values) - slices.Min(values)
}

// moved counts the replicas that are on a node in after that were not in before.
func moved(before, after Map) (n int) {
	for s := range after {
		for _, id := range after[s] {
			if s >= len(before) || !slices.Contains(before[s], id) {
				n++
			}
		}
	}
	return n
}

// zonesOf the replicas of one shard.
func zonesOf(nodes []Node, replicas []uint64) int {
	zones := map[string]bool{}
	for _, n := range nodes {
		if slices.Contains(replicas, n.ID) {
			zones[n.Zone] = true
		}
	}
	return len(zones)
}

// Three nodes become a thousand, one by one at first and then by tens: no node
// ever has more than one replica, or leads more than one shard, above another,
// and what moves is what the new nodes have to hold.
func TestGrowsFromThreeToAThousand(t *testing.T) {
	const shards, replicas = 4096, 3
	nodes := plain(1, 2, 3)
	m := mustPlan(t, shards, replicas, nodes, nil)
	for len(nodes) < 1000 {
		step := 1
		if len(nodes) >= 50 {
			step = min(95, 1000-len(nodes))
		}
		for range step {
			nodes = append(nodes, Node{ID: uint64(len(nodes)) + 1})
		}
		next := mustPlan(t, shards, replicas, nodes, m)
		all, leads := loads(nodes, next)
		if width(all) > 1 || width(leads) > 1 {
			t.Fatalf("%d nodes: replicas differ by %d, leads by %d", len(nodes), width(all), width(leads))
		}
		ideal := float64(shards*replicas*step) / float64(len(nodes))
		if got := moved(m, next); float64(got) > 1.05*ideal {
			t.Fatalf("%d nodes: %d replicas moved, %.0f would do", len(nodes), got, ideal)
		}
		m = next
	}
}

// A node leaves: what it held is placed again, and nothing else moves.
func TestLosesANode(t *testing.T) {
	for _, size := range []uint64{4, 5, 10, 100} {
		var nodes []Node
		for id := range size {
			nodes = append(nodes, Node{ID: id + 1})
		}
		const shards = 256
		m := mustPlan(t, shards, 3, nodes, nil)
		all, _ := loads(nodes, m)
		left := slices.Delete(slices.Clone(nodes), 1, 2)
		next := mustPlan(t, shards, 3, left, m)
		after, leads := loads(left, next)
		if got, held := moved(m, next), all[2]; got > held+int(size)/4+1 {
			t.Errorf("%d nodes: %d replicas moved, the node that left held %d", size, got, held)
		}
		if width(after) > 1 || width(leads) > 1 {
			t.Errorf("%d nodes: replicas differ by %d, leads by %d", size, width(after), width(leads))
		}
	}
}

// Asked again with its own answer, it has nothing to change, in whatever order
// the nodes are named.
func TestPlanRests(t *testing.T) {
	nodes := []Node{{1, "a"}, {2, "a"}, {3, "b"}, {4, "b"}, {5, "c"}}
	m := mustPlan(t, 64, 3, nodes, nil)
	slices.Reverse(nodes)
	if again := mustPlan(t, 64, 3, nodes, m); !reflect.DeepEqual(m, again) {
		t.Errorf("%v became %v", m, again)
	}
	if other := mustPlan(t, 64, 3, nodes, nil); !reflect.DeepEqual(m, other) {
		t.Error("the order of the nodes decides")
	}
}

// All that was placed stood in one zone; others come: every shard goes out into
// three, and the nodes stay level.
func TestSpreadsIntoZones(t *testing.T) {
	const shards = 60
	nodes := []Node{{1, "a"}, {2, "a"}, {3, "a"}}
	m := mustPlan(t, shards, 3, nodes, nil)
	nodes = append(nodes, Node{4, "b"}, Node{5, "b"}, Node{6, "b"}, Node{7, "c"}, Node{8, "c"}, Node{9, "c"})
	next := mustPlan(t, shards, 3, nodes, m)
	for s, r := range next {
		if got := zonesOf(nodes, r); got != 3 {
			t.Errorf("shard %d: %v stands in %d zones", s+1, r, got)
		}
	}
	if all, leads := loads(nodes, next); width(all) > 1 || width(leads) > 1 {
		t.Errorf("replicas %v, leads %v", all, leads)
	}
	if got := moved(m, next); got != 2*shards {
		t.Errorf("%d replicas moved, %d would do", got, 2*shards)
	}
}

// One replica until there are three nodes, and back.
func TestReplicasComeAndGo(t *testing.T) {
	one := mustPlan(t, 64, 1, plain(1), nil)
	three := mustPlan(t, 64, 3, plain(1, 2, 3), one)
	for s := range three {
		if !slices.Contains(three[s], one[s][0]) || len(three[s]) != 3 {
			t.Fatalf("shard %d: %v became %v", s+1, one[s], three[s])
		}
	}
	if _, leads := loads(plain(1, 2, 3), three); width(leads) > 1 {
		t.Errorf("leads: %v", leads)
	}
	back := mustPlan(t, 64, 1, plain(1, 2, 3), three)
	if moved(three, back) != 0 {
		t.Error("fewer replicas moved something")
	}
}

// Any members, zones and past: every shard is where it should be.
func TestPlanHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := rapid.Uint32Range(1, 96).Draw(t, "shards")
		replicas := rapid.SampledFrom([]int{1, 3, 5}).Draw(t, "replicas")
		zones := rapid.IntRange(1, 4).Draw(t, "zones")
		var m Map
		for range rapid.IntRange(1, 5).Draw(t, "changes") {
			var nodes []Node
			for _, id := range rapid.SliceOfNDistinct(rapid.Uint64Range(1, 20), 1, 12, rapid.ID).Draw(t, "nodes") {
				nodes = append(nodes, Node{ID: id, Zone: fmt.Sprint("zone ", id%uint64(zones))})
			}
			next, err := Plan(shards, replicas, nodes, m)
			if err != nil {
				t.Fatal(err)
			}
			holds(t, shards, replicas, nodes, next)
			m = next
		}
	})
}

func holds(t *rapid.T, shards uint32, replicas int, nodes []Node, m Map) {
	all := map[string]bool{}
	for _, n := range nodes {
		all[n.Zone] = true
	}
	want := min(replicas, len(nodes))
	if len(m) != int(shards) {
		t.Fatalf("%d shards of %d", len(m), shards)
	}
	for s, r := range m {
		distinct := map[uint64]bool{}
		for _, id := range r {
			distinct[id] = true
			if !slices.ContainsFunc(nodes, func(n Node) bool { return n.ID == id }) {
				t.Fatalf("shard %d is on node %d, which is no member", s+1, id)
			}
		}
		if len(r) != want || len(distinct) != want {
			t.Fatalf("shard %d has %v, want %d nodes", s+1, r, want)
		}
		if got := zonesOf(nodes, r); got != min(want, len(all)) {
			t.Fatalf("shard %d stands in %d zones, could be in %d", s+1, got, min(want, len(all)))
		}
	}
	counts, leads := loads(nodes, m)
	if len(all) == 1 && (width(counts) > 1 || width(leads) > 1) {
		t.Fatalf("replicas %v, leads %v", counts, leads)
	}
}

func TestPlanNamesFaults(t *testing.T) {
	_, err := Plan(4, 0, []Node{{ID: 0}, {ID: 2}, {ID: 2}}, nil)
	if !errors.Is(err, ErrReplicas) || !errors.Is(err, ErrNode) {
		t.Errorf("got %v", err)
	}
	if _, err = Plan(4, 3, nil, nil); !errors.Is(err, ErrNoNodes) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkPlanAThousandNodes(b *testing.B) {
	var nodes []Node
	for id := range uint64(1000) {
		nodes = append(nodes, Node{ID: id + 1})
	}
	m := mustPlan(b, 4096, 3, nodes[:999], nil)
	for b.Loop() {
		mustPlan(b, 4096, 3, nodes, m)
	}
}
