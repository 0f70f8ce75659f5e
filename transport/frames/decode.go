package frames

import (
	"bytes"
	"fmt"
	"hash/maphash"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// MalformedError says that a message is not a list of frames at all. The
// connection is closed with 4100; Reason fits a close frame.
type MalformedError struct{ Reason string }

func (e *MalformedError) Error() string { return "malformed message: " + e.Reason }

// Decoder reads what clients send. It is for one goroutine: the structs of a
// frame are used again for the next one.
type Decoder struct {
	scratch scratch
	known   known
}

// NewDecoder makes a Decoder.
func NewDecoder() *Decoder { return &Decoder{known: known{seed: maphash.MakeSeed()}} }

// Decode reads the frames of one WebSocket message and hands each to fn as it
// goes. Where a frame breaks the schema, fn gets the fault, and a frame that
// holds what the answer needs as far as it could be read: ref, and in a send
// its id.
//
// A frame is lent to fn until it returns: who wants it for longer clones it.
// The strings and the bytes in it may be kept as they are; data may be used
// again once Decode returns.
//
// The error is a *MalformedError, or what fn returned, which ends the
// decoding. Frames before a malformed one have been handed over by then.
func (d *Decoder) Decode(enc Encoding, data []byte, fn func(*clientpb.ClientFrame, *nodepb.Fault) error) error {
	if enc == Protobuf {
		return d.decodeProtobuf(data, fn)
	}
	return d.decodeJSON(data, fn)
}

var errTooMany = &MalformedError{Reason: fmt.Sprintf("more than %d frames in one message", limits.FrameCount)}

func (d *Decoder) decodeProtobuf(data []byte, fn func(*clientpb.ClientFrame, *nodepb.Fault) error) error {
	for count := 0; len(data) > 0; count++ {
		if count == limits.FrameCount {
			return errTooMany
		}
		body, n := protowire.ConsumeBytes(data) // a length as a varint, then so many bytes
		if n < 0 {
			return &MalformedError{Reason: "a frame's length does not fit the message"}
		}
		data = data[n:]
		f, broken, err := d.protobufFrame(body)
		if err != nil {
			return err
		}
		if err := fn(f, broken); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) protobufFrame(body []byte) (*clientpb.ClientFrame, *nodepb.Fault, error) {
	f, fits := d.readFrame(body)
	if !fits {
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

func (d *Decoder) decodeJSON(data []byte, fn func(*clientpb.ClientFrame, *nodepb.Fault) error) error {
	for count := 0; len(data) > 0; {
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		if line = bytes.Trim(line, " \t\r"); len(line) == 0 {
			continue
		}
		if count++; count > limits.FrameCount {
			return errTooMany
		}
		f, broken, err := d.jsonFrame(line)
		if err != nil {
			return err
		}
		if err := fn(f, broken); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) jsonFrame(line []byte) (*clientpb.ClientFrame, *nodepb.Fault, error) {
	if f, ok := d.readJSON(line); ok {
		return f, nil, nil
	}
	f := new(clientpb.ClientFrame)
	broken, err := UnmarshalJSON(line, f, "")
	switch {
	case err != nil:
		return nil, nil, &MalformedError{Reason: "a frame is " + err.Error()}
	case broken != nil:
		return jsonStub(line), broken, nil
	}
	return f, emptyFrame(f), nil
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

// known are the ids that came last, so that one that comes with every message
// is not made anew each time, and nobody who keeps it keeps a message with it.
type known struct {
	seed maphash.Seed
	last [limits.Names]string
}

func (n *known) of(id []byte) string {
	if len(id) == 0 || len(id) > limits.UserID {
		return string(id)
	}
	at := &n.last[maphash.Bytes(n.seed, id)%limits.Names]
	if *at != string(id) {
		*at = string(id)
	}
	return *at
}
