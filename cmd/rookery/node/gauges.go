package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-im/rookery/cluster/control"
)

// gauges of the cluster, as this node sees it, for alerts: of what is counted, all
// but the members is counted by the loop when somebody asks.
type gauges struct {
	n *Node

	members, silent, unled, short *prometheus.Desc
}

// gaugesPatience is how long the loop may take to count.
const gaugesPatience = time.Second

func newGauges(n *Node) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("rookery", "cluster", name), help, labels, nil)
	}
	return &gauges{
		n:       n,
		members: desc("members", "Members of the cluster, as this node knows them, by state.", "state"),
		silent:  desc("members_silent", "Other members that this node does not hear."),
		unled:   desc("shards_unled", "Shards that nobody is known to lead at this node: it refuses what is for their users."),
		short:   desc("groups_short", "Groups that this node leads, and that have fewer sound replicas than they ought to."),
	}
}

// Describe is of prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.members
	ch <- g.silent
	ch <- g.unled
	ch <- g.short
}

// Collect is of prometheus.Collector. What cannot be counted in time is left out.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	say := func(d *prometheus.Desc, value int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	v := g.n.cluster.view()
	if v == nil {
		return
	}
	states := map[control.MemberState]int{}
	for _, m := range v.Members {
		states[m.State]++
	}
	for s := control.Joining; s < control.Removed; s++ {
		say(g.members, states[s], s.String())
	}
	type counts struct{ silent, unled, short int }
	counted := make(chan counts, 1)
	if !g.n.conns.Post(func() { counted <- counts{g.n.exchange.Hushed(), g.n.exchange.Unled(), g.n.short(v)} }) {
		return
	}
	timeout := time.NewTimer(gaugesPatience)
	defer timeout.Stop()
	select {
	case c := <-counted:
		say(g.silent, c.silent)
		say(g.unled, c.unled)
		say(g.short, c.short)
	case <-timeout.C:
	}
}

// short is how many of the groups led here lack sound replicas; loop only.
func (n *Node) short(v *control.View) (short int) {
	for _, led := range n.report().GetLeads() {
		g := groupOf(v, led.GetGroup(), led)
		sound := 0
		for _, r := range g.Replicas {
			if r.sound() {
				sound++
			}
		}
		if sound < len(g.Wanted) {
			short++
		}
	}
	return short
}
