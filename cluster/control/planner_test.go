package control

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
)

// crew of data nodes in some states, numbered from 1: r is ready, l lost, j
// joining, g leaving, x removed.
func crew(states string) (members []Member) {
	for i, s := range states {
		m := member(i + 1)
		m.Number = uint16(i + 1)
		m.State = map[rune]MemberState{'r': Ready, 'l': Lost, 'j': Joining, 'g': Leaving, 'x': Removed}[s]
		members = append(members, m)
	}
	return members
}

func mustPlan(t *testing.T, shards uint32, members []Member, now [][]uint16) [][]uint16 {
	t.Helper()
	next, err := plan(shards, members, now)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// who holds anything.
func who(groups [][]uint16) (numbers []uint16) {
	for _, g := range groups {
		for _, n := range g {
			if !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return numbers
}

func TestPlanner(t *testing.T) {
	const shards = 12
	one := mustPlan(t, shards, crew("r"), make([][]uint16, shards+1))
	three := mustPlan(t, shards, crew("rrr"), one)
	for _, c := range []struct {
		states string
		now    [][]uint16
		who    []uint16
		want   int // replicas of each group
	}{
		{"r", make([][]uint16, shards+1), []uint16{1}, 1},
		{"rr", one, []uint16{1}, 1},
		{"rrj", one, []uint16{1}, 1},
		{"rrr", one, []uint16{1, 2, 3}, 3},
		{"gr", one, []uint16{2}, 1},
		{"lr", one, []uint16{1}, 1}, // the other would have to be given what is not there
		{"rrl", three, []uint16{1, 2, 3}, 3},
		{"rll", three, []uint16{1, 2, 3}, 3},
		{"rrlr", three, []uint16{1, 2, 4}, 3},
		{"rrg", three, []uint16{1, 2}, 2},
		{"rrgr", three, []uint16{1, 2, 4}, 3},
		{"rrxj", three, []uint16{1, 2}, 2},
		{"rxx", three, []uint16{1}, 1},
		{"ggg", three, []uint16{1, 2, 3}, 3},
	} {
		t.Run(fmt.Sprintf("%s of %d", c.states, len(c.now[0])), func(t *testing.T) {
			next := mustPlan(t, shards, crew(c.states), c.now)
			if got := who(next); !slices.Equal(got, c.who) {
				t.Errorf("on %v, want %v", got, c.who)
			}
			for g, r := range next {
				if len(r) != c.want {
					t.Errorf("group %d on %v, want %d", g, r, c.want)
				}
			}
			if again := mustPlan(t, shards, crew(c.states), next); !reflect.DeepEqual(next, again) {
				t.Errorf("it does not rest: %v became %v", next, again)
			}
		})
	}
}

// Nodes join one by one, up to a hundred: what moves is what the new one has to
// hold, and no node holds or leads two groups more than another. (Up to a
// thousand, and by tens, it is placement's test.)
func TestJoinsMoveLittle(t *testing.T) {
	const shards = 256
	now := mustPlan(t, shards, crew("rrr"), make([][]uint16, shards+1))
	states := "rrr"
	for len(states) < 100 {
		states += "r"
		next := mustPlan(t, shards, crew(states), now)
		moved, holds, leads := 0, map[uint16]int{}, map[uint16]int{}
		for g := range next {
			leads[next[g][0]]++
			for _, n := range next[g] {
				holds[n]++
				if !slices.Contains(now[g], n) {
					moved++
				}
			}
		}
		ideal := float64((shards+1)*Replicas) / float64(len(states))
		if float64(moved) > 1.2*ideal {
			t.Errorf("%d nodes: %d replicas moved, %.1f would do", len(states), moved, ideal)
		}
		for n := range uint16(len(states)) {
			if d := holds[n+1] - holds[1]; d > 1 || d < -1 {
				t.Errorf("%d nodes: node %d holds %d, node 1 %d", len(states), n+1, holds[n+1], holds[1])
			}
			if d := leads[n+1] - leads[1]; d > 1 || d < -1 {
				t.Errorf("%d nodes: node %d leads %d, node 1 %d", len(states), n+1, leads[n+1], leads[1])
			}
		}
		now = next
	}
}
