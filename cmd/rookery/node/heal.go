package node

import (
	"errors"
	"time"

	"github.com/rookery-im/rookery/cluster/shard"
)

// A repair of the log that failed is tried again after this, doubled each time.
const (
	healFirst = time.Second
	healMost  = 30 * time.Second
)

// healer has the log repaired after it broke: by a full disk, or an error that
// may pass. Until then everything is refused.
type healer struct {
	result chan error // of the repair under way; nil where there is none
	next   time.Time  // no repair before
	wait   time.Duration
}

// heal takes a step towards a log that works; loop only. The repair itself
// reads and writes, on a disk that may hang: it has a goroutine.
func (n *Node) heal(now time.Time) {
	h := &n.healer
	if h.result != nil {
		select {
		case err := <-h.result:
			h.result = nil
			n.healed(now, err)
		default:
		}
		return
	}
	if now.Before(h.next) || !errors.Is(n.set.Err(), shard.ErrLog) {
		return
	}
	result := make(chan error, 1)
	h.result = result
	n.running.Go(func() { result <- n.log.Repair() })
}

func (n *Node) healed(now time.Time, err error) {
	h := &n.healer
	if err == nil {
		err = n.set.Resume()
	}
	if err == nil {
		h.wait, h.next = 0, time.Time{}
		n.cfg.Log.Info("the log is repaired")
		return
	}
	h.wait = min(max(2*h.wait, healFirst), healMost)
	h.next = now.Add(h.wait)
	n.cfg.Log.Error("the log cannot be repaired yet; nothing is accepted", "err", err, "again in", h.wait)
}
