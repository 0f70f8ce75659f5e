package node

import (
	"slices"
	"time"

	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/transport/conns"
	"github.com/rookery-im/rookery/transport/frames"
	"github.com/rookery-im/rookery/transport/session"
	"github.com/rookery-im/rookery/transport/ws"
)

// The loop's periods.
const (
	raftTick  = 100 * time.Millisecond
	hostTick  = 10 * time.Millisecond // while a shard has lazy work
	quietTick = 100 * time.Millisecond
	sweepTick = 250 * time.Millisecond
	upkeep    = time.Hour
)

// sweepRows bounds how much one shard reads at once in looking for deadlines
// of users that nothing in memory stands for.
const sweepRows = 64

// run is the loop. It ends when stop is closed, or the node can no longer accept.
func (n *Node) run() {
	defer close(n.done)
	due := timers{now: time.Now()}
	for {
		if err := n.conns.Poll(n.patience(&due)); err != nil {
			n.fail(wrap("poll", err))
		}
		n.streams.Round()
		n.office.round()
		n.rest.round()
		due.now = time.Now()
		n.tick(&due)
		n.router.deliver()
		for _, s := range n.here {
			s.Flush()
		}
		// Where the log is broken nothing is accepted any more, and the node
		// stays up to say so: see observe.
		_ = n.set.Round()
		n.courier.Flush()
		if !n.replayed {
			n.observe() // the round that ends the replay ends the wait as well
		}
		n.sessions.Flush()
		n.exchange.Flush() // what sessions begin again goes with the round
		n.conns.Flush()
		n.feel(time.Since(due.now))
		if n.ended() {
			return
		}
	}
}

// feel how long rounds take: the longest counts, and is forgotten by and by.
func (n *Node) feel(round time.Duration) { n.lag = max(round, n.lag-n.lag/256) }

func (n *Node) ended() bool {
	select {
	case <-n.stop:
		return true
	default:
		return n.failed.Load() != nil
	}
}

// timers are when what is done periodically was done last.
type timers struct {
	now, raft, host, sweep time.Time
}

func (t *timers) over(last *time.Time, every time.Duration) bool {
	if t.now.Sub(*last) < every {
		return false
	}
	*last = t.now
	return true
}

func (n *Node) tick(due *timers) {
	if due.over(&due.raft, raftTick) {
		n.set.Tick()
		n.mover.round()
		n.cluster.tick(due.now)
		n.takeNumber()
		if n.set.Beats() {
			n.exchange.Along()
		}
		n.exchange.Tick()
		n.sweep()
	}
	every := quietTick
	if n.lazy() {
		every = hostTick
	}
	if due.over(&due.host, every) {
		for _, s := range n.here {
			s.Tick()
		}
	}
	if due.over(&due.sweep, sweepTick) {
		n.sessions.Sweep()
		n.heal(due.now)
		n.survey()
		n.observe()
	}
}

// sweep looks for deadlines, once the node is up: whoever waits for that waits
// for no sweep.
func (n *Node) sweep() {
	if !n.replayed {
		return
	}
	for _, s := range n.here {
		s.Sweep(sweepRows)
	}
}

// patience is how long Poll may wait: not at all while there is work that
// needs no event, a lazy batch's time while one is open, and never past the next
// tick of Raft, however late the last event came.
func (n *Node) patience(due *timers) time.Duration {
	if len(n.router.queue) > 0 || n.set.Pending() || n.sessions.Due() {
		return 0
	}
	wait := max(time.Millisecond, min(quietTick, time.Until(due.raft.Add(raftTick))))
	for _, s := range n.here {
		if s.Due() {
			return 0
		}
		if s.Pending() {
			wait = min(wait, hostTick)
		}
	}
	return wait
}

// lazy says whether a batch is open that is sent on its way in time.
func (n *Node) lazy() bool {
	return slices.ContainsFunc(n.here, (*host.Shard).Pending)
}

// observe keeps what other goroutines ask for.
func (n *Node) observe() {
	err := n.set.Err()
	if err == nil {
		err = n.cluster.err()
	}
	if err == nil && (n.stamps.Load() == nil || n.exchange.Unled() > 0) {
		// Whoever leads, here or elsewhere, has applied what came before.
		err = errNotLeading
	}
	serving := err == nil
	if err == nil {
		// It serves, but cannot for ever: better it is known while there is time.
		err = n.set.CheckpointErr()
	}
	if err == nil && n.leaving {
		err = errLeaving // nobody new should come
	}
	n.replayed = n.replayed || serving
	if !n.settled && n.set.Replayed() {
		n.settled = true
		n.store.Replayed()
	}
	n.readiness.Store(&readiness{err})
}

// handler is the connections' view of the sessions.
type handler struct{ n *Node }

func (h handler) Opened(id conns.ID, info conns.Info) {
	if h.n.stamps.Load() == nil {
		h.n.conns.Close(id, session.CloseUnavailable, errJoining.Error())
		return
	}
	enc := frames.JSON
	if info.Subprotocol == ws.Protobuf {
		enc = frames.Protobuf
	}
	h.n.sessions.Opened(h.n.stamp.Connection(uint64(id)), enc, info.Token)
	h.n.conns.SetDeadline(id, time.Now().Add(h.n.cfg.HelloTimeout), session.CloseUnauthenticated)
}

func (h handler) Message(id conns.ID, op conns.Opcode, data []byte) {
	enc := frames.JSON
	if op == ws.Binary {
		enc = frames.Protobuf
	}
	h.n.sessions.Message(h.n.stamp.Connection(uint64(id)), enc, data)
}

func (h handler) Drained(id conns.ID) { h.n.sessions.Drained(h.n.stamp.Connection(uint64(id))) }

func (h handler) Closed(id conns.ID, _ uint16, _ error) {
	h.n.sessions.Closed(h.n.stamp.Connection(uint64(id)))
}
