package conns

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/rookery-im/rookery/transport/poll"
	"github.com/rookery-im/rookery/transport/ws"
)

// bound is a connection whose descriptor cannot be had.
type bound struct{ net.Conn }

func (bound) SyscallConn() (syscall.RawConn, error) { return nil, syscall.EMFILE }

// However a newcomer fails to reach the loop, he is told to try later, and
// nothing of him is left.
func TestNewcomersThatDoNotGetIn(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		fill bool
		conn func(net.Conn) net.Conn
	}{
		"no descriptor":          {Config{}, false, func(c net.Conn) net.Conn { return bound{c} }},
		"inbox full":             {Config{Inbox: 1}, true, func(c net.Conn) net.Conn { return c }},
		"inbox full, goroutines": {Config{Inbox: 1, Portable: true}, true, func(c net.Conn) net.Conn { return c }},
	} {
		t.Run(name, func(t *testing.T) {
			if c.conn(nil) != nil && !poll.Supported {
				t.Skip("no epoll")
			}
			conns, err := New(c.cfg, &scribe{})
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			peer, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if c.fill {
				conns.Post(func() {})
			}
			conns.total.Add(1)
			guest, _ := conns.guests.arrive(netip.MustParseAddr("192.0.2.1"))
			conns.hand(c.conn(server), newcomer{guest: guest})
			got, err := io.ReadAll(peer)
			if want := string(ws.AppendClose(nil, ws.CloseTryLater, "overloaded")); err != nil || string(got) != want {
				t.Errorf("%q, %v", got, err)
			}
			if conns.Len() != 0 || len(conns.guests.byAddr) != 0 {
				t.Errorf("%d connections, %d addresses are left", conns.Len(), len(conns.guests.byAddr))
			}
			if err := errors.Join(peer.Close(), l.Close(), conns.Stop()); err != nil {
				t.Error(err)
			}
		})
	}
}

// figures reads a registry: name{label} to value.
func figures(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "{" + l.GetValue() + "}"
			}
			if f.GetType() == dto.MetricType_GAUGE {
				out[name] = m.GetGauge().GetValue()
			} else {
				out[name] = m.GetCounter().GetValue()
			}
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		reg := prometheus.NewRegistry()
		cfg.Metrics, cfg.Unauthenticated, cfg.PendingMax = NewMetrics(reg), 2, 300_000
		n := start(t, cfg, &scribe{})
		a, _ := n.open()
		b, idB := n.open()
		refused := n.dialRaw()
		refused.raw([]byte(request(Path)))
		if res := refused.response(); res.StatusCode != http.StatusTooManyRequests {
			t.Fatal(res.Status)
		}
		a.send("12345")
		n.next("message")
		n.on(func() { n.conns.Pause(idB); n.conns.Send(idB, []byte(text(300_000))); n.conns.Send(idB, []byte("x")) })
		b.expectClose(ws.CloseSlow)
		a.raw(frame(ws.Close, "\x03\xe8"))
		a.expectClose(1000)
		n.eventually("all are gone", func() bool { return n.conns.Len() == 0 })
		n.on(func() {})
		got := figures(t, reg)
		for name, want := range map[string]float64{
			"connections": 0, "opened_total": 2, "messages_received_total": 1,
			"closed_total{4001}": 1, "closed_total{peer}": 1,
			"dropped_total{address_limit}": 1, "dropped_total{slow_consumer}": 1,
			"pauses_total{node}": 1, "pauses_total{pending}": 1,
		} {
			if v, there := got["rookery_transport_"+name]; !there || v != want {
				t.Errorf("%s is %v, want %v", name, v, want)
			}
		}
		if in, out := got["rookery_transport_bytes_total{in}"], got["rookery_transport_bytes_total{out}"]; in < 16 || out < 10 {
			t.Errorf("%v bytes in, %v out", in, out)
		}
	})
}

// Who breaks the protocol and goes on sending is read for a moment, so that the
// code is not overtaken by a reset, and not for as long as it sends.
func TestClosedConnectionsAreNotReadForEver(t *testing.T) {
	n := start(t, Config{}, &scribe{})
	c, _ := n.open()
	c.raw([]byte{0xff, 0xff})
	if ev := n.next("closed"); ev.code != ws.CloseProtocol {
		t.Errorf("%+v", ev)
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	sent, piece := 0, make([]byte, 64<<10)
	for {
		k, err := c.conn.Write(piece)
		if sent += k; err != nil {
			break
		}
	}
	if most := 32 << 20; sent > most { // what the kernel holds on the way, and discardMost
		t.Errorf("%d MB were taken", sent>>20)
	}
	n.eventually("it is forgotten", func() bool { return n.conns.Len() == 0 })
}
