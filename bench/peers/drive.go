package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/load/pace"
)

// closing says what makes room in a window.
type closing uint8

const (
	atReceipt closing = iota // accepted, delivered and receipted
	atSent                   // accepted, or refused
)

// drive is how users send: a closed loop of a window, or an open loop of a
// rate. Limit ends it for a user who has sent so many.
type drive struct {
	window int
	closes closing
	rate   float64
	limit  int
	began  int64
}

// begin makes all who have a chat send.
func (f *fleet) begin(d drive, seed uint64) {
	d.began = f.now()
	f.drive, f.schedule = &d, nil
	clear(f.made)
	if d.rate > 0 {
		f.schedule = pace.New(d.rate, len(f.made), seed)
		return
	}
	for i := range f.made {
		f.pump(i)
	}
}

// halt ends sending.
func (f *fleet) halt() { f.drive, f.schedule = nil, nil }

// take does what the schedule of an open loop says is due.
func (f *fleet) take() {
	if f.schedule == nil {
		return
	}
	for range takesMax {
		now := f.now()
		at, who, ok := f.schedule.Take(time.Duration(now - f.drive.began))
		if !ok {
			return
		}
		intended := f.drive.began + int64(at)
		if intended >= f.mark {
			f.latencies.late.Record(time.Duration(now - intended))
		}
		f.post(who, intended)
	}
}

// pump sends what a user's window allows.
func (f *fleet) pump(i int) {
	d := f.drive
	if d == nil || d.window == 0 || i >= len(f.made) || f.conns[i].step != live {
		return
	}
	for f.open(i) < d.window && (d.limit == 0 || f.made[i] < d.limit) {
		f.made[i]++
		f.post(i, f.now())
	}
}

// open is how many messages of a user stand in its window.
func (f *fleet) open(i int) int {
	if f.drive.closes == atSent {
		return f.book.chats[i].inFlight
	}
	return f.book.chats[i].undone
}

func (f *fleet) post(i int, intended int64) {
	number := f.book.send(i, intended)
	if f.conns[i].step == live {
		f.protocol.send(f, i, number)
		return
	}
	// Its connection is lost: there is nobody to say it.
	f.book.refuse(i, number)
}

// measured records a latency of what was to be sent since the mark.
func (f *fleet) measured(h *latency.Histogram, intended int64) {
	if intended >= f.mark {
		h.Record(time.Duration(f.now() - intended))
	}
}

// ready says that a connection's hello is over.
func (f *fleet) ready(i int) {
	c := &f.conns[i]
	if c.step == live {
		return
	}
	c.step, c.retry = live, 0
	f.handshakes--
	f.live++
	f.lastReady = f.now()
	f.latencies.hello.Record(time.Duration(f.lastReady - f.helloAt[i]))
	f.pump(i)
}

// accepted says that the server has taken a message of user i.
func (f *fleet) accepted(i int, number uint64) {
	if at, ok := f.book.accept(i, number); ok {
		f.lastAccepted = f.now()
		f.measured(f.latencies.sent, at)
		f.pump(i)
	}
}

// refused says that it has not.
func (f *fleet) refused(i int, number uint64, why string) {
	f.book.refuse(i, number)
	f.problem("%s, message %d: refused: %.160s", user(i), number, why)
	f.pump(i)
}

// returned says that the server gives up a message that it may have accepted:
// it stays in the account, where it will be missing.
func (f *fleet) returned(i int, number uint64, why string) {
	f.problem("%s, message %d: given back: %.300s", user(i), number, why)
}

func (f *fleet) stray(i int, what string) {
	f.book.tally.Phantoms++
	f.problem("%s: %s", user(i), what)
}

// delivered is a message at user i. It says who sent it, and whether a receipt
// is due.
func (f *fleet) delivered(i int, payload []byte) (from int, fresh bool) {
	from, number, ok := parseKey(payload, f.tag)
	if !ok || from >= len(f.made) || len(payload) != len(f.filler) || string(payload[keySize:]) != string(f.filler[keySize:]) || int(f.partner[from]) != i {
		f.book.tally.Corrupt++
		f.problem("%s got what was not sent to it: %.60q", user(i), payload)
		return 0, false
	}
	at, fresh := f.book.deliver(from, number)
	if fresh {
		f.lastArrived = f.now()
		f.measured(f.latencies.deliver, at)
	}
	return from, fresh
}

// receipt is the recipient's word at the sender.
func (f *fleet) receipt(key []byte) {
	from, number, ok := parseKey(key, f.tag)
	if !ok || from >= len(f.made) {
		f.book.tally.BadReceipts++
		f.problem("a receipt of nothing: %.60q", key)
		return
	}
	if at, ok := f.book.receipt(from, number); ok {
		f.measured(f.latencies.receipt, at)
		if f.book.answers == byReceipt {
			f.lastAccepted = f.now()
		}
		f.pump(from)
	}
}

// connected waits until all that are wanted are live.
func (f *fleet) connected(ctx context.Context, patience time.Duration) error {
	ok, err := f.until(ctx, patience, func() bool { return f.live == f.wanted && f.handshakes == 0 })
	if err == nil && !ok {
		err = fmt.Errorf("only %d of %d connected within %v; %v", f.live, f.wanted, patience, f.losses)
	}
	return err
}

// settle waits until nothing is open, or nothing comes any more.
func (f *fleet) settle(ctx context.Context, patience time.Duration) error {
	const quiet = 30 * time.Second
	began := f.now()
	_, err := f.until(ctx, patience, func() bool {
		return f.book.open == 0 || f.now()-max(f.event, began) > int64(quiet)
	})
	return err
}
