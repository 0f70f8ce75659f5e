//go:build e2e && linux && amd64

package e2e

import (
	"fmt"
	"testing"
	"time"
)

// A node whose wall clock was set leads nothing that others can, until it is set back.
func TestClusterLeadsByRightClocks(t *testing.T) {
	c, clocks := &cluster{t: t}, []*wallClock{}
	for range 3 {
		clock := &wallClock{t: t}
		clocks = append(clocks, clock)
		c.begin = clock.start
		c.add()
	}
	c.awaitReplicated()
	leads := func(node int) (n int) {
		st, _, err := c.nodes[0].status()
		if err != nil {
			t.Log(err)
			return -1
		}
		for _, g := range st.Groups {
			if g.Leader == node {
				n++
			}
		}
		return n
	}
	until := func(what string, is func(n int) bool) {
		t.Helper()
		began := time.Now()
		eventually(t, what, func() error {
			if n := leads(2); !is(n) {
				return fmt.Errorf("node 2 leads %d groups", n)
			}
			return nil
		})
		t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
	}
	until("node 2 leads its share", func(n int) bool { return n > 10 })
	for _, by := range []time.Duration{24 * time.Hour, -2 * time.Hour} {
		clocks[1].set(by)
		until(fmt.Sprintf("set by %v it leads nothing", by), func(n int) bool { return n == 0 })
		clocks[1].set(0)
		until("set back it leads its share", func(n int) bool { return n > 10 })
	}
}
