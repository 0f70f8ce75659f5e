package load

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/load/wire"
	"github.com/rookery-im/rookery/transport/poll"
	"github.com/rookery-im/rookery/transport/ws"
)

// clientName is what hello says.
const clientName = "rookery-bench/1"

// Times of connections.
const (
	redialFirst = 50 * time.Millisecond
	redialMost  = time.Second
	// perSource bounds the connections of one source address, well below what a
	// node takes from one address that has not said hello.
	perSource = 200
	// framesPerMessage stays below what a node reads in one WebSocket message.
	framesPerMessage = 256
	keepBuffer       = 4 << 10 // of one connection, while it has nothing in it
)

// connState is where a connection is.
//
//	off → upgrading → greeting → draining → live; each → off
type connState uint8

const (
	off       connState = iota
	upgrading           // connected or about to be; 101 is awaited
	greeting            // hello is said
	draining            // welcome came
	live                // drained came
)

var connStates = [...]string{"off", "upgrading", "greeting", "draining", "live"}

func (s connState) String() string { return connStates[s] }

// conn is one device.
type conn struct {
	// Immutable after Setup.
	user   int32 // -1 of a probe
	slot   uint8
	number uint32
	token  string
	flows  []int32 // of its user

	id      poll.ID
	state   connState
	want    bool
	dirty   bool
	retry   uint8 // tries in a row that failed
	frames  int   // in out
	lastSeq uint64
	acked   uint64
	helloAt int64
	in      []byte  // of a message that is not whole
	out     []byte  // frames of this round
	touched []int32 // flows with deliveries that are not acked
}

type redial struct {
	at   int64
	conn int32
}

func (e *Engine) span(s Span) (from, to int) {
	if s.To == 0 || s.To > len(e.users) {
		s.To = len(e.users)
	}
	if s.From >= s.To {
		return 0, 0
	}
	last := e.users[s.To-1]
	return e.users[s.From].first, last.first + last.n
}

// bringUp lists the span's connections to be dialled.
func (e *Engine) bringUp(c Connect) {
	e.connect = c
	e.firstDial, e.lastDrain = 0, 0
	e.report.Hello = latency.New()
	from, to := e.span(c.Span)
	for i := from; i < to; i++ {
		e.wish(i)
	}
	for _, i := range e.probes {
		e.wish(i)
	}
}

func (e *Engine) wish(i int) {
	if c := &e.conns[i]; !c.want {
		c.want, c.retry = true, 0
		e.wanted++
		e.queue = append(e.queue, int32(i))
	}
}

// cut closes the span's connections at once, the probes' not.
func (e *Engine) cut(c Cut) {
	from, to := e.span(c.Span)
	for i := from; i < to; i++ {
		if c := &e.conns[i]; c.want {
			c.want = false
			e.wanted--
			e.drop(i)
		}
	}
}

// drop closes a connection without a word and forgets what was in flight on it.
func (e *Engine) drop(i int) {
	c := &e.conns[i]
	switch c.state {
	case off:
		return
	case live:
		e.live--
	default:
		e.handshakes--
	}
	e.loop.Close(c.id)
	c.state, c.id, c.in, c.out, c.frames = off, 0, nil, nil, 0
	for _, f := range c.flows {
		if fl := &e.flows[f]; fl.conn == int32(i) {
			fl.inFlight, fl.stalled = 0, false
		}
	}
	if c.user < 0 {
		for k := range e.pings {
			if e.pings[k].probe == i {
				e.pings[k] = ping{}
			}
		}
	}
}

// lose is a connection that ended unasked.
func (e *Engine) lose(i int, why error) {
	c := &e.conns[i]
	state := c.state
	e.drop(i)
	if !c.want {
		return
	}
	if state == live {
		e.lost++
		if !e.connect.Return {
			e.problem("%s lost its connection: %v", e.name(i), why)
			c.want = false
			e.wanted--
			return
		}
		if len(e.losses) < lossesMax {
			e.losses = append(e.losses, fmt.Sprintf("%s: %v", e.name(i), why))
		}
	} else {
		e.retries++
		if !e.connect.Return {
			e.problem("%s, %v: %v", e.name(i), state, why)
		}
	}
	wait := min(redialFirst<<min(c.retry, 8), redialMost)
	c.retry++
	// Spread, so that they do not all come in the same moment.
	e.later = append(e.later, redial{e.now() + int64(wait/2) + e.rng.Int64N(int64(wait)), int32(i)})
}

