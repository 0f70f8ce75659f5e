package scenario

import (
	"context"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/report"
)

// Task is a phase that ends when something is done, such as storing so many
// messages, and whose time is taken from the workers' own notes.
type Task struct {
	Name     string
	Start    func(ctx context.Context) error
	Done     func(s load.Status) bool
	Took     func(s load.Status) (from, to int64) // Unix ns
	Patience time.Duration
	// Of says what the phase counts: what CPU, bytes and rate are of.
	Of Counted
}

// Counted is what a task's messages are.
type Counted uint8

// What is counted.
const (
	Accepted Counted = iota
	Delivered
)

func (c Counted) of(a, b load.Status) uint64 {
	if c == Delivered {
		return b.Tally.Delivered - a.Tally.Delivered
	}
	return b.Tally.Accepted - a.Tally.Accepted
}

// stuck is how long nothing may move in a task before it is given up.
const stuck = 20 * time.Second

// Do runs a task. Latencies are of what was to be sent since it began.
func (w *World) Do(ctx context.Context, t Task) (report.Phase, error) {
	if _, err := w.fleet.All(ctx, load.Order{Mark: true}); err != nil {
		return report.Phase{}, err
	}
	before, err := w.sample(ctx)
	if err != nil {
		return report.Phase{}, err
	}
	if err := t.Start(ctx); err != nil {
		return report.Phase{}, err
	}
	if t.Patience == 0 {
		t.Patience = 3 * time.Minute
	}
	began := time.Now().UnixNano()
	st, err := w.wait(ctx, t.Name, t.Patience, func(s load.Status) bool {
		// Where nothing moves any more the account says what is missing.
		moved := max(began, s.LastAnswered, s.LastDelivered, s.LastDrained)
		return t.Done(s) || s.Now-moved > int64(stuck)
	})
	if err != nil {
		return report.Phase{}, err
	}
	after, err := w.sample(ctx)
	if err != nil {
		return report.Phase{}, err
	}
	p := phase(before, after, sample{pause: after.metrics[metricPauseMax]})
	p.Name = t.Name
	p.Messages = t.Of.of(before.load, after.load)
	from, to := t.Took(st)
	if p.Seconds = time.Duration(to - from).Seconds(); p.Seconds > 0 {
		p.Rate = float64(p.Messages) / p.Seconds
		p.DeliveriesPerSecond = float64(Delivered.of(before.load, after.load)) / p.Seconds
	}
	perMessage(&p, before, after)
	replies, err := w.fleet.All(ctx, load.Order{Report: true})
	if err != nil {
		return p, err
	}
	r := load.Merge(replies)
	latencies(&p, r)
	if st.LastDrained > before.load.LastDrained {
		p.HelloMs = r.Hello.Quantiles()
	}
	w.env.Say("%s: %.2f s, %d messages", t.Name, p.Seconds, p.Messages)
	return p, nil
}

// drive makes a group's flows send, as the start of a task.
func (w *World) drive(group int, d load.Drive) func(context.Context) error {
	return func(ctx context.Context) error {
		return w.driveAll(ctx, Stretch{Name: "drive", Group: group, Drive: d})
	}
}

// halt ends sending.
func (w *World) halt(ctx context.Context) error {
	_, err := w.fleet.All(ctx, load.Order{Halt: true})
	return err
}
