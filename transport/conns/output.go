package conns

import (
	"github.com/rookery-im/rookery/transport/ws"
)

// Send queues frames as one WebSocket message, with the opcode of the
// connection's subprotocol. It copies them; Flush writes them. A connection on
// which Config.PendingMax bytes would wait is cut with 4001.
func (c *Conns) Send(id ID, frames []byte) {
	r := c.findOpen(id)
	if r == nil {
		return
	}
	if waiting := c.Pending(id); waiting > 0 && waiting+len(frames) > c.cfg.PendingMax {
		c.counts.messagesDropped++
		c.cutSlow(id, r)
		return
	}
	c.write(id, r, ws.AppendHeader(c.head[:0], r.protocol.Opcode(), len(frames)), frames)
}

// write queues a frame.
func (c *Conns) write(id ID, r *record, head, body []byte) {
	waiting := c.carry(id, head, body)
	c.counts.frames++
	if waiting > queuedMin {
		c.queue(id, r)
	}
	if waiting > c.cfg.PendingLow {
		r.flags |= crowded
	}
	if waiting > c.cfg.PendingHigh && r.flags&pausedByPressure == 0 && r.state == open {
		c.counts.pausesByPressure++
		c.pause(id, r, pausedByPressure)
		r.slow = c.now
		c.lookAt(id, c.now.after(c.cfg.Slow))
	}
}

// wrote hears from a carrier that bytes were written.
func (c *Conns) wrote(id ID, left int) {
	r := c.find(id)
	if r == nil {
		return
	}
	if left <= queuedMin {
		c.unqueue(id, r)
	}
	if r.flags&crowded != 0 && left <= c.cfg.PendingLow {
		r.flags &^= crowded
		r.slow = never
		if r.flags&pausedByPressure != 0 {
			c.unpause(id, r, pausedByPressure)
		}
		if r.state == open && r.flags&isEcho == 0 {
			c.handler.Drained(id)
		}
	}
	c.advance(id, r)
}

func (c *Conns) cutSlow(id ID, r *record) {
	c.leave(id, r, farewell{code: ws.CloseSlow, reason: "slow consumer", err: ErrSlow, by: byServer})
}

// Pending is how many bytes wait to be written.
func (c *Conns) Pending(id ID) int {
	if onWire(id) {
		return c.wires.pending(id)
	}
	return c.loop.Pending(id)
}

// The carriers.

func onWire(id ID) bool { return id.Index()&wireBit != 0 }

func (c *Conns) carry(id ID, head, body []byte) int {
	if onWire(id) {
		return c.wires.write(id, head, body)
	}
	return c.loop.Write(id, head, body)
}

func (c *Conns) discard(id ID) {
	if onWire(id) {
		c.wires.discard(id)
		return
	}
	c.loop.Discard(id)
}

func (c *Conns) pauseReading(id ID) {
	if onWire(id) {
		c.wires.pause(id)
		return
	}
	c.loop.Pause(id)
}

func (c *Conns) resumeReading(id ID) {
	if onWire(id) {
		c.wires.resume(id)
		return
	}
	c.loop.Resume(id)
}

func (c *Conns) shutdown(id ID) {
	if onWire(id) {
		c.wires.shutdown(id)
		return
	}
	c.loop.Shutdown(id)
}

func (c *Conns) drop(id ID) {
	if onWire(id) {
		c.wires.close(id)
		return
	}
	c.loop.Close(id)
}
