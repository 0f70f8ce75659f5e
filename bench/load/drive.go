package load

import (
	"errors"
	"time"

	"github.com/rookery-im/rookery/bench/load/pace"
	"github.com/rookery-im/rookery/bench/load/wire"
)

// flow is how far a device is with what it sends to a user.
type flow struct {
	// Immutable after Setup.
	conn     int32
	user, to int32
	reverse  int32 // the flow that comes back, or -1

	inFlight int
	written  uint64 // highest number on this connection
	highest  uint64 // highest number ever written
	made     int    // by this drive
	stalled  bool   // after an error that can be retried: nothing is sent until retryAt
	retryAt  int64
	readTo   uint64 // order of the reverse flow that was said to be read
}

// begin starts sending.
func (e *Engine) begin(d Drive) error {
	switch {
	case e.conns == nil:
		return errors.New("load: there is nobody to send")
	case (d.Window > 0) == (d.Rate > 0):
		return errors.New("load: a drive has a window or a rate")
	}
	if d.To == 0 || d.To > len(e.flows) {
		d.To = len(e.flows)
	}
	if d.Mix.sum() == 0 {
		d.Mix.Send = 1
	}
	if d.Backlog == 0 {
		d.Backlog = e.inFlight
	}
	e.drive, e.schedule = &d, nil
	e.driven = e.now()
	for f := d.From; f < d.To; f++ {
		e.flows[f].made = 0
	}
	if d.Rate > 0 {
		e.schedule = pace.New(d.Rate, d.To-d.From, e.setup.Seed^uint64(e.driven))
		return nil
	}
	for f := d.From; f < d.To; f++ {
		e.pump(f, e.driven)
	}
	return nil
}

// take does what the schedule of an open loop says is due.
func (e *Engine) take() {
	if e.schedule == nil {
		return
	}
	for range takesMax {
		now := e.now()
		at, turn, ok := e.schedule.Take(time.Duration(now - e.driven))
		if !ok {
			return
		}
		intended := e.driven + int64(at)
		if intended >= e.mark {
			e.report.Late.Record(time.Duration(now - intended))
		}
		e.act(e.drive.From+turn, intended, now)
	}
}

// act is one turn of a flow.
func (e *Engine) act(f int, intended, now int64) {
	m := e.drive.Mix
	if m.Send < m.sum() {
		x := e.rng.Float64() * m.sum()
		if x -= m.Send; x >= 0 {
			e.other(f, x)
			return
		}
	}
	if e.drive.Shed && e.book.Unanswered(f) >= e.drive.Backlog {
		e.counts.shed++
		return
	}
	e.book.Send(f, intended)
	e.pump(f, now)
}

// other is a turn that does not send; x says which.
func (e *Engine) other(f int, x float64) {
	m := e.drive.Mix
	fl := &e.flows[f]
	i := int(fl.conn)
	c := &e.conns[i]
	if c.state != live {
		return
	}
	e.counts.actions++
	peer := e.users[fl.to].name
	if x -= m.Read; x < 0 {
		if fl.reverse < 0 {
			return
		}
		if order := e.book.Delivered(int(fl.reverse), int(c.slot)); order > fl.readTo {
			fl.readTo = order
			e.book.Shown(int(fl.reverse), order)
			e.frames(i, 1)
			c.out = wire.AppendRead(c.out, peer, order)
		}
		return
	}
	if x -= m.Typing; x < 0 {
		e.frames(i, 1)
		c.out = wire.AppendTyping(c.out, peer)
		return
	}
	if x -= m.Watch; x < 0 {
		e.frames(i, 1)
		c.out = wire.AppendWatch(c.out, peer)
		return
	}
	e.drop(i)
	e.queue = append(e.queue, int32(i))
}

// pump writes what a flow may send now: first what is made and not written on
// this connection, then, in a closed loop, what its window allows.
func (e *Engine) pump(f int, now int64) {
	fl := &e.flows[f]
	c := &e.conns[fl.conn]
	if c.state != live || fl.stalled {
		return
	}
	for last := e.book.Last(f); fl.inFlight < e.inFlight && fl.written < last; {
		e.write(f, fl.written+1, now)
	}
	d := e.drive
	if d == nil || d.Window == 0 || f < d.From || f >= d.To {
		return
	}
	for fl.inFlight < min(d.Window, e.inFlight) && (d.Limit == 0 || fl.made < d.Limit) {
		fl.made++
		e.write(f, e.book.Send(f, now), now)
	}
}

// write puts a message into its connection's round, unless it is answered.
func (e *Engine) write(f int, number uint64, now int64) {
	fl := &e.flows[f]
	fl.written = number
	if number <= fl.highest && !e.book.Again(f, number, now) {
		return
	}
	fl.highest = max(fl.highest, number)
	fl.inFlight++
	i := int(fl.conn)
	e.frames(i, 1)
	e.idText = e.setup.Run.AppendID(e.idText[:0], e.setup.FirstFlow+uint32(f), number)
	c := &e.conns[i]
	c.out = wire.AppendSend(c.out, e.idText, e.users[fl.to].name, e.payload(f, number))
}

// upkeep is what waits for a time: connections to be opened, flows that go on
// after an error once all they sent is answered.
func (e *Engine) upkeep() {
	if len(e.queue)+len(e.later)+len(e.stalled) == 0 {
		return
	}
	now := e.now()
	e.dialDue(now)
	kept := e.stalled[:0]
	for _, f := range e.stalled {
		fl := &e.flows[f]
		switch {
		case !fl.stalled: // its connection has gone
		case fl.inFlight > 0 || fl.retryAt > now:
			kept = append(kept, f)
		default:
			fl.stalled = false
			fl.written = e.book.FirstUnanswered(int(f)) - 1
			e.pump(int(f), now)
		}
	}
	e.stalled = kept
}

func (e *Engine) probing() bool {
	for _, i := range e.probes {
		if e.conns[i].state != live {
			return false
		}
	}
	return len(e.probes) > 0 && e.setup.ProbeEvery > 0
}

// ping sends the pings that are due, each at its time whether or not the last
// was answered.
func (e *Engine) ping() {
	if !e.probing() {
		return
	}
	now := e.now()
	for e.pingNext <= now {
		e.pingRef = e.pingRef%(1<<30) + 1
		i := e.probes[int(e.pingRef)%len(e.probes)]
		e.pings[e.pingRef%pingsOpen] = ping{e.pingNext, i}
		if e.pingNext >= e.mark {
			e.report.PingLate.Record(time.Duration(now - e.pingNext))
		}
		e.pingNext += int64(e.setup.ProbeEvery)
		e.frames(i, 1)
		e.conns[i].out = wire.AppendPing(e.conns[i].out, e.pingRef)
	}
}

func (e *Engine) onPong(ref uint32, now int64) {
	at := &e.pings[ref%pingsOpen].at
	if *at == 0 {
		e.problem("a pong that nobody asked for: ref %d", ref)
		return
	}
	if *at >= e.mark {
		e.report.Ping.Record(time.Duration(now - *at))
	}
	*at = 0
}

// overdue counts the pings that have no answer yet as long as they have waited:
// a stall that goes on is one.
func (e *Engine) overdue() {
	now := e.now()
	for _, p := range e.pings {
		if p.at != 0 && p.at >= e.mark {
			e.report.Ping.Record(time.Duration(now - p.at))
		}
	}
}
