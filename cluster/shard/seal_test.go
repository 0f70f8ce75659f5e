package shard

import "testing"

// All lose power as soon as a replica that was removed is gone, and one loses its
// disk as well: the others are a majority of what the group is by then, and know it.
func TestPowerCutAfterARemoval(t *testing.T) {
	n := newTroupe(t, "a", "b", "c", "d")
	n.write("a=1")
	id := n.grow("b")
	n.grow("c")
	n.grow("d")
	must(n.at("a").Remove(id))
	n.until("b has left", func() bool { return n.at("b") == nil })
	for _, name := range []string{"a", "b", "c"} {
		n.crash(name, true)
	}
	n.cut["d"] = true
	n.write("b=2")
	n.want("a", "c")
}
