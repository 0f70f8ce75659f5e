package sim

import (
	"maps"
	"slices"

	"github.com/rookery-im/rookery/cluster/placement"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// Promises that name a time, and what else is part of it: who sleeps does nothing
// in time, so that all of them count from when a node was last started or awoke.
const (
	// A leader that no majority can answer leads on until Raft has looked twice
	// whether it was heard, which takes 20 ticks, and one or two that a leader lets
	// go by to keep step.
	deposedWithin = 2*second + 2*raftTick
	// A gateway that no leader of a shard can reach refuses what is for that shard:
	// the directory's doubt, and what its own replica may have heard last.
	refusedWithin = 2 * second
	// It ends the sessions of that shard's users: likewise, and a tick.
	partedWithin = 10*second + 500*millisecond
	// A send is answered, or its connection closed.
	answeredWithin = 5 * second
	// All gateways know who leads a shard, and it does, once nothing is amiss.
	acceptsWithin = 5 * second

	flight = 60 * millisecond // what is under way arrives so late, where nothing is slow
	glance = 5 * millisecond  // between two looks
)

// bounds watches those promises, from outside: by who could have said something to whom.
type bounds struct {
	world *world
	next  micros
}

// lately is when something last held at a node, or may have, the time included in
// which it could still be learned.
type lately struct {
	awake  micros            // the loop did not run just before
	word   []micros          // by shard: somebody who leads it could reach the node, or who could hint
	knew   []uint64          // by shard: the term that it knew a leader of, at the last look
	quorum map[uint32]micros // by shard that it leads: a majority could answer
}

func (n *node) awoke() {
	w := n.world
	n.lately.awake, w.bounds.next = w.now, 0 // what it believes to lead it says at once
	if n.lately.word == nil {
		n.lately.word, n.lately.knew = make([]micros, w.shape.shards+1), make([]uint64, w.shape.shards+1)
	}
	n.lately.quorum = map[uint32]micros{}
}

// elected: a majority has just answered.
func (l *lately) elected(shard uint32, at micros) { l.quorum[shard] = at }

// handed: a leader is to hand over. It takes nothing while that lasts, and Raft looks
// only then again whether the leader is heard.
func (l *lately) handed(shard uint32, at micros) { l.quorum[shard] = max(l.quorum[shard], at) }

// runs says whether the node's loop does.
func (n *node) runs() bool { return n.up && !n.paused }

// hears says whether a node can say something to another now.
func (n *network) hears(from, to *node) bool {
	return from == to || from.runs() && to.up && !n.cut[[2]int{from.number, to.number}]
}

// look at all that is so until now.
func (b *bounds) look() {
	w := b.world
	if w.now < b.next {
		return
	}
	b.next = w.now + glance
	for _, n := range w.nodes[1:] {
		if !n.runs() {
			continue
		}
		for _, r := range n.order {
			if r.term != 0 {
				b.leads(r)
			}
		}
	}
	b.hints()
	for _, n := range w.nodes[1:] {
		if n.runs() {
			b.sessions(n)
		}
	}
}

// hints that nodes could give each other: of a leader in a term that is news. Whom the
// leader itself cannot reach believes that for as long as any word.
func (b *bounds) hints() {
	w := b.world
	for shard := uint32(1); int(shard) <= w.shape.shards; shard++ {
		for _, n := range w.nodes[1:] {
			if !n.runs() {
				continue
			}
			_, term, ok := n.office.exchange.Leader(shard)
			for _, to := range w.nodes[1:] {
				if ok && to != n && to.up && term > to.lately.knew[shard] && w.net.hears(n, to) {
					to.lately.heard(shard, w.now+b.late(n, to))
				}
			}
		}
		for _, n := range w.nodes[1:] {
			if !n.up {
				continue
			}
			if leader, term, _ := n.office.exchange.Leader(shard); leader != 0 {
				n.lately.knew[shard] = term
			} else {
				n.lately.knew[shard] = 0 // then any is news
			}
		}
	}
}

// late is for how long what one node said to another may be under way.
func (b *bounds) late(from, to *node) micros {
	return flight + b.world.net.slow[[2]int{from.number, to.number}]
}

func (l *lately) heard(shard uint32, at micros) { l.word[shard] = max(l.word[shard], at) }

// leads: a replica does, so that others may hear of it; and it may as long as a
// majority can answer.
func (b *bounds) leads(r *replica) {
	w, n := b.world, r.node
	for _, to := range w.nodes[1:] {
		if to.up && w.net.hears(n, to) {
			to.lately.heard(r.shard, w.now+n.slow+b.late(n, to)) // Raft's words wait for its disk
		}
	}
	last := n.lately.quorum
	last[r.shard] = max(last[r.shard], b.answered(r))
	if since := max(last[r.shard], n.lately.awake); w.now-since > deposedWithin {
		w.fault("n%d leads shard %d, term %d, though no majority could answer it for %d ms", n.number, r.shard, r.term, (w.now-since)/millisecond)
	}
}

// answered is until when a majority could have answered, as things are now; 0 where it could not.
func (b *bounds) answered(r *replica) (until micros) {
	w, n := b.world, r.node
	a := w.fence.groups[r.shard]
	voters, there := 0, 0
	for _, m := range a.configs[a.at(r.group.Applied())].members {
		if !m.voter {
			continue
		}
		voters++
		if v := w.named[m.node]; v.up && w.net.hears(n, v) && w.net.hears(v, n) {
			there++
			until = max(until, w.now+b.late(n, v)+b.late(v, n))
		}
	}
	if there <= voters/2 {
		return 0
	}
	return until
}

// alone is for how long nobody who leads a shard could have reached the node.
func (n *node) alone(shard uint32) micros {
	return n.world.now - max(n.lately.word[shard], n.lately.awake)
}

// told: a session has read a send, and it was taken.
func (b *bounds) told(n *node, m *nodepb.Send) {
	w, shard := b.world, b.world.shardOf(m.GetTo())
	b.next = 0
	b.look()
	if r := n.shards[shard]; r != nil && r.term != 0 {
		return // as to that, see leads
	}
	if alone := n.alone(shard); alone > refusedWithin {
		w.fault("n%d takes a send for shard %d, though nobody who leads it could reach the node for %d ms", n.number, shard, alone/millisecond)
	}
}

// sessions of a node end in time, and so do their sends.
func (b *bounds) sessions(n *node) {
	w := b.world
	for _, id := range slices.Sorted(maps.Keys(n.sockets.open)) {
		c := n.sockets.open[id]
		if c.code != 0 {
			continue
		}
		shard := w.shardOf(c.device.me.User)
		if alone := min(n.alone(shard), w.now-c.began); alone > partedWithin {
			w.fault("n%d: %s is connected as %x, though nobody who leads shard %d could reach the node for %d ms", n.number, c.device.me, id, shard, alone/millisecond)
		}
		for of, read := range c.asked {
			if open := w.now - max(read, n.lately.awake); open > answeredWithin {
				w.fault("n%d: %s sent %s as %x, and is neither answered nor closed for %d ms", n.number, c.device.me, of, id, open/millisecond)
			}
		}
	}
}

// closed: the gateway ends a session, and says why.
func (b *bounds) closed(c *socket, code uint16) {
	if n := c.node; n.alone(b.world.shardOf(c.device.me.User)) >= 10*second-flight {
		b.world.stats.parted++
		if code != 1013 {
			b.world.fault("n%d: %s is closed with %d, though nobody who leads its shard could reach the node", n.number, c.device.me, code)
		}
	}
}

// accept waits until every gateway knows who leads each shard, and it does.
func (b *bounds) accept() {
	w := b.world
	from, open := w.now, sorted(w.fence.groups)
	w.until(acceptsWithin, func() bool {
		open = slices.DeleteFunc(open, b.accepts)
		return len(open) == 0
	})
	w.stats.mended = max(w.stats.mended, int(w.now-from))
	if len(open) > 0 && len(w.faults) == 0 {
		w.fault("all is healed for %d ms, and shards %v do not accept", acceptsWithin/millisecond, open)
	}
}

func (b *bounds) accepts(shard uint32) bool {
	n := b.world.leads(shard)
	if shard == placement.Control {
		return n != nil && n.seat.machine.Ready()
	}
	return n != nil && !slices.ContainsFunc(b.world.nodes[1:], func(g *node) bool {
		if !g.up || !g.belongs || b.world.fence.charter.state(g) == 0 {
			return false // it is none yet, or none any more
		}
		number, _, ok := g.office.exchange.Leader(shard)
		return !ok || int(number) != n.number
	})
}

// ids of the sends in a message of a device.
func ids(list []*clientpb.ClientFrame) (sends []string) {
	for _, f := range list {
		if m := f.GetSend(); m != nil {
			sends = append(sends, m.GetId())
		}
	}
	return sends
}
