package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	nodesTried   = 4               // for one call
	nodePatience = 7 * time.Second // with one of them, where another may follow; it answers within 5 s
)

// nodes are where calls may go.
type nodes struct {
	configured base

	mu    sync.Mutex
	last  base // which answered last; guarded by mu, as is other
	other []base
}

func newNodes(configured base) *nodes { return &nodes{configured: configured, last: configured} }

// learn which nodes there are, by the URLs of their WebSockets.
func (n *nodes) learn(urls []string) {
	var list []base
	for _, text := range urls {
		if b, err := parseBase(text); err == nil {
			list = append(list, b)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.other = list
}

// turns are the nodes to try: the one that answered last, the configured one, others.
func (n *nodes) turns() []base {
	n.mu.Lock()
	defer n.mu.Unlock()
	turns := []base{n.last}
	for _, b := range append([]base{n.configured}, n.other...) {
		if len(turns) < nodesTried && !slices.Contains(turns, b) {
			turns = append(turns, b)
		}
	}
	return turns
}

func (n *nodes) answered(b base) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = b
}

// each tries one node after the other until one answers. A call
// that must not be made twice goes on only where it cannot have reached a node.
func (n *nodes) each(ctx context.Context, twice bool, call func(ctx context.Context, b base) error) error {
	turns := n.turns()
	for i, b := range turns {
		last := i == len(turns)-1
		err := n.try(ctx, b, last, call)
		if last || !another(err, twice) || ctx.Err() != nil {
			return err
		}
	}
	return nil // there is at least one turn
}

func (n *nodes) try(ctx context.Context, b base, last bool, call func(ctx context.Context, b base) error) error {
	if !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, nodePatience)
		defer cancel()
	}
	err := call(ctx, b)
	if !another(err, true) {
		n.answered(b)
	}
	return err
}

// another says whether it is worth to ask another node, and right. One that is cut
// off from the others says that it cannot; one that says when to come again means it.
func another(err error, twice bool) bool {
	var none noAnswer
	if errors.As(err, &none) {
		return twice || undialled(err)
	}
	var said *Error
	return twice && errors.As(err, &said) && said.Code == ErrUnavailable && said.RetryAfter == 0
}

// noAnswer is why a node did not answer a call.
type noAnswer struct{ error }

func (e noAnswer) Unwrap() error { return e.error }

// undialled says that no connection came about.
func undialled(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// repeatable calls have no other outcome when they are made twice: a token more
// does no harm.
func repeatable(method, path string) bool {
	return method == http.MethodGet || method == http.MethodPut || path == pathTokens
}
