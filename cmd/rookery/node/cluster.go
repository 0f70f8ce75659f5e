package node

import "github.com/rookery-im/rookery/cluster/control"

// self is this node as it describes itself to the cluster.
func (n *Node) self() control.Member {
	return control.Member{
		Node: n.dir.Node(), Incarnation: n.dir.Incarnation(), Version: n.cfg.Version,
		Roles: []string{control.RoleData, control.RoleGateway},
	}
}

// view is what this node knows of its cluster. Any goroutine.
func (n *Node) view() *control.View { return n.control.View() }
