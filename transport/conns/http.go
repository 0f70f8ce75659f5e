package conns

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/transport/poll"
	"github.com/rookery-im/rookery/transport/ws"
)

// The paths of the endpoints.
const (
	Path     = "/v1/ws"
	EchoPath = "/v1/ws/echo"
)

// newcomer is a connection on its way to the loop.
type newcomer struct {
	info     Info
	leftover []byte
	guest    uint32
	flags    recordFlags
}

// Register adds the endpoints that there are to a mux.
func (c *Conns) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path, c.Upgrade)
	if c.cfg.Echo {
		mux.HandleFunc("GET "+EchoPath, c.Echo)
	}
}

// Upgrade is the handler of Path: it answers the opening handshake and hands
// the connection to the loop. On any goroutine.
func (c *Conns) Upgrade(w http.ResponseWriter, r *http.Request) { c.receive(w, r, 0) }

// Echo is the handler of EchoPath: what comes goes back, on the same carriers;
// the Handler never hears of it. On any goroutine.
func (c *Conns) Echo(w http.ResponseWriter, r *http.Request) {
	if !c.cfg.Echo {
		ws.Refuse(w, 0, fault.NotFound, "the echo endpoint is not enabled")
		return
	}
	c.receive(w, r, isEcho)
}

func (c *Conns) receive(w http.ResponseWriter, r *http.Request, flags recordFlags) {
	if c.refusing.Load() {
		c.refuse(w, fault.Unavailable, dropDraining, "the node is going away")
		return
	}
	if n := c.total.Add(1); c.cfg.Conns > 0 && n > int64(c.cfg.Conns) {
		c.total.Add(-1)
		c.refuse(w, fault.Unavailable, dropFull, "the node has as many connections as it may")
		return
	}
	n := newcomer{info: Info{Remote: remote(r)}, flags: flags}
	var v verdict
	if n.guest, v = c.guests.arrive(n.info.Remote.Addr()); v != welcome {
		c.total.Add(-1)
		if v == tooMany {
			c.refuse(w, fault.RateLimited, dropAddress, "too many connections from this address that have not said hello")
			return
		}
		c.holdBack(r.Context())
		c.refuse(w, fault.RateLimited, dropFruitless, "too many connections from this address that came to nothing; back off")
		return
	}
	hs, err := ws.Upgrade(w, r, c.cfg.Handshake)
	if err != nil {
		c.metrics.drops.WithLabelValues(dropHandshake).Inc()
		c.log.Debug("opening handshake", "remote", n.info.Remote, "err", err)
		c.guests.fail(n.guest)
		c.total.Add(-1)
		return
	}
	n.info.Subprotocol, n.info.Token, n.leftover = hs.Subprotocol, hs.Token, hs.Leftover
	c.hand(hs.Conn, n)
}

// holdBack keeps who does not care about refusals from asking for the next at
// once. Those held back are few: past that number it is false, and nobody was.
func (c *Conns) holdBack(ctx context.Context) bool {
	defer c.heldBack.Add(-1)
	if c.heldBack.Add(1) > limits.HeldRefusals {
		return false
	}
	timer := time.NewTimer(limits.FruitlessWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

func (c *Conns) refuse(w http.ResponseWriter, code fault.Code, reason, detail string) {
	c.metrics.drops.WithLabelValues(reason).Inc()
	ws.Refuse(w, 0, code, detail)
}

func (c *Conns) turnAway(n newcomer) {
	c.guests.turnAway(n.guest)
	c.total.Add(-1)
}

func remote(r *http.Request) netip.AddrPort {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil { // a Unix socket has none
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// hand gives the connection to the loop. What has a descriptor goes by epoll;
// TLS has its state in Go.
func (c *Conns) hand(conn net.Conn, n newcomer) {
	lastWords := ws.AppendClose(nil, ws.CloseTryLater, "overloaded")
	if _, bare := conn.(syscall.Conn); !bare || c.cfg.Portable || !poll.Supported {
		if !c.Post(func() { c.enterByWire(conn, n) }) {
			_, _ = conn.Write(lastWords)
			_ = conn.Close()
			c.turnAway(n)
		}
		return
	}
	fd, err := poll.Detach(conn)
	if err != nil {
		c.metrics.drops.WithLabelValues(dropNoDescriptor).Inc()
		c.log.Warn("connection refused", "err", err)
		_, _ = conn.Write(lastWords)
		_ = conn.Close()
		c.turnAway(n)
		return
	}
	if !c.Post(func() { c.enterByLoop(fd, n) }) {
		poll.LastWords(fd, lastWords)
		c.turnAway(n)
	}
}

func (c *Conns) enterByLoop(fd int, n newcomer) {
	id, err := c.loop.Attach(fd)
	if err != nil {
		c.metrics.drops.WithLabelValues(dropNoDescriptor).Inc()
		c.log.Warn("connection refused", "err", err)
		c.turnAway(n)
		return
	}
	c.enter(id, n)
}

func (c *Conns) enterByWire(conn net.Conn, n newcomer) {
	id, ok := c.wires.attach(conn)
	if !ok {
		_ = conn.Close()
		c.turnAway(n)
		return
	}
	c.enter(id, n)
}

// enter goes from free to open. The bytes that came with the handshake are
// parsed at once: no event will tell of them.
func (c *Conns) enter(id ID, n newcomer) {
	s, i := c.side(id)
	r := s.records.Reach(i)
	s.due.Reach(i)
	s.used = max(s.used, i+1)
	*r = record{
		generation: id.Generation(),
		state:      open,
		seen:       c.now,
		pinged:     c.now,
		heartbeat:  ticks(c.cfg.Heartbeat),
		guest:      n.guest,
		flags:      n.flags,
		protocol:   n.info.Subprotocol,
	}
	c.counts.open++
	c.counts.opened++
	c.guests.enter(n.guest)
	c.lookAt(id, c.nextLook(r))
	if n.flags&isEcho != 0 {
		c.Authenticated(id)
	} else {
		c.handler.Opened(id, n.info)
	}
	if c.refusing.Load() {
		c.Close(id, ws.CloseRestart, "restarting")
	}
	switch {
	case len(n.leftover) == 0:
	case c.mustNotRead(r):
		c.inputOf(r).held = append(c.buffers.Get(len(n.leftover)), n.leftover...)
	default:
		c.data(id, n.leftover)
	}
}
