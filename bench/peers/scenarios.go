package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rookery-im/rookery/bench/machine"
	"github.com/rookery-im/rookery/bench/report"
)

// errStoresNothing says that a scenario makes no sense for a peer.
var errStoresNothing = errors.New("it stores nothing")

const (
	connectPatience = 3 * time.Minute
	drainQuiet      = 20 * time.Second // after which no more is to come
	noticePatience  = time.Second      // for a server to see that a client has gone
)

// inPairs: users 2i and 2i+1 send to each other.
func inPairs(users int) []int32 {
	partner := make([]int32, users)
	for i := range partner {
		partner[i] = int32(i ^ 1)
	}
	return partner
}

// oneWay: the first half sends to the second, one to one.
func oneWay(recipients int) []int32 {
	partner := make([]int32, 2*recipients)
	for i := range partner {
		partner[i] = int32((i + recipients) % (2 * recipients))
	}
	return partner
}

func upTo(from, to int) []int {
	out := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// people makes the clients, and the users at the server. The last of them, from
// recipients on, get messages.
func (b *bench) people(partner []int32, senders, recipients int) (err error) {
	p := b.server.peer
	began := time.Now()
	if p.prepare != nil {
		if err := p.prepare(b.server, upTo(0, len(partner)), upTo(recipients, len(partner))); err != nil {
			return err
		}
	}
	b.say("%d users made in %.1f s", len(partner), time.Since(began).Seconds())
	b.fleet, err = newFleet(p.speak(len(partner)), b.server.address, partner, senders, b.opts.payload, b.opts.atOnce, b.opts.seed)
	return err
}

func (b *bench) connect(ctx context.Context, from, to int) error {
	b.fleet.want(from, to)
	if err := b.fleet.connected(ctx, connectPatience); err != nil {
		return err
	}
	b.say("%d connected in %.2f s", to-from, time.Duration(b.fleet.lastReady-b.fleet.firstDial).Seconds())
	return nil
}

// pairs is the scenario of that name.
func pairs(ctx context.Context, b *bench, r *report.Result) error {
	n := b.opts.users
	if err := b.people(inPairs(n), n, 0); err != nil {
		return err
	}
	if err := b.connect(ctx, 0, n); err != nil {
		return err
	}
	one, err := b.stretch(ctx, "window 1", drive{window: 1, closes: b.opts.closes})
	if err != nil {
		return err
	}
	eight, err := b.stretch(ctx, "window 8", drive{window: 8, closes: b.opts.closes})
	if err != nil {
		return err
	}
	r.Phases = append(r.Phases, one, eight)
	r.Window1, r.Window8 = &one, &eight
	r.Rate, r.ServerCPUPerMillion, r.ClientCPUPerMillion = eight.Rate, eight.ServerCPUPerMillion, eight.ClientCPUPerMillion
	r.DeliveriesPerSecond, r.BytesWrittenPerMessage = eight.DeliveriesPerSecond, eight.BytesWrittenPerMessage
	if rate := b.opts.open * one.Rate; rate > 0 {
		open, err := b.stretch(ctx, fmt.Sprintf("open loop, %s/s", report.Number(rate)), drive{rate: rate})
		if err != nil {
			return err
		}
		r.Phases = append(r.Phases, open)
		r.OpenLoop = &open
		r.SentMs, r.DeliverMs, r.ReceiptMs = open.SentMs, open.DeliverMs, open.ReceiptMs
	}
	return nil
}

// offline stores messages for users who are away, and lets them come; where it
// is asked for the server is killed in between.
func offline(ctx context.Context, b *bench, r *report.Result) error {
	if b.server.peer.stores == storesNothing {
		return fmt.Errorf("offline: %s: %w", b.server.peer.name, errStoresNothing)
	}
	n := b.opts.recipients
	if err := b.people(oneWay(n), n, n); err != nil {
		return err
	}
	if b.server.peer.introduced == bySession {
		if err := b.connect(ctx, n, 2*n); err != nil {
			return err
		}
		b.fleet.cut(n, 2*n)
		if err := b.fleet.rest(ctx, noticePatience); err != nil {
			return err
		}
	}
	if err := b.connect(ctx, 0, n); err != nil {
		return err
	}
	f, all := b.fleet, uint64(n*b.opts.messages)
	var began int64
	stored, err := b.do(ctx, task{
		name: "store",
		start: func() {
			began = f.now()
			f.begin(drive{window: b.opts.window, closes: atSent, limit: b.opts.messages}, 0)
		},
		done: func() bool { return f.book.tally.Accepted+f.book.tally.Refused >= all },
		took: func() (int64, int64) { return began, f.lastAccepted },
	})
	if err != nil {
		return err
	}
	f.halt()
	r.Phases = append(r.Phases, stored)
	r.StoreRate, r.ServerCPUPerMillion, r.ClientCPUPerMillion, r.SentMs = stored.Rate, stored.ServerCPUPerMillion, stored.ClientCPUPerMillion, stored.SentMs
	if b.opts.crash == killed {
		if err := b.crash(ctx, r, n); err != nil {
			return err
		}
	}
	drained, err := b.do(ctx, task{
		name: "drain", of: ofDelivered,
		start: func() { f.want(n, 2*n) },
		done: func() bool {
			return f.live == f.wanted && (f.book.tally.Delivered >= all || f.now()-max(f.lastArrived, f.lastReady) > int64(drainQuiet))
		},
		took: func() (int64, int64) { return f.firstDial, max(f.lastArrived, f.lastReady) },
	})
	if err != nil {
		return err
	}
	r.Phases = append(r.Phases, drained)
	r.DrainRate = drained.Rate
	if b.opts.crash == killed {
		r.Note("%d of %d accepted messages were left after kill -9, %v after the last was acknowledged", f.book.tally.Delivered, f.book.tally.Accepted, b.opts.killAfter)
	}
	if b.opts.crash == killed {
		return nil // what is open now is lost: it was waited for
	}
	return f.settle(ctx, time.Minute)
}

// crash kills the server, starts it again, and has the senders connect anew.
func (b *bench) crash(ctx context.Context, r *report.Result, senders int) error {
	if err := b.fleet.rest(ctx, b.opts.killAfter); err != nil {
		return err
	}
	if err := b.server.kill(); err != nil {
		return err
	}
	b.fleet.cut(0, senders)
	began := time.Now()
	if err := b.server.start(ctx); err != nil {
		return err
	}
	r.RecoverSeconds = time.Since(began).Seconds()
	b.say("killed; it takes connections again %.2f s after its start", r.RecoverSeconds)
	return b.connect(ctx, 0, senders)
}

// weight of the server, and of the kernel that serves it.
type weight struct{ resident, kernel float64 }

func (b *bench) weigh() (weight, error) {
	p, err := machine.ReadProcess(b.server.pid())
	return weight{float64(p.Resident), float64(machine.KernelMemory())}, err
}

// idle holds sessions that do nothing, and weighs them.
func idle(ctx context.Context, b *bench, r *report.Result) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(b.opts.rest / 4):
	}
	base, err := b.weigh()
	if err != nil {
		return err
	}
	n := b.opts.sessions
	if err := b.people(inPairs(n), n, 0); err != nil {
		return err
	}
	if err := b.connect(ctx, 0, n); err != nil {
		return err
	}
	if err := b.fleet.rest(ctx, b.opts.rest); err != nil {
		return err
	}
	full, err := b.weigh()
	if err != nil {
		return err
	}
	r.Sessions = n
	r.BytesPerSession = (full.resident - base.resident) / float64(n)
	// Both ends of each connection are in this kernel.
	r.KernelBytesPerSession = (full.kernel - base.kernel) / float64(n) / 2
	b.say("resident %s MiB before, %s MiB with %d sessions", report.Number(base.resident/(1<<20)), report.Number(full.resident/(1<<20)), n)
	each, err := b.oneToEach(ctx, n)
	if err != nil {
		return err
	}
	r.Phases = append(r.Phases, each)
	r.SentMs, r.DeliverMs = each.SentMs, each.DeliverMs
	return nil
}

