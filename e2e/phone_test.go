//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-im/rookery/e2e/history"
)

// counters are what the director of the crashes waits for.
type counters struct{ welcomes, sents, delivers atomic.Int64 }

// phone is one device that talks until it is told to settle, through every
// crash, and records what it does and learns. It follows docs/protocol.md:
// an outbox, everything unanswered again in order after a reconnect or a
// retryable error, hello.acked.
type phone struct {
	// immutable
	me      history.Device
	token   string
	urls    []string // of which each connection takes one
	peers   []string
	seen    *history.Recorder
	count   *counters
	problem func(format string, args ...any)

	// any goroutine
	budget   atomic.Int64 // messages that may still be made
	settling atomic.Bool
	rested   atomic.Bool   // settled: it has said all that it has to say to what it has heard
	nudge    chan struct{} // budget or settling changed

	// owned by run
	rng       *rand.Rand
	conn      *websocket.Conn
	conns     int
	made      int
	outbox    []*outgoing
	open      int           // sends written on this connection and not answered
	hold      bool          // a retryable error: write nothing until all open ones are answered
	resume    time.Time     // and not before this
	pause     time.Duration // before it connects again
	ready     bool          // welcome has come
	drained   bool
	stored    uint64            // last seq it has
	tops      map[string]uint64 // peer -> highest order it has
	acked     uint64            // what it had when it last said ack
	ackedTops map[string]uint64
	ever      map[string]uint64 // peer -> highest order that it ever had
	read      map[string]uint64 // peer -> order said on this connection
	acted     bool              // the last speak was one of a settling phone
}

// outgoing is a message that has no sent yet.
type outgoing struct {
	id, to, payload string
	written         bool
}

const window = 8 // sends that a phone leaves unanswered

// more allows the phone n further messages.
func (p *phone) more(n int) {
	p.budget.Add(int64(n))
	p.wake()
}

// settle makes the phone ack and read everything and send nothing new.
func (p *phone) settle() {
	p.settling.Store(true)
	p.wake()
}

func (p *phone) wake() {
	select {
	case p.nudge <- struct{}{}:
	default:
	}
}

