package frames

import (
	"bytes"
	"math"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/durationpb"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// Frames of clients are read by hand: the library's reading costs a send eight
// allocations and the same time again to ask each message for unknown fields.
// The rules are the library's: of a field given twice the last counts, messages
// given twice merge, of a oneof the last given stands, strings are UTF-8.
// TestReadAgrees and FuzzReadAgrees compare.

// Tags of client.proto: a field's number, and how its values are written.
const (
	varint   = uint64(protowire.VarintType)
	prefixed = uint64(protowire.BytesType)

	frameRef      = 1<<3 | varint
	frameHello    = 2<<3 | prefixed
	frameSend     = 3<<3 | prefixed
	frameAck      = 4<<3 | prefixed
	frameRead     = 5<<3 | prefixed
	frameTyping   = 6<<3 | prefixed
	frameWatch    = 7<<3 | prefixed
	frameSignalTo = 9<<3 | prefixed
	framePing     = 10<<3 | prefixed

	conversationUserTag  = 1<<3 | prefixed
	conversationGroupTag = 2<<3 | prefixed

	durationSeconds = 1<<3 | varint
	durationNanos   = 2<<3 | varint

	helloToken     = 1<<3 | prefixed
	helloClient    = 2<<3 | prefixed
	helloHeartbeat = 3<<3 | prefixed
	helloAcked     = 4<<3 | varint

	sendID       = 1<<3 | prefixed
	sendTo       = 2<<3 | prefixed
	sendKind     = 3<<3 | varint
	sendPayload  = 4<<3 | prefixed
	sendPayloads = 5<<3 | prefixed
	sendReplyTo  = 6<<3 | prefixed
	sendTTL      = 7<<3 | prefixed
	sendPush     = 8<<3 | varint

	targetUser    = 1<<3 | prefixed
	targetDevice  = 2<<3 | varint
	targetPayload = 3<<3 | prefixed

	ackSeq = 1<<3 | varint

	readConversation = 1<<3 | prefixed
	readOrder        = 2<<3 | varint

	typingConversation = 1<<3 | prefixed
	typingOn           = 2<<3 | varint

	watchUsers = 1<<3 | prefixed

	signalTo    = 1<<3 | prefixed
	signalBytes = 2<<3 | prefixed
)

// scratch is what the frames that come often are made of.
type scratch struct {
	frame    clientpb.ClientFrame
	send     clientpb.Send
	ack      clientpb.Ack
	peer     clientpb.Conversation
	user     clientpb.Conversation_User
	sendBody clientpb.ClientFrame_Send
	ackBody  clientpb.ClientFrame_Ack
}

// verdict of reading a message.
type verdict uint8

const (
	fit     verdict = iota
	strange         // it holds fields that this version does not know
	broken          // it is no message, or a string in it no UTF-8
)

// fields walks over the fields of a message on the wire.
type fields struct {
	rest   []byte
	tag    uint64 // of the field at hand
	number uint64 // its value, where it is a varint
	value  []byte // its value, where it has a length
	verdict
}

// next is false at the end, or where the rest is no message.
func (f *fields) next() bool {
	if len(f.rest) == 0 || f.verdict == broken {
		return false
	}
	return f.short() || f.any()
}

// short takes a field whose tag, and whose value or length, is a byte: nearly
// all are.
func (f *fields) short() bool {
	b := f.rest
	if len(b) < 2 || b[0]|b[1] > 0x7f || b[0]>>3 == 0 {
		return false
	}
	switch end := 2 + int(b[1]); {
	case b[0]&7 == byte(varint):
		f.number, f.rest = uint64(b[1]), b[2:]
	case b[0]&7 == byte(prefixed) && end <= len(b):
		f.value, f.rest = b[2:end], b[end:]
	default:
		return false
	}
	f.tag = uint64(b[0])
	return true
}

func (f *fields) any() bool {
	tag, n := protowire.ConsumeVarint(f.rest)
	number := tag >> 3
	if n < 0 || number < uint64(protowire.MinValidNumber) || number > uint64(protowire.MaxValidNumber) {
		f.verdict = broken
		return false
	}
	f.tag, f.rest = tag, f.rest[n:]
	switch tag & 7 {
	case varint:
		f.number, n = protowire.ConsumeVarint(f.rest)
	case prefixed:
		f.value, n = protowire.ConsumeBytes(f.rest)
	default:
		n = protowire.ConsumeFieldValue(protowire.Number(number), protowire.Type(tag&7), f.rest)
	}
	if n < 0 {
		f.verdict = broken
		return false
	}
	f.rest = f.rest[n:]
	return true
}

// found makes the verdict worse, never better.
func (f *fields) found(v verdict) { f.verdict = max(f.verdict, v) }

// text checks the value at hand.
func (f *fields) text() []byte {
	if !utf8.Valid(f.value) {
		f.verdict = broken
	}
	return f.value
}

// int32 is an enum's or an int32's value: the wire may carry more bits.
func (f *fields) int32() int32   { return int32(uint32(f.number & math.MaxUint32)) }
func (f *fields) uint32() uint32 { return uint32(f.number & math.MaxUint32) }

// readFrame is false where the frame does not fit the schema.
func (d *Decoder) readFrame(b []byte) (*clientpb.ClientFrame, bool) {
	f := &d.scratch.frame
	f.Ref, f.Body = 0, nil
	in := fields{rest: b}
	body := fit
	for in.next() {
		switch in.tag {
		case frameRef:
			f.Ref = in.uint32()
		case frameHello, frameSend, frameAck, frameRead, frameTyping, frameWatch, frameSignalTo, framePing:
			if d.begin(f, in.tag) {
				body = fit // with another body before it goes what was strange in that
			}
			if body = max(body, d.readBody(f, in.value)); body == broken {
				return f, false
			}
		default:
			in.found(strange)
		}
	}
	return f, max(in.verdict, body) == fit
}

// begin makes the frame one of the tag's kind; false where it is already, and
// goes on with what it has.
func (d *Decoder) begin(f *clientpb.ClientFrame, tag uint64) bool {
	if kindOf(f) == tag {
		return false
	}
	s := &d.scratch
	switch tag {
	case frameHello:
		f.Body = &clientpb.ClientFrame_Hello{Hello: &clientpb.Hello{}}
	case frameSend:
		s.send = clientpb.Send{}
		s.sendBody.Send = &s.send
		f.Body = &s.sendBody
	case frameAck:
		s.ack = clientpb.Ack{}
		s.ackBody.Ack = &s.ack
		f.Body = &s.ackBody
	case frameRead:
		f.Body = &clientpb.ClientFrame_Read{Read: &clientpb.Read{}}
	case frameTyping:
		f.Body = &clientpb.ClientFrame_Typing{Typing: &clientpb.Typing{}}
	case frameWatch:
		f.Body = &clientpb.ClientFrame_Watch{Watch: &clientpb.Watch{}}
	case frameSignalTo:
		f.Body = &clientpb.ClientFrame_SignalTo{SignalTo: &clientpb.SignalTo{}}
	case framePing:
		f.Body = &clientpb.ClientFrame_Ping{Ping: &clientpb.Ping{}}
	}
	return true
}

func kindOf(f *clientpb.ClientFrame) uint64 {
	switch f.Body.(type) {
	case *clientpb.ClientFrame_Hello:
		return frameHello
	case *clientpb.ClientFrame_Send:
		return frameSend
	case *clientpb.ClientFrame_Ack:
		return frameAck
	case *clientpb.ClientFrame_Read:
		return frameRead
	case *clientpb.ClientFrame_Typing:
		return frameTyping
	case *clientpb.ClientFrame_Watch:
		return frameWatch
	case *clientpb.ClientFrame_SignalTo:
		return frameSignalTo
	case *clientpb.ClientFrame_Ping:
		return framePing
	}
	return 0
}

func (d *Decoder) readBody(f *clientpb.ClientFrame, b []byte) verdict {
	switch m := f.Body.(type) {
	case *clientpb.ClientFrame_Hello:
		return readHello(m.Hello, b)
	case *clientpb.ClientFrame_Send:
		return d.readSend(m.Send, bytes.Clone(b))
	case *clientpb.ClientFrame_Ack:
		return readAck(m.Ack, b)
	case *clientpb.ClientFrame_Read:
		return d.readRead(m.Read, b)
	case *clientpb.ClientFrame_Typing:
		return d.readTyping(m.Typing, b)
	case *clientpb.ClientFrame_Watch:
		return readWatch(m.Watch, b)
	case *clientpb.ClientFrame_SignalTo:
		return d.readSignal(m.SignalTo, b)
	default:
		return readPing(b)
	}
}

func readPing(b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		in.found(strange)
	}
	return in.verdict
}

