package scenario

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/report"
)

// Pairs is two thousand users who talk in pairs.
type Pairs struct {
	Users   int
	Devices int
	Warm    time.Duration
	During  time.Duration
	// Windows says which closed loops run: 1, 8 or both.
	Windows string
	// Open is the rate of the open loop, or, below or at 1, its share of the
	// maximum of window 1; 0 leaves it out.
	Open        float64
	Checkpoints int
}

// Name of the scenario.
func (*Pairs) Name() string { return "pairs" }

// Doc of the scenario.
func (*Pairs) Doc() string {
	return "users in pairs, a receipt for each message: closed loops of 1 and 8, then an open loop at a share of the first"
}

// Flags of the scenario.
func (p *Pairs) Flags(fs *flag.FlagSet) { p.flags(fs, 1, 20*time.Second) }

func (p *Pairs) flags(fs *flag.FlagSet, devices int, during time.Duration) {
	fs.IntVar(&p.Users, "users", 2000, "users, two and two of whom talk")
	fs.IntVar(&p.Devices, "devices", devices, "devices of each user, all connected")
	fs.DurationVar(&p.Warm, "warm", 3*time.Second, "warm-up before each phase, not counted")
	fs.DurationVar(&p.During, "during", during, "how long each phase is measured")
	fs.StringVar(&p.Windows, "windows", "both", "closed loops: 1, 8, both or none")
	fs.Float64Var(&p.Open, "open", 0.5, "open loop: messages a second, or up to 1 the share of window 1's rate; 0 leaves it out")
	fs.IntVar(&p.Checkpoints, "checkpoints", 3, "checkpoints that window 8 spans at least, if it takes longer")
}

// Validate names every fault of the parameters.
func (p *Pairs) Validate() error {
	var f faults
	f.even("users", p.Users)
	f.check(p.Devices >= 1 && p.Devices <= 10, "devices: %d is not from 1 to 10", p.Devices)
	f.check(p.During > 0 && p.Warm >= 0, "during, warm: %v, %v", p.During, p.Warm)
	f.check(p.Windows == "1" || p.Windows == "8" || p.Windows == "both" || p.Windows == "none", "windows: %q is none of 1, 8, both, none", p.Windows)
	f.check(p.Open >= 0, "open: %g is below 0", p.Open)
	f.check(p.Open > 1 || p.Open == 0 || p.Windows == "1" || p.Windows == "both", "open: a share of window 1's rate needs window 1")
	f.check(p.Open > 0 || p.Windows != "none", "there is nothing to measure")
	return f.err()
}

// Run measures once.
func (p *Pairs) Run(ctx context.Context, env *Env) (*report.Result, error) {
	return p.run(ctx, env, p.Name())
}

func (p *Pairs) run(ctx context.Context, env *Env, name string) (_ *report.Result, err error) {
	r := report.New(name)
	w, err := env.Build(ctx, Descriptors, Group{Users: p.Users, Devices: p.Devices, Pattern: Both})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Connect(ctx, 0, Everybody, ComeBack); err != nil {
		return nil, err
	}
	if p.Windows == "1" || p.Windows == "both" {
		if r.Window1, err = p.closed(ctx, w, r, 1, 0); err != nil {
			return nil, err
		}
	}
	if p.Windows == "8" || p.Windows == "both" {
		if r.Window8, err = p.closed(ctx, w, r, 8, p.Checkpoints); err != nil {
			return nil, err
		}
		// The published figures are those of window 8.
		r.Rate, r.ServerCPUPerMillion, r.ClientCPUPerMillion = r.Window8.Rate, r.Window8.ServerCPUPerMillion, r.Window8.ClientCPUPerMillion
		r.DeliveriesPerSecond, r.BytesWrittenPerMessage = r.Window8.DeliveriesPerSecond, r.Window8.BytesWrittenPerMessage
	}
	if err := p.open(ctx, w, r); err != nil {
		return nil, err
	}
	worst(r)
	return r, w.Finish(ctx, r)
}

func (p *Pairs) closed(ctx context.Context, w *World, r *report.Result, window, checkpoints int) (*report.Phase, error) {
	ph, err := w.Measure(ctx, Stretch{
		Name: fmt.Sprintf("window %d", window), Drive: load.Drive{Window: window}, Warm: p.Warm, During: p.During,
		Checkpoints: checkpoints, Most: max(p.During, 45*time.Second),
	})
	if err != nil {
		return nil, err
	}
	if ph.Checkpoints < float64(checkpoints) {
		r.Note("%s: %.0f checkpoints in it, not %d: what is written for a message is not all seen", ph.Name, ph.Checkpoints, checkpoints)
	}
	r.Phases = append(r.Phases, ph)
	return &ph, nil
}

func (p *Pairs) open(ctx context.Context, w *World, r *report.Result) error {
	rate := p.Open
	if rate == 0 {
		return nil
	}
	if rate <= 1 {
		rate *= r.Window1.Rate
	}
	ph, err := w.Measure(ctx, Stretch{
		Name: fmt.Sprintf("open loop, %s/s", report.Number(rate)), Drive: load.Drive{Rate: rate}, Warm: p.Warm, During: p.During,
	})
	if err != nil {
		return err
	}
	r.Phases = append(r.Phases, ph)
	r.OpenLoop = &ph
	r.SentMs, r.DeliverMs, r.ReceiptMs = ph.SentMs, ph.DeliverMs, ph.ReceiptMs
	if p.Windows == "none" || p.Windows == "1" {
		r.Rate, r.ServerCPUPerMillion, r.ClientCPUPerMillion = ph.Rate, ph.ServerCPUPerMillion, ph.ClientCPUPerMillion
	}
	return nil
}
