package main

import (
	"encoding/hex"
	"fmt"
)

// keySize is how many characters of a payload say which message it is.
const keySize = 24

// key of a message: a tag that tells runs apart, its chat and its number, as
// hexadecimal text, since one of the peers carries nothing but text.
func appendKey(dst []byte, tag byte, chat int, number uint64) []byte {
	return fmt.Appendf(dst, "%02x%06x%016x", tag, chat, number)
}

func parseKey(b []byte, tag byte) (chat int, number uint64, ok bool) {
	if len(b) < keySize {
		return 0, 0, false
	}
	var raw [keySize / 2]byte
	if _, err := hex.Decode(raw[:], b[:keySize]); err != nil || raw[0] != tag {
		return 0, 0, false
	}
	for _, x := range raw[4:] {
		number = number<<8 | uint64(x)
	}
	return int(raw[1])<<16 | int(raw[2])<<8 | int(raw[3]), number, true
}