// run connects, talks and connects again until the context ends.
func (p *phone) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.talk(ctx)
		if code := websocket.CloseStatus(err); code >= 4100 && code < 4200 {
			p.problem("%s: closed: %v", p.me, err)
		}
		pause := time.NewTimer(p.pause + time.Duration(10+p.rng.IntN(60))*time.Millisecond)
		p.pause = 0
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// talk is the life of one connection.
func (p *phone) talk(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	conn, _, err := websocket.Dial(dialing, p.urls[p.rng.IntN(len(p.urls))], &websocket.DialOptions{Subprotocols: []string{"rookery.v1.json"}})
	cancel()
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(4 << 20)
	p.conn, p.open, p.hold, p.ready, p.drained, p.read = conn, 0, false, false, false, map[string]uint64{}
	for _, o := range p.outbox {
		o.written = false
	}
	p.rested.Store(false)
	p.conns++
	p.forget()
	p.seen.Add(history.Connecting{Device: p.me, Conn: p.conns, Acked: p.stored})
	if err := p.say(ctx, helloText(p.token, p.stored)); err != nil {
		return err
	}
	messages := make(chan []frame)
	failed := make(chan error, 1)
	var reader sync.WaitGroup
	reading, stop := context.WithCancel(ctx)
	reader.Go(func() { failed <- p.listen(reading, conn, messages) })
	defer reader.Wait()
	defer stop()
	tick := time.NewTicker(25 * time.Millisecond) // for whoever has to wait before sending again
	defer tick.Stop()
	for {
		select {
		case frames := <-messages:
			p.rested.Store(false)
			for i := range frames {
				if err := p.hear(&frames[i]); err != nil {
					return err
				}
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

// forget: some devices come back with less than they had. What they acked the
// server may have dropped, the rest it sends again.
func (p *phone) forget() {
	switch p.rng.IntN(4) {
	case 0: // what it had not acked was not on its disk either
		p.stored, p.tops = p.acked, maps.Clone(p.ackedTops)
	case 1: // it has no memory at all, and says nothing in hello
		p.stored, p.tops = 0, map[string]uint64{}
	}
	p.acked, p.ackedTops = p.stored, maps.Clone(p.tops)
}

func (p *phone) listen(ctx context.Context, conn *websocket.Conn, messages chan<- []frame) error {
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		frames, err := parseFrames(string(data))
		if err != nil {
			p.problem("%s: %v", p.me, err)
		}
		select {
		case messages <- frames:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *phone) say(ctx context.Context, text string) error {
	return p.conn.Write(ctx, websocket.MessageText, []byte(text))
}

// hear takes one frame.
func (p *phone) hear(f *frame) error {
	switch {
	case f.Welcome != nil:
		p.ready = true
		p.count.welcomes.Add(1)
	case f.Drained != nil:
		p.drained = true
		p.seen.Add(history.Drained{Device: p.me, Conn: p.conns})
	case f.Sent != nil:
		p.answered(f.Sent.ID)
		p.seen.Add(history.Sent{Device: p.me, ID: f.Sent.ID, To: f.Sent.Conversation.User, Order: f.Sent.Order, Time: f.Sent.Time, Duplicate: f.Sent.Duplicate})
		p.remove(f.Sent.ID)
		p.count.sents.Add(1)
	case f.Deliver != nil:
		d := f.Deliver
		p.seen.Add(history.Delivered{Device: p.me, Conn: p.conns, Seq: d.Seq, ID: d.ID, From: history.Device{User: d.From.User, N: d.From.Device},
			Peer: d.Conversation.User, Order: d.Order, Time: d.Time, Payload: string(d.Payload)})
		p.stored = max(p.stored, d.Seq)
		if d.From.User != p.me.User {
			p.tops[d.From.User] = max(p.tops[d.From.User], d.Order)
			p.ever[d.From.User] = max(p.ever[d.From.User], d.Order)
		}
		p.count.delivers.Add(1)
	case f.Receipt != nil:
		r := f.Receipt
		p.seen.Add(history.Receipt{Device: p.me, Conn: p.conns, Seq: r.Seq, Peer: r.Conversation.User, By: r.By, Delivered: r.DeliveredUpTo, Read: r.ReadUpTo})
		p.stored = max(p.stored, r.Seq)
	case f.Error != nil:
		return p.refused(f.Error)
	case f.DeviceEvent != nil:
		p.stored = max(p.stored, f.DeviceEvent.Seq)
	case f.GoAway != nil:
	default:
		p.problem("%s: unexpected frame %s", p.me, f.text)
	}
	return nil
}

func (p *phone) refused(e *errorFrame) error {
	if e.ID == "" && e.Code == "rate_limited" && e.Retryable && !p.ready {
		p.pause = time.Duration(e.RetryAfterMs) * time.Millisecond
		return errors.New("it came back too often")
	}
	if e.ID == "" && e.Code == "unavailable" && e.Retryable {
		return errors.New("an ack or a read was refused for now: said again on the next connection")
	}
	if e.ID == "" || !e.Retryable {
		p.problem("%s: unexpected error %+v", p.me, e)
		return nil
	}
	p.seen.Add(history.Refused{Device: p.me, ID: e.ID, Code: e.Code, Retryable: e.Retryable})
	p.answered(e.ID)
	p.hold = true
	if until := time.Now().Add(time.Duration(e.RetryAfterMs) * time.Millisecond); until.After(p.resume) {
		p.resume = until
	}
	return nil
}

func (p *phone) answered(id string) {
	for _, o := range p.outbox {
		if o.id == id && o.written {
			p.open--
			return
		}
	}
}

func (p *phone) remove(id string) {
	for i, o := range p.outbox {
		if o.id == id {
			p.outbox = append(p.outbox[:i:i], p.outbox[i+1:]...)
			return
		}
	}
	p.problem("%s: sent for %s, which is not in the outbox", p.me, id)
}

// act does what there is to do now: send, ack, read, or hang up.
func (p *phone) act(ctx context.Context) error {
	if err := p.speak(ctx); err != nil {
		return err
	}
	p.rested.Store(p.settling.Load() && p.drained && len(p.outbox) == 0 && p.acted)
	return nil
}

func (p *phone) speak(ctx context.Context) error {
	p.acted = false
	if !p.ready {
		return nil
	}
	settling := p.settling.Load()
	if !settling && p.rng.IntN(300) == 0 {
		return net.ErrClosed // hang up without a word
	}
	if err := p.sendSome(ctx); err != nil {
		return err
	}
	if p.stored > p.acked && (settling || p.rng.IntN(3) == 0) {
		p.acked, p.ackedTops = p.stored, maps.Clone(p.tops)
		p.seen.Add(history.Acking{Device: p.me, Seq: p.acked})
		if err := p.say(ctx, ackText(0, p.acked)); err != nil {
			return err
		}
	}
	tops := p.tops
	if settling && p.drained {
		// A read has no answer and may have died with the server. Whatever this
		// device ever had is behind its cursor or was sent again by now.
		tops = p.ever
	}
	for peer, top := range tops {
		if p.read[peer] < top && (settling && p.drained || p.rng.IntN(8) == 0) {
			p.read[peer] = top
			p.seen.Add(history.Reading{Device: p.me, Peer: peer, Order: top})
			if err := p.say(ctx, readText(0, peer, top)); err != nil {
				return err
			}
		}
	}
	p.acted = settling
	return nil
}

// sendSome fills the window: what waits in the outbox, then new messages.
func (p *phone) sendSome(ctx context.Context) error {
	if p.hold && p.open == 0 && time.Now().After(p.resume) {
		p.hold = false // everything again, in order
		for _, o := range p.outbox {
			o.written = false
		}
	}
	if p.hold {
		return nil
	}
	var texts []string
	for p.open < window {
		o := p.nextOutgoing()
		if o == nil {
			break
		}
		o.written = true
		p.open++
		p.seen.Add(history.Sending{Device: p.me, ID: o.id, To: o.to, Payload: o.payload})
		texts = append(texts, sendText(p.made+1, o.id, o.to, o.payload))
	}
	if len(texts) == 0 {
		return nil
	}
	if p.rng.IntN(2) == 0 { // several frames in one message, or one each
		return p.say(ctx, strings.Join(texts, "\n"))
	}
	for _, text := range texts {
		if err := p.say(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

func (p *phone) nextOutgoing() *outgoing {
	for _, o := range p.outbox {
		if !o.written {
			return o
		}
	}
	if p.budget.Load() <= 0 || p.settling.Load() {
		return nil
	}
	p.budget.Add(-1)
	p.made++
	payload := fmt.Sprintf("%s-%d %s", p.me, p.made, strings.Repeat("x", p.rng.IntN(300)))
	o := &outgoing{id: newID(), to: p.peers[p.rng.IntN(len(p.peers))], payload: payload}
	p.outbox = append(p.outbox, o)
	return o
}

// newPhone registers nothing: the device exists.
func newPhone(s *server, me history.Device, token string, peers []string, seed uint64, seen *history.Recorder, count *counters) *phone {
	return &phone{
		me: me, token: token, urls: []string{s.ws()}, peers: peers, seen: seen, count: count,
		nudge: make(chan struct{}, 1),
		rng:   rand.New(rand.NewPCG(seed, uint64(me.N)<<32|uint64(len(me.User)))),
		tops:  map[string]uint64{}, ackedTops: map[string]uint64{}, ever: map[string]uint64{},
	}
}

// compact is json for messages of tests.
func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
