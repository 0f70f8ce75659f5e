package conns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/transport/poll"
	"github.com/rookery-im/rookery/transport/ws"
)

// Conns is every connection of a loop.
type Conns struct {
	// Immutable.
	cfg     Config
	log     *slog.Logger
	metrics *Metrics
	handler Handler
	start   time.Time
	loop    *poll.Loop
	wires   *wires
	guests  *guests
	lobby   *lobby
	door    *door

	// Owned by the loop's goroutine.
	now         tick // of this round
	bySide      [2]side
	inputs      []input
	spareInputs []uint32
	buffers     *poll.Buffers
	unfinished  int           // bytes that inputs hold
	beginners   crowd         // connections that have an input
	waiters     crowd         // connections for which more than queuedMin waits to be written
	queued      map[ID]uint64 // their places
	asm         ws.Assembly   // of the connection whose bytes are being parsed
	head        []byte        // room for the frame being written
	closed      []closedEvent
	resumed     []ID
	nextSweep   time.Time
	nextTrim    time.Time // of buffers
	counts      counts

	// Shared.
	inbox     chan func()
	posting   sync.RWMutex // held to read by those who post, so that none comes after the end
	stopped   bool         // guarded by posting
	total     atomic.Int64 // connections, handshakes included
	refusing  atomic.Bool  // StopAccepting was called
	heldBack  atomic.Int64 // refusals, see holdBack
	listeners listeners
}

type closedEvent struct {
	id   ID
	code uint16
	err  error
}

// New makes connections that report to h. They are to be stopped.
func New(cfg Config, h Handler) (*Conns, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &Conns{
		cfg:     cfg,
		log:     cfg.Log,
		metrics: cfg.Metrics,
		handler: h,
		start:   cfg.Clock(),
		head:    make([]byte, 0, ws.HeaderMax+ws.ControlMax),
		inbox:   make(chan func(), cfg.Inbox),
		queued:  map[ID]uint64{},
		lobby:   newLobby(limits.Lobby, limits.LobbyPerAddress, limits.Bodies, cfg.Metrics.drops.WithLabelValues(dropLobby)),
		guests:  newGuests(cfg),
		door:    newDoor(cfg),
	}
	if cfg.Conns > 0 {
		c.lobby.room = func() int { return cfg.Conns - c.Len() }
	}
	loop, err := poll.New(cfg.Poll, carried{c})
	if err != nil {
		return nil, fmt.Errorf("conns: %w", err)
	}
	c.loop = loop
	c.buffers = loop.Buffers()
	c.asm.Grow = c.buffers.Grow
	c.wires = newWires(carried{c}, loop.Wake, c.buffers)
	c.tell(c.start)
	c.nextSweep = c.start
	return c, nil
}

// carried is what the carriers report to.
type carried struct{ c *Conns }

func (h carried) Data(id ID, b []byte)    { h.c.data(id, b) }
func (h carried) Wrote(id ID, left int)   { h.c.wrote(id, left) }
func (h carried) Gone(id ID, cause error) { h.c.gone(id, cause) }

// tell sets the round's time.
func (c *Conns) tell(now time.Time) {
	c.now = tick(1).plus(tick(now.Sub(c.start) / tickLength))
}

// Poll waits for something to happen, at most for the timeout (for ever where
// it is negative), and tells the handler. What the handler sends is written by
// Flush, which is to follow. An error means that nothing works any more.
func (c *Conns) Poll(timeout time.Duration) error {
	c.tell(c.cfg.Clock())
	if c.resumeHeld() || len(c.inbox) > 0 || len(c.closed) > 0 {
		timeout = 0
	}
	if until, some := c.untilSweep(); some && (timeout < 0 || until < timeout) {
		timeout = until
	}
	if err := c.loop.Wait(timeout); err != nil {
		return fmt.Errorf("conns: %w", err)
	}
	now := c.cfg.Clock()
	c.tell(now)
	c.wires.round()
	c.runInbox(now)
	c.door.talk.judge(c.now)
	c.sweep(now)
	c.tellClosed()
	c.countRound()
	return nil
}

// inboxTime is for how long a round runs what was posted: newcomers come that
// way, and however many they are, others do not wait for all of them.
const inboxTime = 10 * time.Millisecond

// runInbox runs what was posted, in order; what is left, and what they post in
// turn, waits for the next round.
func (c *Conns) runInbox(begin time.Time) {
	for range len(c.inbox) {
		(<-c.inbox)()
		if c.cfg.Clock().Sub(begin) >= inboxTime {
			return
		}
	}
}

// Flush writes what waits: one system call for each connection.
func (c *Conns) Flush() {
	c.loop.Flush()
	c.wires.flush()
}

// tellClosed is the only place from which the handler hears Closed.
func (c *Conns) tellClosed() {
	for i := 0; i < len(c.closed); i++ { // the handler may close others
		ev := c.closed[i]
		c.handler.Closed(ev.id, ev.code, ev.err)
	}
	clear(c.closed)
	c.closed = c.closed[:0]
}

// Post has f called by the loop, in the order posted, and wakes it. It returns
// false, and forgets f, where Config.Inbox calls are waiting or the loop has
// stopped. Any goroutine may call it.
func (c *Conns) Post(f func()) bool {
	c.posting.RLock()
	defer c.posting.RUnlock()
	if c.stopped {
		return false
	}
	select {
	case c.inbox <- f:
		c.loop.Wake()
		return true
	default:
		c.metrics.drops.WithLabelValues(dropInbox).Inc()
		return false
	}
}

// Len is the number of connections, including handshakes and those that are
// only waiting for their close frame to be taken. Any goroutine may call it.
func (c *Conns) Len() int { return int(c.total.Load()) }

// StopAccepting closes the listeners and refuses further handshakes with 503.
// Any goroutine may call it. To drain: StopAccepting, then CloseSome until it
// returns 0, then Poll and Flush until Len is 0 or patience ends, then Stop.
func (c *Conns) StopAccepting() error {
	c.refusing.Store(true)
	return c.listeners.close()
}

// CloseSome closes up to n open connections, the echo endpoint's included, and
// returns how many are still open.
func (c *Conns) CloseSome(n int, code uint16, reason string) int {
	for s := range c.bySide {
		side := &c.bySide[s]
		for range side.used {
			if n <= 0 || c.counts.open == 0 {
				return c.counts.open
			}
			if side.closeCursor >= side.used {
				side.closeCursor = 0
			}
			i := side.closeCursor
			side.closeCursor++
			if r := side.records.At(i); r.state == open {
				n--
				c.Close(sideID(s, i, r), code, reason)
			}
		}
	}
	return c.counts.open
}

// Stop ends everything at once and waits for the goroutines. The handler hears
// Closed of what was open. No method may be called afterwards, save Post,
// Upgrade and Echo, which refuse.
func (c *Conns) Stop() error {
	err := c.StopAccepting()
	c.posting.Lock()
	c.stopped = true
	c.posting.Unlock()
	for range len(c.inbox) {
		(<-c.inbox)()
	}
	for s := range c.bySide {
		side := &c.bySide[s]
		for i := range side.used {
			if r := side.records.At(i); r.state != free {
				c.forget(sideID(s, i, r), r, ws.CloseGoingAway, context.Canceled)
			}
		}
	}
	c.tellClosed()
	c.wires.stop()
	return errors.Join(err, c.loop.Stop())
}
