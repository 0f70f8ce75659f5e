package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	peerpb "github.com/rookery-im/rookery/proto/rookery/peer/v1"
)

// source is what this node has heard of one other, whichever stream it came by.
// At most one stream at a time adds to it: the one that was greeted last.
type source struct {
	memory  uint64       // immutable: which one of the node this is
	streams atomic.Int32 // that are open

	mu       sync.Mutex // held while a batch is taken over
	receiver receiver
	stream   uint64

	// turn guards leave, so that a stream that waits for mu can end its
	// predecessor, which may hold mu for long.
	turn  sync.Mutex
	leave context.CancelFunc
}

var errReplaced = errors.New("peer: another stream took over")

// begin a stream in place of the present one.
func (s *source) begin(leave context.CancelFunc, g *peerpb.Greeting) (stream, received uint64, err error) {
	s.turn.Lock()
	if s.leave != nil {
		s.leave()
	}
	s.leave = leave
	s.turn.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if received, err = s.receiver.greet(g.GetIncarnation(), g.GetSeries()); err != nil {
		return 0, 0, err
	}
	s.stream++
	return s.stream, received, nil
}

// forget the node: its stream ends, and takes nothing over any more.
func (s *source) forget() {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.leave != nil {
		s.leave()
	}
}

// take a batch over, unless another stream has begun.
func (s *source) take(ctx context.Context, h Handler, from string, stream uint64, up *peerpb.Up) (received uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stream != s.stream || ctx.Err() != nil {
		return 0, errReplaced
	}
	if len(up.GetLoose()) > 0 {
		h.Loose(from, up.GetLoose())
	}
	frames, err := s.receiver.fresh(up.GetFrames())
	if err != nil {
		return 0, err
	}
	if len(frames) > 0 {
		bodies := make([][]byte, len(frames))
		for i, f := range frames {
			bodies[i] = f.GetBody()
		}
		if err := h.Receive(ctx, from, bodies); err != nil {
			return 0, fmt.Errorf("peer: receive: %w", err)
		}
		s.receiver.took(len(frames))
	}
	return s.receiver.last, nil
}

// hear one stream of another node, until it ends.
func (l *Links) hear(stream grpc.ServerStream) error {
	var first peerpb.Up
	if err := stream.RecvMsg(&first); err != nil {
		return err
	}
	greeting := first.GetGreeting()
	from, err := l.admit(stream.Context(), greeting)
	if err != nil {
		l.cfg.Metrics.Refused.Inc()
		l.cfg.Logger.Warn("a node is refused", "from", greeting.GetFrom(), "err", err)
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	from.streams.Add(1)
	defer from.streams.Add(-1)
	number, received, err := from.begin(cancel, greeting)
	if err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	if k := l.to(greeting.GetFrom()); k != nil {
		k.called()
	}
	l.cfg.Metrics.In.Inc()
	defer l.cfg.Metrics.In.Dec()
	down := newDownstream(stream, received)
	welcome := &peerpb.Welcome{Incarnation: l.cfg.Incarnation, Memory: from.memory, Received: received}
	if err := stream.SendMsg(&peerpb.Down{Welcome: welcome, Received: received}); err != nil {
		return err
	}
	var back sync.WaitGroup
	back.Go(func() { down.run(ctx, heartbeat(greeting)) })
	defer back.Wait()
	defer cancel()
	for {
		var up peerpb.Up
		if err := stream.RecvMsg(&up); err != nil {
			return err
		}
		received, err := from.take(ctx, l.cfg.Handler, greeting.GetFrom(), number, &up)
		if err != nil {
			return status.Error(codes.Unavailable, err.Error())
		}
		down.acked(received)
	}
}

// admit a caller that is who it should be.
func (l *Links) admit(ctx context.Context, g *peerpb.Greeting) (*source, error) {
	switch {
	case g == nil:
		return nil, errors.New("peer: no greeting")
	case g.GetVersion() != Version:
		return nil, fmt.Errorf("peer: version %d, this node speaks %d", g.GetVersion(), Version)
	case g.GetCluster() != l.cfg.Cluster:
		return nil, fmt.Errorf("peer: a node of cluster %q, this is %q", g.GetCluster(), l.cfg.Cluster)
	case g.GetTo() != l.cfg.Node:
		return nil, fmt.Errorf("peer: meant for node %q, this is %q", g.GetTo(), l.cfg.Node)
	}
	if err := l.vouched(ctx, g.GetFrom()); err != nil {
		return nil, err
	}
	from := l.from(g.GetFrom())
	if from == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, g.GetFrom())
	}
	return from, nil
}

// vouched says whether the certificate at the other end names the node.
func (l *Links) vouched(ctx context.Context, node string) error {
	if l.cfg.TLS == nil {
		return nil
	}
	p, _ := peer.FromContext(ctx)
	if p != nil {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
			for _, uri := range info.State.PeerCertificates[0].URIs {
				if uri.String() == NodeURI(l.cfg.Cluster, node) {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("peer: the certificate is not that of node %q", node)
}

// downstream is what goes back on a stream, after the welcome.
type downstream struct {
	stream   grpc.ServerStream
	news     chan struct{} // there is something to acknowledge
	received atomic.Uint64
}

func newDownstream(stream grpc.ServerStream, received uint64) *downstream {
	d := &downstream{stream: stream, news: make(chan struct{}, 1)}
	d.received.Store(received)
	return d
}

// ackDelay is for how long what is received waits to be acknowledged, together
// with what comes meanwhile. Nothing hangs on it but the sender's memory: to
// write an acknowledgement, and to be woken by it, costs more than most bodies.
const ackDelay = 5 * time.Millisecond

// acked has it said soon that all frames up to a number were received. Loose
// bodies are not acknowledged.
func (d *downstream) acked(received uint64) {
	if d.received.Swap(received) == received {
		return
	}
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// heartbeat that the caller asked for, within reason.
func heartbeat(g *peerpb.Greeting) time.Duration {
	return max(minSilence, time.Duration(g.GetHeartbeat())*time.Millisecond)
}

// run acknowledges what was received, and says every so often that this node is
// there, also while a batch waits.
func (d *downstream) run(ctx context.Context, every time.Duration) {
	beat, delay := time.NewTicker(every), time.NewTimer(ackDelay)
	defer beat.Stop()
	defer delay.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		case <-d.news:
			delay.Reset(ackDelay)
			select {
			case <-ctx.Done():
				return
			case <-delay.C:
			}
		}
		if d.stream.SendMsg(&peerpb.Down{Received: d.received.Load()}) != nil {
			return // the stream's receive says it as well
		}
	}
}
