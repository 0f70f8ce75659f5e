package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/machine"
	"github.com/rookery-im/rookery/bench/report"
	"github.com/rookery-im/rookery/bench/target"
)

// Stretch is one phase that is to be measured.
type Stretch struct {
	Name string
	// Drive of all workers together; From and To are set by Group.
	Drive load.Drive
	Group int
	// Part of each worker's flows, by number; all of them where empty.
	Part   load.Span
	Warm   time.Duration
	During time.Duration
	// Checkpoints that the node must have made meanwhile; it goes on for that,
	// up to Most.
	Checkpoints int
	Most        time.Duration
	// Begin, where set, is what the measured part begins with; it goes on until
	// Until, asked each second, says so, up to Most.
	Begin func(ctx context.Context) error
	Until func(ctx context.Context) (bool, error)
	// Settle is how long what is open may take when the sending has ended.
	Settle time.Duration
	// Overload says that the drive offers more than can be done.
	Overload bool
}

// sample is a moment, as seen by everybody.
type sample struct {
	at      time.Time
	load    load.Status
	process machine.Process
	system  machine.System
	metrics target.Metrics
	series  []report.Second
	pause   float64 // longest so far
}

func (w *World) sample(ctx context.Context) (s sample, err error) {
	if s, err = w.env.look(ctx); err != nil {
		return s, err
	}
	s.load, err = w.fleet.Status(ctx)
	s.at = time.Now()
	return s, err
}

// Measure runs a stretch: warm-up, the measured part, halt, and until all is
// settled. What it gives are the figures of the measured part; the latencies are
// of all messages that were to be sent in it, however late their answers came.
func (w *World) Measure(ctx context.Context, s Stretch) (report.Phase, error) {
	was, err := w.fleet.Status(ctx)
	if err != nil {
		return report.Phase{}, err
	}
	if err := w.driveAll(ctx, s); err != nil {
		return report.Phase{}, err
	}
	if _, err := w.watch(ctx, s.Name+", warm-up", s.Warm, nil); err != nil {
		return report.Phase{}, err
	}
	if _, err := w.fleet.All(ctx, load.Order{Mark: true}); err != nil {
		return report.Phase{}, err
	}
	before, err := w.sample(ctx)
	if err != nil {
		return report.Phase{}, err
	}
	if s.Begin != nil {
		if err := s.Begin(ctx); err != nil {
			return report.Phase{}, err
		}
	}
	seen, err := w.watch(ctx, s.Name, s.During, func(m target.Metrics) (bool, error) {
		if time.Since(before.at) >= s.Most {
			return true, nil
		}
		if s.Until != nil {
			if done, err := s.Until(ctx); !done || err != nil {
				return false, err
			}
		}
		return m[metricCheckpoints]-before.metrics[metricCheckpoints] >= float64(s.Checkpoints*len(w.env.Node.Addresses())), nil
	})
	if err != nil {
		return report.Phase{}, err
	}
	after, err := w.sample(ctx)
	if err != nil {
		return report.Phase{}, err
	}
	if _, err := w.fleet.All(ctx, load.Order{Halt: true}); err != nil {
		return report.Phase{}, err
	}
	p := phase(before, after, seen)
	p.Name, p.Offered, p.Overload = s.Name, s.Drive.Rate, s.Overload
	halted := time.Now()
	if err := w.settle(ctx, s.Name, was.Open, s.Settle); err != nil {
		return p, err
	}
	p.SettleSeconds = time.Since(halted).Seconds()
	replies, err := w.fleet.All(ctx, load.Order{Report: true})
	if err != nil {
		return p, err
	}
	latencies(&p, load.Merge(replies))
	w.env.Say("%s: %s/s, server %s and client %s CPU s per million", s.Name, report.Number(p.Rate), report.Number(p.ServerCPUPerMillion), report.Number(p.ClientCPUPerMillion))
	return p, nil
}

// driveAll gives every worker its share.
func (w *World) driveAll(ctx context.Context, s Stretch) error {
	flows := 0
	for i := range w.fleet {
		f := w.flows[i][s.Group]
		flows += f.To - f.From
	}
	if flows == 0 {
		return fmt.Errorf("scenario: %s: nobody sends", s.Name)
	}
	_, err := w.fleet.Each(ctx, func(i int) load.Order {
		d, f := s.Drive, w.flows[i][s.Group]
		d.From, d.To = f.From, f.To
		if s.Part != (load.Span{}) {
			d.From, d.To = min(f.From+s.Part.From, f.To), min(f.From+s.Part.To, f.To)
		}
		d.Rate *= float64(f.To-f.From) / float64(flows)
		return load.Order{Drive: &d}
	})
	return err
}

// Names of the node's metrics.
const (
	metricCheckpoints = "rookery_shard_checkpoints_total"
	metricSyncs       = "rookery_raftlog_sync_seconds_count"
	metricSyncTime    = "rookery_raftlog_sync_seconds_sum"
	metricFileSyncs   = "rookery_store_files_synced_total"
	metricLogBytes    = "rookery_raftlog_appended_bytes_total"
	metricPauseMax    = `go_gc_duration_seconds{quantile="1"}`
	metricPauseSum    = "go_gc_duration_seconds_sum"
	metricPauses      = "go_gc_duration_seconds_count"
)

