package scenario

import (
	"context"
	"errors"
	"flag"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/report"
)

// Offline stores messages for users who are not there, and lets them all come
// at once.
type Offline struct {
	Users    int
	Messages int
	Window   int
	Kill     bool
}

// Name of the scenario.
func (*Offline) Name() string { return "offline" }

// Doc of the scenario.
func (*Offline) Doc() string {
	return "messages for users who are away: stored, then all drained; with --kill the node is killed in between"
}

// Flags of the scenario.
func (o *Offline) Flags(fs *flag.FlagSet) {
	fs.IntVar(&o.Users, "users", 2000, "users who are away; as many others send, one to each")
	fs.IntVar(&o.Messages, "messages", 100, "messages for each of them")
	fs.IntVar(&o.Window, "window", 16, "sends that a sender leaves unanswered")
	fs.BoolVar(&o.Kill, "kill", false, "kill -9 the node when all is stored, and start it again (with --self)")
}

// Validate names every fault of the parameters.
func (o *Offline) Validate() error {
	var f faults
	f.check(o.Users >= 1, "users: %d is not above 0", o.Users)
	f.check(o.Messages >= 1 && o.Messages <= 5000, "messages: %d is not from 1 to 5000, which is what one sender may fill of a mailbox", o.Messages)
	f.check(o.Window >= 1, "window: %d is not above 0", o.Window)
	return f.err()
}

// Run measures once.
func (o *Offline) Run(ctx context.Context, env *Env) (_ *report.Result, err error) {
	if o.Kill && !env.Node.Own() {
		return nil, errors.New("kill: only a node that the bench has started may be killed: use --self")
	}
	r := report.New(o.Name())
	w, err := env.Build(ctx, Descriptors, Group{Users: 2 * o.Users, Devices: 1, Pattern: OneWay})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Connect(ctx, 0, Senders, ComeBack); err != nil {
		return nil, err
	}
	stored, err := w.store(ctx, 0, o.Users*o.Messages, load.Drive{Window: o.Window, Limit: o.Messages})
	if err != nil {
		return nil, err
	}
	r.Phases = append(r.Phases, stored)
	r.StoreRate, r.ServerCPUPerMillion, r.ClientCPUPerMillion = stored.Rate, stored.ServerCPUPerMillion, stored.ClientCPUPerMillion
	r.SentMs, r.BytesWrittenPerMessage = stored.SentMs, stored.BytesWrittenPerMessage
	if o.Kill {
		if r.RecoverSeconds, err = w.crash(ctx); err != nil {
			return nil, err
		}
	}
	drained, err := w.drain(ctx, 0, o.Users*o.Messages)
	if err != nil {
		return nil, err
	}
	r.Phases = append(r.Phases, drained)
	r.DrainRate = drained.Rate
	if err := w.settle(ctx, "drained", 0, time.Minute); err != nil {
		return nil, err
	}
	worst(r)
	return r, w.Finish(ctx, r)
}

// store sends until every message has an answer.
func (w *World) store(ctx context.Context, group, messages int, d load.Drive) (report.Phase, error) {
	st, err := w.fleet.Status(ctx)
	if err != nil {
		return report.Phase{}, err
	}
	begun := st.Tally.Accepted + st.Tally.Refused
	p, err := w.Do(ctx, Task{
		Name: "store", Start: w.drive(group, d), Of: Accepted,
		Done: func(s load.Status) bool { return s.Tally.Accepted+s.Tally.Refused >= begun+uint64(messages) },
		Took: func(s load.Status) (int64, int64) { return s.Driven, s.LastAnswered },
	})
	return p, errors.Join(err, w.halt(ctx))
}

// drain connects the recipients; it is over when all that was stored has been
// delivered and every connection is drained, or when nothing more comes.
func (w *World) drain(ctx context.Context, group, messages int) (report.Phase, error) {
	st, err := w.fleet.Status(ctx)
	if err != nil {
		return report.Phase{}, err
	}
	begun := st.Tally.Delivered
	return w.Do(ctx, Task{
		Name: "drain", Of: Delivered,
		Start: func(ctx context.Context) error { return w.begin(ctx, group, Recipients, ComeBack) },
		Done: func(s load.Status) bool {
			if s.Live < s.Wanted {
				return false
			}
			return s.Tally.Delivered >= begun+uint64(messages) || s.Now-max(s.LastDelivered, s.LastDrained) > int64(5*time.Second)
		},
		Took: func(s load.Status) (int64, int64) { return s.FirstDial, max(s.LastDelivered, s.LastDrained) },
	})
}

// crash kills the node, starts it again, and gives the time from the start of
// the process to ready.
func (w *World) crash(ctx context.Context) (float64, error) {
	if err := w.env.Node.Kill(); err != nil {
		return 0, err
	}
	w.env.Say("killed")
	began := time.Now()
	if err := w.env.Node.Start(ctx); err != nil {
		return 0, err
	}
	took := time.Since(began).Seconds()
	w.env.Say("ready again %.2f s after its start", took)
	return took, nil
}
