package scenario

import (
	"context"
	"errors"
	"flag"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/report"
)

// Storm cuts all connections at once and has all of them come back.
type Storm struct{ Sessions int }

// Name of the scenario.
func (*Storm) Name() string { return "storm" }

// Doc of the scenario.
func (*Storm) Doc() string {
	return "all connections are cut at once and come back: the time until all are drained"
}

// Flags of the scenario.
func (s *Storm) Flags(fs *flag.FlagSet) {
	fs.IntVar(&s.Sessions, "sessions", 19_000, "connections, each of a user of its own; at most what descriptors allow")
}

// Validate names every fault of the parameters.
func (s *Storm) Validate() error {
	var f faults
	f.check(s.Sessions >= 2, "sessions: %d is below 2", s.Sessions)
	return f.err()
}

// Run measures once.
func (s *Storm) Run(ctx context.Context, env *Env) (_ *report.Result, err error) {
	r := report.New(s.Name())
	n := env.sessionsWithin(r, s.Sessions)
	w, err := env.Build(ctx, Descriptors, Group{Users: n, Devices: 1, Pattern: Both})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Connect(ctx, 0, Everybody, StayAway); err != nil {
		return nil, err
	}
	// So that everybody has a mailbox that was used, and acks to be remembered.
	if _, err := w.oneToEach(ctx, 0, n); err != nil {
		return nil, err
	}
	before, err := w.fleet.Status(ctx)
	if err != nil {
		return nil, err
	}
	back, err := w.Do(ctx, Task{
		Name: "storm",
		Start: func(ctx context.Context) error {
			if err := w.Cut(ctx, 0, Everybody); err != nil {
				return err
			}
			return w.begin(ctx, 0, Everybody, StayAway)
		},
		Done: func(s load.Status) bool { return s.Live == s.Wanted },
		Took: func(s load.Status) (int64, int64) { return s.FirstDial, s.LastDrained },
	})
	if err != nil {
		return nil, err
	}
	r.Sessions, r.RecoverSeconds = n, back.Seconds
	after, err := w.fleet.Status(ctx)
	if err != nil {
		return nil, err
	}
	if again := after.Retries - before.Retries; again > 0 {
		r.Note("%d connections had to be tried again", again)
	}
	each, err := w.oneToEach(ctx, 0, n)
	if err != nil {
		return nil, err
	}
	r.Phases = append(r.Phases, back, each)
	r.MaxPauseMs = back.MaxPauseMs
	if back.PingMs != nil {
		r.MaxStallMs = back.PingMs.Max
	}
	return r, w.Finish(ctx, r)
}
