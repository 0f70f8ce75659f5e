package client

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/rookery-im/rookery/client/internal/core"
)

// round bounds how many inputs share one write to the store.
const round = 256

// request is something the application asks of the loop. Its answer is the
// effect that the core answers it with: Queued, Said or Hand.
type request struct {
	in    core.Input
	look  func(*core.Machine) // instead of in: reads the machine
	fate  chan core.Fate      // of a Queue that waits for its fate
	reply chan core.Effect
}

// answer is a reply that is held until what it rests on is written.
type answer struct {
	to     chan core.Effect
	effect core.Effect
}

// loop owns the machine. All its fields are its goroutine's alone.
type loop struct {
	c       *Client
	machine *core.Machine
	timer   *time.Timer
	link    *link
	held    bool // the link is not read
	fetcher chan core.Effect
	calls   map[uint64]chan core.Fate
	call    uint64

	// of one round
	records []Record
	sync    bool
	todo    []core.Effect
	answers []answer
	given   []uint64 // calls that were given up

	broken bool // the store failed
	closed bool
}

func (l *loop) run(start []core.Effect) {
	defer l.c.wg.Done()
	defer close(l.c.done)
	l.timer = time.NewTimer(time.Hour)
	defer l.timer.Stop()
	l.gather(start, nil)
	l.perform()
	for !l.closed {
		l.await()
		for n := 1; n < round && !l.closed && l.more(); n++ {
			continue
		}
		l.perform()
	}
}

// await waits for one input.
func (l *loop) await() {
	l.timer.Stop()
	if next := l.machine.Next(); !next.IsZero() {
		l.timer.Reset(time.Until(next))
	}
	net := l.c.net
	if l.held {
		net = nil
	}
	select {
	case r := <-l.c.requests:
		l.serve(r)
	case in := <-net:
		l.step(in)
	case in := <-l.c.results:
		l.step(in)
	case <-l.timer.C:
		l.step(core.Tick{})
	}
}

// more takes another input of the same round, if one is there.
func (l *loop) more() bool {
	net := l.c.net
	if l.held || l.holding() {
		net = nil
	}
	select {
	case r := <-l.c.requests:
		l.serve(r)
	case in := <-net:
		l.step(in)
	case in := <-l.c.results:
		l.step(in)
	default:
		return false
	}
	return true
}

// holding: the machine asked for a pause that is not performed yet.
func (l *loop) holding() bool {
	for _, e := range l.todo {
		if h, ok := e.(core.Hold); ok && h.On {
			return true
		}
	}
	return false
}

func (l *loop) step(in core.Input) {
	l.gather(l.machine.Step(time.Now(), rand.Float64(), in), nil)
}

// serve takes a request of the application's.
func (l *loop) serve(r request) {
	if r.look != nil {
		r.look(l.machine)
		l.answers = append(l.answers, answer{to: r.reply, effect: core.Said{}})
		return
	}
	switch in := r.in.(type) {
	case core.Queue:
		if r.fate != nil {
			l.call++
			in.Call = l.call
			l.calls[l.call] = r.fate
			r.in = in
		}
	case core.Abandon: // an earlier input of this round may have answered it: that still goes out
		in.Call = l.callOf(r.fate)
		l.given = append(l.given, in.Call)
		r.in = in
	case core.Fetch:
		l.fetcher = r.reply
	case core.Close:
		l.closed = true
	}
	l.gather(l.machine.Step(time.Now(), rand.Float64(), r.in), r.reply)
	if _, unfetch := r.in.(core.Unfetch); unfetch {
		l.answers = append(l.answers, answer{to: r.reply, effect: core.Said{}})
	}
}

func (l *loop) callOf(fate chan core.Fate) uint64 {
	for call, ch := range l.calls {
		if ch == fate {
			return call
		}
	}
	return 0
}

// gather sorts effects: what is to be written, what is to be answered, the rest.
func (l *loop) gather(effects []core.Effect, reply chan core.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case core.Write:
			for _, r := range e.Records {
				l.records = append(l.records, Record{Key: r.Key, Value: r.Value})
			}
			l.sync = l.sync || e.Sync
		case core.Queued, core.Said:
			l.answers = append(l.answers, answer{to: reply, effect: e})
		case core.Hand:
			l.answers = append(l.answers, answer{to: l.fetcher, effect: e})
			l.fetcher = nil
		default:
			l.todo = append(l.todo, e)
		}
	}
}

