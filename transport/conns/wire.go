package conns

import (
	"errors"
	"io"
	"net"
	"sync"

	"github.com/rookery-im/rookery/transport/poll"
)

// wireBuffer is what one goroutine reads at once.
const wireBuffer = 4 << 10

// wires carries connections by goroutines: one reads each, and one more writes
// while there is something to write. It is to the loop what poll.Loop is: the
// same calls, the same reports, on the same goroutine.
type wires struct {
	// Immutable.
	handler poll.Handler
	wake    func()
	buffers *poll.Buffers // the loop's

	// Owned by the loop's goroutine.
	slots  poll.Slots
	conns  map[ID]*wire
	dirty  []*wire
	queued int // bytes that wait to be written, those with writers included
	stats  poll.Stats

	mu    sync.Mutex
	ready []wireEvent // at most two for each wire
	taken []wireEvent // the loop's, kept to be used again

	running sync.WaitGroup
}

// wire is one connection.
type wire struct {
	// Immutable.
	id   ID
	conn net.Conn
	next chan struct{} // the reader may go on; room for one
	quit chan struct{} // closed by close

	// Owned by the reader until it reports, then by the loop until next.
	buf [wireBuffer]byte

	// Owned by the loop's goroutine.
	out      []byte // whole units
	inFlight int    // bytes with the writer
	paused   bool
	late     wireEvent // what the reader reported after pause; late.w is nil where there is none
	dirty    bool
	ended    bool // shutdown was called
	finished bool // the handler has heard Gone
	closed   bool
}

// wireEvent is a report of a reader or a writer.
type wireEvent struct {
	w     *wire
	wrote []byte // what the writer had; nil: from the reader
	n     int
	err   error
}

func newWires(h poll.Handler, wake func(), buffers *poll.Buffers) *wires {
	return &wires{handler: h, wake: wake, buffers: buffers, conns: map[ID]*wire{}}
}

func (c *wires) report(ev wireEvent) {
	c.mu.Lock()
	c.ready = append(c.ready, ev)
	c.mu.Unlock()
	c.wake()
}

// attach takes the connection, unless there are too many.
func (c *wires) attach(conn net.Conn) (ID, bool) {
	slot, ok := c.slots.Take()
	if !ok {
		return 0, false
	}
	quiet(conn)
	w := &wire{
		id:   poll.MakeID(slot.Index()|wireBit, slot.Generation()),
		conn: conn,
		next: make(chan struct{}, 1),
		quit: make(chan struct{}),
	}
	c.conns[w.id] = w
	c.running.Go(func() { c.read(w) })
	return w.id, true
}

// quiet turns off TCP's keep-alive: the protocol has a heartbeat.
func quiet(conn net.Conn) {
	if under, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = under.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAlive(false)
	}
}

func (c *wires) read(w *wire) {
	for {
		n, err := w.conn.Read(w.buf[:])
		c.report(wireEvent{w: w, n: n, err: err})
		if err != nil {
			return
		}
		select {
		case <-w.next:
		case <-w.quit:
			return
		}
	}
}

// round reports what readers and writers have reported.
func (c *wires) round() {
	c.mu.Lock()
	c.ready, c.taken = c.taken[:0], c.ready
	c.mu.Unlock()
	for _, ev := range c.taken {
		if ev.wrote != nil {
			c.wrote(ev)
		} else {
			c.got(ev)
		}
	}
	clear(c.taken)
}

func (c *wires) got(ev wireEvent) {
	w := ev.w
	if w.paused && !w.closed {
		w.late = ev
		return
	}
	c.stats.Reads++
	c.stats.Read += uint64(ev.n)
	if ev.n > 0 && !w.closed {
		c.handler.Data(w.id, w.buf[:ev.n])
	}
	if ev.err != nil {
		c.gone(w, ev.err)
		return
	}
	w.next <- struct{}{}
}

func (c *wires) gone(w *wire, err error) {
	if w.closed || w.finished {
		return
	}
	w.finished = true
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	c.handler.Gone(w.id, err)
}

func (c *wires) write(id ID, head, body []byte) int {
	w := c.conns[id]
	if w == nil || w.finished {
		return 0
	}
	if need := len(head) + len(body); cap(w.out)-len(w.out) < need {
		w.out = c.buffers.Grow(w.out, need)
	}
	w.out = append(append(w.out, head...), body...)
	c.queued += len(head) + len(body)
	c.soil(w)
	return w.inFlight + len(w.out)
}

func (c *wires) soil(w *wire) {
	if !w.dirty && w.inFlight == 0 {
		w.dirty = true
		c.dirty = append(c.dirty, w)
	}
}

func (c *wires) pending(id ID) int {
	if w := c.conns[id]; w != nil {
		return w.inFlight + len(w.out)
	}
	return 0
}

// discard drops what the writer has not been given.
func (c *wires) discard(id ID) {
	if w := c.conns[id]; w != nil {
		c.queued -= len(w.out)
		w.out = w.out[:0]
	}
}

func (c *wires) flush() {
	for _, w := range c.dirty {
		w.dirty = false
		c.start(w)
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
}

// start gives the writer what waits; one at a time, so that order is kept.
func (c *wires) start(w *wire) {
	if w.closed || w.inFlight > 0 || len(w.out) == 0 {
		return
	}
	b := w.out
	w.out, w.inFlight = nil, len(b)
	c.running.Go(func() {
		n, err := w.conn.Write(b)
		c.report(wireEvent{w: w, wrote: b, n: n, err: err})
	})
}

func (c *wires) wrote(ev wireEvent) {
	w := ev.w
	w.inFlight = 0
	c.queued -= len(ev.wrote)
	c.stats.Writes++
	c.stats.Written += uint64(ev.n)
	c.buffers.Put(ev.wrote)
	if ev.err != nil {
		c.gone(w, ev.err)
		return
	}
	if w.closed || w.finished {
		return
	}
	left := len(w.out)
	c.start(w)
	if w.ended && left == 0 {
		c.endOut(w)
	}
	c.handler.Wrote(w.id, left)
}

func (c *wires) pause(id ID) {
	if w := c.conns[id]; w != nil {
		w.paused = true
	}
}

func (c *wires) resume(id ID) {
	w := c.conns[id]
	if w == nil || !w.paused {
		return
	}
	w.paused = false
	if w.late.w != nil {
		late := w.late
		w.late = wireEvent{}
		c.report(late)
	}
}

// shutdown ends our half of the stream after what was written.
func (c *wires) shutdown(id ID) {
	if w := c.conns[id]; w != nil && !w.ended {
		w.ended = true
		if w.inFlight+len(w.out) == 0 {
			c.endOut(w)
		}
	}
}

// endOut may have to wait for the peer, in TLS.
func (c *wires) endOut(w *wire) {
	if half, ok := w.conn.(interface{ CloseWrite() error }); ok {
		c.running.Go(func() { _ = half.CloseWrite() }) // fails where the peer has gone, which the reader reports
	}
}

// close forgets the connection. Closing may have to wait, in TLS.
func (c *wires) close(id ID) {
	w := c.conns[id]
	if w == nil {
		return
	}
	w.closed = true
	close(w.quit)
	delete(c.conns, id)
	c.slots.Give(poll.MakeID(id.Index()&^wireBit, id.Generation()))
	c.queued -= len(w.out)
	c.buffers.Put(w.out)
	w.out = nil
	c.running.Go(func() { _ = w.conn.Close() }) // nothing that was promised depends on it
}

// stop waits for the goroutines of connections that have all been closed.
func (c *wires) stop() { c.running.Wait() }
