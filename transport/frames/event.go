package frames

import (
	"encoding/json"
	"fmt"
	"strconv"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// Server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html
const (
	MediaEventStream = "text/event-stream"
	// LastEventID is the header by which a client says where to go on.
	LastEventID = "Last-Event-ID"
	// Displaced stands for a seq in the last event of a session that another of
	// the same device took the place of. A browser reconnects by itself, and says
	// it again: so it can be told not to.
	Displaced = "displaced"
	// CloseEvent is the name of the last event of a stream.
	CloseEvent = "close"
)

// AppendComment appends a comment, which clients skip.
func AppendComment(dst []byte) []byte { return append(dst, ":\n\n"...) }

// appendEvent appends a frame as an event: named like the frame, with its seq
// for an id where it has one, and the frame's JSON for data.
func appendEvent(dst []byte, f *clientpb.ServerFrame) ([]byte, error) {
	m := f.ProtoReflect()
	body := m.WhichOneof(m.Descriptor().Oneofs().ByName("body"))
	if body == nil {
		return dst, fmt.Errorf("encode frame: it says nothing")
	}
	out := append(append(append(dst, "event: "...), body.JSONName()...), '\n')
	if b, ok := m.Get(body).Message().Interface().(interface{ GetSeq() uint64 }); ok && b.GetSeq() > 0 {
		out = append(strconv.AppendUint(append(out, "id: "...), b.GetSeq(), 10), '\n')
	}
	if g := f.GetGoAway(); g != nil {
		out = append(strconv.AppendUint(append(out, "retry: "...), uint64(g.GetReconnectAfterMs()), 10), '\n')
	}
	out, err := AppendJSON(append(out, "data: "...), f)
	if err != nil {
		return dst, fmt.Errorf("encode frame: %w", err)
	}
	return append(out, "\n\n"...), nil
}

// AppendClose appends the last event of a stream: what a close frame is to a
// WebSocket.
func AppendClose(dst []byte, code uint16, reason string) ([]byte, error) {
	data, err := json.Marshal(struct {
		Code   uint16 `json:"code"`
		Reason string `json:"reason"`
	}{code, reason})
	if err != nil {
		return dst, fmt.Errorf("encode close: %w", err)
	}
	out := append(append(append(dst, "event: "...), CloseEvent...), '\n')
	if code == displacedCode {
		out = append(append(append(out, "id: "...), Displaced...), '\n')
	}
	return append(append(append(out, "data: "...), data...), "\n\n"...), nil
}

// displacedCode: this device connected elsewhere.
const displacedCode = 4102
