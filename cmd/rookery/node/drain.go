package node

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/rookery-im/rookery/transport/session"
)

// Drain stops accepting, sends every client away, spread over time, and ends
// the node within the drain timeout.
func (n *Node) Drain() error {
	n.draining.Store(true)
	n.api.Drain()
	until := time.Now().Add(n.cfg.DrainTimeout * 9 / 10) // the rest is for closing the data
	if err := n.conns.StopAccepting(); err != nil {
		n.cfg.Log.Warn("stop accepting", "err", err)
	}
	n.sendAway(until.Add(-n.cfg.DrainTimeout / 3))
	n.await(until.Add(-n.cfg.DrainTimeout/4), func() bool { return n.sessions.Leaving() == 0 })
	// What has no session hears of it as well: the echo endpoint's.
	n.conns.Post(func() {
		n.conns.CloseSome(math.MaxInt, session.CloseRestart, errDraining.Error())
		n.streams.CloseAll(session.CloseRestart, errDraining.Error())
	})
	n.endRequests(until.Add(-n.cfg.DrainTimeout / 5))
	n.settle(until)
	n.end()
	return n.close()
}

// endRequests waits for requests to end, and cuts those that do not: a client
// that sends half a request must not make an orderly end a failed one.
func (n *Node) endRequests(until time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	for _, s := range []*http.Server{n.clients, n.admin} {
		err := s.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			n.cfg.Log.Warn("requests that did not end in time are cut")
			err = s.Close()
		}
		if err != nil {
			n.cfg.Log.Warn("end a server", "err", err)
		}
	}
}

// sendAway closes the connections in batches, and tells each when to come back.
func (n *Node) sendAway(until time.Time) {
	const batches = 20
	list := make(chan []uint64, 1)
	if !n.conns.Post(func() { list <- n.sessions.Connections() }) {
		return
	}
	var open []uint64
	select {
	case open = <-list:
	case <-n.done:
		return
	}
	pause := time.Until(until) / batches
	if len(open) <= batches {
		pause = 0
	}
	size := (len(open) + batches - 1) / batches
	for i := 0; len(open) > 0; i++ {
		batch := open[:min(size, len(open))]
		open = open[len(batch):]
		n.conns.Post(func() {
			alternates := alternates(n.places(), i)
			for j, c := range batch {
				n.sessions.GoAway(c, time.Second+time.Duration(j%50)*100*time.Millisecond, alternates)
			}
		})
		if len(open) > 0 {
			select {
			case <-time.After(pause):
			case <-n.done:
				return
			}
		}
	}
}

// settle waits until the connections have gone and nothing is in flight.
func (n *Node) settle(until time.Time) {
	n.await(until, func() bool { return n.conns.Len() == 0 && n.quiet() })
}

// await something that the loop knows.
func (n *Node) await(until time.Time, is func() bool) {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for time.Now().Before(until) {
		answer := make(chan bool, 1)
		if n.conns.Post(func() { answer <- is() }) {
			select {
			case ok := <-answer:
				if ok {
					return
				}
			case <-n.done:
				return
			}
		}
		select {
		case <-t.C:
		case <-n.done:
			return
		}
	}
}

// quiet says that no shard has anything to write; loop only.
func (n *Node) quiet() bool {
	for _, s := range n.here {
		if s.Pending() {
			return false
		}
	}
	return n.set.Idle() && len(n.router.queue) == 0
}
