package node

import (
	"slices"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/route"
	"github.com/rookery-im/rookery/transport/api"
)

// alternatesMost bounds how many nodes a client is named that is sent away.
const alternatesMost = 3

// load of this node, for the others to know.
func (n *Node) load() route.Load {
	_, _, leapt := n.clock.look()                                                         // nobody else looks where nothing is led
	return route.Load{Connections: uint32(n.conns.Len()), Lag: n.lag, Astray: leapt != 0} //nolint:gosec // bounded by the slots
}

// survey which nodes are there, by load, for other goroutines to read; loop only.
func (n *Node) survey() {
	near := n.exchange.Nodes()
	n.near.Store(&near)
}

// places are where clients may connect, the node with the least load first. This
// one is always among them: whoever asks has reached it. Any goroutine.
func (n *Node) places() []api.Place {
	near := n.near.Load()
	if near == nil {
		near = &[]uint16{}
	}
	return placesOf(*near, n.cluster.view(), n.dir.Node())
}

func placesOf(near []uint16, v *control.View, self string) []api.Place {
	var list []api.Place
	for _, number := range near {
		m, ok := v.Member(number)
		switch {
		case ok && m.Node == self:
			list = append(list, api.Place{Node: self})
		case ok && m.Clients != "" && m.Has(control.RoleGateway) && m.State == control.Ready:
			list = append(list, api.Place{Node: m.Node, URL: m.Clients})
		}
	}
	if !slices.ContainsFunc(list, func(p api.Place) bool { return p.Node == self }) {
		list = slices.Insert(list, 0, api.Place{Node: self})
	}
	return list
}

// alternates for those of a batch who are sent away: each batch is named other
// nodes first, so that not all of them go to one.
func alternates(places []api.Place, batch int) (urls []string) {
	for i := range places {
		if p := places[(i+batch)%len(places)]; p.URL != "" && len(urls) < alternatesMost {
			urls = append(urls, p.URL)
		}
	}
	return urls
}