// readSend keeps b: ids and payloads are parts of it.
func (d *Decoder) readSend(m *clientpb.Send, b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		switch in.tag {
		case sendID:
			m.Id = view(in.text())
		case sendTo:
			if m.To == nil {
				m.To = &d.scratch.peer
				m.To.Peer = nil
			}
			in.found(d.readConversation(m.To, in.value))
		case sendKind:
			m.Kind = clientpb.Kind(in.int32())
		case sendPayload:
			m.Payload = in.value[:len(in.value):len(in.value)]
		case sendPayloads:
			p := &clientpb.DevicePayload{}
			m.Payloads = append(m.Payloads, p)
			in.found(d.readTarget(p, in.value))
		case sendReplyTo:
			m.ReplyTo = view(in.text())
		case sendTTL:
			if m.Ttl == nil {
				m.Ttl = &durationpb.Duration{}
			}
			in.found(readDuration(m.Ttl, in.value))
		case sendPush:
			m.Push = clientpb.Send_Push(in.int32())
		default:
			in.found(strange)
		}
	}
	return in.verdict
}

// view is b as a string. Nobody writes to b any more.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (d *Decoder) readTarget(m *clientpb.DevicePayload, b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		switch in.tag {
		case targetUser:
			m.User = d.known.of(in.text())
		case targetDevice:
			m.Device = in.uint32()
		case targetPayload:
			m.Payload = in.value[:len(in.value):len(in.value)]
		default:
			in.found(strange)
		}
	}
	return in.verdict
}

