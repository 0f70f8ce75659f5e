package scenario

import (
	"context"
	"strings"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/report"
)

// Bounds within which the generator is believed.
const (
	// Past both, the generator was too late for what it measures. A latency runs
	// from the time in the schedule, so lateness is in it: one that is a small
	// share of it makes the node look a little slower, and is no fault of the figure.
	lateBound = 10.0 // ms, p99
	lateShare = 0.1  // of the latencies to sent, p99
	// offeredBound: an open loop that sends less than this share of what it was
	// to send has not offered its rate.
	offeredBound = 0.98
	busyBound    = 0.9
	othersBound  = 0.1 // cores, of each core in the machine
)

// Finish audits every message and judges the measurement.
func (w *World) Finish(ctx context.Context, r *report.Result) error {
	replies, err := w.fleet.All(ctx, load.Order{Report: true})
	if err != nil {
		return err
	}
	st := load.Sum(replies)
	r.Machine = w.env.Machine
	r.Account(load.Merge(replies).Tally)
	r.Problems = st.Problems
	r.Seconds = time.Since(r.Started).Seconds()
	if w.rate > 0 && w.rate < 1e5 {
		r.Note("the node limits each device to %.0f sends a second: --self lifts that", w.rate)
	}
	if !w.env.Node.Here {
		r.Note("the node's process is not on this machine: bytes written are not known, and the kernel's memory is that of here")
	}
	if r.LostConnections = st.Lost; st.Lost > 0 {
		r.Note("%d connections were lost; %s", st.Lost, strings.Join(st.Losses, "; "))
	}
	for i := range r.Phases {
		judge(r, &r.Phases[i])
	}
	return nil
}

// judge says what makes a phase's figures doubtful.
func judge(r *report.Result, p *report.Phase) {
	switch late := p.LateMs != nil && p.LateMs.P99 > lateBound; {
	case late && p.Offered == 0:
		r.Note("%s: the generator was late by %.1f ms at p99: the node can do more, and is quicker, than it says", p.Name, p.LateMs.P99)
	case late && !p.Overload && p.SentMs != nil && p.LateMs.P99 <= lateShare*p.SentMs.P99:
		r.Note("%s: the generator was late by %.1f ms at p99, up to %.0f %% of what its latencies show: the node is quicker than they say",
			p.Name, p.LateMs.P99, 100*p.LateMs.P99/p.SentMs.P99)
	case late && !p.Overload:
		r.Invalidate("%s: the generator was late by %.1f ms at p99, more than %.0f ms and a tenth of the latencies: they are not the node's",
			p.Name, p.LateMs.P99, lateBound)
	}
	if p.Offered > 0 && p.LateMs != nil {
		if made := float64(p.LateMs.Count) / p.Seconds; made < offeredBound*p.Offered {
			r.Invalidate("%s: the generator made %.0f turns a second of the %.0f that were asked for", p.Name, made, p.Offered)
		}
	}
	if p.ClientBusy > busyBound {
		r.Note("%s: the generator was busy %.0f %% of the time: it may be what bounds the rate, and the node can do more", p.Name, 100*p.ClientBusy)
	}
	if p.OtherCores > othersBound*float64(r.Machine.Cores) {
		r.Note("%s: others used %.2f cores of the machine meanwhile", p.Name, p.OtherCores)
	}
	if p.StealCores > 0.05 {
		r.Note("%s: the hypervisor kept %.2f cores", p.Name, p.StealCores)
	}
}

// worst sets the longest pause and the longest stall of all phases.
func worst(r *report.Result) {
	for _, p := range r.Phases {
		r.MaxPauseMs = max(r.MaxPauseMs, p.MaxPauseMs)
		if p.PingMs != nil {
			r.MaxStallMs = max(r.MaxStallMs, p.PingMs.Max)
		}
	}
}
