package frames

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// MalformedError says that a message is not a list of frames at all. The
// connection is closed with 4100; Reason fits a close frame.
type MalformedError struct{ Reason string }

func (e *MalformedError) Error() string { return "malformed message: " + e.Reason }

// Decode reads the frames of one WebSocket message and hands each to fn as it
// goes. Where a frame breaks the schema, fn gets the fault, and a frame that
// holds what the answer needs as far as it could be read: ref, and in a send
// its id. The frames belong to fn; data may be reused once Decode returns.
//
// The error is a *MalformedError, or what fn returned, which ends the
// decoding. Frames before a malformed one have been handed over by then.
func Decode(enc Encoding, data []byte, fn func(*clientpb.ClientFrame, *nodepb.Fault) error) error {
	if enc == Protobuf {
		return decodeProtobuf(data, fn)
	}
	return decodeJSON(data, fn)
}

var errTooMany = &MalformedError{Reason: fmt.Sprintf("more than %d frames in one message", limits.FrameCount)}

func decodeProtobuf(data []byte, fn func(*clientpb.ClientFrame, *nodepb.Fault) error) error {
	for count := 0; len(data) > 0; count++ {
		if count == limits.FrameCount {
			return errTooMany
		}
		body, n := protowire.ConsumeBytes(data) // a length as a varint, then so many bytes
		if n < 0 {
			return &MalformedError{Reason: "a frame's length does not fit the message"}
		}
		data = data[n:]
		f, broken, err := protobufFrame(body)
		if err != nil {
			return err
		}
		if err := fn(f, broken); err != nil {
			return err
		}
	}
	return nil
}

func protobufFrame(body []byte) (*clientpb.ClientFrame, *nodepb.Fault, error) {
	f := new(clientpb.ClientFrame)
	if err := proto.Unmarshal(body, f); err != nil || hasUnknown(f) {
		broken, ok := diagnoseWire(body, f.ProtoReflect().Descriptor(), "")
		switch {
		case !ok:
			return nil, nil, &MalformedError{Reason: "a frame is not a protobuf message"}
		case broken == nil:
			broken = fault.New(fault.InvalidArgument, "", "the frame does not fit the schema")
		}
		return wireStub(body), broken, nil
	}
	return f, emptyFrame(f), nil
}

func decodeJSON(data []byte, fn func(*clientpb.ClientFrame, *nodepb.Fault) error) error {
	for count := 0; len(data) > 0; {
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		if line = bytes.Trim(line, " \t\r"); len(line) == 0 {
			continue
		}
		if count++; count > limits.FrameCount {
			return errTooMany
		}
		f := new(clientpb.ClientFrame)
		broken, err := UnmarshalJSON(line, f, "")
		if err != nil {
			return &MalformedError{Reason: "a frame is " + err.Error()}
		}
		if broken != nil {
			f = jsonStub(line)
		} else {
			broken = emptyFrame(f)
		}
		if err := fn(f, broken); err != nil {
			return err
		}
	}
	return nil
}

// UnmarshalJSON reads an object in protobuf's JSON mapping into m. The fault
// names the field that does not fit the schema, with path in front of it;
// the error is strictjson.ErrSyntax or strictjson.ErrObject.
func UnmarshalJSON(data []byte, m proto.Message, path string) (*nodepb.Fault, error) {
	// What is nested too deeply fails here as well: no message of ours holds
	// itself, and the library skips nothing unknown.
	if protojson.Unmarshal(data, m) == nil {
		return nil, nil
	}
	return diagnoseJSON(data, m.ProtoReflect().Type(), path)
}

// emptyFrame is the fault of a frame that says nothing.
func emptyFrame(f *clientpb.ClientFrame) *nodepb.Fault {
	if f.Body == nil {
		return fault.New(fault.InvalidArgument, "", "the frame holds none of hello, send, ack, read, typing, watch, signalTo, ping")
	}
	return nil
}

// hasUnknown reports whether the frame holds fields that this version does not
// know. The frequent frames are asked one message after the other, because
// reflection costs as much as decoding them.
func hasUnknown(f *clientpb.ClientFrame) bool {
	if unknown(f.ProtoReflect()) {
		return true
	}
	switch b := f.Body.(type) {
	case *clientpb.ClientFrame_Send:
		s := b.Send
		if unknown(s.ProtoReflect()) || s.To != nil && unknown(s.To.ProtoReflect()) || s.Ttl != nil && unknown(s.Ttl.ProtoReflect()) {
			return true
		}
		for _, p := range s.Payloads {
			if unknown(p.ProtoReflect()) {
				return true
			}
		}
		return false
	case *clientpb.ClientFrame_Ack:
		return unknown(b.Ack.ProtoReflect())
	case nil:
		return false
	default:
		return unknownInside(f.ProtoReflect())
	}
}

func unknown(m protoreflect.Message) bool { return len(m.GetUnknown()) > 0 }

func unknownInside(m protoreflect.Message) (found bool) {
	if unknown(m) {
		return true
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Message() == nil || fd.IsMap() {
			return true
		}
		if !fd.IsList() {
			found = unknownInside(v.Message())
			return !found
		}
		for i := range v.List().Len() {
			found = found || unknownInside(v.List().Get(i).Message())
		}
		return !found
	})
	return found
}