func (d *Decoder) readConversation(m *clientpb.Conversation, b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		switch in.tag {
		case conversationUserTag:
			d.scratch.user.User = d.known.of(in.text())
			m.Peer = &d.scratch.user
		case conversationGroupTag:
			m.Peer = &clientpb.Conversation_Group{Group: d.known.of(in.text())}
		default:
			in.found(strange)
		}
	}
	return in.verdict
}

func readDuration(m *durationpb.Duration, b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		switch in.tag {
		case durationSeconds:
			m.Seconds = int64(in.number)
		case durationNanos:
			m.Nanos = in.int32()
		default:
			in.found(strange)
		}
	}
	return in.verdict
}

func readHello(m *clientpb.Hello, b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		switch in.tag {
		case helloToken:
			m.Token = string(in.text())
		case helloClient:
			m.Client = string(in.text())
		case helloHeartbeat:
			if m.Heartbeat == nil {
				m.Heartbeat = &durationpb.Duration{}
			}
			in.found(readDuration(m.Heartbeat, in.value))
		case helloAcked:
			m.Acked = in.number
		default:
			in.found(strange)
		}
	}
	return in.verdict
}

func readAck(m *clientpb.Ack, b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		if in.tag == ackSeq {
			m.Seq = in.number
		} else {
			in.found(strange)
		}
	}
	return in.verdict
}

func (d *Decoder) readRead(m *clientpb.Read, b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		switch in.tag {
		case readConversation:
			if m.Conversation == nil {
				m.Conversation = &clientpb.Conversation{}
			}
			in.found(d.readConversation(m.Conversation, in.value))
		case readOrder:
			m.Order = in.number
		default:
			in.found(strange)
		}
	}
	return in.verdict
}

func (d *Decoder) readTyping(m *clientpb.Typing, b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		switch in.tag {
		case typingConversation:
			if m.Conversation == nil {
				m.Conversation = &clientpb.Conversation{}
			}
			in.found(d.readConversation(m.Conversation, in.value))
		case typingOn:
			m.On = in.number != 0
		default:
			in.found(strange)
		}
	}
	return in.verdict
}

func readWatch(m *clientpb.Watch, b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		if in.tag == watchUsers {
			m.Users = append(m.Users, string(in.text()))
		} else {
			in.found(strange)
		}
	}
	return in.verdict
}

func (d *Decoder) readSignal(m *clientpb.SignalTo, b []byte) verdict {
	in := fields{rest: b}
	for in.next() {
		switch in.tag {
		case signalTo:
			if m.To == nil {
				m.To = &clientpb.Conversation{}
			}
			in.found(d.readConversation(m.To, in.value))
		case signalBytes:
			m.Bytes = bytes.Clone(in.value)
		default:
			in.found(strange)
		}
	}
	return in.verdict
}
