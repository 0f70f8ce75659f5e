package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	peerpb "github.com/rookery-im/rookery/proto/rookery/peer/v1"
)

// link is what this node has to say to one other.
type link struct {
	// immutable
	links  *Links
	node   string
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // there is something to write, or another address
	there  chan struct{} // the node has called here

	mu      sync.Mutex
	sender  sender
	address string
	refused bool               // the last time that it was dialled
	leave   context.CancelFunc // ends the stream to an address that is no longer right
}

func newLink(l *Links, node, address string) *link {
	k := &link{
		links: l, node: node, address: address, wake: make(chan struct{}, 1), there: make(chan struct{}, 1),
		sender: sender{limits: l.cfg.Limits, series: l.series.Add(1)},
	}
	k.ctx, k.cancel = context.WithCancel(l.ctx)
	return k
}

func (k *link) send(body []byte) error {
	k.mu.Lock()
	err := k.sender.put(body)
	k.mu.Unlock()
	if err != nil {
		k.links.cfg.Metrics.Full.Inc()
		return err
	}
	k.links.cfg.Metrics.Frames.Inc()
	k.nudge()
	return nil
}

func (k *link) sendLoose(body []byte) bool {
	k.mu.Lock()
	taken := k.sender.putLoose(body)
	k.mu.Unlock()
	if taken {
		k.nudge()
	}
	return taken
}

// called says that the node is there: it need not be waited for.
func (k *link) called() {
	select {
	case k.there <- struct{}{}:
	default:
	}
}

func (k *link) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// move to another address of the same node.
func (k *link) move(address string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if address == k.address {
		return
	}
	k.address = address
	if k.leave != nil {
		k.leave()
	}
}

// run keeps a stream up until the link ends.
func (k *link) run() {
	defer k.cancel()
	cfg := &k.links.cfg
	pause := cfg.RetryMin
	met := false // since Gone was last told
	var warned time.Time
	for {
		opened, err := k.stream()
		if k.ctx.Err() != nil {
			return
		}
		cfg.Metrics.Breaks.Inc()
		if what := advice(err, cfg.TLS != nil); what != "" && time.Since(warned) >= warnEvery {
			warned = time.Now()
			cfg.Logger.Warn(what, "to", k.node, "err", err)
		} else {
			cfg.Logger.Info("link broken", "to", k.node, "err", err)
		}
		if opened {
			pause, met = cfg.RetryMin, true
		} else if met && cfg.Gone != nil && k.isRefused() && !k.links.hears(k.node) {
			met = false
			cfg.Gone(k.node)
		}
		select {
		case <-k.ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		case <-k.there:
			pause = cfg.RetryMin
		}
		pause = min(2*pause, cfg.RetryMax)
	}
}

// warnEvery is how often it is said of a link what somebody has to mend.
const warnEvery = time.Minute

// advice is what to do about a link that does not mend itself; empty where it may.
// What gRPC makes of an error, and what the other end says, is text.
func advice(err error, tls bool) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	switch {
	case errors.Is(err, ErrStale):
		return "this node has heard a later start of another one: the data directory of that one is an older copy, or runs twice; stop it, remove it from the cluster, and begin with an empty directory"
	case status.Code(err) == codes.FailedPrecondition && strings.Contains(text, ErrStale.Error()):
		return "another node has heard a later start of this node: its data directory is an older copy, or runs twice; stop it, remove it from the cluster, and begin with an empty directory"
	case tls && strings.Contains(text, "first record does not look like a TLS handshake"):
		return "the other node's links do not use TLS, and this one's do: node-cert, node-key and node-ca are missing there"
	case !tls && strings.Contains(text, "error reading server preface"):
		return "the other node does not answer as one without TLS does: are node-cert, node-key and node-ca missing here?"
	}
	return ""
}

