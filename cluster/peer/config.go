package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

// Version of what is said on a link. A node that speaks another is refused.
const Version = 1

// Handler is who listens. All of it is called on goroutines of this package,
// one at a time per node.
type Handler interface {
	// Receive takes what a node sent, in order. It may wait, which holds back that
	// node. An error leaves the bodies with the sender, to be sent again once the
	// stream is made anew.
	Receive(ctx context.Context, from string, bodies [][]byte) error
	// Loose takes what promised nothing. It does not wait.
	Loose(from string, bodies [][]byte)
	// Lost returns what was sent to a life of a node that has ended, and was not
	// acknowledged by it.
	Lost(to string, bodies [][]byte)
}

// Limits of one link.
type Limits struct {
	Frames     int // that wait to be acknowledged
	Bytes      int // of their bodies
	LooseBytes int // that wait to be written
	Body       int // of one
	Batch      int // bytes written at once, about
}

// Config of Links.
type Config struct {
	Cluster, Node string // UUIDs
	Incarnation   uint64 // higher after each start of the node
	Handler       Handler
	// Gone, where set, is told once of a node that was linked to and whose process
	// has ended, as far as can be told from outside: the stream to it broke, dialling
	// it is refused, and no stream of its own is open, so that all it said was handed
	// out. A link that merely broke says nothing. It does not wait.
	Gone func(node string)

	// TLS with the certificate of this node and the authority of the cluster, for
	// both directions; nil for loopback.
	TLS *tls.Config
	// Dial makes connections; nil for TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	// RetryMin and RetryMax bound the pause before a stream is made anew, which
	// doubles each time and is cut at random to between half and all of itself.
	RetryMin, RetryMax time.Duration
	// Silence after which a node is asked for a sign of life, and the link breaks
	// when there is none for as long again.
	Silence time.Duration
	Limits  Limits

	Logger  *slog.Logger
	Metrics *Metrics
}

// Defaults of a Config.
const (
	DefaultRetryMin = 50 * time.Millisecond
	DefaultRetryMax = 2 * time.Second
	DefaultSilence  = 2 * time.Second

	minSilence = 100 * time.Millisecond
)

func (c Config) withDefaults() Config {
	if c.RetryMin == 0 {
		c.RetryMin = DefaultRetryMin
	}
	if c.RetryMax == 0 {
		c.RetryMax = max(c.RetryMin, DefaultRetryMax)
	}
	if c.Silence == 0 {
		c.Silence = DefaultSilence
	}
	if c.Limits == (Limits{}) {
		c.Limits = Limits{
			Frames: limits.PeerFrames, Bytes: limits.PeerBytes, LooseBytes: limits.PeerLoose,
			Body: limits.PeerBody, Batch: limits.PeerBatch,
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// Validate names every fault.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("peer: "+format, args...))
		}
	}
	check(c.Cluster != "", "no cluster id")
	check(c.Node != "", "no node id")
	check(c.Incarnation > 0, "no incarnation")
	check(c.Handler != nil, "no handler")
	check(c.RetryMin > 0 && c.RetryMax >= c.RetryMin, "retry: %v to %v", c.RetryMin, c.RetryMax)
	check(c.Silence >= minSilence, "silence: %v is below %v", c.Silence, minSilence)
	l := c.Limits
	check(l.Frames > 0 && l.Bytes > 0 && l.LooseBytes > 0 && l.Body > 0 && l.Batch > 0, "limits: %+v", l)
	check(l.Body <= l.Bytes && l.Body <= l.LooseBytes, "limits: a body of %d bytes fits into no queue", l.Body)
	return errors.Join(errs...)
}

// NodeURI names a node in its certificate, as a subject alternative name.
func NodeURI(cluster, node string) string { return "rookery://" + cluster + "/" + node }
