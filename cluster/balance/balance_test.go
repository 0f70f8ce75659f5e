package balance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// group is made of words such as "a! b c- +d +e?": the first that ends in "!" leads,
// "+" is a learner, "-" is dead, "?" is behind.
func group(text string) Group {
	g := Group{Last: 1000}
	for i, word := range strings.Fields(text) {
		r := Replica{ID: uint64(i + 1), Active: true, Match: 1000}
		node := strings.Trim(word, "+!-?")
		r.Node, r.Learner = node, strings.HasPrefix(word, "+")
		switch {
		case strings.HasSuffix(word, "!"):
			g.Self = r.ID
		case strings.HasSuffix(word, "-"):
			r.Active = false
		case strings.HasSuffix(word, "?"):
			r.Match = 10
		}
		g.Replicas = append(g.Replicas, r)
	}
	return g
}

func TestNext(t *testing.T) {
	for _, c := range []struct{ group, wanted, want string }{
		{"a!", "a", "done"},
		{"a!", "", "done"},
		{"a!", "a b c", "add b"},
		{"a! +b?", "a b c", "add c"},
		{"a! +b +c?", "a b c", "wait"}, // with b alone either would stop it
		{"a! +b", "a b", "promote b"},  // even numbers are not wanted, but can be had
		{"a! +b +c", "a b c", "promote b"},
		{"a! b +c", "a b c", "promote c"},
		{"a! b c", "a b c", "done"},
		{"a! b c", "b a c", "transfer b"},
		{"a! b- c", "b a c", "wait"},
		{"a! b? c", "b a c", "wait"},
		{"a! b c", "a b d", "add d"},
		{"a! b c +d?", "a b d", "wait"},
		{"a! b c +d", "a b d", "promote d"},
		{"a! b c d", "a b d", "remove c"},
		{"a! b c- +d?", "a b d", "wait"},    // it may come back
		{"a! b c- +d", "a b d", "remove c"}, // before d comes: else all three would be needed
		{"a! b +d", "a b d", "promote d"},
		{"a! b- c +d", "a b d", "wait"}, // four, of which three are needed and three are there
		{"a! b- c-", "a d e", "add d"},
		{"a! b c d", "b c d", "transfer b"},
		{"a! b- c d", "b c d", "wait"}, // healthy are three, and one would go
		{"b! a c d", "b c d", "remove a"},
		{"a! b c +d", "a b c", "remove d"},
		{"a! b c +d- +e?", "a d e", "wait"},
		{"a! b c", "a", "remove b"},
		{"a! c", "a", "remove c"},
		{"a! +b", "b", "promote b"},
		{"a! b", "b", "transfer b"},
		{"b! a", "b", "remove a"},
		{"a! b c", "a a b c", "done"},
		{"a! b c", "a b x", "wait"}, // x is not alive
		{"a! b c", "a x y", "add y"},
		{"x! a b-", "a b d", "transfer a"}, // nobody tells x anything
		{"x! a? b", "a d e", "add d"},      // but nobody could lead in its place
		{"x! a? c", "a d c", "transfer c"},
		{"x! a +b", "a b c", "promote b"}, // no longer two than must be
		{"x! a b", "x a d", "add d"},      // it is wanted: it is about to be one of them
	} {
		s := Next(group(c.group), strings.Fields(c.wanted), func(node string) bool { return node != "x" })
		got := strings.TrimSpace(s.Kind.String() + " " + s.Node)
		if got != c.want {
			t.Errorf("%q to %q: %s, want %s", c.group, c.wanted, got, c.want)
		}
	}
	busy := group("a! b c")
	busy.Changing = true
	if s := Next(busy, []string{"b"}, nil); s.Kind != Wait {
		t.Errorf("while a change is under way: %v", s)
	}
}

// world runs groups through steps, intents and crashes.
type world struct {
	Group
	dead map[string]bool
	out  map[string]bool // no members any more
	next uint64
}

func (w *world) look() {
	for i := range w.Replicas {
		w.Replicas[i].Active = !w.dead[w.Replicas[i].Node]
	}
}

func (w *world) works(dies string) bool {
	n, all := 0, 0
	for _, r := range w.Replicas {
		if r.Learner {
			continue
		}
		if all++; !w.dead[r.Node] && r.Node != dies {
			n++
		}
	}
	return n > all/2
}

// elect somebody where the leader is gone.
func (w *world) elect() {
	at := func(id uint64) *Replica {
		for i := range w.Replicas {
			if w.Replicas[i].ID == id {
				return &w.Replicas[i]
			}
		}
		return nil
	}
	if r := at(w.Self); r != nil && !w.dead[r.Node] {
		return
	}
	for _, r := range w.Replicas {
		if !r.Learner && !w.dead[r.Node] && r.Match == w.Last {
			w.Self = r.ID
			return
		}
	}
}

