package ws

import (
	"encoding/binary"
	"unicode/utf8"

	gobwas "github.com/gobwas/ws"
)

// headerMax is the longest header of a client's frame: two bytes, a length of
// eight, a mask of four.
const headerMax = 14

// Parser is the state of one connection's incoming frames. The zero value
// waits for a first header. It holds no pointer and does no I/O.
//
// Invariants:
//  1. left > 0 only in a frame; a frame of no payload ends in the call that
//     completes its header.
//  2. ctrl bytes at the assembly's end are a control payload; what is before
//     them is the message so far, unmasked.
//  3. pending < 4 bytes at the end of the message so far are the beginning of a
//     rune that may still become valid.
type Parser struct {
	head    [headerMax]byte // of a header not complete; once it is, mask in the first four
	nhead   uint8
	op      Opcode // of the frame under way
	flags   flags
	pending uint8
	ctrl    uint8
	pos     uint8  // bytes of the frame's payload seen, modulo four
	left    uint32 // bytes of the frame's payload still to come
}

type flags uint8

const (
	inFrame     flags = 1 << iota // a header is complete, its payload is not
	final                         // of the frame under way
	inMessage                     // a fragmented message is under way
	isText                        // of the message under way
	lentMessage                   // the last event lent out the assembly
	lentControl                   // the last event lent out the assembly's end
	dead                          // closed or at fault: nothing counts any more
)

// Assembly is what must be kept of an unfinished message. Its owner may give
// Bytes back to its pool, and set it to nil, whenever the parser is Idle.
type Assembly struct {
	Bytes []byte
	// Grow returns a slice of the same content with room for n bytes more;
	// nil grows as append does.
	Grow func(b []byte, n int) []byte
}

func (a *Assembly) add(chunk []byte) []byte {
	if a.Grow != nil && cap(a.Bytes)-len(a.Bytes) < len(chunk) {
		a.Bytes = a.Grow(a.Bytes, len(chunk))
	}
	at := len(a.Bytes)
	a.Bytes = append(a.Bytes, chunk...)
	return a.Bytes[at:]
}

// Kind of an event.
type Kind uint8

// The kinds of events.
const (
	None       Kind = iota // more bytes are needed
	GotMessage             // Op, Data: a whole message
	GotPing                // Data: to be sent back in a pong
	GotPong                // Data
	GotClose               // Code (CloseNoCode where there was none), Data: the reason
	GotFault               // Fault: close with its code; the stream means nothing from here on
)

// Event is what some bytes completed. Data is lent until the next call.
type Event struct {
	Kind  Kind
	Op    Opcode
	Code  uint16
	Data  []byte
	Fault *Violation
}

// Idle says that nothing is unfinished, so that the assembly is not needed.
// It is to be asked when Next has returned None.
func (p *Parser) Idle() bool {
	return p.nhead == 0 && p.flags&(inFrame|inMessage|lentMessage|lentControl) == 0
}

// Next takes bytes from the front of in until an event is complete or in is
// used up, and says how many it took. It is to be called until it returns None.
// It writes into in: payloads are unmasked where they lie. A message that
// would exceed limit bytes is refused as soon as a header says so.
func (p *Parser) Next(in []byte, asm *Assembly, limit int) (Event, int) {
	p.takeBack(asm)
	n := 0
	for p.flags&dead == 0 {
		if p.flags&inFrame == 0 {
			took, complete, fault := p.header(in[n:], len(asm.Bytes), limit)
			n += took
			if fault != nil {
				return p.fail(fault), n
			}
			if !complete {
				return Event{}, n
			}
		}
		chunk := in[n:min(n+int(p.left), len(in))]
		n += len(chunk)
		ev := p.payload(chunk, asm)
		if ev.Kind != None || p.left > 0 {
			return ev, n
		}
	}
	return Event{}, len(in)
}

// takeBack ends the loan of the last event's data.
func (p *Parser) takeBack(asm *Assembly) {
	switch {
	case p.flags&lentMessage != 0:
		asm.Bytes = asm.Bytes[:0]
	case p.flags&lentControl != 0:
		asm.Bytes = asm.Bytes[:len(asm.Bytes)-int(p.ctrl)]
		p.ctrl = 0
	}
	p.flags &^= lentMessage | lentControl
}

func (p *Parser) fail(v *Violation) Event {
	p.flags |= dead
	return Event{Kind: GotFault, Code: v.Code, Fault: v}
}

// header takes the bytes of a header. A part of one is kept in head: it pins
// no buffer, however slowly the rest comes.
func (p *Parser) header(in []byte, have, limit int) (took int, complete bool, fault *Violation) {
	b, kept := in, 0
	if p.nhead > 0 || len(in) < headerMax {
		kept = int(p.nhead)
		b = p.head[:kept+copy(p.head[kept:], in)]
	}
	if len(b) == 0 {
		return 0, false, nil
	}
	if fault := p.checkFirst(b[0]); fault != nil {
		return 0, false, fault
	}
	need := 2
	if len(b) >= need {
		if need, fault = p.checkSecond(Opcode(b[0]&0xf), b[1]); fault != nil {
			return 0, false, fault
		}
	}
	if len(b) < need {
		p.nhead = uint8(len(b))
		return len(b) - kept, false, nil
	}
	length, fault := payloadLength(b)
	if fault != nil {
		return 0, false, fault
	}
	p.begin(b[0], length, [4]byte(b[need-4:need]))
	if !p.op.Control() && length > uint64(max(limit-have, 0)) {
		return 0, false, ErrTooBig
	}
	p.left = uint32(length)
	return need - kept, true, nil
}

