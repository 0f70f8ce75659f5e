package conns

import (
	"time"

	"github.com/rookery-im/rookery/transport/poll"
	"github.com/rookery-im/rookery/transport/ws"
)

// tickLength is the resolution of a connection's times: they take 32 bits and
// are compared so that they may wrap around, after 248 days.
const tickLength = 10 * time.Millisecond

// tick counts tickLength since the start; never is no time at all.
type tick uint32

const never tick = 0

func (t tick) reached(now tick) bool { return t != never && int32(now-t) >= 0 }

// far is as much later as a tick may be and still be told from the past.
const far = 100 * 24 * time.Hour

// after is the tick d later, or far later; it is never never.
func (t tick) after(d time.Duration) tick { return t.plus(ticks(min(d, far))) }

func (t tick) plus(n tick) tick {
	if t += n; t == never {
		return 1
	}
	return t
}

// ticks is a duration, rounded up.
func ticks(d time.Duration) tick { return tick((d + tickLength - 1) / tickLength) }

// sooner is the earlier of two times, either of which may be never.
func sooner(a, b tick) tick {
	if a == never || b != never && int32(b-a) < 0 {
		return b
	}
	return a
}

// state of a connection; the diagram is in the package comment.
type state uint8

const (
	free state = iota
	open
	closing  // our close frame is queued or sent
	draining // both close frames have passed; waiting for the end of the stream
)

// String is the state's name.
func (s state) String() string {
	return [...]string{"free", "open", "closing", "draining"}[s]
}

type recordFlags uint16

const (
	pausedByNode     recordFlags = 1 << iota
	pausedByPressure             // more than PendingHigh was waiting, and is not at PendingLow yet
	crowded                      // more than PendingLow waits
	notRead                      // the carrier has been told
	resuming                     // is in the list of those to be read again
	isEcho
	isKnown  // has said who it is
	isQueued // is among Conns.waiters
	peerDone // the peer's close frame came, or its stream means nothing any more
)

// record is a connection. It holds no pointer: a million of them are nothing
// to the garbage collector.
type record struct {
	parser     ws.Parser
	generation uint32
	seen       tick // a complete message, or reading resumed
	pinged     tick
	heartbeat  tick   // a length; once it is not open, how many bytes have come since
	partial    tick   // a message has been incomplete since then; never: none is
	slow       tick   // above PendingHigh since then
	end        tick   // the node's deadline; while closing, the end of the linger
	input      uint32 // into inputs, plus one
	guest      uint32 // into guests, plus one
	tag        uint64
	endCode    uint16
	state      state
	flags      recordFlags
	protocol   Subprotocol
}

// side is the connections of one carrier.
type side struct {
	records poll.Pages[record]
	due     poll.Pages[tick] // when to look at the record; apart, so that sweeping reads little
	used    uint32           // one more than the highest index
	cursor  uint32           // of the sweep

	closeCursor uint32 // of CloseSome
}

// wireBit in an index marks the connections carried by goroutines.
const wireBit = poll.MaxIndex + 1

func (c *Conns) side(id ID) (*side, uint32) {
	if i := id.Index(); i&wireBit != 0 {
		return &c.bySide[1], i &^ wireBit
	}
	return &c.bySide[0], id.Index()
}

// sideID is the ID of the connection whose record is the i-th of a side.
func sideID(side int, i uint32, r *record) ID {
	return poll.MakeID(i|uint32(side)*wireBit, r.generation)
}

// find returns the record of a connection that is in any state but free.
func (c *Conns) find(id ID) *record {
	s, i := c.side(id)
	if i >= s.used {
		return nil
	}
	if r := s.records.At(i); r.state != free && r.generation == id.Generation() {
		return r
	}
	return nil
}

// findOpen is find for what the node still knows of.
func (c *Conns) findOpen(id ID) *record {
	if r := c.find(id); r != nil && r.state == open {
		return r
	}
	return nil
}

// lookAt makes sure that the record is looked at by then.
func (c *Conns) lookAt(id ID, when tick) {
	s, i := c.side(id)
	due := s.due.At(i)
	*due = sooner(*due, when)
}

// input is what is kept of what a connection sent: the beginning of a message,
// and bytes that were read before reading was paused.
type input struct {
	assembly []byte
	held     []byte
	counted  int    // bytes of both, in Conns.unfinished
	place    uint64 // among Conns.beginners; 0 where it has none
}

// inputOf returns the connection's input, making it where there is none.
func (c *Conns) inputOf(r *record) *input {
	if r.input == 0 {
		if n := len(c.spareInputs); n > 0 {
			r.input = c.spareInputs[n-1] + 1
			c.spareInputs = c.spareInputs[:n-1]
		} else {
			c.inputs = append(c.inputs, input{})
			r.input = uint32(len(c.inputs))
		}
	}
	return &c.inputs[r.input-1]
}

// dropInput gives the input back.
func (c *Conns) dropInput(r *record) {
	if r.input == 0 {
		return
	}
	in := &c.inputs[r.input-1]
	c.buffers.Put(in.assembly)
	c.buffers.Put(in.held)
	c.unfinished -= in.counted
	*in = input{}
	c.spareInputs = append(c.spareInputs, r.input-1)
	r.input = 0
}