func (w *world) take(s Step) {
	i := slices.IndexFunc(w.Replicas, func(r Replica) bool { return r.ID == s.Replica })
	switch s.Kind {
	case Add:
		w.next++
		w.Replicas = append(w.Replicas, Replica{ID: w.next, Node: s.Node, Learner: true})
	case Promote:
		w.Replicas[i].Learner = false
	case Transfer:
		w.Self = s.Replica
	case Remove:
		w.Replicas = slices.Delete(w.Replicas, i, i+1)
	}
}

func (w *world) String() string {
	var b strings.Builder
	for _, r := range w.Replicas {
		fmt.Fprintf(&b, "%+v ", r)
	}
	return fmt.Sprintf("led by %d, dead %v: %s", w.Self, w.dead, b.String())
}

// Over any intents and crashes: a step never stops a group that works, nor makes
// it one that another crash would stop and would not have stopped before, but in
// passing from one voter through two; and once all wanted nodes are there it ends.
func TestStepsKeepTheGroup(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		nodes := []string{"a", "b", "c", "d", "e", "f"}
		w := &world{Group: Group{Self: 1, Last: 1000, Replicas: []Replica{{ID: 1, Node: "a", Match: 1000}}}, dead: map[string]bool{}, out: map[string]bool{}, next: 1}
		alive := func(n string) bool { return !w.dead[n] && !w.out[n] }
		wanted := []string{"a"}
		step := func() Kind {
			w.look()
			w.elect()
			if !w.works("") {
				return Wait
			}
			before := map[string]bool{}
			for _, n := range append([]string{""}, nodes...) {
				before[n] = w.works(n)
			}
			voters := 0
			for _, r := range w.Replicas {
				if !r.Learner {
					voters++
				}
			}
			s := Next(w.Group, wanted, alive)
			was := w.String()
			w.take(s)
			for n, worked := range before {
				if worked && !w.works(n) && !(s.Kind == Promote && voters == 1) && !(s.Kind == Remove && len(wanted) < 3) {
					rt.Fatalf("%v %s: without %q the group stops, and would not have before\n%s\n%v", s.Kind, s.Node, n, was, w)
				}
			}
			if s.Kind == Promote && voters == 1 && len(wanted) > 2 {
				w.look()
				if then := Next(w.Group, wanted, alive); then.Kind != Promote {
					rt.Fatalf("two voters, and then %v\n%v", then, w)
				}
			}
			return s.Kind
		}
		for range rapid.IntRange(1, 80).Draw(rt, "events") {
			switch rapid.SampledFrom([]string{"step", "step", "step", "catch up", "write", "crash", "back", "out", "intent"}).Draw(rt, "event") {
			case "step":
				step()
			case "catch up":
				for i := range w.Replicas {
					if !w.dead[w.Replicas[i].Node] && rapid.Bool().Draw(rt, "this") {
						w.Replicas[i].Match = w.Last
					}
				}
			case "write":
				if w.works("") {
					w.Last += 100
					for i := range w.Replicas { // all that vote and live, for simplicity
						if r := &w.Replicas[i]; !r.Learner && !w.dead[r.Node] {
							r.Match = w.Last
						}
					}
				}
			case "crash":
				w.dead[rapid.SampledFrom(nodes).Draw(rt, "node")] = true
			case "back":
				delete(w.dead, rapid.SampledFrom(nodes).Draw(rt, "node"))
			case "out":
				w.out[rapid.SampledFrom(nodes).Draw(rt, "node")] = true
			case "intent":
				clear(w.out)
				wanted = rapid.SampledFrom([][]string{{"a"}, {"a", "b", "c"}, {"c", "b", "d"}, {"d", "e", "f"}, {"f", "a", "b"}, {"e"}}).Draw(rt, "wanted")
			}
		}
		clear(w.dead)
		clear(w.out)
		for range 40 {
			for i := range w.Replicas {
				w.Replicas[i].Match = w.Last
			}
			if step() == Done {
				break
			}
		}
		var have []string
		for _, r := range w.Replicas {
			if r.Learner {
				rt.Fatalf("a learner is left: %v", w)
			}
			have = append(have, r.Node)
		}
		slices.Sort(have)
		want := slices.Sorted(slices.Values(wanted))
		if leads, _ := (&plan{Group: w.Group}).byID(w.Self); !slices.Equal(have, want) || leads.Node != wanted[0] {
			rt.Fatalf("wanted %v, and there is %v", wanted, w)
		}
	})
}
