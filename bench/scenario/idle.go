package scenario

import (
	"context"
	"errors"
	"flag"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/machine"
	"github.com/rookery-im/rookery/bench/report"
)

// Idle holds many sessions that do nothing, and weighs them.
type Idle struct {
	Sessions int
	Rest     time.Duration
}

// Name of the scenario.
func (*Idle) Name() string { return "idle" }

// Doc of the scenario.
func (*Idle) Doc() string {
	return "authenticated sessions that do nothing: what each costs; then one message to each"
}

// Flags of the scenario.
func (i *Idle) Flags(fs *flag.FlagSet) {
	fs.IntVar(&i.Sessions, "sessions", 19_000, "sessions, each of a user of its own; at most what descriptors allow")
	fs.DurationVar(&i.Rest, "rest", 12*time.Second, "how long the node is left alone before it is weighed")
}

// weight of the node, and of the kernel that serves it.
type weight struct{ resident, heap, kernel float64 }

// weigh reads the memory after a collection, as the runtime would do by itself
// within two minutes of idling: garbage of the set-up is not the sessions'.
func (e *Env) weigh(ctx context.Context, rest time.Duration) (weight, error) {
	if err := e.Node.Collect(ctx); err != nil {
		return weight{}, err
	}
	select {
	case <-ctx.Done():
		return weight{}, ctx.Err()
	case <-time.After(rest): // the runtime gives pages back by and by
	}
	m, err := e.Node.Metrics(ctx)
	if err != nil {
		return weight{}, err
	}
	p, err := e.Node.Process(m)
	return weight{float64(p.Resident), m[metricHeap], float64(machine.KernelMemory())}, err
}

// sessionsWithin is how many of n sessions the descriptors of one node allow,
// an even number.
func (e *Env) sessionsWithin(r *report.Result, n int) int {
	const spare = 1000 // the node's files and requests
	if room := e.Descriptors - spare; e.Descriptors > 0 && n > room {
		r.Note("%d sessions instead of %d: a process may open %d descriptors here", room/2*2, n, e.Descriptors)
		n = room
	}
	return n / 2 * 2
}

// Validate names every fault of the parameters.
func (i *Idle) Validate() error {
	var f faults
	f.check(i.Sessions >= 2, "sessions: %d is below 2", i.Sessions)
	f.check(i.Rest >= 0, "rest: %v is below 0", i.Rest)
	return f.err()
}

// Run measures once.
func (i *Idle) Run(ctx context.Context, env *Env) (_ *report.Result, err error) {
	r := report.New(i.Name())
	n := env.sessionsWithin(r, i.Sessions)
	if !env.Node.Own() {
		r.Note("the node is not fresh: what it held before is taken for its base")
	}
	base, err := env.weigh(ctx, i.Rest/4)
	if err != nil {
		return nil, err
	}
	w, err := env.Build(ctx, Group{Users: n, Devices: 1, Pattern: Both})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Connect(ctx, 0, Everybody, StayAway); err != nil {
		return nil, err
	}
	rest, err := w.Do(ctx, Task{
		Name:  "rest",
		Start: func(ctx context.Context) error { return i.weigh(ctx, env, r, n, base) },
		Done:  func(load.Status) bool { return true },
		Took:  func(s load.Status) (int64, int64) { return s.LastDrained, s.Now },
	})
	if err != nil {
		return nil, err
	}
	each, err := w.oneToEach(ctx, 0, n)
	if err != nil {
		return nil, err
	}
	r.Phases = append(r.Phases, rest, each)
	r.SentMs, r.DeliverMs = each.SentMs, each.DeliverMs
	if rest.PingMs != nil {
		r.MaxStallMs = rest.PingMs.Max
	}
	r.MaxPauseMs = rest.MaxPauseMs
	return r, w.Finish(ctx, r)
}

func (i *Idle) weigh(ctx context.Context, env *Env, r *report.Result, n int, base weight) error {
	full, err := env.weigh(ctx, i.Rest)
	if err != nil {
		return err
	}
	each := float64(n)
	r.Sessions = n
	r.BytesPerSession = (full.resident - base.resident) / each
	r.HeapBytesPerSession = (full.heap - base.heap) / each
	r.OtherBytesPerSession = r.BytesPerSession - r.HeapBytesPerSession
	// Both ends of each connection are in this kernel.
	r.KernelBytesPerSession = (full.kernel - base.kernel) / each / 2
	env.Say("resident %s MiB before, %s MiB with %d sessions", report.Number(base.resident/(1<<20)), report.Number(full.resident/(1<<20)), n)
	return nil
}

// oneToEach has everybody of a group of pairs send one message, and waits for
// all of them: a session that answers pings may still be deaf.
func (w *World) oneToEach(ctx context.Context, group, users int) (report.Phase, error) {
	st, err := w.fleet.Status(ctx)
	if err != nil {
		return report.Phase{}, err
	}
	begun := st.Tally.Delivered
	p, err := w.Do(ctx, Task{
		Name: "one to each", Start: w.drive(group, load.Drive{Window: 1, Limit: 1}), Patience: time.Minute,
		Done: func(s load.Status) bool {
			return s.Tally.Delivered >= begun+uint64(users) || s.Now-s.LastEvent > int64(10*time.Second)
		},
		Took: func(s load.Status) (int64, int64) { return s.Driven, max(s.LastAnswered, s.LastDelivered) },
	})
	if err != nil {
		return p, err
	}
	if err := w.halt(ctx); err != nil {
		return p, err
	}
	return p, w.settle(ctx, "one to each", 30*time.Second)
}
