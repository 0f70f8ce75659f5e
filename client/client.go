package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-im/rookery/client/internal/core"
)

// Client is one device of one user. All its methods may be called from
// several goroutines, except that Next and Receive are for one at a time.
type Client struct {
	// immutable
	cfg   Config
	own   bool // the HTTP client is ours
	url   base
	store Store
	rest  *rest
	dial  dialer
	log   *slog.Logger
	ctx   context.Context // of everything the client starts
	end   context.CancelFunc

	requests chan request
	net      chan core.Input // from the link
	results  chan core.Input // from those who get tokens
	done     chan struct{}   // the loop has ended
	wg       sync.WaitGroup

	receiving chan struct{} // holds one: who is in Next or Receive
	closing   sync.Once
	closeErr  error
	storeErr  error // of the loop; others may look once it has ended

	status  atomic.Pointer[Status]
	stopped atomic.Pointer[error]
}

// Open opens a client. Where its store holds no device it logs in, which links
// a new one and needs the server; otherwise, and with a TokenSource, it
// succeeds offline. Connecting goes on beside it. The store is the client's
// from then on, and is closed by Close, or by Open where that fails.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	c, err := newClient(cfg)
	if err != nil {
		if cfg.Store != nil {
			err = errors.Join(err, cfg.Store.Close())
		}
		return nil, fmt.Errorf("client: open: %w", err)
	}
	if err := c.start(ctx); err != nil {
		c.hangUp()
		return nil, fmt.Errorf("client: open: %w", errors.Join(err, c.store.Close()))
	}
	return c, nil
}

// start loads the store and starts the loop.
func (c *Client) start(ctx context.Context) error {
	machine, start, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	c.ctx, c.end = context.WithCancel(context.WithoutCancel(ctx))
	l := &loop{c: c, machine: machine, calls: map[uint64]chan core.Fate{}}
	l.publish()
	c.wg.Add(1)
	go l.run(start)
	return nil
}

func newClient(cfg Config) (*Client, error) {
	own := cfg.HTTPClient == nil
	cfg = cfg.withDefaults()
	u, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	return &Client{
		cfg: cfg, own: own, url: u, store: cfg.Store, log: cfg.Logger,
		rest:      &rest{http: cfg.HTTPClient, nodes: newNodes(u)},
		dial:      dialWebSocket(cfg.Encoding, cfg.HTTPClient),
		requests:  make(chan request),
		net:       make(chan core.Input),
		results:   make(chan core.Input),
		done:      make(chan struct{}),
		receiving: make(chan struct{}, 1),
	}, nil
}

// prepare loads the store, and logs in where it holds no device.
func (c *Client) prepare(ctx context.Context) (*core.Machine, []core.Effect, error) {
	records, err := c.store.Load(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("load the store: %w", err)
	}
	loaded := make([]core.Record, len(records))
	for i, r := range records {
		loaded[i] = core.Record{Key: r.Key, Value: r.Value}
	}
	m, err := core.New(core.Config{
		User: c.cfg.User, HasPassword: c.cfg.Password != "", HasSource: c.cfg.TokenSource != nil,
		ClientName: c.cfg.ClientName, Heartbeat: c.cfg.Heartbeat, QueueLimit: c.cfg.QueueLimit,
		AckDelay: c.cfg.AckDelay, Backoff: c.cfg.Backoff, MaxBackoff: c.cfg.MaxBackoff,
	}, loaded)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrStoreDamaged, err)
	}
	if user := m.Status().User; c.cfg.User != "" && user != c.cfg.User {
		return nil, nil, fmt.Errorf("%w: it is %s's", ErrOtherUser, user)
	}
	var first []core.Effect
	if m.NeedsLogin() {
		token, err := c.rest.login(ctx, c.cfg)
		if err != nil {
			return nil, nil, err
		}
		first = m.Step(time.Now(), rand.Float64(), token)
	} else if m.Bearer() == "" && c.cfg.TokenSource == nil && c.cfg.Password == "" {
		return nil, nil, fmt.Errorf("%w: the store holds no token, and there is neither a Password nor a TokenSource", ErrUnauthenticated)
	}
	return m, append(first, m.Start(time.Now(), rand.Float64())...), nil
}

