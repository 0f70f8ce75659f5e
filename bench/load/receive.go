package load

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"

	"github.com/rookery-im/rookery/bench/load/wire"
)

// receive takes one message of frames.
func (e *Engine) receive(i int, message []byte, now int64) error {
	c := &e.conns[i]
	for len(message) > 0 {
		body, rest, err := wire.Next(message)
		if err != nil {
			return err
		}
		message = rest
		if err := wire.Decode(body, &e.frame); err != nil {
			return err
		}
		e.counts.frames++
		e.dispatch(i, &e.frame, now)
		if c.state == off {
			return nil
		}
	}
	return nil
}

func (e *Engine) dispatch(i int, f *wire.Frame, now int64) {
	switch f.Kind {
	case wire.Welcome:
		e.onWelcome(i, f)
	case wire.Drained:
		e.onDrained(i, now)
	case wire.Sent:
		e.onSent(i, f, now)
	case wire.Deliver:
		e.seen(i, f)
		e.onDeliver(i, f, now)
	case wire.Receipt:
		e.seen(i, f)
		e.onReceipt(i, f, now)
	case wire.DeviceEvent:
		e.seen(i, f)
	case wire.Error:
		e.onError(i, f, now)
	case wire.Pong:
		e.onPong(f.Ref, now)
	case wire.GoAway:
		e.problem("%s was sent away: %s", e.name(i), f.Reason)
	case wire.Presence, wire.Typing, wire.Other:
	}
}

func (e *Engine) onWelcome(i int, f *wire.Frame) {
	c := &e.conns[i]
	if c.state != greeting {
		e.problem("%s was welcomed while %v", e.name(i), c.state)
		return
	}
	c.state = draining
	if f.InFlightPerConversation > 0 {
		e.inFlight = int(f.InFlightPerConversation)
	}
	e.sendRate = math.Float64frombits(f.SendsPerSecond)
}

func (e *Engine) onDrained(i int, now int64) {
	c := &e.conns[i]
	if c.state != draining {
		e.problem("%s was drained while %v", e.name(i), c.state)
		return
	}
	c.state, c.retry = live, 0
	e.handshakes--
	e.live++
	e.lastDrain = now
	e.report.Hello.Record(time.Duration(now - c.helloAt))
	if c.user < 0 && e.probing() { // the last of them
		e.pingNext = now
	}
	for _, f := range c.flows {
		if fl := &e.flows[f]; fl.conn == int32(i) {
			fl.written = e.book.FirstUnanswered(int(f)) - 1
			e.pump(int(f), now)
		}
	}
}

// seen notes a seq, which only grows, on this connection and since the last.
func (e *Engine) seen(i int, f *wire.Frame) {
	c := &e.conns[i]
	if f.Seq <= c.lastSeq {
		e.book.Corrupt()
		e.problem("%s: a %v with seq %d after %d", e.name(i), f.Kind, f.Seq, c.lastSeq)
		return
	}
	c.lastSeq = f.Seq
}

// flowOf is the flow and number that an id of ours is of.
func (e *Engine) flowOf(id []byte) (f int, number uint64, ok bool) {
	global, number, ok := e.setup.Run.ParseID(id)
	f = int(global) - int(e.setup.FirstFlow)
	return f, number, ok && f >= 0 && f < len(e.flows)
}

func (e *Engine) onSent(i int, f *wire.Frame, now int64) {
	at, number, ok := e.flowOf(f.ID)
	if !ok || e.flows[at].conn != int32(i) || string(f.Conversation) != e.users[e.flows[at].to].name {
		e.book.Stray()
		e.problem("%s: sent for %q, which it did not send", e.name(i), f.ID)
		return
	}
	intended, last, first := e.book.Sent(at, number, f.Order, f.Duplicate)
	if !first {
		e.problem("%s: a second sent for message %d", e.name(i), number)
		return
	}
	fl := &e.flows[at]
	fl.inFlight--
	e.answered = now
	if intended >= e.mark {
		e.report.Sent.Record(time.Duration(now - intended))
		e.report.Attempt.Record(time.Duration(now - last))
	}
	e.pump(at, now)
}

