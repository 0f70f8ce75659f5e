package conns

import (
	"errors"
	"time"

	"github.com/rookery-im/rookery/transport/ws"
)

// The sweep goes round all connections once in Config.Sweep, in slices, so that
// a million are not looked at in one go.
const (
	sliceMin  = 4096 // connections
	slicesMax = 16

	// trimEvery is long against a round, and a second burst often follows a first.
	trimEvery = 2 * time.Second
)

func (c *Conns) slots() int { return int(c.bySide[0].used + c.bySide[1].used) }

func (c *Conns) slices() int {
	return min(max(c.slots()/sliceMin, 1), slicesMax)
}

// untilSweep is the time to the next slice, if there is anything to look at.
func (c *Conns) untilSweep() (time.Duration, bool) {
	if c.total.Load() == 0 || c.slots() == 0 {
		return 0, false
	}
	return max(c.nextSweep.Sub(c.cfg.Clock()), 0), true
}

func (c *Conns) sweep(now time.Time) {
	if now.Before(c.nextSweep) {
		return
	}
	slices := c.slices()
	c.nextSweep = now.Add(c.cfg.Sweep / time.Duration(slices))
	if !now.Before(c.nextTrim) {
		c.nextTrim = now.Add(trimEvery)
		c.buffers.Trim()
	}
	for s := range c.bySide {
		c.sweepSide(s, (int(c.bySide[s].used)+slices-1)/slices)
	}
}

// sweepSide goes on by n connections from where it stopped.
func (c *Conns) sweepSide(s, n int) {
	side := &c.bySide[s]
	for n > 0 {
		if side.cursor >= side.used {
			side.cursor = 0
		}
		from := side.cursor
		run := side.due.From(from)
		run = run[:min(len(run), n, int(side.used-from))]
		side.cursor += uint32(len(run))
		n -= len(run)
		for k, due := range run {
			if due.reached(c.now) {
				run[k] = never
				i := from + uint32(k)
				r := side.records.At(i)
				c.look(sideID(s, i, r), r)
			}
		}
	}
}

// look does what a connection's time has come for, and sets the next time.
func (c *Conns) look(id ID, r *record) {
	if r.state != open {
		if r.end.reached(c.now) {
			c.forget(id, r, ws.CloseAbnormal, ErrLost)
			return
		}
		c.lookAt(id, r.end)
		return
	}
	switch f := c.overdue(r); {
	case f.code != 0:
		c.leave(id, r, f)
		if errors.Is(f.err, ErrPartial) {
			c.peerIsDone(id, r) // its answer would stand behind the rest of the message
		}
	default:
		if r.pinged.plus(r.heartbeat).reached(c.now) {
			r.pinged = c.now
			c.counts.pings++
			c.write(id, r, ws.AppendHeader(c.head[:0], ws.Ping, 0), nil)
		}
		c.lookAt(id, c.nextLook(r))
	}
}

// overdue says how to leave the connection, if it is time to.
func (c *Conns) overdue(r *record) farewell {
	reading := r.flags&notRead == 0
	switch {
	case r.end.reached(c.now):
		return farewell{code: r.endCode, err: ErrDeadline, by: byServer}
	case r.slow != never && r.slow.after(c.cfg.Slow).reached(c.now):
		return farewell{code: ws.CloseSlow, reason: "slow consumer", err: ErrSlow, by: byServer}
	case reading && r.partial != never && r.partial.after(c.cfg.Partial).reached(c.now):
		return farewell{code: ws.CloseMalformed, reason: "a message took too long to arrive", err: ErrPartial, by: byServer}
	case reading && r.seen.plus(2*r.heartbeat).reached(c.now):
		return farewell{code: ws.CloseSilent, reason: "heartbeat missed", err: ErrSilent, by: byServer}
	default:
		return farewell{}
	}
}

// nextLook is the earliest time at which an open connection may want something.
func (c *Conns) nextLook(r *record) tick {
	next := sooner(r.end, r.pinged.plus(r.heartbeat))
	if r.slow != never {
		next = sooner(next, r.slow.after(c.cfg.Slow))
	}
	if r.flags&notRead == 0 {
		next = sooner(next, r.seen.plus(2*r.heartbeat))
		if r.partial != never {
			next = sooner(next, r.partial.after(c.cfg.Partial))
		}
	}
	return next
}

// SetHeartbeat sets the interval of pings; a connection from which nothing
// complete comes for two of them is closed with 4000.
func (c *Conns) SetHeartbeat(id ID, d time.Duration) {
	if r := c.findOpen(id); r != nil {
		r.heartbeat = max(ticks(d), 1)
		c.lookAt(id, c.nextLook(r))
	}
}

// SetDeadline closes the connection with the code when the time comes, within
// a Config.Sweep after. The zero time takes the deadline back; a later call
// replaces it. One that is more than 100 days away counts as 100.
func (c *Conns) SetDeadline(id ID, t time.Time, code uint16) {
	r := c.findOpen(id)
	if r == nil {
		return
	}
	r.end, r.endCode = never, code
	if code == 0 {
		r.endCode = ws.CloseNormal
	}
	if !t.IsZero() {
		r.end = c.now.after(max(t.Sub(c.cfg.Clock()), 0))
		c.lookAt(id, r.end)
	}
}