// oneToEach has everybody send one message and get one.
func (b *bench) oneToEach(ctx context.Context, n int) (report.Phase, error) {
	f := b.fleet
	var began int64
	want := f.book.tally.Receipted + uint64(n)
	p, err := b.do(ctx, task{
		name:  "one to each",
		start: func() { began = f.now(); f.begin(drive{window: 1, limit: 1}, 0) },
		done:  func() bool { return f.book.tally.Receipted >= want },
		took:  func() (int64, int64) { return began, max(f.lastAccepted, f.lastArrived) },
	})
	f.halt()
	return p, err
}

// storm cuts all connections at once and has all of them come back.
func storm(ctx context.Context, b *bench, r *report.Result) error {
	n := b.opts.sessions
	if err := b.people(inPairs(n), n, 0); err != nil {
		return err
	}
	if err := b.connect(ctx, 0, n); err != nil {
		return err
	}
	if _, err := b.oneToEach(ctx, n); err != nil {
		return err
	}
	f := b.fleet
	back, err := b.do(ctx, task{
		name:  "storm",
		start: func() { f.cut(0, n); f.want(0, n) },
		done:  func() bool { return f.live == n },
		took:  func() (int64, int64) { return f.firstDial, f.lastReady },
	})
	if err != nil {
		return err
	}
	back.HelloMs = f.latencies.hello.Quantiles()
	if f.live != n {
		r.Invalidate("only %d of %d are back", f.live, n)
	}
	r.Sessions, r.RecoverSeconds = n, back.Seconds
	each, err := b.oneToEach(ctx, n)
	if err != nil {
		return err
	}
	r.Phases = append(r.Phases, back, each)
	return nil
}
