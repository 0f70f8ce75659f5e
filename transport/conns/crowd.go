package conns

import (
	"github.com/rookery-im/rookery/transport/ws"
)

// What one connection may hold is bounded, and so is their number; but the
// product would be the machine. So there are bounds for all together, and past
// them those connections lose that have held on for longest: whoever takes and
// gives at a normal pace holds for a moment only, and an attacker who is cut
// has to begin anew.

// queuedMin is what may wait for a connection before it is listed.
const queuedMin = 8 << 10

// crowd lists connections, those first that were listed first.
type crowd struct {
	places []place
	serial uint64
}

// place in a crowd. It counts for nothing once its connection has another.
type place struct {
	id     ID
	serial uint64
}

// add gives the connection a new place, and says which.
func (q *crowd) add(id ID) uint64 {
	q.serial++
	q.places = append(q.places, place{id, q.serial})
	return q.serial
}

// pop takes the first off whose place counts.
func (q *crowd) pop(counts func(place) bool) (ID, bool) {
	for i, p := range q.places {
		if counts(p) {
			q.places = q.places[i+1:]
			return p.id, true
		}
	}
	q.places = nil
	return 0, false
}

// tidy forgets the places that do not count, once they outnumber the others.
func (q *crowd) tidy(counting int, counts func(place) bool) {
	if len(q.places) < 1024+2*counting {
		return
	}
	kept := make([]place, 0, counting)
	for _, p := range q.places {
		if counts(p) {
			kept = append(kept, p)
		}
	}
	q.places = kept
}

// hold counts what the connection's input holds, and makes room where that is
// too much in all.
func (c *Conns) hold(id ID, r *record) {
	in := c.inputOf(r)
	size := cap(in.assembly) + cap(in.held)
	c.unfinished += size - in.counted
	in.counted = size
	if in.place == 0 {
		in.place = c.beginners.add(id)
		c.beginners.tidy(len(c.inputs)-len(c.spareInputs), c.begins)
	}
	for c.unfinished > c.cfg.Unfinished {
		oldest, some := c.beginners.pop(c.begins)
		if !some {
			return
		}
		c.crowdOut(oldest)
	}
}

func (c *Conns) begins(p place) bool {
	r := c.find(p.id)
	return r != nil && r.input != 0 && c.inputs[r.input-1].place == p.serial
}

func (c *Conns) crowdOut(id ID) {
	r := c.find(id)
	c.counts.crowdedOut++
	if r.state == open {
		c.leave(id, r, farewell{code: ws.CloseTryLater, reason: "overloaded", err: ErrCrowded, by: byServer})
	}
	c.peerIsDone(id, r) // its answer would stand behind the rest of the message
	c.dropInput(r)
}

// queue lists a connection for which something waits, and cuts those for which
// something has waited longest where it is too much in all.
func (c *Conns) queue(id ID, r *record) {
	if r.flags&isQueued == 0 {
		r.flags |= isQueued
		c.queued[id] = c.waiters.add(id)
		c.waiters.tidy(len(c.queued), c.waits)
	}
	for c.loop.Queued()+c.wires.queued > c.cfg.Unread {
		longest, some := c.waiters.pop(c.waits)
		if !some {
			return
		}
		w := c.find(longest)
		c.unqueue(longest, w)
		if w.state == open {
			c.counts.crowdedOut++
			c.cutSlow(longest, w)
		}
	}
}

func (c *Conns) waits(p place) bool { return c.queued[p.id] == p.serial && c.find(p.id) != nil }

func (c *Conns) unqueue(id ID, r *record) {
	if r.flags&isQueued != 0 {
		r.flags &^= isQueued
		delete(c.queued, id)
	}
}