func (e *Engine) name(i int) string {
	c := &e.conns[i]
	if c.user < 0 {
		return "a probe"
	}
	return fmt.Sprintf("%s/%d", e.users[c.user].name, c.number)
}

// dialDue opens what may be opened now.
func (e *Engine) dialDue(now int64) {
	kept := e.later[:0]
	for _, r := range e.later {
		if r.at <= now {
			e.queue = append(e.queue, r.conn)
		} else {
			kept = append(kept, r)
		}
	}
	e.later = kept
	n := 0
	for n < len(e.queue) && e.handshakes < max(e.connect.AtOnce, 1) {
		i := int(e.queue[n])
		n++
		if c := &e.conns[i]; c.want && c.state == off {
			e.dial(i)
		}
	}
	e.queue = e.queue[n:] // not moved to the front: it may be a million
}

func (e *Engine) dial(i int) {
	c := &e.conns[i]
	e.dials++
	if e.firstDial == 0 {
		e.firstDial = e.now()
	}
	standIn := e.setup.StandIns != "" && c.user >= 0
	var err error
	if standIn {
		c.id, err = e.standIn()
	} else {
		c.id, err = e.attach(i)
	}
	c.state = upgrading
	e.handshakes++
	if err != nil {
		e.lose(i, err)
		return
	}
	slot := int(c.id.Index())
	for len(e.owner) <= slot {
		e.owner = append(e.owner, 0)
	}
	e.owner[slot] = int32(i)
	if standIn {
		e.greet(i, e.now())
		return
	}
	// RFC 6455, section 4.1. It is written once the connection stands.
	e.packet = fmt.Appendf(e.packet[:0], "GET /v1/ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n", e.target(i), e.key(), ws.NameProtobuf)
	e.loop.Write(c.id, e.packet, nil)
}

// attach dials for a connection.
func (e *Engine) attach(i int) (poll.ID, error) {
	k := i / perSource
	fd, err := dial(e.target(i), [4]byte{127, e.setup.Subnet, byte(k / 250), byte(k%250 + 1)})
	if err != nil {
		return 0, err
	}
	return e.loop.Attach(fd)
}

// target is the node that a connection is to: always the same one.
func (e *Engine) target(i int) string { return e.setup.Targets[i%len(e.setup.Targets)] }

func (e *Engine) key() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], e.rng.Uint64())
	binary.BigEndian.PutUint64(b[8:], e.rng.Uint64())
	return base64.StdEncoding.EncodeToString(b[:])
}

// Data is the loop's: bytes that were read.
func (e *Engine) Data(id poll.ID, b []byte) {
	now := e.awakeOr()
	e.event = now
	i := int(e.owner[id.Index()])
	c := &e.conns[i]
	if c.id != id {
		return
	}
	if len(c.in) > 0 {
		c.in = append(c.in, b...)
		b = c.in
	}
	n, err := e.consume(i, b, now)
	if err != nil {
		e.lose(i, err)
		return
	}
	if c.state == off {
		return
	}
	if rest := b[n:]; len(rest) > 0 {
		c.in = append(c.in[:0], rest...)
	} else if cap(c.in) > keepBuffer {
		c.in = nil
	} else {
		c.in = c.in[:0]
	}
	if c.lastSeq > c.acked {
		e.soil(i)
	}
}

// awakeOr is the time, with what was waited counted at the first event.
func (e *Engine) awakeOr() int64 {
	if e.waitFrom != 0 {
		return e.awake()
	}
	return e.now()
}

// Wrote is the loop's.
func (e *Engine) Wrote(poll.ID, int) {}

// Gone is the loop's: the peer has ended the stream, or the connection failed.
func (e *Engine) Gone(id poll.ID, err error) {
	e.awakeOr()
	i := int(e.owner[id.Index()])
	if e.conns[i].id != id {
		return
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the node ended the stream")
	}
	e.lose(i, err)
}

