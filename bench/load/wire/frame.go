package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/rookery-im/rookery/transport/ws"
)

// ErrServerFrame says that the server sent what no server may.
var ErrServerFrame = errors.New("wire: not a frame that a server may send")

// messageMax bounds what is believed of a frame's length.
const messageMax = 16 << 20

// Split takes the first WebSocket frame off b: its opcode and payload, and how
// many bytes it is in all. n is 0 where more bytes are needed. The node sends
// every message as one frame, so that a fragment is an error here.
func Split(b []byte) (op ws.Opcode, payload []byte, n int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	// RFC 6455, section 5.2: final, no extension; 5.1: a server does not mask.
	if b[0]&0xf0 != 0x80 || b[1]&0x80 != 0 {
		return 0, nil, 0, fmt.Errorf("%w: header %x", ErrServerFrame, b[:2])
	}
	op = ws.Opcode(b[0] & 0xf)
	size, head := uint64(b[1]), 2
	switch {
	case size == 126 && len(b) >= 4:
		size, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case size == 127 && len(b) >= 10:
		size, head = binary.BigEndian.Uint64(b[2:]), 10
	case size >= 126:
		return 0, nil, 0, nil
	}
	if size > messageMax {
		return 0, nil, 0, fmt.Errorf("%w: %d bytes", ErrServerFrame, size)
	}
	end := head + int(size)
	if len(b) < end {
		return 0, nil, 0, nil
	}
	return op, b[head:end], end, nil
}
