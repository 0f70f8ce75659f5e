package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/rookery-im/rookery/client/internal/core"
)

// Next waits for an event. Calling it says that the event which it returned
// before is taken: that is written down before the next one is handed over,
// and acknowledged to the server soon after. So where the program ends in
// between, however it ends, the last event comes again, and none but that; a
// power cut may bring back those of the last moments. After Close, and once a
// client that stopped has handed over what it had, the error says why.
func (c *Client) Next(ctx context.Context) (Event, error) {
	select {
	case c.receiving <- struct{}{}:
	default:
		return nil, fmt.Errorf("client: next: %w", ErrReceiving)
	}
	defer func() { <-c.receiving }()
	return c.next(ctx)
}

func (c *Client) next(ctx context.Context) (Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("client: next: %w", err)
	}
	reply := make(chan core.Effect, 1)
	select {
	case c.requests <- request{in: core.Fetch{}, reply: reply}:
	case <-c.done:
		return nil, fmt.Errorf("client: next: %w", ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("client: next: %w", ctx.Err())
	}
	select {
	case e := <-reply:
		return c.handed(e)
	case <-c.done:
		return nil, fmt.Errorf("client: next: %w", ErrClosed)
	case <-ctx.Done():
	}
	// What is handed over must not be lost: either the loop takes the question
	// back, or its answer has come.
	if _, err := c.request(context.WithoutCancel(ctx), request{in: core.Unfetch{}}); err != nil {
		return nil, fmt.Errorf("client: next: %w", err)
	}
	select {
	case e := <-reply:
		return c.handed(e)
	default:
		return nil, fmt.Errorf("client: next: %w", ctx.Err())
	}
}

func (c *Client) handed(e core.Effect) (Event, error) {
	if h, ok := e.(core.Hand); ok && h.Event != nil {
		return eventOf(h.Event), nil
	}
	return nil, fmt.Errorf("client: next: %w", c.stopErr())
}

// Ack says that the event which Next returned last is taken, as the next Next
// would. It is needed only before Close.
func (c *Client) Ack(ctx context.Context) error { return c.said(ctx, "ack", core.Take{}) }

// Receive hands every event to handle, one after the other, until handle
// returns an error, ctx ends or the client stops, and returns why. An event is
// taken, as Next explains it, when handle has returned nil. One whose handler
// failed is handed over again by the next Receive or Next.
func (c *Client) Receive(ctx context.Context, handle func(context.Context, Event) error) error {
	select {
	case c.receiving <- struct{}{}:
	default:
		return fmt.Errorf("client: receive: %w", ErrReceiving)
	}
	defer func() { <-c.receiving }()
	for {
		e, err := c.next(ctx) // takes the one before
		if err != nil {
			if e := c.Ack(context.WithoutCancel(ctx)); e != nil && !errors.Is(e, ErrClosed) {
				err = errors.Join(err, e)
			}
			return err
		}
		if err := handle(ctx, e); err != nil {
			if e := c.said(context.WithoutCancel(ctx), "receive", core.Return{}); e != nil && !errors.Is(e, ErrClosed) {
				err = errors.Join(err, e)
			}
			return err
		}
	}
}
