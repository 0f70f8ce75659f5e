package ledger

import (
	"encoding/binary"
	"encoding/hex"
)

// IDLen is the length of an id as text.
const IDLen = 36

// The sizes of what an id says.
const (
	flowBits   = 26
	numberBits = 36
	// FlowMax bounds the numbers of flows, NumberMax those of messages in one.
	FlowMax   = 1<<flowBits - 1
	NumberMax = 1<<numberBits - 1
)

// Run is what the ids of one run have in common: its start, in Unix
// milliseconds, and 12 bits to tell runs apart.
type Run struct {
	Start uint64
	Tag   uint16
}

// AppendID appends the id of a message: a UUID of version 7 (RFC 9562, section
// 5.7) whose random bits are the flow and the message's number in it. So an id
// that comes back says which message it is without a table.
func (r Run) AppendID(dst []byte, flow uint32, number uint64) []byte {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], r.Start<<16|0x7000|uint64(r.Tag&0xfff))
	binary.BigEndian.PutUint64(b[8:], 1<<63|uint64(flow)<<numberBits|number)
	var text [IDLen]byte
	at := 0
	for i, part := range [...][]byte{b[:4], b[4:6], b[6:8], b[8:10], b[10:]} {
		if i > 0 {
			text[at] = '-'
			at++
		}
		at += hex.Encode(text[at:], part)
	}
	return append(dst, text[:]...)
}

// ParseID says which message of this run an id is of.
func (r Run) ParseID(text []byte) (flow uint32, number uint64, ok bool) {
	if len(text) != IDLen || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return 0, 0, false
	}
	var digits [32]byte
	n := copy(digits[:], text[:8])
	n += copy(digits[n:], text[9:13])
	n += copy(digits[n:], text[14:18])
	n += copy(digits[n:], text[19:23])
	copy(digits[n:], text[24:])
	var b [16]byte
	if _, err := hex.Decode(b[:], digits[:]); err != nil {
		return 0, 0, false
	}
	low := binary.BigEndian.Uint64(b[8:])
	if binary.BigEndian.Uint64(b[:8]) != r.Start<<16|0x7000|uint64(r.Tag&0xfff) || low>>62 != 2 {
		return 0, 0, false
	}
	return uint32(low >> numberBits & FlowMax), low & NumberMax, true
}
