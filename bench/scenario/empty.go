package scenario

import (
	"context"
	"flag"
	"time"

	"github.com/rookery-im/rookery/bench/machine"
	"github.com/rookery-im/rookery/bench/report"
)

// Empty weighs nodes to which nobody is connected: what they take for
// themselves, and a cluster for its heartbeats.
type Empty struct {
	Warm   time.Duration
	During time.Duration
}

// Name of the scenario.
func (*Empty) Name() string { return "empty" }

// Doc of the scenario.
func (*Empty) Doc() string {
	return "nobody is connected: what the node, or the cluster, takes by itself"
}

// Flags of the scenario.
func (e *Empty) Flags(fs *flag.FlagSet) {
	fs.DurationVar(&e.Warm, "warm", 10*time.Second, "how long it is left alone before")
	fs.DurationVar(&e.During, "during", time.Minute, "how long it is measured")
}

// Validate names every fault of the parameters.
func (e *Empty) Validate() error {
	var f faults
	f.check(e.During > 0 && e.Warm >= 0, "during, warm: %v, %v", e.During, e.Warm)
	return f.err()
}

// Run measures once.
func (e *Empty) Run(ctx context.Context, env *Env) (*report.Result, error) {
	r := report.New(e.Name())
	if err := pass(ctx, e.Warm); err != nil {
		return nil, err
	}
	a, err := env.look(ctx)
	if err != nil {
		return nil, err
	}
	if err := pass(ctx, e.During); err != nil {
		return nil, err
	}
	b, err := env.look(ctx)
	if err != nil {
		return nil, err
	}
	took, server := b.at.Sub(a.at).Seconds(), (b.process.CPU - a.process.CPU).Seconds()
	r.Phases = []report.Phase{{
		Name: "nobody there", Seconds: took, ServerCores: server / took,
		OtherCores: max(0, ((b.system.Busy-a.system.Busy).Seconds()-server)/took), StealCores: (b.system.Steal - a.system.Steal).Seconds() / took,
		ResidentBytes: b.process.Resident, BytesWritten: b.process.BytesWritten - a.process.BytesWritten,
	}}
	r.Machine = env.Machine
	r.Seconds = time.Since(r.Started).Seconds()
	judge(r, &r.Phases[0])
	return r, nil
}

// look at the node without a load.
func (e *Env) look(ctx context.Context) (s sample, err error) {
	if s.metrics, err = e.Node.Metrics(ctx); err != nil {
		return s, err
	}
	if s.process, err = e.Node.Process(s.metrics); err != nil {
		return s, err
	}
	s.system, err = machine.ReadSystem()
	s.at = time.Now()
	return s, err
}
