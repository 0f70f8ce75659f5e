package conns

import (
	"errors"
	"fmt"
	"io"

	"github.com/rookery-im/rookery/transport/ws"
)

// Why a connection was closed, as Closed says it.
var (
	ErrSilent   = errors.New("conns: no complete message within two heartbeats")
	ErrPartial  = errors.New("conns: a message took too long to arrive")
	ErrSlow     = errors.New("conns: the consumer is too slow")
	ErrDeadline = errors.New("conns: the deadline set by the node has passed")
	ErrCrowded  = errors.New("conns: the beginnings of messages take too much memory")
	ErrLost     = errors.New("conns: the connection ended without a close frame")
)

// who ended a connection, for the metrics.
type who uint8

const (
	byServer who = iota
	byPeer
	byLoss
)

// farewell is how a connection is left.
type farewell struct {
	code   uint16
	reason string
	err    error
	by     who
}

// Close closes the connection: what was sent goes out, then a close frame with
// the code and the reason (at most 123 bytes, more is cut off). The handler
// hears Closed at the end of this Poll or the next, and nothing before.
func (c *Conns) Close(id ID, code uint16, reason string) {
	if r := c.findOpen(id); r != nil {
		c.leave(id, r, farewell{code: code, reason: reason, by: byServer})
	}
}

// leave goes from open to closing.
func (c *Conns) leave(id ID, r *record, f farewell) {
	c.becomeClosing(id, r, f)
	if f.code == ws.CloseSlow {
		c.discard(id) // the mailbox keeps everything; the code is to arrive before long
	}
	c.head = ws.AppendClose(c.head[:0], f.code, f.reason)
	c.carry(id, c.head, nil)
	if r.flags&notRead != 0 {
		// The peer's answer is waited for, whatever made us pause.
		r.flags &^= pausedByNode | pausedByPressure
		c.unpause(id, r, 0)
	}
}

func (c *Conns) becomeClosing(id ID, r *record, f farewell) {
	r.state = closing
	c.door.left(r, c.now)
	r.slow, r.heartbeat = never, 0
	r.end = c.now.after(c.cfg.Linger)
	c.lookAt(id, r.end)
	c.guests.leave(r.guest)
	r.guest = 0
	c.counts.open--
	c.metrics.countClosed(f)
	if r.flags&isEcho == 0 {
		c.closed = append(c.closed, closedEvent{id, f.code, f.err})
	}
}

// peerIsDone notes that nothing more will be read that means anything.
func (c *Conns) peerIsDone(id ID, r *record) {
	r.flags |= peerDone
	c.advance(id, r)
}

// advance goes from closing to draining, once our close frame has gone and the
// peer's has come.
func (c *Conns) advance(id ID, r *record) {
	if r.state == closing && r.flags&peerDone != 0 && c.Pending(id) == 0 {
		r.state = draining
		c.shutdown(id)
	}
}

// gone hears from a carrier that the connection has ended or failed.
func (c *Conns) gone(id ID, cause error) {
	r := c.find(id)
	if r == nil {
		return
	}
	err := ErrLost
	if !errors.Is(cause, io.EOF) {
		err = fmt.Errorf("%w: %w", ErrLost, cause)
	}
	c.forget(id, r, ws.CloseAbnormal, err)
}

// forget frees the record, from whatever state.
func (c *Conns) forget(id ID, r *record, code uint16, err error) {
	if r.state == open {
		c.becomeClosing(id, r, farewell{code: code, err: err, by: byLoss})
	}
	c.drop(id)
	c.dropInput(r)
	c.unqueue(id, r)
	*r = record{}
	s, i := c.side(id)
	*s.due.At(i) = never
	c.total.Add(-1)
}

// Authenticated lifts the limits on what an address may have open without
// having said who it is.
func (c *Conns) Authenticated(id ID) {
	if r := c.findOpen(id); r != nil {
		if r.flags&isKnown == 0 {
			c.door.known()
		}
		r.flags |= isKnown
		c.guests.known(r.guest)
		r.guest = 0
	}
}

// SetTag keeps a number of the caller's with the connection; it begins as 0.
func (c *Conns) SetTag(id ID, tag uint64) {
	if r := c.findOpen(id); r != nil {
		r.tag = tag
	}
}

// Tag is what SetTag has kept, until the connection is closed; then 0.
func (c *Conns) Tag(id ID) uint64 {
	if r := c.findOpen(id); r != nil {
		return r.tag
	}
	return 0
}
