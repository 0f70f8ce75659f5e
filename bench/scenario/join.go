package scenario

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/report"
	"github.com/rookery-im/rookery/bench/target"
)

// Join has one more node join a cluster that holds messages, while pairs talk.
type Join struct {
	laden
	Warm     time.Duration
	During   time.Duration
	Patience time.Duration
}

// Name of the scenario.
func (*Join) Name() string { return "join" }

// Doc of the scenario.
func (*Join) Doc() string {
	return "one more node joins a cluster under load: latencies before, while replicas move, and after (--self --nodes 3)"
}

// Flags of the scenario.
func (j *Join) Flags(fs *flag.FlagSet) {
	j.flags(fs, 200_000)
	fs.DurationVar(&j.Warm, "warm", 3*time.Second, "warm-up before each phase, not counted")
	fs.DurationVar(&j.During, "during", 15*time.Second, "how long the phases before and after are measured, and the move at least")
	fs.DurationVar(&j.Patience, "patience", 2*time.Minute, "how long the move may take")
}

// Validate names every fault of the parameters.
func (j *Join) Validate() error {
	var f faults
	j.check(&f)
	f.check(j.During > 0 && j.Warm >= 0 && j.Patience >= j.During, "during, warm, patience: %v, %v, %v", j.During, j.Warm, j.Patience)
	return f.err()
}

// Run measures once.
func (j *Join) Run(ctx context.Context, env *Env) (_ *report.Result, err error) {
	if !env.Node.Own() || len(env.Node.Others) < 2 {
		return nil, errors.New("a node can only join a cluster that the bench has started: use --self --nodes 3")
	}
	r := report.New(j.Name())
	w, err := j.build(ctx, env)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := j.fill(ctx, w, r); err != nil {
		return nil, err
	}
	if err := j.move(ctx, w, r); err != nil {
		return nil, err
	}
	if err := j.empty(ctx, w, r); err != nil {
		return nil, err
	}
	worst(r)
	return r, w.Finish(ctx, r)
}

// move measures before, meanwhile, and after.
func (j *Join) move(ctx context.Context, w *World, r *report.Result) error {
	nodes := len(w.env.Node.Addresses())
	from, err := j.settled(ctx, w)
	if err != nil {
		return err
	}
	before, err := w.Measure(ctx, j.stretch(fmt.Sprintf("%d nodes", nodes)))
	if err != nil {
		return err
	}
	s := j.stretch(fmt.Sprintf("node %d joins", nodes+1))
	var begun time.Time
	var to target.Placement
	s.Most = j.Patience
	s.Begin = func(ctx context.Context) error {
		begun = time.Now()
		return w.env.Node.Join(ctx)
	}
	s.Until = func(ctx context.Context) (bool, error) {
		if r.MoveSeconds != 0 {
			return true, nil
		}
		p, err := w.env.Node.Placement(ctx)
		if err != nil || !p.Settled() || p.Moved(from) == 0 {
			return false, err
		}
		to, r.MoveSeconds = p, time.Since(begun).Seconds()
		return true, nil
	}
	during, err := w.Measure(ctx, s)
	if err != nil {
		return err
	}
	after, err := w.Measure(ctx, j.stretch(fmt.Sprintf("%d nodes", nodes+1)))
	if err != nil {
		return err
	}
	r.Phases = append(r.Phases, before, during, after)
	j.sum(r, before, during)
	if r.MoveSeconds == 0 {
		return fmt.Errorf("the move was not over after %v", j.Patience)
	}
	// Every shard has three replicas; the newcomer's even share is what must move.
	least := float64(3*to.Shards()) / float64(nodes+1)
	r.MovedReplicas = float64(to.Moved(from))
	r.MovedRatio = r.MovedReplicas / least
	r.Note("%.0f replicas of shards moved, %.0f would even out the load", r.MovedReplicas, least)
	return nil
}

func (j *Join) stretch(name string) Stretch {
	return Stretch{Name: name, Drive: load.Drive{Rate: j.Rate}, Warm: j.Warm, During: j.During}
}

// settled waits for a cluster in which nothing is to be moved.
func (j *Join) settled(ctx context.Context, w *World) (target.Placement, error) {
	ctx, cancel := context.WithTimeout(ctx, j.Patience)
	defer cancel()
	for {
		p, err := w.env.Node.Placement(ctx)
		if err != nil || p.Settled() {
			return p, err
		}
		if err := pass(ctx, 100*time.Millisecond); err != nil {
			return p, fmt.Errorf("replicas are still being moved: %w", err)
		}
	}
}

// sum sets the figures that are of the scenario.
func (j *Join) sum(r *report.Result, before, during report.Phase) {
	r.Rate, r.ServerCPUPerMillion, r.ClientCPUPerMillion = during.Rate, during.ServerCPUPerMillion, during.ClientCPUPerMillion
	r.SentMs, r.DeliverMs, r.ReceiptMs = during.SentMs, during.DeliverMs, during.ReceiptMs
	r.BytesWrittenPerMessage = during.BytesWrittenPerMessage
	if b, d := before.DeliverMs, during.DeliverMs; b != nil && d != nil && b.P99 > 0 {
		r.P99Ratio = d.P99 / b.P99
	}
	if b, d := before.SentMs, during.SentMs; b != nil && d != nil && b.P99 > 0 {
		r.Note("p99 of sent: %.2f ms before, %.2f ms during the move, %.2f times", b.P99, d.P99, d.P99/b.P99)
	}
}
