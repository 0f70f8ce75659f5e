package auth

import (
	"container/list"
	"context"
	"errors"
	"net/netip"
	"sync"
)

// Why a password is not looked at now.
var (
	// ErrClientBusy: this client has too many waiting already.
	ErrClientBusy = errors.New("too many password checks of this address are waiting")
	// ErrBusy: too many are waiting in all.
	ErrBusy = errors.New("too many password checks are waiting")
)

// places hands out a fixed number of places. Who finds none waits in the queue
// of their client; a place that becomes free goes to the clients in turn, so
// that one client with many waiting delays another by one turn at most.
type places struct {
	// immutable
	queue     int
	perClient int
	metrics   *Metrics

	mu      sync.Mutex
	free    int
	waiting int
	lines   map[netip.Prefix]*line
	turns   *list.List // of *line, none empty; the front is next
}

// line is the queue of one client, first come first.
type line struct {
	client  netip.Prefix
	waiters *list.List // of chan struct{}, closed when the place is given
	turn    *list.Element
}

func newPlaces(n, queue, perClient int, m *Metrics) *places {
	return &places{queue: queue, perClient: perClient, metrics: m, free: n, lines: make(map[netip.Prefix]*line), turns: list.New()}
}

// take waits for a place; every nil is followed by one give.
func (p *places) take(ctx context.Context, client netip.Prefix) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	if p.free > 0 {
		p.free--
		p.metrics.hashing.Inc()
		p.mu.Unlock()
		return nil
	}
	l, place, err := p.enqueueLocked(client)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	ready := place.Value.(chan struct{})
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-ready: // given at the same moment: pass it on
		p.giveLocked()
	default:
		p.leaveLocked(l, place)
	}
	p.metrics.turned.WithLabelValues("gave_up").Inc()
	return ctx.Err()
}

func (p *places) enqueueLocked(client netip.Prefix) (*line, *list.Element, error) {
	l := p.lines[client]
	if l != nil && l.waiters.Len() >= p.perClient || p.perClient == 0 {
		p.metrics.turned.WithLabelValues("client_queue_full").Inc()
		return nil, nil, ErrClientBusy
	}
	if p.waiting >= p.queue {
		p.metrics.turned.WithLabelValues("queue_full").Inc()
		return nil, nil, ErrBusy
	}
	if l == nil {
		l = &line{client: client, waiters: list.New()}
		l.turn = p.turns.PushBack(l)
		p.lines[client] = l
	}
	p.waiting++
	p.metrics.waiting.Set(float64(p.waiting))
	return l, l.waiters.PushBack(make(chan struct{})), nil
}

// leaveLocked takes one out of its line, and an empty line out of the turns.
func (p *places) leaveLocked(l *line, place *list.Element) {
	l.waiters.Remove(place)
	p.waiting--
	p.metrics.waiting.Set(float64(p.waiting))
	if l.waiters.Len() == 0 {
		p.turns.Remove(l.turn)
		delete(p.lines, l.client)
	}
}

func (p *places) give() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveLocked()
}

func (p *places) giveLocked() {
	next := p.turns.Front()
	if next == nil {
		p.free++
		p.metrics.hashing.Dec()
		return
	}
	l := next.Value.(*line)
	p.turns.MoveToBack(next)
	place := l.waiters.Front()
	p.leaveLocked(l, place)
	close(place.Value.(chan struct{}))
}
