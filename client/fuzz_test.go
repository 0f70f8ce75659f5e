package client

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// FuzzParse: whatever a server, or what stands between, sends in a message is
// frames or an error, and costs no more than its length.
func FuzzParse(f *testing.F) {
	frames := []*clientpb.ServerFrame{deliverFrame(1, "one"), sentFrame("two"), {Ref: 7, Body: &clientpb.ServerFrame_Pong{Pong: &clientpb.Pong{}}}}
	var binary, text bytes.Buffer
	for _, frame := range frames {
		if _, err := protodelim.MarshalTo(&binary, frame); err != nil {
			f.Fatal(err)
		}
		b, err := protojson.Marshal(frame)
		if err != nil {
			f.Fatal(err)
		}
		text.Write(append(b, '\n'))
	}
	f.Add(uint8(Protobuf), binary.Bytes())
	f.Add(uint8(JSON), text.Bytes())
	f.Add(uint8(JSON), []byte(`{"ref":1,"newer":{"x":[1]}}`))
	f.Add(uint8(Protobuf), []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1})
	f.Fuzz(func(t *testing.T, enc uint8, data []byte) {
		e := Encoding(enc % 2)
		frames, err := e.parse(data)
		if err != nil {
			return
		}
		// What was understood is understood again.
		var again bytes.Buffer
		for _, frame := range frames {
			if _, err := protodelim.MarshalTo(&again, frame); err != nil {
				t.Fatal(err)
			}
			for _, event := range []any{frame.GetDeliver(), frame.GetReceipt(), frame.GetDeviceEvent(), frame.GetPresence(), frame.GetTyping(), frame.GetSignal(), frame.GetDrained()} {
				eventOf(event)
			}
			_ = errorOf(frame.GetError())
		}
		second, err := Protobuf.parse(again.Bytes())
		if err != nil || len(second) != len(frames) {
			t.Fatalf("%d frames, then %d: %v", len(frames), len(second), err)
		}
		for i := range second {
			if !proto.Equal(frames[i], second[i]) {
				t.Fatalf("%v, then %v", frames[i], second[i])
			}
		}
	})
}

// A newer server may say more than this client knows.
func TestUnknownIsPassedOver(t *testing.T) {
	for _, text := range []string{`{"ref":1,"newer":{"x":[1]}}`, `{"deliver":{"seq":"3","newer":true}}` + "\n\n" + `{"pong":{}}`} {
		if _, err := JSON.parse([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
