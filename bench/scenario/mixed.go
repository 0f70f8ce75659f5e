package scenario

import (
	"context"
	"errors"
	"flag"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/report"
)

// Mixed is a day in small: people write, read, type, look who is there, and
// their phones come and go.
type Mixed struct {
	Users  int
	Rate   float64
	Mix    load.Mix
	Warm   time.Duration
	During time.Duration
	// Checkpoints that it spans at least.
	Checkpoints int
}

// Name of the scenario.
func (*Mixed) Name() string { return "mixed" }

// Doc of the scenario.
func (*Mixed) Doc() string {
	return "a day in small: sends, receipts, reads, typing, presence and reconnects in a messenger's ratio"
}

// Flags of the scenario.
func (m *Mixed) Flags(fs *flag.FlagSet) {
	fs.IntVar(&m.Users, "users", 4000, "users, two and two of whom talk")
	fs.Float64Var(&m.Rate, "rate", 4000, "turns a second of all users together, an open loop")
	fs.DurationVar(&m.Warm, "warm", 3*time.Second, "warm-up, not counted")
	fs.DurationVar(&m.During, "during", 40*time.Second, "how long it is measured")
	fs.IntVar(&m.Checkpoints, "checkpoints", 3, "checkpoints that it spans at least, if it takes up to 20 s longer")
	fs.Float64Var(&m.Mix.Send, "send", 40, "share of turns that send")
	fs.Float64Var(&m.Mix.Read, "read", 25, "share of turns that read what has come")
	fs.Float64Var(&m.Mix.Typing, "typing", 20, "share of turns that begin to type")
	fs.Float64Var(&m.Mix.Watch, "watch", 10, "share of turns that ask for the peer's presence")
	fs.Float64Var(&m.Mix.Restart, "restart", 5, "share of turns that hang up and connect anew")
}

// Validate names every fault of the parameters.
func (m *Mixed) Validate() error {
	var f faults
	f.even("users", m.Users)
	f.check(m.Rate > 0, "rate: %g is not above 0", m.Rate)
	f.check(m.During > 0 && m.Warm >= 0, "during, warm: %v, %v", m.During, m.Warm)
	f.check(m.Mix.Send > 0, "send: %g is not above 0", m.Mix.Send)
	f.check(m.Mix.Read >= 0 && m.Mix.Typing >= 0 && m.Mix.Watch >= 0 && m.Mix.Restart >= 0, "shares of turns are not below 0")
	return f.err()
}

// Run measures once.
func (m *Mixed) Run(ctx context.Context, env *Env) (_ *report.Result, err error) {
	r := report.New(m.Name())
	w, err := env.Build(ctx, Descriptors, Group{Users: m.Users, Devices: 1, Pattern: Both})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Connect(ctx, 0, Everybody, ComeBack); err != nil {
		return nil, err
	}
	p, err := w.Measure(ctx, Stretch{
		Name: "mixed", Drive: load.Drive{Rate: m.Rate, Mix: m.Mix}, Warm: m.Warm, During: m.During,
		Checkpoints: m.Checkpoints, Most: m.During + 20*time.Second,
	})
	if err != nil {
		return nil, err
	}
	r.Phases = append(r.Phases, p)
	r.Rate, r.ServerCPUPerMillion, r.ClientCPUPerMillion = p.Rate, p.ServerCPUPerMillion, p.ClientCPUPerMillion
	r.DeliveriesPerSecond, r.BytesWrittenPerMessage = p.DeliveriesPerSecond, p.BytesWrittenPerMessage
	r.SentMs, r.DeliverMs, r.ReceiptMs = p.SentMs, p.DeliverMs, p.ReceiptMs
	worst(r)
	return r, w.Finish(ctx, r)
}
