package scenario

import (
	"context"
	"flag"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/report"
)

// laden is a node that holds messages for users who are away, while others talk in
// pairs.
type laden struct {
	Messages int
	Away     int
	Users    int
	Rate     float64
}

// The groups of a laden node.
const (
	talking = iota
	storing
)

func (l *laden) flags(fs *flag.FlagSet, messages int) {
	fs.IntVar(&l.Messages, "messages", messages, "messages that are stored before")
	fs.IntVar(&l.Away, "away", 2000, "users that they are for, who are away; as many others send them")
	fs.IntVar(&l.Users, "users", 2000, "users who talk in pairs meanwhile")
	fs.Float64Var(&l.Rate, "rate", 3000, "messages a second that they send, an open loop")
}

func (l *laden) check(f *faults) {
	f.check(l.Away >= 1, "away: %d is not above 0", l.Away)
	f.even("users", l.Users)
	f.check(l.Rate > 0, "rate: %g is not above 0", l.Rate)
	if l.Away >= 1 {
		f.check(l.each() >= 1 && l.each() <= 5000, "messages, away: %d for each, must be from 1 to 5000, which is what one sender may fill of a mailbox", l.each())
	}
}

func (l *laden) each() int { return l.Messages / l.Away }

func (l *laden) build(ctx context.Context, env *Env) (*World, error) {
	return env.Build(ctx, Descriptors, Group{Users: l.Users, Devices: 1, Pattern: Both}, Group{Users: 2 * l.Away, Devices: 1, Pattern: OneWay})
}

// fill stores the messages, and has the pairs connect.
func (l *laden) fill(ctx context.Context, w *World, r *report.Result) (stored report.Phase, err error) {
	if _, err := w.Connect(ctx, storing, Senders, ComeBack); err != nil {
		return stored, err
	}
	if stored, err = w.store(ctx, storing, l.each()*l.Away, load.Drive{Window: 16, Limit: l.each()}); err != nil {
		return stored, err
	}
	r.Phases, r.StoreRate = append(r.Phases, stored), stored.Rate
	if err := w.Cut(ctx, storing, Senders); err != nil {
		return stored, err
	}
	_, err = w.Connect(ctx, talking, Everybody, ComeBack)
	return stored, err
}

// empty has those come who were away, and waits until everything is settled.
func (l *laden) empty(ctx context.Context, w *World, r *report.Result) error {
	// The senders must hear of their receipts.
	if err := w.begin(ctx, storing, Senders, ComeBack); err != nil {
		return err
	}
	drained, err := w.drain(ctx, storing, l.each()*l.Away)
	if err != nil {
		return err
	}
	r.Phases, r.DrainRate = append(r.Phases, drained), drained.Rate
	return w.settle(ctx, "drained", 0, time.Minute)
}
