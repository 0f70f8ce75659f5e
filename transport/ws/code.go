package ws

import "fmt"

// Opcode of a frame (RFC 6455, 5.2).
type Opcode uint8

// The opcodes.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xa
)

// Control says whether frames of this opcode may stand inside a fragmented
// message, may not be fragmented and carry at most [ControlMax] bytes.
func (o Opcode) Control() bool { return o&0x8 != 0 }

func (o Opcode) known() bool { return o <= Binary || o >= Close && o <= Pong }

// String is the opcode's name in the RFC.
func (o Opcode) String() string {
	switch o {
	case Continuation:
		return "continuation"
	case Text:
		return "text"
	case Binary:
		return "binary"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	default:
		return fmt.Sprintf("opcode(%#x)", uint8(o))
	}
}

// ControlMax is the largest payload of a control frame (RFC 6455, 5.5).
const ControlMax = 125

// ReasonMax is the largest reason of a close frame, which also holds a code.
const ReasonMax = ControlMax - 2

// Close codes: the RFC's own, then Rookery's (docs/protocol.md).
const (
	CloseNormal      uint16 = 1000
	CloseGoingAway   uint16 = 1001
	CloseProtocol    uint16 = 1002
	CloseNoCode      uint16 = 1005 // never on the wire: the peer's close frame was empty
	CloseAbnormal    uint16 = 1006 // never on the wire: the connection was lost
	CloseInvalidData uint16 = 1007
	CloseTooBig      uint16 = 1009
	CloseInternal    uint16 = 1011
	CloseRestart     uint16 = 1012
	CloseTryLater    uint16 = 1013

	CloseSilent          uint16 = 4000
	CloseSlow            uint16 = 4001
	CloseMalformed       uint16 = 4100
	CloseUnauthenticated uint16 = 4101
	CloseReplaced        uint16 = 4102
	CloseUnlinked        uint16 = 4103
)

// ValidCode says whether a peer may send the code in a close frame: the
// registered ones save those that only stand for an absent frame, and the
// ranges left to libraries and applications (RFC 6455, 7.4).
func ValidCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}

// Violation is what a peer did that ends the connection, and the code to close
// it with.
type Violation struct {
	Code   uint16
	Reason string // goes into the close frame
}

// Error names the violation.
func (v *Violation) Error() string { return fmt.Sprintf("websocket: %s (%d)", v.Reason, v.Code) }

// The violations.
var (
	ErrReserved      = &Violation{CloseProtocol, "reserved bits are set"}                     // 5.2
	ErrOpcode        = &Violation{CloseProtocol, "reserved opcode"}                           // 5.2
	ErrUnmasked      = &Violation{CloseProtocol, "frame is not masked"}                       // 5.1
	ErrLength        = &Violation{CloseProtocol, "length is not minimally encoded"}           // 5.2
	ErrControlFinal  = &Violation{CloseProtocol, "control frame is fragmented"}               // 5.5
	ErrControlLength = &Violation{CloseProtocol, "control frame exceeds 125 bytes"}           // 5.5
	ErrContinuation  = &Violation{CloseProtocol, "continuation of nothing"}                   // 5.4
	ErrInterleaved   = &Violation{CloseProtocol, "message begun inside a fragmented one"}     // 5.4
	ErrCloseLength   = &Violation{CloseProtocol, "close frame of one byte"}                   // 5.5.1
	ErrCloseCode     = &Violation{CloseProtocol, "close code may not be sent"}                // 7.4
	ErrCloseReason   = &Violation{CloseInvalidData, "reason of the close frame is not UTF-8"} // 5.5.1
	ErrText          = &Violation{CloseInvalidData, "text message is not UTF-8"}              // 8.1
	ErrTooBig        = &Violation{CloseTooBig, "message exceeds this server's limit on size"} // 10.4
)
