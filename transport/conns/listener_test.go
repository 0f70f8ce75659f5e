package conns

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// broke is a listener that fails a number of times before each connection.
type broke struct {
	err    error
	times  int
	closed chan struct{}
	calls  int
}

func (b *broke) Accept() (net.Conn, error) {
	b.calls++
	if b.times > 0 {
		b.times--
		return nil, b.err
	}
	select {
	case <-b.closed:
		return nil, net.ErrClosed
	default:
	}
	c, _ := net.Pipe()
	return c, nil
}

func (b *broke) Close() error   { close(b.closed); return nil }
func (b *broke) Addr() net.Addr { return &net.TCPAddr{} }

func wrap(l net.Listener) *listener {
	return &listener{
		lobby: newLobby(1, 1, 1, nil), door: newDoor(DefaultConfig().withDefaults()), Listener: l, closed: make(chan struct{}),
		log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "failed"}),
	}
}

func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// A node without descriptors left goes on when it has some again; until then
// it neither ends nor spins.
func TestListenerSurvives(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ECONNABORTED} {
		synctest.Test(t, func(t *testing.T) {
			b := &broke{err: fmt.Errorf("accept: %w", errno), times: 20, closed: make(chan struct{})}
			l := wrap(b)
			began := time.Now()
			if _, err := l.Accept(); err != nil {
				t.Fatal(err)
			}
			// 5, 10, ... 640 ms, then a second each.
			if took := time.Since(began); took != 1275*time.Millisecond+12*time.Second {
				t.Errorf("%v: paused for %v", errno, took)
			}
			if got := count(t, l.failed); got != 20 {
				t.Errorf("%v failures are counted", got)
			}
		})
	}
}

func TestListenerClosedWhilePausing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broke{err: syscall.EMFILE, times: 1 << 30, closed: make(chan struct{})}
		l := wrap(b)
		ended := make(chan error)
		go func() { _, err := l.Accept(); ended <- err }()
		time.Sleep(10 * time.Second) // of the bubble's time
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
		if b.calls > 30 {
			t.Errorf("%d calls in 10 s", b.calls)
		}
	})
}

func TestListenAfterStopAccepting(t *testing.T) {
	c, err := New(Config{}, &scribe{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StopAccepting(); err != nil {
		t.Fatal(err)
	}
	inner := &broke{closed: make(chan struct{})}
	if _, err := c.Listen(inner).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}
