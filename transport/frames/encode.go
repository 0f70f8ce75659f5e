package frames

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// Encoding is how a connection's frames are written.
type Encoding uint8

// The encodings: one for each subprotocol, and that of server-sent events, in
// which frames go one way only.
const (
	JSON Encoding = iota
	Protobuf
	EventStream
)

// The names of the subprotocols.
const (
	SubprotocolJSON     = "rookery.v1.json"
	SubprotocolProtobuf = "rookery.v1.protobuf"
)

// String is the name of the encoding's subprotocol, or media type.
func (e Encoding) String() string {
	switch e {
	case Protobuf:
		return SubprotocolProtobuf
	case EventStream:
		return MediaEventStream
	}
	return SubprotocolJSON
}

// FromSubprotocol finds the encoding of a subprotocol; none offered is JSON.
func FromSubprotocol(name string) (Encoding, bool) {
	switch name {
	case SubprotocolJSON, "":
		return JSON, true
	case SubprotocolProtobuf:
		return Protobuf, true
	default:
		return 0, false
	}
}

// Append appends one frame to the frames of one message: dst holds whole
// frames of that message and nothing else. On error dst comes back as it was.
func Append(dst []byte, enc Encoding, f *clientpb.ServerFrame) ([]byte, error) {
	if enc == EventStream {
		return appendEvent(dst, f)
	}
	return AppendMessage(dst, enc, f)
}

// AppendMessage is Append for any frame, such as a client's.
func AppendMessage(dst []byte, enc Encoding, f proto.Message) ([]byte, error) {
	var out []byte
	var err error
	if enc == Protobuf {
		out = protowire.AppendVarint(dst, uint64(proto.Size(f)))
		out, err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(out, f)
	} else {
		out, err = AppendJSON(separate(dst), f)
	}
	if err != nil {
		return dst, fmt.Errorf("encode frame: %w", err)
	}
	return out, nil
}

// separate puts the newline between two JSON frames.
func separate(dst []byte) []byte {
	if len(dst) > 0 {
		dst = append(dst, '\n')
	}
	return dst
}

// AppendJSON appends a message in protobuf's JSON mapping, without spaces.
func AppendJSON(dst []byte, m proto.Message) ([]byte, error) {
	begin := len(dst)
	out, err := protojson.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return dst, err
	}
	return out[:begin+squeeze(out[begin:])], nil
}

// squeeze removes the space outside strings, in place, and returns the new
// length. protojson puts spaces in at random, so that nobody relies on its
// output byte for byte; here the output is part of the protocol's examples.
func squeeze(text []byte) int {
	n, inString, escaped := 0, false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case inString && c == '\\':
			escaped = true
		case c == '"':
			inString = !inString
		case !inString && c == ' ':
			continue
		}
		text[n] = c
		n++
	}
	return n
}
