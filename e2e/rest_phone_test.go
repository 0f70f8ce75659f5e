//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-im/rookery/e2e/history"
)

// listening is how a device without a WebSocket hears of what comes.
type listening uint8

const (
	byEvents listening = iota
	byPolls
)

// restPhone is a device without a WebSocket: it sends and acks by REST, one
// request after the other, and listens by a stream of events or long polls. It
// is held to the same promises as a phone.
type restPhone struct {
	// immutable
	me      history.Device
	api     *rest
	how     listening
	peers   []string
	seen    *history.Recorder
	count   *counters
	problem func(format string, args ...any)

	// any goroutine
	budget   atomic.Int64
	settling atomic.Bool
	rested   atomic.Bool
	nudge    chan struct{}

	// owned by run
	rng    *rand.Rand
	conns  int
	made   int
	outbox []*outgoing
	stored uint64 // last seq it has
	acked  uint64 // what an answered ack said
	end    bool   // everything that was stored has come on this connection
}

func newRestPhone(s *server, me history.Device, token string, how listening, peers []string, seed uint64, seen *history.Recorder, count *counters) *restPhone {
	return &restPhone{
		me: me, api: newRest(s.address, token), how: how, peers: peers, seen: seen, count: count, nudge: make(chan struct{}, 1),
		rng: rand.New(rand.NewPCG(seed, uint64(me.N)<<32|uint64(len(me.User)))),
	}
}

func (p *restPhone) more(n int) {
	p.budget.Add(int64(n))
	p.wake()
}

func (p *restPhone) settle() {
	p.settling.Store(true)
	p.wake()
}

func (p *restPhone) wake() {
	select {
	case p.nudge <- struct{}{}:
	default:
	}
}

