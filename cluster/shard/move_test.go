package shard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/rookery-im/rookery/cluster/balance"
)

// step takes the group one step towards the wanted nodes, as its leader's node does.
func (n *troupe) step(wanted []string) balance.Kind {
	g := n.leader()
	if g == nil {
		return balance.Wait
	}
	// What is refused is tried again.
	s, _ := g.Toward(wanted, func(node string) bool { return !n.cut[node] && n.nodes[node] != nil })
	return s.Kind
}

func (n *troupe) moved(wanted ...string) {
	n.t.Helper()
	n.until(fmt.Sprint("moved to ", wanted), func() bool { return n.step(wanted) == balance.Done })
	for name := range n.nodes {
		n.until(name+" knows", func() bool { return (n.at(name) != nil) == slices.Contains(wanted, name) })
	}
	if at := n.leader().LeaderNode(); at != wanted[0] {
		n.t.Errorf("led by %s, wanted %v", at, wanted)
	}
}

// From one to three, to other nodes, and back, by single steps and without a pause
// for who writes.
func TestGroupMoves(t *testing.T) {
	n := newTroupe(t, "a", "b", "c", "d", "e")
	n.write("a=1", big("x"))
	for i, wanted := range [][]string{{"a", "b", "c"}, {"b", "a", "d"}, {"e", "c", "d"}, {"a", "b", "c"}, {"c"}, {"d", "e", "a"}} {
		n.write(fmt.Sprint("life=", i), fmt.Sprintf("only%d=1", i), fmt.Sprintf("only%d=%s", i-1, deleted))
		n.moved(wanted...)
		n.write(fmt.Sprint("then=", i))
		n.tick(3)
		n.want(wanted...)
		for name := range n.nodes {
			n.clean(name)
		}
	}
}

// The same while nodes crash, are cut off and come back in between, one at a time:
// nothing that was acknowledged is lost, and in the end everybody has the same.
func TestGroupMovesThroughCrashes(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	for seed := range uint64(25) {
		random := rand.New(rand.NewPCG(seed, 3))
		n := newTroupe(t, names...)
		n.write("a=1", big("x"), big("y"))
		n.moved("a", "b", "c")
		for i := range 12 {
			name := names[random.IntN(len(names))]
			wanted := slices.Clone(names)
			random.Shuffle(len(wanted), func(i, j int) { wanted[i], wanted[j] = wanted[j], wanted[i] })
			wanted = wanted[:3]
			switch random.IntN(3) {
			case 0:
				n.cut[name] = true
			case 1:
				n.crash(name, random.IntN(2) == 0)
			case 2:
				fuse := 1 + random.IntN(40)
				n.before = func(node, _ string) {
					if fuse--; fuse == 0 {
						n.before = nil
						n.crash(node, random.IntN(2) == 0)
					}
				}
			}
			for range 5 + random.IntN(60) {
				n.step(wanted)
				n.tick(1)
			}
			clear(n.cut)
			n.before = nil
			n.write(fmt.Sprintf("k%d=%d", random.IntN(4), i))
			if random.IntN(3) == 0 {
				n.checkpoint(names[random.IntN(len(names))])
			}
		}
		n.moved("c", "d", "e")
		for _, name := range []string{"c", "d", "e"} {
			n.caught(name)
		}
		n.want("c", "d", "e")
		for _, p := range n.nodes {
			n.clean(p.name)
			p.set.Close()
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
