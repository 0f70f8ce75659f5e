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

// Recover kills a node that holds many messages, under load.
type Recover struct {
	laden
	During time.Duration
}

// Name of the scenario.
func (*Recover) Name() string { return "recover" }

// Doc of the scenario.
func (*Recover) Doc() string {
	return "kill -9 under load with a million messages stored: the time to ready, and that all is there (with --self)"
}

// Flags of the scenario.
func (c *Recover) Flags(fs *flag.FlagSet) {
	c.flags(fs, 1_000_000)
	fs.DurationVar(&c.During, "during", 5*time.Second, "how long they do before the kill, and after the node is ready again")
}

// Validate names every fault of the parameters.
func (c *Recover) Validate() error {
	var f faults
	c.check(&f)
	f.check(c.During > 0, "during: %v", c.During)
	return f.err()
}

// Run measures once.
func (c *Recover) Run(ctx context.Context, env *Env) (_ *report.Result, err error) {
	if !env.Node.Own() {
		return nil, errors.New("only a node that the bench has started may be killed: use --self")
	}
	r := report.New(c.Name())
	w, err := c.build(ctx, env)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	stored, err := c.fill(ctx, w, r)
	if err != nil {
		return nil, err
	}
	if err := c.underLoad(ctx, w, r); err != nil {
		return nil, err
	}
	r.ServerCPUPerMillion, r.ClientCPUPerMillion = stored.ServerCPUPerMillion, stored.ClientCPUPerMillion
	r.SentMs, r.BytesWrittenPerMessage = stored.SentMs, stored.BytesWrittenPerMessage
	if err := c.empty(ctx, w, r); err != nil {
		return nil, err
	}
	worst(r)
	return r, w.Finish(ctx, r)
}

// underLoad kills the node while pairs talk, and lets them go on.
func (c *Recover) underLoad(ctx context.Context, w *World, r *report.Result) error {
	if err := w.drive(talking, load.Drive{Rate: c.Rate})(ctx); err != nil {
		return err
	}
	begun := time.Now()
	before, err := w.watch(ctx, "under load", c.During, nil)
	if err != nil {
		return err
	}
	killed := time.Now()
	ready, err := w.crash(ctx)
	if err != nil {
		return err
	}
	r.RecoverSeconds = ready
	st, err := w.wait(ctx, "back", 2*time.Minute, func(s load.Status) bool { return s.Live == s.Wanted })
	if err != nil {
		return err
	}
	r.Note("all %d connections were drained again %.2f s after the kill", st.Live, time.Unix(0, st.LastDrained).Sub(killed).Seconds())
	resumed := time.Now()
	after, err := w.watch(ctx, "after", c.During, nil)
	if err != nil {
		return err
	}
	for i := range after.series {
		after.series[i].At += resumed.Sub(begun).Seconds()
	}
	r.Phases = append(r.Phases, report.Phase{
		Name: fmt.Sprintf("killed at %.1f s", killed.Sub(begun).Seconds()), Offered: c.Rate, Seconds: time.Since(begun).Seconds(),
		Series: append(before.series, after.series...),
	})
	if err := w.halt(ctx); err != nil {
		return err
	}
	_, err = w.wait(ctx, "settling", time.Minute, func(s load.Status) bool {
		return s.Tally.Accepted+s.Tally.Refused == s.Tally.Sent
	})
	if err != nil && ctx.Err() == nil {
		w.env.Say("  %v", err) // the account will say what has no answer
		return nil
	}
	return err
}
