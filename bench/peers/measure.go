package main

import (
	"context"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/load/ledger"
	"github.com/rookery-im/rookery/bench/machine"
	"github.com/rookery-im/rookery/bench/report"
)

// bench is one run: a server, and the clients that play its users.
type bench struct {
	server *server
	fleet  *fleet
	out    io.Writer
	opts   *options
	doubts []string // why figures must not be believed
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.out, format+"\n", args...) }

// sample is a moment.
type sample struct {
	at      int64
	tally   ledger.Tally
	process machine.Process
	system  machine.System
	cpu     time.Duration // of this process
	idle    int64
}

func (b *bench) sample() (s sample, err error) {
	s.at, s.tally, s.idle = b.fleet.now(), b.fleet.book.tally, b.fleet.idle
	if s.process, err = machine.ReadProcess(b.server.pid()); err != nil {
		return s, err
	}
	if s.system, err = machine.ReadSystem(); err != nil {
		return s, err
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return s, fmt.Errorf("getrusage: %w", err)
	}
	s.cpu = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	return s, nil
}

// counted is what a phase's messages are.
type counted uint8

const (
	ofAccepted counted = iota
	ofDelivered
)

// phase is what lies between two samples; took is its time, in nanoseconds.
func (b *bench) phase(name string, from, to sample, took int64, of counted) report.Phase {
	seconds := time.Duration(took).Seconds()
	wall := time.Duration(to.at - from.at).Seconds()
	server, client := (to.process.CPU - from.process.CPU).Seconds(), (to.cpu - from.cpu).Seconds()
	p := report.Phase{
		Name: name, Seconds: seconds, Messages: to.tally.Accepted - from.tally.Accepted,
		ServerCores: server / wall, ClientCores: client / wall,
		StealCores: (to.system.Steal - from.system.Steal).Seconds() / wall,
		OtherCores: max(0, ((to.system.Busy-from.system.Busy).Seconds()-server-client)/wall),
		ClientBusy: 1 - time.Duration(to.idle-from.idle).Seconds()/wall,

		ResidentBytes: to.process.Resident, BytesWritten: to.process.BytesWritten - from.process.BytesWritten,
		Refused: to.tally.Refused - from.tally.Refused,
	}
	delivered := to.tally.Delivered - from.tally.Delivered
	if of == ofDelivered {
		p.Messages = delivered
	}
	if seconds > 0 {
		p.Rate, p.DeliveriesPerSecond = float64(p.Messages)/seconds, float64(delivered)/seconds
	}
	if p.Messages > 0 {
		millions := float64(p.Messages) / 1e6
		p.ServerCPUPerMillion, p.ClientCPUPerMillion = server/millions, client/millions
		p.BytesWrittenPerMessage = float64(p.BytesWritten) / float64(p.Messages)
	}
	return p
}

// latencies puts what was recorded since the mark into a phase.
func (b *bench) latencies(p *report.Phase) {
	l := b.fleet.latencies
	p.SentMs, p.DeliverMs, p.ReceiptMs, p.LateMs = l.sent.Quantiles(), l.deliver.Quantiles(), l.receipt.Quantiles(), l.late.Quantiles()
	p.Curves = map[string][]latency.Point{}
	for name, h := range map[string]*latency.Histogram{"sent": l.sent, "deliver": l.deliver, "receipt": l.receipt} {
		if c := h.Curve(); c != nil {
			p.Curves[name] = c
		}
	}
}

// setMark begins what is measured.
func (b *bench) setMark() {
	hello := b.fleet.latencies.hello
	b.fleet.latencies = newLatencies()
	b.fleet.latencies.hello = hello
	b.fleet.mark = b.fleet.now()
}

// firstPatience is how long a warm-up is drawn out for the first answer.
const firstPatience = time.Minute

