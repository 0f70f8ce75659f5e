package node

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/membership"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// committed takes a view that this node's own replica of group 0 has.
func (c *cluster) committed(v *control.View) {
	if v.Version == 0 {
		return // there is no cluster yet
	}
	was := c.view()
	c.take(v)
	if c.leads() {
		c.tell(was, v)
	}
}

// take over a view, unless it is older.
func (c *cluster) take(v *control.View) {
	was := c.view()
	if v.Cluster != c.dir.Cluster() {
		c.log.Warn("a view of another cluster", "cluster", v.Cluster)
		return
	}
	if !v.Newer(was) {
		return
	}
	c.current.Store(v)
	c.moved.Store(true)
	c.wake()
	select { // only the newest has to be kept
	case <-c.kept:
	default:
	}
	c.kept <- v
	me, ok := v.Node(c.node)
	switch {
	case !ok && c.dir.Number() != 0:
		c.removed = time.Now()
	case ok && me.State == control.Lost:
		c.admission.again()
	}
	for _, f := range c.following {
		f(v)
	}
}

// admitted keeps what a member has to know of its cluster.
func (c *cluster) admitted(v *control.View) error {
	me, ok := v.Node(c.node)
	if !ok {
		return fmt.Errorf("%w: it is not in the view that it was given", control.ErrNoMember)
	}
	if known := c.dir.Cluster(); known != "" && known != v.Cluster {
		return fmt.Errorf("%w: it is of %s, the others of %s", membership.ErrCluster, known, v.Cluster)
	}
	// On the loop: it is once in a node's life, which has nothing to do yet.
	if err := c.dir.Belong(v.Cluster, me.Number, v.Shards); err != nil {
		return err
	}
	c.confirm() // it comes from who leads
	c.take(v)
	if c.gossip != nil {
		c.run(func() {
			if err := c.gossip.Belong(v.Cluster, heardWait); err != nil {
				c.log.Debug("nobody has heard yet that this node belongs to the cluster", "err", err)
			}
		})
	}
	return nil
}

// keep views on the disk, the last of those that come meanwhile.
func (c *cluster) keep() {
	for v := range c.kept {
		data, err := v.Encode()
		if err == nil {
			err = c.dir.SetView(data)
		}
		if err != nil {
			c.log.Warn("what is known of the cluster is not kept: the next start begins with less", "err", err)
		}
	}
}

// complete says whether the view is the newest, as far as can be. Any goroutine.
func (c *cluster) complete() bool {
	return time.Since(c.start) < time.Duration(c.fresh.Load())
}

func (c *cluster) confirm() { c.fresh.Store(int64(time.Since(c.start) + freshFor)) }

// beat says to everybody who is linked to which view is the newest: to all members,
// and to one that was removed and has not heard of it, as it was not there then.
func (c *cluster) beat() {
	v := c.view()
	if v == nil || !c.machine.Ready() {
		return
	}
	c.confirm()
	for node := range c.called {
		if body, err := word(&controlpb.Word{Body: &controlpb.Word_Pulse{Pulse: &controlpb.Pulse{Version: v.Version}}}); err == nil {
			c.office.loose(node, body)
		}
	}
}

// tell all members, those as well that are none any more.
func (c *cluster) tell(was, v *control.View) {
	c.confirm()
	var to []string
	for _, v := range []*control.View{was, v} {
		if v == nil {
			continue
		}
		for _, m := range v.Members {
			if m.Node != c.node && !slices.Contains(to, m.Node) {
				to = append(to, m.Node)
			}
		}
	}
	p := v.Proto()
	for _, node := range to {
		body, err := word(&controlpb.Word{Body: &controlpb.Word_View{View: p}})
		if err == nil {
			err = c.office.send(node, body)
		}
		if err != nil { // it asks, when it hears a pulse
			c.log.Debug("a view is not said", "to", node, "err", err)
		}
	}
}

// hear what another node says of the cluster.
func (c *cluster) hear(from string, body []byte) {
	w := &controlpb.Word{}
	if err := proto.Unmarshal(body, w); err != nil {
		c.log.Warn("another node says what cannot be read", "node", from, "err", err)
		return
	}
	switch b := w.GetBody().(type) {
	case *controlpb.Word_Ask:
		c.council.asked(from, b.Ask)
	case *controlpb.Word_Answer:
		c.council.answered(from, b.Answer)
	case *controlpb.Word_View:
		c.heardView(from, b.View)
	case *controlpb.Word_Pulse:
		c.heardPulse(from, b.Pulse.GetVersion())
	}
}

// heardView of who leads group 0, or has led it.
func (c *cluster) heardView(from string, p *controlpb.View) {
	v, err := control.ViewOf(p)
	if err != nil {
		c.log.Warn("another node has a view that cannot be read", "node", from, "err", err)
		return
	}
	if was := c.view(); was == nil || v.Version >= was.Version {
		c.confirm()
	}
	c.take(v)
}

func (c *cluster) heardPulse(from string, version uint64) {
	v := c.view()
	if v != nil && v.Version >= version {
		c.confirm()
		return
	}
	if c.dir.Number() == 0 {
		return // it comes with being admitted
	}
	c.council.askNode(from, &controlpb.Ask{Body: &controlpb.Ask_View{View: &controlpb.Nothing{}}}, pulseEvery, func(a *controlpb.Answer, err error) {
		if verdict(a, err) != nil {
			return // the next pulse comes soon
		}
		if v, err := control.ViewOf(a.GetView()); err == nil {
			c.take(v)
		}
	})
}