var (
	endOfHead = []byte("\r\n\r\n")
	switching = []byte("HTTP/1.1 101 ")
)

// consume takes what is whole off b, and says how much that was.
func (e *Engine) consume(i int, b []byte, now int64) (int, error) {
	c := &e.conns[i]
	n := 0
	if c.state == upgrading {
		end := bytes.Index(b, endOfHead)
		if end < 0 {
			return 0, nil
		}
		if !bytes.HasPrefix(b, switching) {
			line, _, _ := bytes.Cut(b, []byte("\r\n"))
			return 0, fmt.Errorf("the upgrade was refused: %.80q", line)
		}
		n = end + len(endOfHead)
		e.greet(i, now)
	}
	for {
		op, payload, k, err := wire.Split(b[n:])
		if err != nil || k == 0 {
			return n, err
		}
		n += k
		if err := e.message(i, op, payload, now); err != nil {
			return n, err
		}
		if c.state == off {
			return n, nil
		}
	}
}

// greet says hello.
func (e *Engine) greet(i int, now int64) {
	c := &e.conns[i]
	c.state, c.helloAt = greeting, now
	e.frames(i, 1)
	c.out = wire.AppendHello(c.out, c.token, clientName, c.lastSeq)
	e.acked(i) // hello says so
}

func (e *Engine) message(i int, op ws.Opcode, payload []byte, now int64) error {
	switch op {
	case ws.Binary:
		return e.receive(i, payload, now)
	case ws.Ping:
		e.packet = ws.AppendMasked(e.packet[:0], ws.Pong, payload, e.maskKey())
		e.loop.Write(e.conns[i].id, e.packet, nil)
		return nil
	case ws.Pong:
		return nil
	case ws.Close:
		if len(payload) < 2 {
			return errors.New("closed without a code")
		}
		return fmt.Errorf("closed with %d %.80q", binary.BigEndian.Uint16(payload), payload[2:])
	default:
		return fmt.Errorf("a message with opcode %d", op)
	}
}

func (e *Engine) maskKey() (k [4]byte) {
	binary.BigEndian.PutUint32(k[:], e.rng.Uint32())
	return k
}

// frames makes room for n frames more in this round's message; the caller
// appends them to the connection's out.
func (e *Engine) frames(i, n int) {
	c := &e.conns[i]
	if c.frames+n > framesPerMessage {
		e.emit(i)
	}
	c.frames += n
	e.soil(i)
}

func (e *Engine) soil(i int) {
	if c := &e.conns[i]; !c.dirty {
		c.dirty = true
		e.dirty = append(e.dirty, int32(i))
	}
}

// emit queues the message of a connection.
func (e *Engine) emit(i int) {
	c := &e.conns[i]
	if len(c.out) == 0 || c.state == off {
		return
	}
	e.packet = ws.AppendMasked(e.packet[:0], ws.Binary, c.out, e.maskKey())
	e.loop.Write(c.id, e.packet, nil)
	c.frames = 0
	if cap(c.out) > keepBuffer {
		c.out = nil
		return
	}
	c.out = c.out[:0]
}

// say ends the round: acks, and one message for each connection that has something.
func (e *Engine) say() {
	for k := 0; k < len(e.dirty); k++ {
		i := int(e.dirty[k])
		c := &e.conns[i]
		c.dirty = false
		if c.state == off {
			continue
		}
		if c.lastSeq > c.acked {
			e.ack(i)
		}
		e.emit(i)
	}
	// An ack that found its message full has listed its connection once more.
	e.dirty = e.dirty[:0]
}

func (e *Engine) ack(i int) {
	c := &e.conns[i]
	if c.frames >= framesPerMessage {
		e.emit(i)
	}
	c.out = wire.AppendAck(c.out, c.lastSeq)
	c.frames++
	e.counts.acks++
	e.acked(i)
}

// acked notes that the connection is about to say that it has all it was sent.
func (e *Engine) acked(i int) {
	c := &e.conns[i]
	c.acked = c.lastSeq
	for _, f := range c.touched {
		e.book.Acked(int(f), int(c.slot))
	}
	c.touched = c.touched[:0]
}
