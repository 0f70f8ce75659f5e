package conns

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/rookery-im/rookery/transport/poll"
)

// Why there is no seat.
var (
	ErrDraining = errors.New("conns: the node is going away")
	ErrFull     = errors.New("conns: the node has as many connections as it may")
)

// TakeSeat counts a connection that something else carries among those that
// there may be, or says why it is not to be taken. On any goroutine.
func (c *Conns) TakeSeat() error {
	if c.refusing.Load() {
		c.metrics.drops.WithLabelValues(dropDraining).Inc()
		return ErrDraining
	}
	if n := c.total.Add(1); c.cfg.Conns > 0 && n > int64(c.cfg.Conns) {
		c.total.Add(-1)
		c.metrics.drops.WithLabelValues(dropFull).Inc()
		return ErrFull
	}
	return nil
}

// GiveSeat gives one back. On any goroutine.
func (c *Conns) GiveSeat() { c.total.Add(-1) }

// GiveUpAfter has the connection of a request that Guard let in end once what
// was sent on it is not acknowledged for so long: a peer that has vanished says
// nothing. 0 takes that back. On any goroutine.
func (c *Conns) GiveUpAfter(r *http.Request, d time.Duration) {
	v, _ := r.Context().Value(visitorKey{}).(*visitor)
	if v == nil {
		return
	}
	conn := v.conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn() // of TLS
	}
	if p, ok := conn.(*proxied); ok {
		conn = p.Conn
	}
	if err := poll.GiveUpAfter(conn, d); err != nil && !errors.Is(err, net.ErrClosed) {
		c.log.Debug("a connection that is to be given up early", "err", err)
	}
}