// perform writes what the round changed, then does the rest.
func (l *loop) perform() {
	err := l.store()
	if err != nil {
		l.breakDown(err)
	}
	l.publish()
	todo, answers := l.todo, l.answers
	l.todo, l.answers = nil, nil
	for _, e := range todo {
		l.do(e)
	}
	for _, call := range l.given {
		delete(l.calls, call)
	}
	l.given = l.given[:0]
	for _, a := range answers {
		if a.to != nil {
			a.to <- a.effect // has room for its one answer
		}
	}
}

func (l *loop) store() error {
	records, sync := l.records, l.sync
	l.records, l.sync = nil, false
	if l.broken {
		return nil
	}
	ctx := context.WithoutCancel(l.c.ctx)
	if len(records) > 0 {
		if err := l.c.store.Apply(ctx, records); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	if sync {
		if err := l.c.store.Sync(ctx); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
	}
	return nil
}

// breakDown: what was to be said or answered rests on what could not be written.
func (l *loop) breakDown(err error) {
	l.broken = true
	l.c.storeErr = fmt.Errorf("%w: %w", ErrStore, err)
	kept := l.todo[:0]
	for _, e := range l.todo {
		switch e.(type) {
		case core.Answer, core.Note, core.Stop, core.Hangup:
			kept = append(kept, e)
		}
	}
	l.todo = kept
	for i, a := range l.answers {
		switch a.effect.(type) {
		case core.Queued:
			l.answers[i].effect = core.Queued{Err: core.ErrStopped}
		case core.Said:
			l.answers[i].effect = core.Said{Err: core.ErrStopped}
		case core.Hand: // the one before is not known to be taken
			l.answers[i].effect = core.Hand{}
		}
	}
	l.step(core.Broken{Err: err})
	l.records, l.sync = nil, false
}

// do one effect.
func (l *loop) do(e core.Effect) {
	c := l.c
	switch e := e.(type) {
	case core.Ask:
		c.wg.Go(func() { c.ask(e) })
	case core.Dial:
		l.dial(e)
	case core.Look:
		c.wg.Go(func() { c.look(e) })
	case core.Say:
		if l.link != nil && l.link.id == e.Conn {
			l.link.say(e.Frame)
		}
	case core.Hangup:
		l.hangup(e)
	case core.Hold:
		l.held = e.On && l.link != nil && l.link.id == e.Conn
	case core.Answer:
		if ch := l.calls[e.Call]; ch != nil {
			delete(l.calls, e.Call)
			ch <- e.Fate // has room for its one answer
		}
	case core.Stop:
		err := stopError(e)
		c.stopped.Store(&err)
		if e.Why != core.Closed {
			c.log.Error("stopped", "err", err)
		}
	case core.Note:
		c.log.Info(e.Text, slog.Any("err", e.Err), slog.Duration("wait", e.Wait))
	}
}

func (l *loop) dial(e core.Dial) {
	if l.link != nil {
		l.link.cancel()
	}
	c := l.c
	url := c.url.webSocket()
	if e.Alternate != "" {
		if other, err := c.url.alternate(e.Alternate); err != nil {
			c.log.Warn("an alternate is passed over", "err", err)
		} else {
			url = other
		}
	}
	l.held = false
	link := newLink(context.WithoutCancel(c.ctx), e.Conn, c.cfg.Encoding, c.post)
	l.link = link
	c.wg.Go(func() { link.run(c.dial, url) })
}

func (l *loop) hangup(e core.Hangup) {
	if l.link == nil || l.link.id != e.Conn {
		return
	}
	if e.Orderly {
		l.link.leave(e.Reason)
	} else {
		l.link.cancel()
	}
	l.link, l.held = nil, false
}

// publish makes the status visible without asking the loop.
func (l *loop) publish() {
	s := statusOf(l.machine.Status())
	if s.State == StateStopped {
		for _, e := range l.todo {
			if stop, ok := e.(core.Stop); ok {
				s.Err = stopError(stop)
			}
		}
		if old := l.c.status.Load(); old != nil && old.State == StateStopped {
			s.Err = old.Err
		}
	}
	l.c.status.Store(&s)
}
