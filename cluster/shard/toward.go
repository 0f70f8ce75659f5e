package shard

import "github.com/rookery-im/rookery/cluster/balance"

// Toward takes the group the next single step to replicas on the wanted nodes, of
// which the first should lead, and says which that was; Done and Wait are none. It
// is for the leader. What is refused, because another change is under way say, can
// be tried again: the step is decided anew.
func (g *Group) Toward(wanted []string, alive func(node string) bool) (s balance.Step, err error) {
	s = balance.Next(g.balance(), wanted, alive)
	switch s.Kind {
	case balance.Add:
		_, err = g.AddLearner(s.Node)
	case balance.Promote:
		err = g.Promote(s.Replica)
	case balance.Transfer:
		err = g.Transfer(s.Replica)
	case balance.Remove:
		err = g.Remove(s.Replica)
	case balance.Done, balance.Wait:
	}
	return s, err
}

// balance is the group as it decides the step. One that is being sent a snapshot
// is not there yet.
func (g *Group) balance() balance.Group {
	st := g.Status()
	now := balance.Group{Self: st.Replica, Last: st.Applied, Changing: st.Changing}
	for _, p := range st.Members {
		now.Replicas = append(now.Replicas, balance.Replica{
			ID: p.Replica, Node: p.Node, Learner: p.Learner, Active: p.Active && !p.Filling, Match: p.Match,
		})
	}
	return now
}
