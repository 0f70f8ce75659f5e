// Package balance says what a group's leader does next to get its replicas to
// where they ought to be. It is a package of its own because it is pure: it
// decides on what a leader knows, one single step at a time, and the next leader
// carries on from what the steps so far have made.
//
// # Steps
//
//	Add       a learner on a node that has no replica yet
//	Promote   a learner that has caught up
//	Transfer  leadership, to who is to have it or because the leader has to go
//	Remove    a replica that nobody wants any more
//
// # What no step does
//
// Whatever single node dies after a step, the group goes on if it would have gone
// on without the step; and no step leaves fewer healthy voters than are wanted,
// where there were as many before. So a voter that is dead goes before another
// comes, and one that is alive goes after. There are two exceptions. A group of one
// voter has to pass through two, where either may stop it: it does so only when
// the third has caught up as well, so that the next step follows at once. And one
// of which fewer replicas are wanted loses what they are for.
package balance

import "slices"

// Replica of a group, as its leader knows it.
type Replica struct {
	ID      uint64
	Node    string
	Learner bool
	// Active says that it was heard of lately, Match up to where its log is the
	// leader's.
	Active bool
	Match  uint64
}

// Group as its leader sees it.
type Group struct {
	Self uint64 // the leader
	Last uint64 // committed
	// Changing says that a step is still on its way.
	Changing bool
	Replicas []Replica
}

// Kind of a Step.
type Kind uint8

// The kinds of steps.
const (
	Done Kind = iota // nothing is left to do
	Wait             // for a replica to catch up, a node to come back, or the last step
	Add
	Promote
	Transfer
	Remove
)

func (k Kind) String() string {
	return [...]string{"done", "wait", "add", "promote", "transfer", "remove"}[k]
}

// Step is what to do next.
type Step struct {
	Kind    Kind
	Node    string // that it is about
	Replica uint64 // that it is about; 0 of Add
}

const (
	// nearly is how many entries a replica may be behind and still count as caught
	// up: more come in all the time.
	nearly = 64
	// learners are filled at once, at most.
	learners = 2
)

// Next step towards replicas on the wanted nodes, the preferred leader's first.
// No step is made to a node that is not alive. A leader whose own is not, since it
// is no member any more, is told nothing by anybody: it waits for nothing before it
// hands over.
func Next(g Group, wanted []string, alive func(node string) bool) Step {
	p := &plan{Group: g, wanted: wanted}
	p.self, _ = p.byID(g.Self)
	switch {
	case g.Changing:
		return Step{Kind: Wait}
	case len(wanted) == 0 || p.self.ID == 0:
		return Step{Kind: Done}
	}
	for _, r := range g.Replicas {
		if r.Learner && !p.wants(r.Node) {
			return Step{Remove, r.Node, r.ID}
		}
	}
	flee := func() (Step, bool) { return p.flee(alive) }
	add := func() (Step, bool) { return p.add(alive) }
	for _, try := range []func() (Step, bool){p.remove, p.promote, flee, p.depart, add} {
		if s, ok := try(); ok {
			return s
		}
	}
	if len(p.missing()) > 0 || len(p.voters()) != len(p.nodes()) {
		return Step{Kind: Wait}
	}
	return p.prefer()
}

type plan struct {
	Group
	wanted []string
	self   Replica
}

func (p *plan) byID(id uint64) (Replica, bool) {
	i := slices.IndexFunc(p.Replicas, func(r Replica) bool { return r.ID == id })
	if i < 0 {
		return Replica{}, false
	}
	return p.Replicas[i], true
}

func (p *plan) wants(node string) bool { return slices.Contains(p.wanted, node) }