func (p *Parser) checkFirst(b byte) *Violation {
	op, fin := Opcode(b&0xf), b&0x80 != 0
	switch {
	case b&0x70 != 0:
		return ErrReserved
	case !op.known():
		return ErrOpcode
	case op.Control():
		if !fin {
			return ErrControlFinal
		}
	case op == Continuation:
		if p.flags&inMessage == 0 {
			return ErrContinuation
		}
	case p.flags&inMessage != 0:
		return ErrInterleaved
	}
	return nil
}

// checkSecond returns how long the header is.
func (p *Parser) checkSecond(op Opcode, b byte) (int, *Violation) {
	length := b & 0x7f
	switch {
	case b&0x80 == 0:
		return 0, ErrUnmasked
	case length > ControlMax && op.Control():
		return 0, ErrControlLength
	case length == 126:
		return 8, nil
	case length == 127:
		return 14, nil
	default:
		return 6, nil
	}
}

func payloadLength(b []byte) (uint64, *Violation) {
	switch short := uint64(b[1] & 0x7f); short {
	case 126:
		n := uint64(binary.BigEndian.Uint16(b[2:]))
		if n < 126 {
			return 0, ErrLength
		}
		return n, nil
	case 127:
		n := binary.BigEndian.Uint64(b[2:])
		if n <= 0xffff || n>>63 != 0 {
			return 0, ErrLength
		}
		return n, nil
	default:
		return short, nil
	}
}

func (p *Parser) begin(first byte, length uint64, mask [4]byte) {
	p.nhead, p.pos = 0, 0
	copy(p.head[:], mask[:])
	p.op = Opcode(first & 0xf)
	p.flags |= inFrame
	p.flags &^= final
	if first&0x80 != 0 {
		p.flags |= final
	}
	if p.op == Text || p.op == Binary {
		p.flags &^= isText
		if p.op == Text {
			p.flags |= isText
		}
	}
}

// payload takes a piece of the frame's payload, which may be all of it.
func (p *Parser) payload(chunk []byte, asm *Assembly) Event {
	p.left -= uint32(len(chunk))
	if p.left == 0 && p.untouched(asm) {
		gobwas.Cipher(chunk, p.mask(), 0)
		if p.flags&isText != 0 && !p.op.Control() && !utf8.Valid(chunk) {
			return p.fail(ErrText)
		}
		return p.finish(chunk)
	}
	fresh := asm.add(chunk)
	gobwas.Cipher(fresh, p.mask(), int(p.pos))
	p.pos = (p.pos + uint8(len(chunk)&3)) & 3
	if p.op.Control() {
		return p.controlPart(len(chunk), asm)
	}
	if p.flags&isText != 0 && !p.text(asm.Bytes, len(fresh)) {
		return p.fail(ErrText)
	}
	switch {
	case p.left > 0:
		return Event{}
	case p.flags&final == 0:
		return p.finish(nil)
	case p.pending > 0:
		return p.fail(ErrText)
	}
	p.flags |= lentMessage
	return p.finish(asm.Bytes)
}

// untouched says that the frame is an event by itself of which nothing stands
// in the assembly yet.
func (p *Parser) untouched(asm *Assembly) bool {
	if p.op.Control() {
		return p.ctrl == 0
	}
	return p.flags&final != 0 && p.flags&inMessage == 0 && len(asm.Bytes) == 0
}

func (p *Parser) controlPart(n int, asm *Assembly) Event {
	p.ctrl += uint8(n)
	if p.left > 0 {
		return Event{}
	}
	p.flags |= lentControl
	return p.finish(asm.Bytes[len(asm.Bytes)-int(p.ctrl):])
}

func (p *Parser) mask() [4]byte { return [4]byte(p.head[:4]) }

// finish ends the frame under way; data is the whole message's or control
// frame's payload.
func (p *Parser) finish(data []byte) Event {
	p.flags &^= inFrame
	switch p.op {
	case Ping:
		return Event{Kind: GotPing, Op: Ping, Data: data}
	case Pong:
		return Event{Kind: GotPong, Op: Pong, Data: data}
	case Close:
		return p.closed(data)
	}
	if p.flags&final == 0 {
		p.flags |= inMessage
		return Event{}
	}
	p.flags &^= inMessage
	op := Binary
	if p.flags&isText != 0 {
		op = Text
	}
	return Event{Kind: GotMessage, Op: op, Data: data}
}

func (p *Parser) closed(data []byte) Event {
	p.flags |= dead
	if len(data) == 0 {
		return Event{Kind: GotClose, Op: Close, Code: CloseNoCode}
	}
	if len(data) == 1 {
		return p.fail(ErrCloseLength)
	}
	code := binary.BigEndian.Uint16(data)
	if !ValidCode(code) {
		return p.fail(ErrCloseCode)
	}
	if !utf8.Valid(data[2:]) {
		return p.fail(ErrCloseReason)
	}
	return Event{Kind: GotClose, Op: Close, Code: code, Data: data[2:]}
}

// text checks the last fresh bytes of the message so far, together with those
// before them that were left pending.
func (p *Parser) text(message []byte, fresh int) bool {
	unchecked := message[len(message)-fresh-int(p.pending):]
	p.pending = uint8(incomplete(unchecked))
	return utf8.Valid(unchecked[:len(unchecked)-int(p.pending)])
}

// incomplete is the number of bytes at the end of b that are the beginning of
// a rune which further bytes may complete. A beginning that nothing can
// complete counts as complete, and is found invalid.
func incomplete(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
