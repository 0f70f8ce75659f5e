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

// Saturate offers more than the node can do.
type Saturate struct {
	Users   int
	Warm    time.Duration
	During  time.Duration
	Maximum float64
	Times   float64
	Backlog int
}

// Name of the scenario.
func (*Saturate) Name() string { return "saturate" }

// Doc of the scenario.
func (*Saturate) Doc() string {
	return "several times the maximum is offered: what is accepted, how late, and whether it recovers"
}

// Flags of the scenario.
func (s *Saturate) Flags(fs *flag.FlagSet) {
	fs.IntVar(&s.Users, "users", 2000, "users, two and two of whom talk")
	fs.DurationVar(&s.Warm, "warm", 2*time.Second, "warm-up before each phase, not counted")
	fs.DurationVar(&s.During, "during", 12*time.Second, "how long each phase is measured")
	fs.Float64Var(&s.Maximum, "maximum", 0, "messages a second that count as the maximum; 0 finds it by a closed loop of 8")
	fs.Float64Var(&s.Times, "times", 3, "how many times the maximum is offered")
	fs.IntVar(&s.Backlog, "backlog", 0, "unanswered messages of a sender past which it gives up on new ones; 0 is what the node allows in flight")
}

// The shares of the maximum before and after the overload.
const (
	shareBefore = 0.9
	shareAfter  = 0.5
)

// Validate names every fault of the parameters.
func (s *Saturate) Validate() error {
	var f faults
	f.even("users", s.Users)
	f.check(s.During > 0 && s.Warm >= 0, "during, warm: %v, %v", s.During, s.Warm)
	f.check(s.Maximum >= 0, "maximum: %g is below 0", s.Maximum)
	f.check(s.Times > 1, "times: %g is not above 1", s.Times)
	f.check(s.Backlog >= 0, "backlog: %d is below 0", s.Backlog)
	return f.err()
}

// Run measures once.
func (s *Saturate) Run(ctx context.Context, env *Env) (_ *report.Result, err error) {
	r := report.New(s.Name())
	w, err := env.Build(ctx, Descriptors, Group{Users: s.Users, Devices: 1, Pattern: Both})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Connect(ctx, 0, Everybody, ComeBack); err != nil {
		return nil, err
	}
	maximum := s.Maximum
	if maximum == 0 {
		p, err := s.phase(ctx, w, r, Stretch{Name: "maximum", Drive: load.Drive{Window: 8}})
		if err != nil {
			return nil, err
		}
		maximum = p.Rate
	}
	before, err := s.phase(ctx, w, r, Stretch{Name: "90 %", Drive: load.Drive{Rate: shareBefore * maximum}})
	if err != nil {
		return nil, err
	}
	over, err := s.phase(ctx, w, r, Stretch{
		Name: fmt.Sprintf("%g times", s.Times), Overload: true, Settle: time.Minute,
		Drive: load.Drive{Rate: s.Times * maximum, Shed: true, Backlog: s.Backlog},
	})
	if err != nil {
		return nil, err
	}
	after, err := s.phase(ctx, w, r, Stretch{Name: "after, 50 %", Drive: load.Drive{Rate: shareAfter * maximum}})
	if err != nil {
		return nil, err
	}
	r.Rate, r.ServerCPUPerMillion, r.ClientCPUPerMillion = over.Rate, over.ServerCPUPerMillion, over.ClientCPUPerMillion
	r.SentMs, r.DeliverMs, r.ReceiptMs = over.SentMs, over.DeliverMs, over.ReceiptMs
	r.Maximum, r.AcceptedShare, r.RecoverSeconds = maximum, over.Rate/maximum, over.SettleSeconds
	if o, b := over.Accepted(), before.Accepted(); o != nil && b != nil && b.P99 > 0 {
		r.AcceptedP99Ms, r.P99At90Ms, r.P99Ratio = o.P99, b.P99, o.P99/b.P99
	}
	if r.AcceptedShare > 1.05 {
		r.Note("more than the maximum was accepted: what was found as the maximum is none, as where others use the machine, or with few users; say --maximum, or run it again")
	}
	if after.Rate < offeredBound*shareAfter*maximum {
		r.Note("after the overload half of the maximum is not done: %.0f of %.0f a second", after.Rate, shareAfter*maximum)
	}
	worst(r)
	return r, w.Finish(ctx, r)
}

func (s *Saturate) phase(ctx context.Context, w *World, r *report.Result, st Stretch) (report.Phase, error) {
	st.Warm, st.During = s.Warm, s.During
	p, err := w.Measure(ctx, st)
	if err == nil {
		r.Phases = append(r.Phases, p)
	}
	return p, err
}
