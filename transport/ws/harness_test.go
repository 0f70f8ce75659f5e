package ws

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// frame is one frame as a client would send it, right or wrong.
type frame struct {
	op      Opcode
	more    bool // FIN is not set
	rsv     byte // in place: 0x40, 0x20, 0x10
	payload string
}

var testMask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

func (f frame) bytes() []byte {
	b := AppendMasked(nil, f.op, []byte(f.payload), testMask)
	if f.more {
		b[0] &^= 0x80
	}
	b[0] |= f.rsv
	return b
}

func wire(frames ...frame) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, f.bytes()...)
	}
	return b
}

// brief keeps traces readable where payloads are long.
func brief(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%d bytes of %q", len(b), b[:4])
	}
	return fmt.Sprintf("%q", b)
}

func (e Event) trace() string {
	switch e.Kind {
	case GotMessage:
		return fmt.Sprintf("%v %s", e.Op, brief(e.Data))
	case GotPing, GotPong:
		return fmt.Sprintf("%v %s", e.Op, brief(e.Data))
	case GotClose:
		return fmt.Sprintf("close %d %s", e.Code, brief(e.Data))
	case GotFault:
		return fmt.Sprintf("fault %d", e.Code)
	default:
		return "none"
	}
}

// feed gives the parser the pieces, each in a buffer of its own that is
// overwritten afterwards, and returns the trace of its events.
func feed(t testing.TB, limit int, pieces ...[]byte) []string {
	t.Helper()
	var p Parser
	var asm Assembly
	var trace []string
	for _, piece := range pieces {
		buf := append([]byte(nil), piece...)
		rest := buf
		for calls := 0; ; calls++ {
			ev, n := p.Next(rest, &asm, limit)
			rest = rest[n:]
			if ev.Kind == None {
				break
			}
			trace = append(trace, ev.trace())
			if calls > len(piece)+1 {
				t.Fatal("the parser makes events out of nothing")
			}
		}
		if len(rest) != 0 && p.flags&dead == 0 {
			t.Fatalf("%d bytes left, and no event", len(rest))
		}
		if p.Idle() {
			asm.Bytes = nil
		}
		for i := range buf {
			buf[i] = 0xdb
		}
	}
	return trace
}

// chop cuts b into pieces of n bytes.
func chop(b []byte, n int) [][]byte {
	var out [][]byte
	for len(b) > n {
		out = append(out, b[:n])
		b = b[n:]
	}
	return append(out, b)
}

func chopRandomly(rng *rand.Rand, b []byte) [][]byte {
	var out [][]byte
	for len(b) > 0 {
		n := 1 + rng.IntN(len(b))
		if rng.IntN(2) == 0 {
			n = min(n, 1+rng.IntN(9))
		}
		out = append(out, b[:n])
		b = b[n:]
	}
	return out
}

func lines(trace []string) string { return strings.Join(trace, "\n") }
