package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Kind of a server frame.
type Kind uint8

// The kinds that a load generator looks into, and Other.
const (
	Other Kind = iota
	Welcome
	Sent
	Deliver
	Receipt
	DeviceEvent
	Presence
	Typing
	Drained
	Pong
	Error
	GoAway
)

var kinds = [...]string{"other", "welcome", "sent", "deliver", "receipt", "deviceEvent", "presence", "typing", "drained", "pong", "error", "goAway"}

// String is the frame's name on the wire.
func (k Kind) String() string { return kinds[k] }

// Frame is a server frame. Slices alias the bytes that were decoded. Which
// fields are set is the kind's affair.
type Frame struct {
	Kind Kind
	Ref  uint32

	ID           []byte // sent, deliver, error: text
	Conversation []byte // sent, deliver, receipt: the user
	Seq          uint64 // deliver, receipt, deviceEvent, drained
	Order        uint64 // sent, deliver
	Time         uint64 // sent, deliver
	Duplicate    bool   // sent

	From       []byte // deliver: the user
	FromDevice uint32
	Payload    []byte

	By          []byte // receipt
	DeliveredTo uint64
	ReadTo      uint64
	Undelivered int // ranges

	InFlight                uint64 // welcome: limits
	InFlightPerConversation uint64
	SendsPerSecond          uint64 // as float64 bits

	Code, Reason []byte // error; goAway has a reason
	Message      []byte
	Retryable    bool
	RetryAfterMs uint64 // error; goAway: when to reconnect
}

// errFrame says that bytes are no server frame.
var errFrame = errors.New("wire: not a server frame")

// Next splits the first of the length-prefixed frames off.
func Next(b []byte) (body, rest []byte, err error) {
	body, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return nil, nil, fmt.Errorf("%w: its length: %w", errFrame, protowire.ParseError(n))
	}
	return body, b[n:], nil
}

// Decode reads one frame's body into f, all of which it sets.
func Decode(body []byte, f *Frame) error {
	*f = Frame{}
	return each(body, func(field protowire.Number, v uint64, b []byte) error {
		switch field {
		case 1:
			f.Ref = uint32(v)
			return nil
		case 2:
			f.Kind = Welcome
			return each(b, f.welcome)
		case 3:
			f.Kind = Sent
			return each(b, f.sent)
		case 4:
			f.Kind = Deliver
			return each(b, f.deliver)
		case 5:
			f.Kind = Receipt
			return each(b, f.receipt)
		case 7:
			f.Kind = DeviceEvent
			return each(b, f.seqFirst)
		case 8:
			f.Kind = Presence
		case 9:
			f.Kind = Typing
		case 11:
			f.Kind = Drained
			return each(b, f.seqFirst)
		case 12:
			f.Kind = Pong
		case 13:
			f.Kind = Error
			return each(b, f.error)
		case 14:
			f.Kind = GoAway
			return each(b, f.goAway)
		}
		return nil
	})
}

// each calls fn for every field of a message: v for numbers, b for bytes.
func each(msg []byte, fn func(field protowire.Number, v uint64, b []byte) error) error {
	for len(msg) > 0 {
		field, t, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return fmt.Errorf("%w: %w", errFrame, protowire.ParseError(n))
		}
		msg = msg[n:]
		var v uint64
		var b []byte
		switch t {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(msg)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(msg)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(msg)
		default:
			n = protowire.ConsumeFieldValue(field, t, msg)
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", errFrame, field, protowire.ParseError(n))
		}
		msg = msg[n:]
		if err := fn(field, v, b); err != nil {
			return err
		}
	}
	return nil
}

func (f *Frame) seqFirst(field protowire.Number, v uint64, _ []byte) error {
	if field == 1 {
		f.Seq = v
	}
	return nil
}

// peer reads a Conversation; a group's is left empty.
func (f *Frame) peer(field protowire.Number, _ uint64, b []byte) error {
	if field == conversationUser {
		f.Conversation = b
	}
	return nil
}

func (f *Frame) sent(field protowire.Number, v uint64, b []byte) error {
	switch field {
	case 1:
		f.ID = b
	case 2:
		return each(b, f.peer)
	case 3:
		f.Order = v
	case 4:
		f.Time = v
	case 5:
		f.Duplicate = v != 0
	}
	return nil
}

func (f *Frame) deliver(field protowire.Number, v uint64, b []byte) error {
	switch field {
	case 1:
		f.Seq = v
	case 2:
		f.ID = b
	case 3:
		return each(b, f.from)
	case 4:
		return each(b, f.peer)
	case 5:
		f.Order = v
	case 6:
		f.Time = v
	case 9:
		f.Payload = b
	}
	return nil
}

func (f *Frame) from(field protowire.Number, v uint64, b []byte) error {
	switch field {
	case 1:
		f.From = b
	case 2:
		f.FromDevice = uint32(v)
	}
	return nil
}

func (f *Frame) receipt(field protowire.Number, v uint64, b []byte) error {
	switch field {
	case 1:
		f.Seq = v
	case 2:
		return each(b, f.peer)
	case 3:
		f.By = b
	case 4:
		f.DeliveredTo = v
	case 5:
		f.ReadTo = v
	case 6:
		f.Undelivered++
	}
	return nil
}

func (f *Frame) welcome(field protowire.Number, _ uint64, b []byte) error {
	if field == 5 {
		return each(b, f.limits)
	}
	return nil
}

func (f *Frame) limits(field protowire.Number, v uint64, b []byte) error {
	switch field {
	case 4:
		f.InFlightPerConversation = v
	case 5:
		f.InFlight = v
	case 8:
		return each(b, func(field protowire.Number, v uint64, _ []byte) error {
			if field == 1 {
				f.SendsPerSecond = v
			}
			return nil
		})
	}
	return nil
}

func (f *Frame) error(field protowire.Number, v uint64, b []byte) error {
	switch field {
	case 1:
		f.ID = b
	case 2:
		f.Code = b
	case 3:
		f.Reason = b
	case 4:
		f.Message = b
	case 5:
		f.Retryable = v != 0
	case 6:
		f.RetryAfterMs = v
	}
	return nil
}

func (f *Frame) goAway(field protowire.Number, v uint64, b []byte) error {
	switch field {
	case 1:
		f.Reason = b
	case 2:
		f.RetryAfterMs = v
	}
	return nil
}