// Close says what was taken, disconnects, closes the store and waits for
// everything the client started. Unsent messages stay in the store. It does
// not wait for a handler that Receive is in. An error is the store's: what was
// taken last may not be written down. Later calls return ErrClosed.
func (c *Client) Close() error {
	c.closing.Do(func() {
		reply := make(chan core.Effect, 1)
		c.requests <- request{in: core.Close{}, reply: reply}
		<-c.done
		c.end()
		c.wg.Wait()
		c.hangUp()
		if err := errors.Join(c.storeErr, c.store.Close()); err != nil {
			c.closeErr = fmt.Errorf("client: close: %w", err)
		}
	})
	return c.closeErr
}

// hangUp ends connections that REST calls left open.
func (c *Client) hangUp() {
	if c.own {
		c.cfg.HTTPClient.CloseIdleConnections()
	}
}

// request puts something to the loop and waits for the answer.
func (c *Client) request(ctx context.Context, r request) (core.Effect, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.reply == nil {
		r.reply = make(chan core.Effect, 1)
	}
	select {
	case c.requests <- r:
	case <-c.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case e := <-r.reply: // soon: the loop waits for the store at most
		return e, nil
	case <-c.done:
		select {
		case e := <-r.reply:
			return e, nil
		default:
			return nil, ErrClosed
		}
	}
}

// said asks and gives the error of the answer.
func (c *Client) said(ctx context.Context, what string, in core.Input) error {
	e, err := c.request(ctx, request{in: in})
	if err == nil {
		if s, ok := e.(core.Said); ok {
			err = c.translate(s.Err)
		}
	}
	if err != nil {
		return fmt.Errorf("client: %s: %w", what, err)
	}
	return nil
}

// stopErr is why the client stopped.
func (c *Client) stopErr() error {
	if err := c.stopped.Load(); err != nil {
		return *err
	}
	return ErrClosed
}

// translate gives the core's errors the names of this package.
func (c *Client) translate(err error) error {
	var refusal *core.Refusal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, core.ErrStopped):
		return c.stopErr()
	case errors.Is(err, core.ErrOffline):
		return ErrOffline
	case errors.Is(err, core.ErrFull), errors.Is(err, core.ErrUnread):
		return fmt.Errorf("%w: %w", ErrQueueFull, err)
	case errors.Is(err, core.ErrTwice):
		return fmt.Errorf("%w: %w", ErrAlreadyExists, err)
	case errors.As(err, &refusal):
		return errorOf(refusal.Answer)
	}
	return err
}

// Send stores a message, sends it, as often as it takes, and waits for the
// server's word. An *Error means that it was not accepted and will not be sent
// again. Where ctx ends first, or the client stops, the message stays queued:
// it will still go out, now or after the next Open of the store, and its fate
// comes as a Settled event.
func (c *Client) Send(ctx context.Context, d Draft) (Sent, error) {
	fate := make(chan core.Fate, 1)
	id, err := c.queue(ctx, d, fate)
	if err != nil {
		return Sent{}, fmt.Errorf("client: send: %w", err)
	}
	select {
	case f := <-fate:
		return c.decided(f)
	case <-ctx.Done():
	}
	if _, err := c.request(context.WithoutCancel(ctx), request{in: core.Abandon{}, fate: fate}); err != nil {
		return Sent{}, fmt.Errorf("client: send: %s stays queued: %w", id, err)
	}
	select {
	case f := <-fate: // it came meanwhile
		return c.decided(f)
	default:
		return Sent{}, fmt.Errorf("client: send: %s stays queued: %w", id, ctx.Err())
	}
}

