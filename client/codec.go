package client

import (
	"bytes"
	"fmt"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protojson"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// subprotocol is what an encoding is called in the handshake.
func (e Encoding) subprotocol() string {
	if e == JSON {
		return "rookery.v1.json"
	}
	return "rookery.v1.protobuf"
}

func (e Encoding) messageType() websocket.MessageType {
	if e == JSON {
		return websocket.MessageText
	}
	return websocket.MessageBinary
}

// appendFrame adds a frame to a message.
func (e Encoding) appendFrame(b []byte, f *clientpb.ClientFrame) ([]byte, error) {
	if e == JSON {
		if len(b) > 0 {
			b = append(b, '\n')
		}
		b, err := protojson.MarshalOptions{}.MarshalAppend(b, f)
		if err != nil {
			return nil, fmt.Errorf("encode a frame: %w", err)
		}
		return b, nil
	}
	buf := bytes.NewBuffer(b)
	if _, err := protodelim.MarshalTo(buf, f); err != nil {
		return nil, fmt.Errorf("encode a frame: %w", err)
	}
	return buf.Bytes(), nil
}

// parse gives the frames of a message. Fields that are not known are passed
// over: the server may be newer.
func (e Encoding) parse(data []byte) ([]*clientpb.ServerFrame, error) {
	var frames []*clientpb.ServerFrame
	if e == JSON {
		for line := range bytes.Lines(data) {
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			f := &clientpb.ServerFrame{}
			if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, f); err != nil {
				return nil, fmt.Errorf("decode a frame: %w", err)
			}
			frames = append(frames, f)
		}
		return frames, nil
	}
	r := bytes.NewReader(data)
	for r.Len() > 0 {
		f := &clientpb.ServerFrame{}
		// No frame is longer than what is left of its message, whatever it says.
		if err := (protodelim.UnmarshalOptions{MaxSize: int64(r.Len())}).UnmarshalFrom(r, f); err != nil {
			return nil, fmt.Errorf("decode a frame: %w", err)
		}
		frames = append(frames, f)
	}
	return frames, nil
}