// run listens, talks, and listens again until the context ends.
func (p *restPhone) run(ctx context.Context) {
	defer p.api.http.CloseIdleConnections()
	for ctx.Err() == nil {
		err := p.talk(ctx)
		p.rested.Store(false)
		switch problemCode(err) {
		case "", "unavailable", "rate_limited":
		default:
			p.problem("%s: %v", p.me, err)
		}
		pause := time.NewTimer(time.Duration(10+p.rng.IntN(60)) * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// said is what came at once: frames, and whether nothing more is stored.
type said struct {
	frames []frame
	end    bool
}

// talk is the life of one stream, or of several polls.
func (p *restPhone) talk(ctx context.Context) error {
	p.conns++
	p.end = false
	if p.rng.IntN(3) == 0 { // what it had not acked was not on its disk either
		p.stored = p.acked
	}
	after := p.stored
	if p.rng.IntN(4) == 0 { // it does not say what it has
		after = 0
	}
	p.seen.Add(history.Resuming{Device: p.me, Conn: p.conns, After: after})
	heard, failed := make(chan said), make(chan error, 1)
	reading, stop := context.WithCancel(ctx)
	var reader sync.WaitGroup
	reader.Go(func() { failed <- p.listen(reading, after, heard) })
	defer reader.Wait()
	defer stop()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case s := <-heard:
			p.rested.Store(false)
			for i := range s.frames {
				p.hear(&s.frames[i])
			}
			if s.end && !p.end {
				p.end = true
				p.seen.Add(history.Drained{Device: p.me, Conn: p.conns})
			}
		case <-p.nudge:
		case <-tick.C:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := p.act(ctx); err != nil {
			return err
		}
	}
}

func (p *restPhone) listen(ctx context.Context, after uint64, heard chan<- said) error {
	tell := func(s said) error {
		select {
		case heard <- s:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if p.how == byEvents {
		id := ""
		if after > 0 {
			id = fmt.Sprint(after)
		}
		return p.api.events(ctx, id, func(e event) error {
			if e.name == "close" {
				return errors.New("closed: " + e.data)
			}
			f, err := e.frame()
			if err != nil {
				p.problem("%s: %v", p.me, err)
				return err
			}
			if f.Welcome != nil {
				p.count.welcomes.Add(1)
			}
			return tell(said{[]frame{f}, f.Drained != nil})
		})
	}
	for first := true; ; first = false {
		got, err := p.api.poll(ctx, after, "20s")
		if err != nil {
			return err
		}
		frames, err := got.frames()
		if err != nil {
			return err
		}
		if first {
			p.count.welcomes.Add(1)
		}
		if got.Next < after {
			p.problem("%s: a poll after %d says that the next is %d", p.me, after, got.Next)
		}
		after = got.Next
		if err := tell(said{frames, got.End}); err != nil {
			return err
		}
	}
}

func (p *restPhone) hear(f *frame) {
	switch {
	case f.Deliver != nil:
		d := f.Deliver
		p.seen.Add(history.Delivered{Device: p.me, Conn: p.conns, Seq: d.Seq, ID: d.ID, From: history.Device{User: d.From.User, N: d.From.Device},
			Peer: d.Conversation.User, Order: d.Order, Time: d.Time, Payload: string(d.Payload)})
		p.count.delivers.Add(1)
	case f.Receipt != nil:
		r := f.Receipt
		p.seen.Add(history.Receipt{Device: p.me, Conn: p.conns, Seq: r.Seq, Peer: r.Conversation.User, By: r.By, Delivered: r.DeliveredUpTo, Read: r.ReadUpTo})
	case f.Welcome != nil, f.Drained != nil, f.DeviceEvent != nil, f.GoAway != nil:
	default:
		p.problem("%s: unexpected frame %s", p.me, f.text)
	}
	p.stored = max(p.stored, f.seq())
}

// act does what there is to do now: ack, send, or hang up.
func (p *restPhone) act(ctx context.Context) error {
	settling := p.settling.Load()
	if !settling && p.rng.IntN(200) == 0 {
		return errors.New("hung up")
	}
	if p.stored > p.acked && (settling && p.end || p.rng.IntN(4) == 0) {
		seq := p.stored
		p.seen.Add(history.Acking{Device: p.me, Seq: seq})
		switch err := p.api.ack(ctx, seq); {
		case err == nil:
			p.acked = seq
			p.seen.Add(history.Acked{Device: p.me, Seq: seq})
		case problemCode(err) != "rate_limited":
			return err
		}
	}
	for range 4 {
		if err := p.sendOne(ctx); problemCode(err) == "rate_limited" {
			break // it listens on: else it would fall behind for as long as it has more to say
		} else if err != nil {
			return err
		}
	}
	p.rested.Store(settling && p.end && len(p.outbox) == 0 && p.acked == p.stored)
	return nil
}

// sendOne sends the first message that has no answer, again if need be: one
// after the other, as order wants it where there is no session.
func (p *restPhone) sendOne(ctx context.Context) error {
	if len(p.outbox) == 0 {
		if p.budget.Load() <= 0 || p.settling.Load() {
			return nil
		}
		p.budget.Add(-1)
		p.made++
		payload := fmt.Sprintf("%s-%d %s", p.me, p.made, strings.Repeat("y", p.rng.IntN(300)))
		p.outbox = append(p.outbox, &outgoing{id: newID(), to: p.peers[p.rng.IntN(len(p.peers))], payload: payload})
	}
	o := p.outbox[0]
	p.seen.Add(history.Sending{Device: p.me, ID: o.id, To: o.to, Payload: o.payload})
	var sent sentFrame
	body := fmt.Sprintf(`{"id":%q,"to":{"user":%q},"kind":"TEXT","payload":%q}`, o.id, o.to, base64.StdEncoding.EncodeToString([]byte(o.payload)))
	if err := p.api.call(ctx, "POST", "/v1/messages", body, &sent); err != nil {
		return err
	}
	p.seen.Add(history.Sent{Device: p.me, ID: sent.ID, To: sent.Conversation.User, Order: sent.Order, Time: sent.Time, Duplicate: sent.Duplicate})
	p.outbox = p.outbox[1:]
	p.count.sents.Add(1)
	return nil
}