// stretch runs a drive: warm-up, the measured part, and until all is settled.
func (b *bench) stretch(ctx context.Context, name string, d drive) (p report.Phase, err error) {
	f := b.fleet
	f.begin(d, b.opts.seed)
	if err := f.rest(ctx, b.opts.warm); err != nil {
		return p, err
	}
	// A server that answers in bursts may not have begun to.
	if _, err := f.until(ctx, firstPatience, func() bool { return f.lastAccepted >= f.drive.began }); err != nil {
		return p, err
	}
	b.setMark()
	from, err := b.sample()
	if err != nil {
		return p, err
	}
	last, series := from, []report.Second(nil)
	for end := from.at + int64(b.opts.during); last.at < end && ctx.Err() == nil; {
		if err := f.rest(ctx, min(time.Second, time.Duration(end-last.at))); err != nil {
			return p, err
		}
		now, err := b.sample()
		if err != nil {
			return p, err
		}
		second := b.phase("", last, now, now.at-last.at, ofAccepted)
		series = append(series, report.Second{
			At: time.Duration(now.at - from.at).Seconds(), Rate: second.Rate, Deliveries: second.DeliveriesPerSecond,
			ServerCores: second.ServerCores, ClientCores: second.ClientCores, Resident: second.ResidentBytes,
		})
		b.say("  %-20s %3.0f s  %8s/s  server %.2f, client %.2f cores  %d open", name, series[len(series)-1].At, report.Number(second.Rate), second.ServerCores, second.ClientCores, f.book.open)
		last = now
	}
	if err := ctx.Err(); err != nil {
		return p, err
	}
	p = b.phase(name, from, last, last.at-from.at, ofAccepted)
	p.Offered, p.Series = d.rate, series
	f.halt()
	halted := f.now()
	if err := f.settle(ctx, 2*time.Minute); err != nil {
		return p, err
	}
	if f.book.open > 0 {
		b.doubts = append(b.doubts, fmt.Sprintf("%s: %d messages were still open when it had to end", name, f.book.open))
	}
	p.SettleSeconds = time.Duration(f.now() - halted).Seconds()
	b.latencies(&p)
	b.say("%s: %s/s, server %s and client %s CPU s per million, %d open", name, report.Number(p.Rate), report.Number(p.ServerCPUPerMillion), report.Number(p.ClientCPUPerMillion), f.book.open)
	return p, nil
}

// task is a phase that ends when something is done.
type task struct {
	name  string
	start func()
	done  func() bool
	// took gives when it began and ended, by the clients' own notes.
	took func() (from, to int64)
	of   counted
}

// stuck is how long nothing may come in a task before it is given up.
const stuck = time.Minute

// taskPatience bounds the slowest, which stores a thousand a second.
const taskPatience = 10 * time.Minute

func (b *bench) do(ctx context.Context, t task) (p report.Phase, err error) {
	f := b.fleet
	b.setMark()
	from, err := b.sample()
	if err != nil {
		return p, err
	}
	began := f.now()
	t.start()
	if _, err := f.until(ctx, taskPatience, func() bool { return t.done() || f.now()-max(f.event, began) > int64(stuck) }); err != nil {
		return p, err
	}
	to, err := b.sample()
	if err != nil {
		return p, err
	}
	first, last := t.took()
	p = b.phase(t.name, from, to, max(0, last-first), t.of)
	b.latencies(&p)
	b.say("%s: %.2f s, %d messages", t.name, p.Seconds, p.Messages)
	return p, nil
}

// finish audits every message and says what makes the figures doubtful.
func (b *bench) finish(r *report.Result) {
	f := b.fleet
	r.Account(f.book.audit())
	r.Problems = f.problems
	r.Seconds = time.Since(r.Started).Seconds()
	if r.LostConnections = f.lost; f.lost+f.retries > 0 {
		r.Note("%d connections were lost and %d had to be tried again; %v", f.lost, f.retries, f.losses)
	}
	for _, d := range b.doubts {
		r.Invalidate("%s", d)
	}
	for i := range r.Phases {
		p := &r.Phases[i]
		silent := 0
		for _, s := range p.Series {
			if s.Rate == 0 {
				silent++
			}
		}
		if silent > len(p.Series)/4 {
			r.Note("%s: in %d of %d seconds nothing was answered: the answers come in bursts, and the rate is of few of them", p.Name, silent, len(p.Series))
		}
		if p.LateMs != nil && p.LateMs.P99 > 10 {
			r.Invalidate("%s: the generator was late by %.1f ms at p99: its latencies are not the server's", p.Name, p.LateMs.P99)
		}
		if p.ClientBusy > 0.9 {
			r.Note("%s: the generator was busy %.0f %% of the time: it may be what bounds the rate", p.Name, 100*p.ClientBusy)
		}
		if p.OtherCores > 0.1*float64(r.Machine.Cores) {
			r.Note("%s: others used %.2f cores of the machine meanwhile", p.Name, p.OtherCores)
		}
		if p.StealCores > 0.05 {
			r.Note("%s: the hypervisor kept %.2f cores", p.Name, p.StealCores)
		}
	}
}
