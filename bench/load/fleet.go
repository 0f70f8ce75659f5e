package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// Worker is one engine, wherever it runs.
type Worker interface {
	Do(ctx context.Context, o Order) (Reply, error)
	// Close ends it and waits.
	Close() error
}

// Fleet is several workers as one. Spans and flows are each worker's own.
type Fleet []Worker

// Each tells every worker its order at the same time, and gives the replies.
func (f Fleet) Each(ctx context.Context, order func(i int) Order) ([]Reply, error) {
	replies := make([]Reply, len(f))
	errs := make([]error, len(f))
	var running sync.WaitGroup
	for i, w := range f {
		running.Go(func() { replies[i], errs[i] = w.Do(ctx, order(i)) })
	}
	running.Wait()
	return replies, errors.Join(errs...)
}

// All tells every worker the same.
func (f Fleet) All(ctx context.Context, o Order) ([]Reply, error) {
	return f.Each(ctx, func(int) Order { return o })
}

// Status of all together.
func (f Fleet) Status(ctx context.Context) (Status, error) {
	replies, err := f.All(ctx, Order{Status: true})
	return Sum(replies), err
}

// Close ends all workers.
func (f Fleet) Close() error {
	var errs []error
	for _, w := range f {
		errs = append(errs, w.Close())
	}
	return errors.Join(errs...)
}

// Sum adds up what workers say; times are the earliest and the latest.
func Sum(replies []Reply) Status {
	var t Status
	for _, r := range replies {
		s := r.Status
		t.Now = max(t.Now, s.Now)
		t.Wanted += s.Wanted
		t.Live += s.Live
		t.Dials += s.Dials
		t.Lost += s.Lost
		t.Retries += s.Retries
		t.FirstDial, t.Driven = earliest(t.FirstDial, s.FirstDial), earliest(t.Driven, s.Driven)
		t.LastAnswered, t.LastDelivered = max(t.LastAnswered, s.LastAnswered), max(t.LastDelivered, s.LastDelivered)
		t.LastDrained = max(t.LastDrained, s.LastDrained)
		t.Open += s.Open
		t.LastEvent = max(t.LastEvent, s.LastEvent)
		t.Tally = t.Tally.Plus(s.Tally)
		t.Shed += s.Shed
		t.Errors += s.Errors
		t.Acks += s.Acks
		t.Actions += s.Actions
		t.Frames += s.Frames
		t.Idle += s.Idle
		t.Run += s.Run
		t.CPU += s.CPU
		t.Heap += s.Heap
		t.SendsPerSecond = max(t.SendsPerSecond, s.SendsPerSecond)
		t.Problems = append(t.Problems, s.Problems...)
		t.Losses = append(t.Losses, s.Losses...)
	}
	return t
}

// earliest of two times, of which 0 is none.
func earliest(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Merge puts the reports of workers together.
func Merge(replies []Reply) Report {
	t := newReport()
	for _, r := range replies {
		if r.Report == nil {
			continue
		}
		t.Sent.Add(r.Report.Sent)
		t.Delivered.Add(r.Report.Delivered)
		t.Receipted.Add(r.Report.Receipted)
		t.Attempt.Add(r.Report.Attempt)
		t.Late.Add(r.Report.Late)
		t.PingLate.Add(r.Report.PingLate)
		t.Hello.Add(r.Report.Hello)
		t.Ping.Add(r.Report.Ping)
		for code, n := range r.Report.Codes {
			t.Codes[code] += n
		}
		t.Tally = t.Tally.Plus(r.Report.Tally)
	}
	return t
}

// local is an engine of this process.
type local struct {
	*Engine
	cancel context.CancelFunc
	done   chan error
}

// StartLocal starts an engine in this process.
func StartLocal(ctx context.Context) (Worker, error) {
	e, err := NewEngine()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &local{e, cancel, make(chan error, 1)}
	go func() { l.done <- e.Run(ctx) }()
	return l, nil
}

func (l *local) Close() error {
	l.cancel()
	return <-l.done
}

// remote is an engine in a process of its own, told by JSON lines.
type remote struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader

	mu sync.Mutex // one order at a time
}

// StartRemote starts an engine by a command that runs Serve.
func StartRemote(cmd *exec.Cmd) (Worker, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("load: worker: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("load: worker: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("load: worker: %w", err)
	}
	return &remote{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 1<<20)}, nil
}

func (r *remote) Do(ctx context.Context, o Order) (Reply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line, err := json.Marshal(o)
	if err != nil {
		return Reply{}, fmt.Errorf("load: order: %w", err)
	}
	// A worker answers every order at once, or it has gone.
	stop := context.AfterFunc(ctx, func() { _ = r.cmd.Process.Kill() })
	defer stop()
	if _, err := r.in.Write(append(line, '\n')); err != nil {
		return Reply{}, fmt.Errorf("load: worker: %w", err)
	}
	line, err = r.out.ReadBytes('\n')
	if err != nil {
		return Reply{}, fmt.Errorf("load: the worker has ended: %w", err)
	}
	var reply Reply
	if err := json.Unmarshal(line, &reply); err != nil {
		return Reply{}, fmt.Errorf("load: worker: %w", err)
	}
	return reply, reply.err()
}

func (r *remote) Close() error {
	err := r.in.Close() // Serve ends at the end of its input
	late := time.AfterFunc(5*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer late.Stop()
	return errors.Join(err, r.cmd.Wait())
}

// Serve runs an engine that is told by lines on in and answers on out, until in
// ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	w, err := StartLocal(ctx)
	if err != nil {
		return err
	}
	lines := bufio.NewReaderSize(in, 1<<20)
	enc := json.NewEncoder(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, w.Close())
		}
		var o Order
		var reply Reply
		if err := json.Unmarshal(line, &o); err != nil {
			reply.Error = err.Error()
		} else if reply, err = w.Do(ctx, o); err != nil {
			reply.Error = err.Error()
		}
		if err := enc.Encode(reply); err != nil {
			return errors.Join(fmt.Errorf("load: answer: %w", err), w.Close())
		}
	}
}