func (c *Client) decided(f core.Fate) (Sent, error) {
	switch {
	case f.Sent != nil:
		return sentOf(f.Sent), nil
	case f.Refusal != nil:
		return Sent{}, fmt.Errorf("client: send: %w", errorOf(f.Refusal))
	default:
		return Sent{}, fmt.Errorf("client: send: %s stays queued: %w", f.ID, c.translate(f.Err))
	}
}

// Queue stores a message and returns its id: it is sent when it can be, also
// by a later Open of the same store, in order with the others to that
// conversation. Its fate comes as a Settled event; so a program that queues
// must receive as well.
func (c *Client) Queue(ctx context.Context, d Draft) (id string, err error) {
	if id, err = c.queue(ctx, d, nil); err != nil {
		return "", fmt.Errorf("client: queue: %w", err)
	}
	return id, nil
}

func (c *Client) queue(ctx context.Context, d Draft, fate chan core.Fate) (string, error) {
	s, err := d.proto()
	if err != nil {
		return "", err
	}
	e, err := c.request(ctx, request{in: core.Queue{Send: s}, fate: fate})
	if err != nil {
		return "", err
	}
	if q, ok := e.(core.Queued); ok && q.Err != nil {
		return "", c.translate(q.Err)
	}
	return s.GetId(), nil
}

// Read says that everything up to order in the conversation was read. It is
// stored, and said again until a connection has carried it for sure.
func (c *Client) Read(ctx context.Context, conv Conversation, order uint64) error {
	if err := conv.check("read.conversation"); err != nil {
		return fmt.Errorf("client: read: %w", err)
	}
	return c.said(ctx, "read", core.Read{Conversation: conv.proto(), Order: order})
}

// Typing says that the user types, or stopped. ErrOffline without a connection.
func (c *Client) Typing(ctx context.Context, conv Conversation, on bool) error {
	if err := conv.check("typing.conversation"); err != nil {
		return fmt.Errorf("client: typing: %w", err)
	}
	return c.said(ctx, "typing", core.Typing{Conversation: conv.proto(), On: on})
}

// Watch replaces the users whose presence is followed; what is known of each,
// and every change, comes as a Presence event. It is said again on every connection.
func (c *Client) Watch(ctx context.Context, users ...string) error {
	for i, u := range users {
		if err := checkText(fmt.Sprintf("watch.users[%d]", i), u); err != nil {
			return fmt.Errorf("client: watch: %w", err)
		}
	}
	return c.said(ctx, "watch", core.Watch{Users: append([]string{}, users...)})
}

// Signal passes bytes to whoever of the conversation is connected, at most
// once. ErrOffline without a connection.
func (c *Client) Signal(ctx context.Context, to Conversation, b []byte) error {
	if err := to.check("signalTo.to"); err != nil {
		return fmt.Errorf("client: signal: %w", err)
	}
	return c.said(ctx, "signal", core.Signal{To: to.proto(), Bytes: append([]byte{}, b...)})
}

// Status says where the connection stands.
func (c *Client) Status() Status { return *c.status.Load() }

// Unsent are the queued messages that have no fate yet, in the order they were
// queued; nil after Close. After a restart it is how a program learns what it
// had typed.
func (c *Client) Unsent() []Draft {
	var drafts []Draft
	_, err := c.request(context.Background(), request{look: func(m *core.Machine) {
		for _, s := range m.Unsent() {
			drafts = append(drafts, draft(s))
		}
	}})
	if err != nil {
		return nil
	}
	return drafts
}

// Wake is for when the network came back or changed, or the machine slept: it
// ends the wait of StateWaiting, and sees within 5 s whether a connection that
// seems to be there still is.
func (c *Client) Wake() {
	select {
	case c.requests <- request{in: core.Wake{}}:
	case <-c.done:
	}
}

// post brings what a link has to say to the loop.
func (c *Client) post(ctx context.Context, in core.Input) {
	select {
	case c.net <- in:
	case <-ctx.Done():
	case <-c.done:
	}
}

// newHTTPClient keeps connections for as long as the client lives.
func newHTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	return &http.Client{Transport: t}
}