// stream makes one and lives with it until it breaks, and says whether the
// other node ever answered.
func (k *link) stream() (opened bool, err error) {
	ctx, cancel := context.WithCancelCause(k.ctx)
	defer cancel(nil)
	k.mu.Lock()
	address := k.address
	k.refused = false
	k.leave = func() { cancel(errMoved) }
	k.mu.Unlock()

	conn, err := k.dial(address)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }() // there is nobody left to tell
	calm := time.AfterFunc(k.links.cfg.Silence, func() { cancel(errSilent) })
	defer calm.Stop()
	up, err := k.greet(ctx, conn)
	if err != nil {
		return false, errors.Join(context.Cause(ctx), err)
	}
	calm.Reset(2 * k.links.cfg.Silence)
	k.links.cfg.Metrics.Out.Inc()
	defer k.links.cfg.Metrics.Out.Dec()
	defer k.cut()

	var reader sync.WaitGroup
	reader.Go(func() { cancel(k.read(up, calm)) })
	err = k.write(ctx, up)
	cancel(err)
	reader.Wait()
	return true, context.Cause(ctx)
}

var (
	errMoved  = errors.New("peer: the node has another address")
	errSilent = errors.New("peer: the node is silent")
)

func (k *link) dial(address string) (*grpc.ClientConn, error) {
	cfg := &k.links.cfg
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(k.links.credentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(k.links.largest()), grpc.MaxCallSendMsgSize(k.links.largest())),
		grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window),
		grpc.WithNoProxy(),
	}
	dial := cfg.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	// What gRPC makes of an error is text.
	options = append(options, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		k.mu.Lock()
		k.refused = errors.Is(err, syscall.ECONNREFUSED)
		k.mu.Unlock()
		return conn, err
	}))
	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	if err != nil {
		return nil, fmt.Errorf("peer: dial %s: %w", address, err)
	}
	return conn, nil
}

// isRefused says whether nobody listens where the node was.
func (k *link) isRefused() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refused
}

// greet calls the node, and takes in what it has already.
func (k *link) greet(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	cfg := &k.links.cfg
	up, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, linkMethod)
	if err != nil {
		return nil, fmt.Errorf("peer: call: %w", err)
	}
	k.mu.Lock()
	series := k.sender.series
	k.mu.Unlock()
	greeting := &peerpb.Greeting{
		Version: Version, Cluster: cfg.Cluster, From: cfg.Node, To: k.node, Incarnation: cfg.Incarnation, Series: series,
		Heartbeat: uint32(cfg.Silence.Milliseconds()),
	}
	// An error of a send is told in full by the next receive.
	_ = up.SendMsg(&peerpb.Up{Greeting: greeting})
	var down peerpb.Down
	if err := up.RecvMsg(&down); err != nil {
		return nil, fmt.Errorf("peer: greet: %w", err)
	}
	if down.GetWelcome() == nil {
		return nil, errors.New("peer: greet: answered without a welcome")
	}
	if err := k.links.vouched(up.Context(), k.node); err != nil {
		return nil, err
	}
	k.mu.Lock()
	lost, err := k.sender.welcome(down.GetWelcome(), func() uint64 { return k.links.series.Add(1) })
	cfg.Metrics.Repeated.Add(float64(len(k.sender.unacked)))
	k.mu.Unlock()
	if len(lost) > 0 {
		cfg.Metrics.Lost.Add(float64(len(lost)))
		cfg.Handler.Lost(k.node, lost)
	}
	return up, err
}

func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sender.cut()
}

// read acknowledgements until the stream ends.
func (k *link) read(up grpc.ClientStream, calm *time.Timer) error {
	for {
		var down peerpb.Down
		if err := up.RecvMsg(&down); err != nil {
			return fmt.Errorf("peer: read: %w", err)
		}
		calm.Reset(2 * k.links.cfg.Silence)
		k.mu.Lock()
		err := k.sender.acked(down.GetReceived())
		k.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// write what there is to say until the stream ends.
func (k *link) write(ctx context.Context, up grpc.ClientStream) error {
	for {
		k.mu.Lock()
		batch := k.sender.take()
		k.mu.Unlock()
		if batch == nil {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-k.wake:
			}
			continue
		}
		if err := up.SendMsg(batch); err != nil {
			return fmt.Errorf("peer: write: %w", err)
		}
	}
}
