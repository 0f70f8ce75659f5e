package ws

import (
	"encoding/binary"
	"unicode/utf8"

	gobwas "github.com/gobwas/ws"
)

// HeaderMax is the longest header that a server writes.
const HeaderMax = 10

// AppendHeader appends the header of a server's complete frame with n bytes of
// payload: final and not masked.
func AppendHeader(dst []byte, op Opcode, n int) []byte {
	return appendHeader(dst, 0x80|byte(op), 0, n)
}

func appendHeader(dst []byte, first, masked byte, n int) []byte {
	switch {
	case n <= ControlMax:
		return append(dst, first, masked|byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, first, masked|126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, first, masked|127), uint64(n))
	}
}

// AppendClose appends a server's close frame. CloseNoCode makes an empty one;
// a reason that is too long is cut between two runes.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if code == CloseNoCode {
		return AppendHeader(dst, Close, 0)
	}
	if len(reason) > ReasonMax {
		cut := ReasonMax
		for cut > 0 && !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	dst = AppendHeader(dst, Close, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}

// AppendMasked appends a client's complete frame, for load generators and tests.
func AppendMasked(dst []byte, op Opcode, payload []byte, mask [4]byte) []byte {
	dst = appendHeader(dst, 0x80|byte(op), 0x80, len(payload))
	dst = append(dst, mask[:]...)
	at := len(dst)
	dst = append(dst, payload...)
	gobwas.Cipher(dst[at:], mask, 0)
	return dst
}
