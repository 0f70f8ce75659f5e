package conns

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The pauses after a failed accept.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// listeners are those to be closed when the node goes away.
type listeners struct {
	mu  sync.Mutex
	all []*listener // nil once closed
	off bool
}

func (ls *listeners) add(l *listener) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.off {
		return l.Close()
	}
	ls.all = append(ls.all, l)
	return nil
}

func (ls *listeners) close() error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.off = true
	var errs []error
	for _, l := range ls.all {
		errs = append(errs, l.Close())
	}
	ls.all = nil
	return errors.Join(errs...)
}

// listener goes on after errors.
type listener struct {
	net.Listener
	log     *slog.Logger
	failed  prometheus.Counter
	proxies []netip.Prefix
	lobby   *lobby
	door    *door
	closed  chan struct{}
	once    sync.Once
	err     error // of Close
}

// Listen wraps a listener so that nothing but closing it ends Accept. When
// descriptors or memory run out it pauses, up to a second, and tries again:
// whoever is waiting stays in the kernel's queue. StopAccepting closes it.
// While people talk it takes so many a second, see door.
// Connections of Config.Proxies have the addresses that their proxy names.
func (c *Conns) Listen(l net.Listener) net.Listener {
	w := &listener{Listener: l, log: c.log, failed: c.metrics.acceptFail, proxies: c.cfg.Proxies, lobby: c.lobby, door: c.door, closed: make(chan struct{})}
	if err := c.listeners.add(w); err != nil {
		c.log.Warn("closing a listener", "err", err)
	}
	return w
}

// Accept returns only connections and net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	pause := time.Duration(0)
	l.lobby.admit(l.closed)
	l.door.admit(l.closed)
	for {
		conn, err := l.Listener.Accept()
		if err == nil {
			return fromProxy(conn, l.proxies), nil
		}
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		l.failed.Inc()
		if pause == 0 {
			l.log.Warn("accept failed; the listener pauses", "err", err)
		}
		pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.closed:
			timer.Stop()
			return nil, net.ErrClosed
		}
	}
}

// Close may be called more than once.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.err = l.Listener.Close()
	})
	return l.err
}
