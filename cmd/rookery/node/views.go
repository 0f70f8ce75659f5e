package node

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/council"
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
		c.herald.Tell(was, v)
	}
}

// take over a view, unless it is older.
func (c *cluster) take(v *control.View) {
	was := c.view()
	if own := c.dir.Cluster(); v.Cluster != own {
		if own != "" { // else it is about to be taken in, and is told again then
			c.log.Warn("a view of another cluster", "cluster", v.Cluster, "own", own)
		}
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
		c.admission.Again()
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
	if c.machine.Ready() {
		c.herald.Beat(slices.Sorted(maps.Keys(c.called)))
	}
}

// hear what another node says of the cluster.
func (c *cluster) hear(from string, body []byte) {
	w := &controlpb.Word{}
	if err := proto.Unmarshal(body, w); err != nil {
		c.log.Warn("another node says what cannot be read", "node", from, "err", err)
		return
	}
	c.herald.Hear(from, w)
}

// say something to another node, once and in order while both live.
func (c *cluster) say(to string, w *controlpb.Word) error {
	body, err := word(w)
	if err != nil {
		return err
	}
	return c.office.send(to, body)
}

// sayLoosely what may be lost.
func (c *cluster) sayLoosely(to string, w *controlpb.Word) {
	if body, err := word(w); err == nil {
		c.office.loose(to, body)
	}
}

// word as a body for the office.
func word(w *controlpb.Word) ([]byte, error) {
	b, err := proto.MarshalOptions{}.MarshalAppend(frame(kindControl, proto.Size(w)), w)
	if err != nil {
		return nil, fmt.Errorf("node: encode a word: %w", err)
	}
	return b, nil
}

// answer what a node asks, this one among them. Done is called once, perhaps
// before answer returns, perhaps never where the loop ends.
func (c *cluster) answer(from string, ask *controlpb.Ask, done func(*controlpb.Answer)) {
	switch ask.GetBody().(type) {
	case *controlpb.Ask_Report:
		done(&controlpb.Answer{Outcome: controlpb.Outcome_DONE, Report: c.reports()})
	case *controlpb.Ask_View:
		council.Show(c.view(), done)
	default:
		leader := c.lead()
		if leader == c.node {
			leader = "" // it is about to lead, or has just led
		}
		council.Decide(c.machine, leader, from, ask, done)
	}
}
