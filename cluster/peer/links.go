package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// linkMethod is what a node calls at another: see peer.proto.
const linkMethod = "/rookery.peer.v1.Peer/Link"

// Links of one node to and from all others.
type Links struct {
	cfg    Config
	server *grpc.Server
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // of the links
	series atomic.Uint64  // the last one begun, of frames or of memories

	mu      sync.Mutex // never held while one of a link or source is waited for
	closed  bool
	links   map[string]*link   // by node
	sources map[string]*source // by node; they outlive their streams
}

// window of a stream and of its connection: a link is one stream, and has the
// whole of it. One that is left to gRPC follows the bandwidth, for which each
// message is measured by a ping and its answer, as much as many messages cost.
const window = 4 << 20

// New links, to nobody yet.
func New(cfg Config) (*Links, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Links{cfg: cfg, ctx: ctx, cancel: cancel, links: map[string]*link{}, sources: map[string]*source{}}
	l.server = grpc.NewServer(
		grpc.Creds(l.credentials()),
		grpc.MaxRecvMsgSize(l.largest()), grpc.MaxSendMsgSize(l.largest()),
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: cfg.Silence, Timeout: cfg.Silence}),
		grpc.WaitForHandlers(true),
	)
	l.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "rookery.peer.v1.Peer",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "Link", ClientStreams: true, ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return l.hear(stream) },
		}},
		Metadata: "rookery/peer/v1/peer.proto",
	}, nil)
	return l, nil
}

// largest message: the last body of a batch may begin just below its bound.
func (l *Links) largest() int { return l.cfg.Limits.Batch + 2*l.cfg.Limits.Body }

func (l *Links) credentials() credentials.TransportCredentials {
	if l.cfg.TLS == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(l.cfg.TLS)
}

// Serve other nodes' streams until Close; then it returns nil.
func (l *Links) Serve(on net.Listener) error {
	if err := l.server.Serve(on); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("peer: serve: %w", err)
	}
	return nil
}

// SetPeers says which nodes there are, and where: addresses by id. Streams to
// nodes that are not named end and what waited for them is forgotten, as is
// what they said; a node under a new address is called there.
func (l *Links) SetPeers(peers map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	for node, k := range l.links {
		if _, ok := peers[node]; !ok {
			k.cancel()
			delete(l.links, node)
		}
	}
	for node, s := range l.sources {
		if _, ok := peers[node]; !ok {
			s.forget()
			delete(l.sources, node)
		}
	}
	for node, address := range peers {
		if node == l.cfg.Node {
			continue
		}
		if k := l.links[node]; k != nil {
			k.move(address)
			continue
		}
		k := newLink(l, node, address)
		l.links[node], l.sources[node] = k, &source{memory: l.series.Add(1)}
		l.wg.Go(k.run)
	}
}

// Send a body to a node. It is kept, not copied, until the node has it.
// ErrUnknown, ErrFull and ErrBody say that nothing was taken.
func (l *Links) Send(to string, body []byte) error {
	k := l.to(to)
	if k == nil {
		return fmt.Errorf("%w: %s", ErrUnknown, to)
	}
	return k.send(body)
}

// SendLoose sends a body that may be lost.
func (l *Links) SendLoose(to string, body []byte) {
	k := l.to(to)
	if k == nil || !k.sendLoose(body) {
		l.cfg.Metrics.LooseLost.Inc()
	}
}

func (l *Links) to(node string) *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[node]
}

// from is the memory of what a node said; nil where there is no such node.
func (l *Links) from(node string) *source {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sources[node]
}

// hears says whether a stream of the node is open.
func (l *Links) hears(node string) bool {
	s := l.from(node)
	return s != nil && s.streams.Load() > 0
}

// Close ends all streams, and returns when nothing of them runs any more.
func (l *Links) Close() {
	l.mu.Lock()
	l.closed = true
	for _, s := range l.sources {
		s.forget()
	}
	clear(l.links)
	clear(l.sources)
	l.mu.Unlock()
	l.cancel()
	l.server.Stop()
	l.wg.Wait()
}
