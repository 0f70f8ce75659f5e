package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/rookery-im/rookery/internal/limits"
)

// Batches stay encoded on their way from the log into rows: the value of a row
// is the very bytes of a field. What decoding would have refused is refused
// here, and more: a field that stands twice, which decoding would merge, so that
// a key could be of one occurrence and the value of both; a field that is not of
// this version; a number that does not fit into its type.

// form of a field.
type form uint8

const (
	absent form = iota // no such field
	number32
	number64
	text // UTF-8
	id   // text of at most limits.UserID bytes: its length takes one byte of a key
	raw
	packed // numbers of 64 bits
	part   // another message
)

// count says how often a field may stand in a message.
type count uint8

const (
	once count = iota
	many
	choice // one of all fields of this count
)

// maxField is the highest number of a field: all have tags of one byte.
const maxField = 15

type rule struct {
	form  form
	count count
	of    *shape // of a part
}

// shape is what a message of the schema may hold.
type shape struct {
	name  string
	rules [maxField + 1]rule
}

var errMalformed = errors.New("malformed")

func (s *shape) errorf(num byte, format string, args ...any) error {
	return fmt.Errorf("%s: field %d: %w", s.name, num, fmt.Errorf(format, args...))
}

// check an encoded message, and all that is in it.
func (s *shape) check(b []byte) error {
	var seen uint16
	for len(b) > 0 {
		num := b[0] >> 3
		if num > maxField || s.rules[num].form == absent {
			return s.errorf(num, "unknown; was it written by a newer version?")
		}
		r := &s.rules[num]
		bit := uint16(1) << num
		switch r.count {
		case many:
			bit = 0
		case choice:
			bit = 1
		}
		if seen&bit != 0 {
			return s.errorf(num, "twice")
		}
		seen |= bit
		rest, err := r.check(b[0]&7, b[1:])
		if err != nil {
			return s.errorf(num, "%w", err)
		}
		b = rest
	}
	return nil
}

// Wire types of Protocol Buffers.
const (
	wireNumber = 0
	wireBytes  = 2
)

// check the field that b begins with, behind its tag.
func (r *rule) check(wire byte, b []byte) (rest []byte, err error) {
	n, size := uvarint(b)
	if size <= 0 {
		return nil, errMalformed
	}
	b = b[size:]
	if r.form == number32 || r.form == number64 {
		if wire != wireNumber || r.form == number32 && n > math.MaxUint32 {
			return nil, errMalformed
		}
		return b, nil
	}
	if wire != wireBytes || n > uint64(len(b)) {
		return nil, errMalformed
	}
	body, rest := b[:n], b[n:]
	switch r.form {
	case part:
		err = r.of.check(body)
	case id:
		if len(body) > limits.UserID {
			return nil, fmt.Errorf("an id of %d bytes", len(body))
		}
		fallthrough
	case text:
		if !utf8.Valid(body) {
			err = errors.New("not UTF-8")
		}
	case packed:
		for len(body) > 0 && err == nil {
			if _, size := uvarint(body); size > 0 {
				body = body[size:]
			} else {
				err = errMalformed
			}
		}
	}
	return rest, err
}

// uvarint is binary.Uvarint, which is not inlined for the most frequent case.
func uvarint(b []byte) (n uint64, size int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

// field is one field of a checked message.
type field struct {
	num  byte
	n    uint64 // of a number
	body []byte // of anything else
}

// take the first field off a checked message.
func take(b []byte) (f field, rest []byte) {
	f.num = b[0] >> 3
	bytes := b[0]&7 == wireBytes
	n, size := uvarint(b[1:])
	b = b[1+size:]
	if !bytes {
		f.n = n
		return f, b
	}
	f.body = b[:n]
	return f, b[n:]
}

// numberOf returns a number in a checked message, and partOf anything else.
func numberOf(b []byte, num byte) uint64 {
	for len(b) > 0 {
		var f field
		if f, b = take(b); f.num == num {
			return f.n
		}
	}
	return 0
}

func partOf(b []byte, num byte) []byte {
	for len(b) > 0 {
		var f field
		if f, b = take(b); f.num == num {
			return f.body
		}
	}
	return nil
}
