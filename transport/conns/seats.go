package conns

import "errors"

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
