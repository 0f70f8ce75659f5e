package node

import (
	"slices"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/council"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// guard is what the leader of group 0 does about members that are gone, or go:
// it has others take over from those that have been gone for long, and takes out
// those that leave once they hold nothing. It belongs to the loop.
type guard struct {
	cluster *cluster
	gone    map[uint16]time.Time // since when, while this node leads
	last    time.Time            // it watched
	busy    bool                 // reports are being gathered
}

// watch is called every second or so while this node leads group 0.
func (g *guard) watch(now time.Time) {
	c := g.cluster
	if now.Sub(g.last) > 3*pulseEvery {
		clear(g.gone) // it did not lead, or slept: nobody knows who was there meanwhile
	}
	g.last = now
	v := c.view()
	if c.gossip != nil && c.place.ReplaceAfter > 0 {
		for _, number := range g.overdue(now, v, c.there(), c.place.ReplaceAfter) {
			c.log.Warn("a member has been gone for so long that others take over what it holds", "number", number, "gone for", c.place.ReplaceAfter)
			c.machine.MarkLost(number, func(error) {}) // it is looked at again
		}
	}
	g.release(v)
}

// overdue are the ready members that have been gone for too long.
func (g *guard) overdue(now time.Time, v *control.View, there func(string) bool, after time.Duration) (late []uint16) {
	for _, m := range v.Members {
		if there(m.Node) || m.State != control.Ready {
			delete(g.gone, m.Number)
			continue
		}
		since, known := g.gone[m.Number]
		if !known {
			g.gone[m.Number] = now
			continue
		}
		if now.Sub(since) >= after {
			late = append(late, m.Number)
		}
	}
	return late
}

// release those that leave and hold nothing any more.
func (g *guard) release(v *control.View) {
	leaving := func(m control.Member) bool { return m.State == control.Leaving }
	if g.busy || !slices.ContainsFunc(v.Members, leaving) {
		return
	}
	g.busy = true
	g.cluster.gather(func(reports map[string]*controlpb.Report) {
		g.busy = false
		v := g.cluster.view()
		for _, m := range v.Members {
			if leaving(m) && g.cluster.leads() && empty(v, m, reports) {
				g.cluster.machine.Remove(m.Number, func(error) {}) // it is looked at again
			}
		}
	})
}

// empty says whether a node is certain to hold nothing: the leader of every
// group says so, and so does the node itself, if it says anything.
func empty(v *control.View, m control.Member, reports map[string]*controlpb.Report) bool {
	if len(reports[m.Node].GetHolds()) > 0 {
		return false
	}
	groups := map[uint32]*controlpb.Group{}
	for _, g := range newest(reports) {
		if slices.ContainsFunc(g.GetReplicas(), func(r *controlpb.Replica) bool { return r.GetNode() == m.Node }) {
			return false
		}
		groups[g.GetGroup()] = g
	}
	return len(groups) == int(v.Shards)+1
}

// newest is what the leader of the latest term says of each group.
func newest(reports map[string]*controlpb.Report) map[uint32]*controlpb.Group {
	groups := map[uint32]*controlpb.Group{}
	for _, r := range reports {
		for _, g := range r.GetLeads() {
			if was := groups[g.GetGroup()]; was == nil || was.GetTerm() < g.GetTerm() {
				groups[g.GetGroup()] = g
			}
		}
	}
	return groups
}

// gatherLife is how long the reports of all nodes may take; awayLife, that of one
// that is not there by gossip: while a node is down nobody waits long for what
// will hardly come.
const gatherLife, awayLife = 2 * time.Second, 250 * time.Millisecond

// gather the reports of all members. Done is called once, with those that came;
// loop only.
func (c *cluster) gather(done func(map[string]*controlpb.Report)) {
	v := c.view()
	reports := map[string]*controlpb.Report{}
	if v == nil || len(v.Members) == 0 {
		done(reports)
		return
	}
	left, there := len(v.Members), c.there()
	for _, m := range v.Members {
		life := gatherLife
		if c.gossip != nil && !there(m.Node) {
			life = awayLife
		}
		ask := &controlpb.Ask{Body: &controlpb.Ask_Report{Report: &controlpb.Nothing{}}}
		c.council.AskNode(m.Node, ask, life, func(a *controlpb.Answer, err error) {
			if council.Verdict(a, err) == nil {
				reports[m.Node] = a.GetReport()
			}
			if left--; left == 0 {
				done(reports)
			}
		})
	}
}
