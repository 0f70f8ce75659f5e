package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rookery-im/rookery/bench/load"
)

// Who of a group.
type Who uint8

// Everybody, or, in a OneWay group, one side.
const (
	Everybody Who = iota
	Senders
	Recipients
)

// span of a group's users at a worker.
func (w *World) span(worker, group int, who Who) load.Span {
	s := w.spans[worker][group]
	half := (s.To - s.From) / 2
	switch who {
	case Senders:
		s.To = s.From + half
	case Recipients:
		s.From += half
	}
	return s
}

// poll is how often workers are asked how far they are. What is measured are
// the times that they note themselves.
const poll = 50 * time.Millisecond

// Lost connections, come back or not.
type Return bool

// What becomes of a connection that is lost unasked.
const (
	StayAway Return = false
	ComeBack Return = true
)

// Connect brings a group's devices up and waits until all are drained. It gives
// the time from the first dial to the last drained.
func (w *World) Connect(ctx context.Context, group int, who Who, back Return) (time.Duration, error) {
	if err := w.begin(ctx, group, who, back); err != nil {
		return 0, err
	}
	st, err := w.wait(ctx, "connect", 2*time.Minute+time.Duration(w.devs)*connectPatience, func(s load.Status) bool { return s.Live == s.Wanted })
	if err != nil {
		return 0, err
	}
	w.rate = st.SendsPerSecond
	took := time.Duration(st.LastDrained - st.FirstDial)
	w.env.Say("%d connected in %.2f s, %d tries more than one each", st.Live, took.Seconds(), st.Retries)
	return took, nil
}

// connectPatience is for each device, beside what all have.
const connectPatience = 200 * time.Microsecond

// begin orders the connections without waiting for them.
func (w *World) begin(ctx context.Context, group int, who Who, back Return) error {
	_, err := w.fleet.Each(ctx, func(i int) load.Order {
		return load.Order{Connect: &load.Connect{
			Span: w.span(i, group, who), AtOnce: max(1, w.env.AtOnce/len(w.fleet)), Return: bool(back),
		}}
	})
	return err
}

// Cut closes a group's connections at once.
func (w *World) Cut(ctx context.Context, group int, who Who) error {
	_, err := w.fleet.Each(ctx, func(i int) load.Order { return load.Order{Cut: &load.Cut{Span: w.span(i, group, who)}} })
	return err
}

// wait asks the workers until it is so.
func (w *World) wait(ctx context.Context, what string, patience time.Duration, so func(load.Status) bool) (load.Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s: not done within %v", what, patience))
	defer cancel()
	var last load.Status
	said := time.Now()
	for {
		st, err := w.fleet.Status(ctx)
		if err == nil && so(st) {
			return st, nil
		}
		if err == nil {
			last = st
		} else if ctx.Err() == nil {
			return st, err
		}
		if time.Since(said) >= time.Second {
			said = time.Now()
			w.env.Say("  %s: %d of %d connected, %d messages open", what, st.Live, st.Wanted, st.Open)
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("scenario: %w; %d of %d connected, %d messages open; %s",
				context.Cause(ctx), last.Live, last.Wanted, last.Open, strings.Join(last.Problems, "; "))
		case <-time.After(poll):
		}
	}
}
