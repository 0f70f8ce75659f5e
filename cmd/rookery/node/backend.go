package node

import (
	"context"
	"errors"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// errBusy says that the loop takes no more; nothing was done.
var errBusy = errors.New("node: the loop takes no more at the moment")

// errUnknown says that a request was put to an actor and its outcome is not known.
var errUnknown = errors.New("node: the outcome is not known")

// backend puts the questions of the REST API to user actors. Its map belongs
// to the loop.
type backend struct {
	post     func(func()) bool
	tell     func(user string, msg any) error
	requests atomic.Uint64
	waiting  map[uint64]chan<- *nodepb.Answer
}

func newBackend(post func(func()) bool, tell func(string, any) error) *backend {
	return &backend{post: post, tell: tell, waiting: map[uint64]chan<- *nodepb.Answer{}}
}

// Ask puts a question and waits for its answer. A fault in the answer is
// definite; an error is not, but for errBusy.
func (b *backend) Ask(ctx context.Context, ask *nodepb.Ask) (*nodepb.Answer, error) {
	ask = proto.CloneOf(ask)
	ask.Request = b.requests.Add(1)
	// REST requests share the space of connections in an Origin; the high bit
	// tells them apart.
	if o := ask.GetSend().GetOrigin(); o != nil {
		o.Conn = restBit | ask.GetRequest()
	}
	answer := make(chan *nodepb.Answer, 1)
	if !b.post(func() { b.put(ask, answer) }) {
		return unavailable(ask, errBusy.Error()), nil
	}
	select {
	case a := <-answer:
		if a == nil {
			return nil, errUnknown
		}
		return a, nil
	case <-ctx.Done():
		b.post(func() { delete(b.waiting, ask.GetRequest()) })
		return nil, ctx.Err()
	}
}

// restBit marks the id of a REST request where a connection's could stand.
const restBit = 1 << 63

func unavailable(ask *nodepb.Ask, why string) *nodepb.Answer {
	return &nodepb.Answer{Request: ask.GetRequest(), Body: &nodepb.Answer_Fault{Fault: fault.New(fault.Unavailable, "", "%s; try again", why)}}
}

// put runs on the loop.
func (b *backend) put(ask *nodepb.Ask, answer chan<- *nodepb.Answer) {
	b.waiting[ask.GetRequest()] = answer // first: the answer may come within tell
	if err := b.tell(ask.GetUser(), ask); err != nil {
		b.answered(unavailable(ask, "the user's shard has no leader"))
	}
}

// answered hands an answer to who waits for it; loop only.
func (b *backend) answered(a *nodepb.Answer) {
	if ch, ok := b.waiting[a.GetRequest()]; ok {
		delete(b.waiting, a.GetRequest())
		ch <- a
	}
}

// unknown tells who waits that the outcome is not known; loop only.
func (b *backend) unknown(request uint64) {
	if ch, ok := b.waiting[request]; ok {
		delete(b.waiting, request)
		ch <- nil
	}
}
