package node

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/cluster/route"
	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// errBusy says that the loop takes no more; nothing was done.
var errBusy = errors.New("node: the loop takes no more at the moment")

// errUnknown says that a request was put to an actor and its outcome is not known.
var errUnknown = errors.New("node: the outcome is not known")

// backend puts the questions of the REST API to user actors.
type backend struct {
	post     func(func()) bool
	tell     func(user string, msg any) error
	stamp    func() *route.Stamp // nil: the node has no number yet
	requests atomic.Uint64
	waiting  map[uint64]*waiter // owned by the loop

	mu    sync.Mutex
	given []uint64 // requests that nobody waits for any more
}

// waiter is a question that is not answered yet.
type waiter struct {
	answer chan *nodepb.Answer
	user   string
	origin *nodepb.Origin // of one that may be parked at its actor; else nil
	put    time.Time      // to the actor
	gone   atomic.Bool    // nobody waits any more
}

func newBackend(stamp func() *route.Stamp, post func(func()) bool, tell func(string, any) error) *backend {
	return &backend{stamp: stamp, post: post, tell: tell, waiting: map[uint64]*waiter{}}
}

// Ask puts a question and waits for its answer. A fault in the answer is
// definite; an error is not, but for errBusy. A List that may park is answered
// as well by Woken, also when what kept it parked is lost.
func (b *backend) Ask(ctx context.Context, ask *nodepb.Ask) (*nodepb.Answer, error) {
	ask = proto.CloneOf(ask)
	// REST requests share the space of connections in an Origin.
	stamp := b.stamp()
	if stamp == nil {
		return unavailable(ask, errJoining.Error()), nil
	}
	ask.Request = stamp.Request(b.requests.Add(1))
	if o := ask.GetSend().GetOrigin(); o != nil {
		o.Conn = ask.GetRequest()
	}
	w := &waiter{answer: make(chan *nodepb.Answer, 1), user: ask.GetUser()}
	if p := ask.GetList().GetPark(); p != nil {
		p.Conn = ask.GetRequest()
		w.origin = &nodepb.Origin{Conn: p.GetConn(), User: ask.GetUser(), Device: ask.GetDevice()}
	}
	if !b.post(func() { b.put(ask, w) }) {
		return unavailable(ask, errBusy.Error()), nil
	}
	select {
	case a := <-w.answer:
		if a == nil {
			return nil, errUnknown
		}
		return a, nil
	case <-ctx.Done():
		// Not by the loop's queue, which may be full. It may still hold the question.
		w.gone.Store(true)
		b.mu.Lock()
		b.given = append(b.given, ask.GetRequest())
		b.mu.Unlock()
		b.post(func() {})
		return nil, ctx.Err()
	}
}

// round forgets the requests that were given up; loop only.
func (b *backend) round() {
	b.mu.Lock()
	given := b.given
	b.given = nil
	b.mu.Unlock()
	for _, request := range given {
		if w, ok := b.waiting[request]; ok {
			delete(b.waiting, request)
			if w.origin != nil {
				// Where it is not taken the shard has moved, and keeps nothing.
				_ = b.tell(w.user, &nodepb.Unpark{Origin: w.origin})
			}
		}
	}
}

func unavailable(ask *nodepb.Ask, why string) *nodepb.Answer {
	return &nodepb.Answer{Request: ask.GetRequest(), Body: &nodepb.Answer_Fault{Fault: fault.New(fault.Unavailable, "", "%s; try again", why)}}
}

// put runs on the loop.
func (b *backend) put(ask *nodepb.Ask, w *waiter) {
	if w.gone.Load() {
		return
	}
	w.put = time.Now()
	b.waiting[ask.GetRequest()] = w // first: the answer may come within tell
	if err := b.tell(ask.GetUser(), ask); err != nil {
		b.answered(unavailable(ask, "the user's shard has no leader"))
	}
}

// answered hands an answer to who waits for it; loop only.
func (b *backend) answered(a *nodepb.Answer) {
	if w, ok := b.waiting[a.GetRequest()]; ok {
		delete(b.waiting, a.GetRequest())
		w.answer <- a
	}
}

// wake a request that is parked; loop only. It may just not be any more.
func (b *backend) wake(request uint64) {
	if w := b.waiting[request]; w != nil && w.origin != nil {
		b.answered(&nodepb.Answer{Request: request, Body: &nodepb.Answer_Woken{Woken: &nodepb.Woken{}}})
	}
}

// left wakes what is parked at actors that are not here any more; loop only.
func (b *backend) left(lived func(user string) bool) {
	for request, w := range b.waiting {
		if w.origin != nil && lived(w.user) {
			b.wake(request)
		}
	}
}

// unsure tells those who asked users' actors before a time that the outcome is
// not known; loop only.
func (b *backend) unsure(lived func(user string) bool, before time.Time) {
	for request, w := range b.waiting {
		if w.origin == nil && w.put.Before(before) && lived(w.user) {
			b.unknown(request)
		}
	}
}

// unknown tells who waits that the outcome is not known; loop only.
func (b *backend) unknown(request uint64) {
	if w, ok := b.waiting[request]; ok {
		delete(b.waiting, request)
		w.answer <- nil
	}
}
