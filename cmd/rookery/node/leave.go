package node

import (
	"errors"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
)

var errLeaving = errors.New("this node leaves its cluster")

// leave takes in a view that may say that this node is to leave. Its clients are sent
// away while it still serves them. Once it holds nothing any more the cluster takes it
// out; see Removed.
func (n *Node) leave(v *control.View) {
	number := n.dir.Number()
	if m, ok := v.Node(n.dir.Node()); n.leaving || number == 0 || ok && m.State != control.Leaving {
		return
	}
	n.leaving = true
	n.cfg.Log.Info("this node leaves its cluster, and sends its clients away", "number", number)
	n.running.Go(func() { n.sendAway(time.Now().Add(n.cfg.DrainTimeout)) })
}

// Removed is closed once the cluster has taken this node out, for good, and nobody needs
// what it has any more. It ought to be drained then.
func (n *Node) Removed() <-chan struct{} { return n.removed }
