package client

import (
	"context"
	"errors"
)

// errUnfinished is what this package answers until its next commit.
var errUnfinished = errors.New("client: not there yet")

// Client is one device of one user. All its methods may be called from
// several goroutines, except that Next and Receive are for one at a time.
type Client struct{}

// Open opens the store and begins to connect. Where the store holds no device
// it logs in, which needs the server; otherwise it succeeds offline.
func Open(ctx context.Context, cfg Config) (*Client, error) { return nil, errUnfinished }

// Close disconnects, writes down what was taken, closes the store and waits
// for everything the client started. Unsent messages stay in the store. Later
// calls return ErrClosed.
func (c *Client) Close() error { return errUnfinished }

// Send stores a message, sends it, as often as it takes, and waits for the
// server's word. An *Error means that it was not accepted and will not be sent
// again. Where ctx ends first, the message stays queued: it will still go out,
// and its fate comes as a Settled event.
func (c *Client) Send(ctx context.Context, d Draft) (Sent, error) { return Sent{}, errUnfinished }

// Queue stores a message and returns its id: it is sent when it can be,
// also by a later Open of the same store, in order with the others to that
// conversation. Its fate comes as a Settled event.
func (c *Client) Queue(ctx context.Context, d Draft) (id string, err error) {
	return "", errUnfinished
}

// Next waits for an event. It also says that the one before is taken.
func (c *Client) Next(ctx context.Context) (Event, error) { return nil, errUnfinished }

// Ack says that the event which Next returned last is taken, as the next Next
// would. It is needed only before Close.
func (c *Client) Ack(ctx context.Context) error { return errUnfinished }

// Receive hands every event to handle, one after the other, until handle
// returns an error, ctx ends or the client stops, and returns why. An event is
// taken when handle has returned nil.
func (c *Client) Receive(ctx context.Context, handle func(context.Context, Event) error) error {
	return errUnfinished
}

// Read says that everything up to order in the conversation was read. It is
// kept until a connection has carried it.
func (c *Client) Read(ctx context.Context, conv Conversation, order uint64) error {
	return errUnfinished
}

// Typing says that the user types, or stopped. ErrOffline without a connection.
func (c *Client) Typing(ctx context.Context, conv Conversation, on bool) error {
	return errUnfinished
}

// Watch replaces the users whose presence is followed; each new one, and every
// change, comes as a Presence event. It is said again on every connection.
func (c *Client) Watch(ctx context.Context, users ...string) error { return errUnfinished }

// Signal passes bytes to whoever of the conversation is connected, at most
// once. ErrOffline without a connection.
func (c *Client) Signal(ctx context.Context, to Conversation, b []byte) error {
	return errUnfinished
}

// Status says where the connection stands.
func (c *Client) Status() Status { return Status{} }

// Unsent are the queued messages that have no fate yet, in the order they were
// queued. After a restart it is how a program learns what it had typed.
func (c *Client) Unsent() []Draft { return nil }

// Wake ends the wait of StateWaiting: for when the network came back.
func (c *Client) Wake() {}