func (e *Engine) onDeliver(i int, f *wire.Frame, now int64) {
	c := &e.conns[i]
	at, number, ok := e.flowOf(f.ID)
	if !ok {
		e.book.Stray()
		e.problem("%s: a message %q of somebody else's", e.name(i), f.ID)
		return
	}
	fl := &e.flows[at]
	from, to := &e.users[fl.user], &e.users[fl.to]
	r, peer := int(c.slot), from.name
	switch c.user {
	case fl.to:
	case fl.user:
		r, peer = to.n+r, to.name
	default:
		e.book.Stray()
		e.problem("%s: a message from %s to %s", e.name(i), from.name, to.name)
		return
	}
	if string(f.From) != from.name || f.FromDevice != e.conns[fl.conn].number || string(f.Conversation) != peer || !e.intact(at, number, f.Payload) {
		e.book.Corrupt()
		e.problem("%s: message %d from %s is not what was sent", e.name(i), number, from.name)
	}
	intended, ok := e.book.Deliver(at, r, number, f.Order)
	if !ok {
		e.problem("%s: message %d from %s a second time, or never sent", e.name(i), number, from.name)
		return
	}
	e.arrived = now
	if intended >= e.mark {
		e.report.Delivered.Record(time.Duration(now - intended))
	}
	if c.user == fl.to {
		if n := len(c.touched); n == 0 || c.touched[n-1] != int32(at) {
			c.touched = append(c.touched, int32(at))
		}
	}
	if e.setup.AckEach {
		e.ack(i)
		e.soil(i)
	}
}

func (e *Engine) intact(f int, number uint64, payload []byte) bool {
	return len(payload) == len(e.filler) &&
		binary.BigEndian.Uint64(payload) == uint64(e.setup.FirstFlow)+uint64(f) && binary.BigEndian.Uint64(payload[8:]) == number &&
		bytes.Equal(payload[16:], e.filler[16:])
}

func (e *Engine) onReceipt(i int, f *wire.Frame, now int64) {
	c := &e.conns[i]
	if string(f.By) == e.users[c.user].name {
		return // another device of its own has read
	}
	for _, at := range c.flows {
		fl := &e.flows[at]
		if e.users[fl.to].name != string(f.Conversation) {
			continue
		}
		before, was := e.book.Tally().BadReceipts, e.book.Marks(int(at))
		if fl.conn == int32(i) {
			e.book.Receipt(int(at), f.DeliveredTo, f.ReadTo, f.Undelivered, func(intended int64) {
				if intended >= e.mark {
					e.report.Receipted.Record(time.Duration(now - intended))
				}
			})
		} else {
			e.book.Copy(int(at), e.users[fl.to].n+int(c.slot), f.DeliveredTo, f.ReadTo)
		}
		if e.book.Tally().BadReceipts != before {
			e.problem("%s: a receipt of %s says delivered %d, read %d, %d ranges undelivered; told before were %d and %d, acked %d, read %d",
				e.name(i), f.Conversation, f.DeliveredTo, f.ReadTo, f.Undelivered, was.Delivered, was.Read, was.Acked, was.Shown)
		}
		return
	}
	e.book.Stray()
	e.problem("%s: a receipt of %q, to whom it sends nothing", e.name(i), f.Conversation)
}

func (e *Engine) onError(i int, f *wire.Frame, now int64) {
	code := string(f.Code)
	if len(f.Reason) > 0 {
		code += "/" + string(f.Reason)
	}
	e.report.Codes[code]++
	if len(f.ID) == 0 {
		e.problem("%s: error %s: %.100s", e.name(i), code, f.Message)
		return
	}
	e.counts.errors++
	at, number, ok := e.flowOf(f.ID)
	if !ok || e.flows[at].conn != int32(i) {
		e.book.Stray()
		e.problem("%s: an error %s for %q, which it did not send", e.name(i), code, f.ID)
		return
	}
	fl := &e.flows[at]
	fl.inFlight--
	if !f.Retryable {
		e.problem("%s: message %d was refused for good: %s: %.100s", e.name(i), number, code, f.Message)
		e.book.Refuse(at, number)
		e.pump(at, now)
		return
	}
	if !fl.stalled {
		fl.stalled = true
		e.stalled = append(e.stalled, int32(at))
	}
	wait := max(time.Duration(f.RetryAfterMs)*time.Millisecond, tick)
	fl.retryAt = max(fl.retryAt, now+int64(wait))
}