// watch prints a line a second, keeps the series, and returns when the time is
// over and enough, asked each second, says so.
func (w *World) watch(ctx context.Context, name string, during time.Duration, enough func(target.Metrics) (bool, error)) (seen sample, err error) {
	begin := time.Now()
	last, err := w.sample(ctx)
	if err != nil {
		return seen, err
	}
	for {
		done := enough == nil
		if !done {
			if done, err = enough(last.metrics); err != nil {
				return seen, err
			}
		}
		left := during - time.Since(begin)
		if left <= 0 && done {
			return seen, nil
		}
		if left <= 0 || left > time.Second {
			left = time.Second
		}
		select {
		case <-ctx.Done():
			return seen, ctx.Err()
		case <-time.After(left):
		}
		now, err := w.sample(ctx)
		if err != nil {
			return seen, err
		}
		// The node's quantile is of its last 256 collections: asked each second it misses none.
		seen.pause = max(seen.pause, now.metrics[metricPauseMax])
		second := between(last, now)
		second.At = time.Since(begin).Seconds()
		seen.series = append(seen.series, second)
		last = now
		w.env.Say("  %-20s %3.0f s  %8s/s  server %.2f, client %.2f cores  %d open", name, second.At, report.Number(second.Rate), second.ServerCores, second.ClientCores, now.load.Open)
	}
}

// between two samples of a series.
func between(a, b sample) report.Second {
	took := b.at.Sub(a.at).Seconds()
	return report.Second{
		Rate:        float64(b.load.Tally.Accepted-a.load.Tally.Accepted) / took,
		Deliveries:  float64(b.load.Tally.Delivered-a.load.Tally.Delivered) / took,
		ServerCores: (b.process.CPU - a.process.CPU).Seconds() / took,
		ClientCores: (b.load.CPU - a.load.CPU).Seconds() / took,
		Resident:    b.process.Resident,
	}
}

// phase is what lies between two samples.
func phase(a, b sample, seen sample) report.Phase {
	took := b.at.Sub(a.at).Seconds()
	diff := func(name string) float64 { return b.metrics[name] - a.metrics[name] }
	server, client := (b.process.CPU - a.process.CPU).Seconds(), (b.load.CPU - a.load.CPU).Seconds()
	written := b.process.BytesWritten - a.process.BytesWritten
	p := report.Phase{
		Seconds: took, Messages: b.load.Tally.Accepted - a.load.Tally.Accepted,
		ServerCores: server / took, ClientCores: client / took,
		StealCores: (b.system.Steal - a.system.Steal).Seconds() / took,
		OtherCores: max(0, ((b.system.Busy-a.system.Busy).Seconds()-server-client)/took),
		ClientBusy: 1 - (b.load.Idle-a.load.Idle).Seconds()/(b.load.Run-a.load.Run).Seconds(),

		ResidentBytes: b.process.Resident, BytesWritten: written, LogBytes: diff(metricLogBytes),
		Syncs: diff(metricSyncs) + diff(metricFileSyncs), Checkpoints: diff(metricCheckpoints),
		Collections: diff(metricPauses), PauseMs: 1000 * diff(metricPauseSum), MaxPauseMs: 1000 * seen.pause,

		Refused: b.load.Errors - a.load.Errors, Shed: b.load.Shed - a.load.Shed, Series: seen.series,
	}
	p.DeliveriesPerSecond = float64(b.load.Tally.Delivered-a.load.Tally.Delivered) / took
	p.Rate = float64(p.Messages) / took
	if n := diff(metricSyncs); n > 0 {
		p.SyncMeanMs = 1000 * diff(metricSyncTime) / n
	}
	perMessage(&p, a, b)
	return p
}

// perMessage sets the figures that are of each message.
func perMessage(p *report.Phase, a, b sample) {
	if p.Messages == 0 {
		return
	}
	millions := float64(p.Messages) / 1e6
	p.ServerCPUPerMillion = (b.process.CPU - a.process.CPU).Seconds() / millions
	p.ClientCPUPerMillion = (b.load.CPU - a.load.CPU).Seconds() / millions
	p.BytesWrittenPerMessage = float64(p.BytesWritten) / float64(p.Messages)
}

// latencies puts a report's histograms into a phase.
func latencies(p *report.Phase, r load.Report) {
	p.SentMs, p.DeliverMs, p.ReceiptMs = r.Sent.Quantiles(), r.Delivered.Quantiles(), r.Receipted.Quantiles()
	p.PingMs, p.LateMs = r.Ping.Quantiles(), r.Late.Quantiles()
	if p.Offered == 0 { // a closed loop has no schedule but that of the pings
		p.LateMs = r.PingLate.Quantiles()
	}
	if p.Refused > 0 {
		p.AttemptMs = r.Attempt.Quantiles()
	}
	if len(r.Codes) > 0 {
		p.Codes = r.Codes
	}
	p.Curves = map[string][]latency.Point{}
	for name, h := range map[string]*latency.Histogram{"sent": r.Sent, "deliver": r.Delivered, "receipt": r.Receipted, "ping": r.Ping} {
		if c := h.Curve(); c != nil {
			p.Curves[name] = c
		}
	}
}

// settle waits until no more is open than was before. What stays open for too long
// is no error here: the account will say what it is.
func (w *World) settle(ctx context.Context, name string, before int, patience time.Duration) error {
	if patience == 0 {
		patience = 30 * time.Second
	}
	_, err := w.wait(ctx, name+", settling", patience, func(s load.Status) bool {
		// Nothing has come for long: nothing will.
		return s.Open <= before || s.LastEvent > 0 && s.Live == 0 && s.Now-s.LastEvent > int64(5*time.Second)
	})
	if err != nil && ctx.Err() == nil {
		w.env.Say("  %v", err)
		return nil
	}
	return err
}
