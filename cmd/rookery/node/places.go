package node

import "github.com/rookery-im/rookery/cluster/route"

// alternatesMost bounds how many nodes a client is named that is sent away.
const alternatesMost = 3

// load of this node, for the others to know.
func (n *Node) load() route.Load {
	return route.Load{Connections: uint32(n.conns.Len()), Lag: n.lag} //nolint:gosec // bounded by the slots
}

// alternates are where those may go who are sent away.
func (n *Node) alternates() (urls []string) {
	for _, e := range n.elsewhere() {
		if len(urls) < alternatesMost {
			urls = append(urls, e.URL)
		}
	}
	return urls
}
