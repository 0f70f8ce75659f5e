package hostile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rookery-im/rookery/transport/ws"
)

// Pair is two people who talk: one sends at a steady pace, the other acks.
// Latency is from when a message was to be sent to its delivery.
type Pair struct {
	every    time.Duration
	from, to *peer
	peerName string
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	sent    map[string]time.Time
	took    []time.Duration // since the last Lap
	longest time.Duration   // of all
	count   int
	err     error
	arrived chan struct{} // told of each delivery
}

// Lap is what a pair felt since the one before.
type Lap struct {
	Messages      int
	P50, P99, Max time.Duration
}

// String is a lap for people.
func (l Lap) String() string {
	return fmt.Sprintf("%d messages, p50 %v p99 %v max %v", l.Messages, l.P50.Round(10*time.Microsecond), l.P99.Round(10*time.Microsecond), l.Max.Round(10*time.Microsecond))
}

// Talk connects two users and begins.
func Talk(ctx context.Context, address string, from, to User, every time.Duration) (*Pair, error) {
	f := &Field{Address: address, Subnet: 1}
	p := &Pair{every: every, peerName: to.Name, sent: map[string]time.Time{}, arrived: make(chan struct{}, 1)}
	ctx, p.stop = context.WithCancel(ctx)
	connect := func(i int, u User) (*peer, error) {
		s := &Score{}
		c, err := f.dial(ctx, i, s)
		if err != nil {
			return nil, err
		}
		peer, err := upgrade(c, s, "")
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return peer, peer.hello(u.Tokens[0])
	}
	var err error
	if p.from, err = connect(0, from); err == nil {
		p.to, err = connect(1, to)
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("a pair: %w", err)
	}
	p.running.Go(func() { p.failed("sending", p.send(ctx)) })
	p.running.Go(func() { p.failed("the sender's connection", p.listen(p.from)) })
	p.running.Go(func() { p.failed("the receiver's connection", p.listen(p.to)) })
	return p, nil
}

func (p *Pair) failed(what string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil && err != nil {
		p.err = fmt.Errorf("%s: %w", what, err)
	}
}

func (p *Pair) send(ctx context.Context) error {
	next := time.Now().Add(time.Duration(rand.Int64N(int64(p.every)))) //nolint:gosec // no secret
	for {
		breathe(ctx, time.Until(next))
		if ctx.Err() != nil {
			return nil
		}
		id := uuid.NewString()
		p.mu.Lock()
		p.sent[id] = next
		p.mu.Unlock()
		if err := p.from.text(fmt.Sprintf(`{"send":{"id":%q,"to":{"user":%q},"payload":"aGVsbG8sIGhvdyBhcmUgeW91Pw=="}}`, id, p.peerName)); err != nil {
			return err
		}
		next = next.Add(p.every)
	}
}

// listen reads until the connection ends, which Stop does.
func (p *Pair) listen(c *peer) error {
	for {
		op, b, err := c.frame()
		if err != nil {
			return err
		}
		switch op {
		case ws.Ping:
			if err := c.message(ws.Pong, b); err != nil {
				return err
			}
		case ws.Close:
			return fmt.Errorf("closed by the node: %.100q", b)
		case ws.Text:
			seq, err := p.take(string(b))
			if err != nil {
				return err
			}
			if seq != "" {
				if err := c.text(`{"ack":{"seq":"` + seq + `"}}`); err != nil {
					return err
				}
			}
		}
	}
}

// take counts deliveries, and gives the last seq of the message.
func (p *Pair) take(message string) (seq string, err error) {
	now := time.Now()
	for line := range strings.SplitSeq(message, "\n") {
		var f struct {
			Deliver *struct{ Seq, ID string }
			Receipt *struct{ Seq string }
			Error   *struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			return "", fmt.Errorf("frame %.100q: %w", line, err)
		}
		switch {
		case f.Error != nil:
			return "", fmt.Errorf("refused: %s %s", f.Error.Code, f.Error.Message)
		case f.Receipt != nil:
			seq = f.Receipt.Seq
		case f.Deliver != nil:
			seq = f.Deliver.Seq
			p.delivered(f.Deliver.ID, now)
		}
	}
	return seq, nil
}

func (p *Pair) delivered(id string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, waits := p.sent[id]
	if !waits {
		return // again
	}
	delete(p.sent, id)
	took := now.Sub(at)
	p.took, p.longest, p.count = append(p.took, took), max(p.longest, took), p.count+1
	select {
	case p.arrived <- struct{}{}:
	default:
	}
}

// Lap ends a phase and begins the next.
func (p *Pair) Lap() Lap {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := p.took
	p.took = nil
	if len(took) == 0 {
		return Lap{}
	}
	slices.Sort(took)
	return Lap{len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1]}
}

// Stop sends no more, waits until all is delivered, and says what went wrong.
// The longest that anything took is returned.
func (p *Pair) Stop(patience time.Duration) (longest time.Duration, err error) {
	p.stop()
	end := time.After(patience)
	for p.waiting() > 0 && p.trouble() == nil {
		select {
		case <-p.arrived:
			continue
		case <-end:
			err = fmt.Errorf("%d messages were not delivered within %v", p.waiting(), patience)
		}
		break
	}
	err = errors.Join(err, p.trouble())
	_, _ = p.from.Close(), p.to.Close()
	p.running.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.longest, err
}

func (p *Pair) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sent)
}

func (p *Pair) trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