// nodes that are wanted, each once.
func (p *plan) nodes() (nodes []string) {
	for _, n := range p.wanted {
		if !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (p *plan) voters() (voters []Replica) {
	for _, r := range p.Replicas {
		if !r.Learner {
			voters = append(voters, r)
		}
	}
	return voters
}

func (p *plan) healthy(r Replica) bool { return r.Active || r.ID == p.Self }

// ready says whether a replica has caught up.
func (p *plan) ready(r Replica) bool { return r.Active && r.Match > 0 && r.Match+nearly >= p.Last }

// missing are wanted nodes without a voter, the learner on them where there is one.
func (p *plan) missing() (all []Replica) {
	for _, n := range p.nodes() {
		i := slices.IndexFunc(p.Replicas, func(r Replica) bool { return r.Node == n })
		switch {
		case i < 0:
			all = append(all, Replica{Node: n})
		case p.Replicas[i].Learner:
			all = append(all, p.Replicas[i])
		}
	}
	return all
}

// survives says whether these voters go on when one of them dies; with nobody's
// id, as they are.
func (p *plan) survives(voters []Replica, dies uint64) bool {
	n := 0
	for _, v := range voters {
		if p.healthy(v) && v.ID != dies {
			n++
		}
	}
	return n > len(voters)/2
}

// keeps says whether the group survives with other voters whatever it survives now.
func (p *plan) keeps(after []Replica) bool {
	before := p.voters()
	for _, r := range append(slices.Clone(p.Replicas), Replica{}) {
		if p.survives(before, r.ID) && !p.survives(after, r.ID) {
			return false
		}
	}
	return true
}

// remove a voter that is not wanted: a dead one first.
func (p *plan) remove() (Step, bool) {
	voters := p.voters()
	for _, dead := range []bool{true, false} {
		for i, v := range voters {
			if v.ID == p.Self || p.wants(v.Node) || p.healthy(v) == dead {
				continue
			}
			after := slices.Delete(slices.Clone(voters), i, i+1)
			if p.dispensable(v, after) && (p.keeps(after) || p.shrinks(after)) {
				return Step{Remove, v.Node, v.ID}, true
			}
		}
	}
	return Step{}, false
}

// shrinks says whether fewer voters are wanted than the group has, and all of
// those are there and well.
func (p *plan) shrinks(after []Replica) bool {
	nodes := p.nodes()
	return len(after) >= len(nodes) && !slices.ContainsFunc(nodes, func(node string) bool {
		return !slices.ContainsFunc(after, func(r Replica) bool { return r.Node == node && p.healthy(r) })
	})
}

// dispensable says whether there are enough without a voter. A dead one is kept
// until who takes its place is ready: it may come back before that.
func (p *plan) dispensable(v Replica, after []Replica) bool {
	healthy := 0
	for _, r := range after {
		if p.healthy(r) {
			healthy++
		}
	}
	if healthy >= len(p.nodes()) {
		return true
	}
	missing := p.missing()
	return !p.healthy(v) && (len(missing) == 0 || slices.ContainsFunc(missing, p.ready))
}

func (p *plan) countReady(all []Replica) (n int) {
	for _, r := range all {
		if p.ready(r) {
			n++
		}
	}
	return n
}

// promote a learner that is ready.
func (p *plan) promote() (Step, bool) {
	missing, voters := p.missing(), p.voters()
	for _, r := range missing {
		if !p.ready(r) {
			continue
		}
		r.Learner = false
		if p.keeps(append(slices.Clone(voters), r)) || len(voters) == 1 && p.countReady(missing) >= min(2, len(missing)) {
			return Step{Promote, r.Node, r.ID}, true
		}
	}
	return Step{}, false
}

// flee hands over leadership where nobody listens to the leader.
func (p *plan) flee(alive func(node string) bool) (Step, bool) {
	if p.wants(p.self.Node) || alive(p.self.Node) {
		return Step{}, false
	}
	return p.handOver(p.voters())
}

// depart hands over leadership where the leader is not wanted, once nothing else
// keeps it.
func (p *plan) depart() (Step, bool) {
	if p.wants(p.self.Node) {
		return Step{}, false
	}
	voters := p.voters()
	after := slices.DeleteFunc(slices.Clone(voters), func(r Replica) bool { return r.ID == p.Self })
	if !p.dispensable(p.self, after) || !p.survives(after, 0) {
		return Step{}, false
	}
	return p.handOver(after)
}

// handOver leadership to one of these voters, the first that is wanted.
func (p *plan) handOver(voters []Replica) (Step, bool) {
	for _, node := range p.wanted {
		for _, r := range voters {
			if r.Node == node && p.ready(r) {
				return Step{Transfer, r.Node, r.ID}, true
			}
		}
	}
	return Step{}, false
}

// add a learner.
func (p *plan) add(alive func(node string) bool) (Step, bool) {
	filling := len(p.Replicas) - len(p.voters())
	for _, r := range p.missing() {
		if r.ID == 0 && filling < learners && alive(r.Node) {
			return Step{Kind: Add, Node: r.Node}, true
		}
	}
	return Step{}, false
}

// prefer the leader that is wanted first.
func (p *plan) prefer() Step {
	if p.self.Node == p.wanted[0] {
		return Step{Kind: Done}
	}
	for _, r := range p.voters() {
		if r.Node == p.wanted[0] && p.ready(r) {
			return Step{Transfer, r.Node, r.ID}
		}
	}
	return Step{Kind: Wait}
}
