package conns

import (
	"github.com/rookery-im/rookery/transport/ws"
)

// data takes bytes that a carrier has read.
func (c *Conns) data(id ID, b []byte) {
	r := c.find(id)
	if r == nil {
		return
	}
	if r.state != open && c.overstays(id, r, len(b)) {
		return
	}
	if r.state == draining || r.flags&peerDone != 0 {
		return // read only so that no reset overtakes our close frame
	}
	c.parse(id, r, b)
}

// discardMost is how much is read of a connection that is closed on our side:
// what was on its way when the peer was told, and not all that somebody sends
// who does not care.
const discardMost = 1 << 20

// overstays counts that, and ends the connection where it is too much.
func (c *Conns) overstays(id ID, r *record, bytes int) bool {
	if r.heartbeat += tick(bytes); r.heartbeat <= discardMost {
		return false
	}
	c.forget(id, r, ws.CloseAbnormal, ErrLost)
	return true
}

func (c *Conns) messageLimit(r *record) int {
	switch {
	case r.flags&isEcho != 0:
		return c.cfg.EchoMessage
	case r.flags&isKnown == 0:
		return c.cfg.Greeting
	}
	return c.cfg.Message
}

// parse feeds the parser, and keeps what it leaves.
func (c *Conns) parse(id ID, r *record, b []byte) {
	if r.input != 0 {
		in := c.inputOf(r)
		c.asm.Bytes, in.assembly = in.assembly, nil
	}
	for {
		ev, n := r.parser.Next(b, &c.asm, c.messageLimit(r)) // a hello raises the limit
		b = b[n:]
		if ev.Kind == ws.None {
			break
		}
		c.dispatch(id, r, ev)
		if r.state == free || r.flags&peerDone != 0 {
			b = nil
			break
		}
		if r.flags&(pausedByNode|pausedByPressure) != 0 && r.state == open {
			r.parser.Next(nil, &c.asm, c.messageLimit(r)) // ends the loan of the message
			break
		}
	}
	c.keep(id, r, b)
}

// keep puts away the beginning of a message, and the bytes that came before
// reading was paused.
func (c *Conns) keep(id ID, r *record, held []byte) {
	if r.state == free || r.flags&peerDone != 0 || r.parser.Idle() {
		c.buffers.Put(c.asm.Bytes)
		c.asm.Bytes = nil
		r.partial = never
	} else if r.partial == never {
		r.partial = c.now
		if r.input != 0 {
			c.inputOf(r).place = 0 // another message than the one it was listed for
		}
		c.lookAt(id, c.now.after(c.cfg.Partial))
	}
	if r.state == free {
		return
	}
	if len(held) == 0 && len(c.asm.Bytes) == 0 {
		c.buffers.Put(c.asm.Bytes)
		c.asm.Bytes = nil
		c.dropInput(r)
		return
	}
	in := c.inputOf(r)
	in.assembly, c.asm.Bytes = c.asm.Bytes, nil
	if len(held) > 0 {
		in.held = append(c.buffers.Get(len(held)), held...)
	}
	c.hold(id, r)
}

func (c *Conns) dispatch(id ID, r *record, ev ws.Event) {
	r.seen = c.now
	switch ev.Kind {
	case ws.GotMessage:
		r.partial = never
		c.counts.messages++
		c.door.talk.said(r, c.now)
		if r.state == open {
			c.message(id, r, ev)
		}
	case ws.GotPing:
		c.pong(id, r, ev.Data)
	case ws.GotPong:
	case ws.GotClose:
		if r.state == open {
			c.leave(id, r, farewell{code: ev.Code, by: byPeer})
		}
		c.peerIsDone(id, r)
	case ws.GotFault:
		if r.state == open {
			c.leave(id, r, farewell{code: ev.Code, reason: ev.Fault.Reason, err: ev.Fault, by: byServer})
		}
		c.peerIsDone(id, r)
	}
}

func (c *Conns) message(id ID, r *record, ev ws.Event) {
	if r.flags&isEcho == 0 {
		c.handler.Message(id, ev.Op, ev.Data)
		return
	}
	c.write(id, r, ws.AppendHeader(c.head[:0], ev.Op, len(ev.Data)), ev.Data)
}

// pong answers a ping, unless so much is waiting that the peer would not see
// it soon: then the next ping's answer does (RFC 6455, 5.5.3).
func (c *Conns) pong(id ID, r *record, data []byte) {
	if r.state != open {
		return
	}
	if r.flags&pausedByPressure != 0 {
		c.counts.pongsDropped++
		return
	}
	c.write(id, r, ws.AppendHeader(c.head[:0], ws.Pong, len(data)), data)
}

// resumeHeld goes on with connections whose reading was resumed: first what
// was read before, then the socket. It says whether there were any.
func (c *Conns) resumeHeld() bool {
	n := len(c.resumed)
	for k := range n {
		id := c.resumed[k]
		r := c.find(id)
		if r == nil || r.flags&resuming == 0 {
			continue
		}
		r.flags &^= resuming
		c.resume(id, r)
	}
	c.resumed = c.resumed[:copy(c.resumed, c.resumed[n:])]
	return n > 0
}

func (c *Conns) resume(id ID, r *record) {
	if c.mustNotRead(r) {
		return
	}
	r.seen = c.now // paused by us is not silence
	if r.partial != never {
		r.partial = c.now
	}
	if r.input != 0 {
		if in := c.inputOf(r); len(in.held) > 0 {
			held := in.held
			in.held = nil
			c.data(id, held)
			c.buffers.Put(held)
		}
	}
	if r.state != free && !c.mustNotRead(r) && r.flags&notRead != 0 {
		r.flags &^= notRead
		c.resumeReading(id)
		c.lookAt(id, c.nextLook(r))
	}
}

func (c *Conns) mustNotRead(r *record) bool {
	return r.state == open && r.flags&(pausedByNode|pausedByPressure) != 0
}

// Pause stops reading the connection until Resume: nothing that came is lost,
// and the time is not silence.
func (c *Conns) Pause(id ID) {
	if r := c.findOpen(id); r != nil && r.flags&pausedByNode == 0 {
		c.counts.pausesByNode++
		c.pause(id, r, pausedByNode)
	}
}

func (c *Conns) pause(id ID, r *record, why recordFlags) {
	r.flags |= why
	if r.flags&notRead == 0 {
		r.flags |= notRead
		c.pauseReading(id)
	}
}

// Resume reads the connection again, from the next Poll on.
func (c *Conns) Resume(id ID) {
	if r := c.findOpen(id); r != nil {
		c.unpause(id, r, pausedByNode)
	}
}

func (c *Conns) unpause(id ID, r *record, why recordFlags) {
	r.flags &^= why
	if r.flags&notRead != 0 && r.flags&resuming == 0 && !c.mustNotRead(r) {
		r.flags |= resuming
		c.resumed = append(c.resumed, id)
	}
}
