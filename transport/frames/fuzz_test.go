package frames

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/fault"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// Whatever arrives: no panic, errors of the two kinds only, faults that are
// invalid_argument, bounded and printable, and frames that survive being
// written and read again.
func fuzzDecode(f *testing.F, enc Encoding) {
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, data []byte) {
		var again []byte
		var frames []*clientpb.ClientFrame
		err := d.Decode(enc, data, func(c *clientpb.ClientFrame, broken *nodepb.Fault) error {
			if broken != nil {
				if broken.GetCode() != string(fault.InvalidArgument) || broken.GetMessage() == "" || len(broken.GetMessage()) > 2048 {
					t.Fatalf("fault %v", broken)
				}
				if _, err := Append(nil, JSON, ErrorFrame(c.GetRef(), c.GetSend().GetId(), broken)); err != nil {
					t.Fatalf("the fault cannot be shown: %v", err)
				}
				return nil
			}
			if c.GetBody() == nil {
				t.Fatal("a frame without body and without fault")
			}
			if s := c.GetSend(); s != nil {
				NewSend(s, "send.")
			}
			if c.GetHello().GetHeartbeat() != nil || c.GetSend().GetTtl() != nil {
				return nil // JSON cannot write every duration that protobuf can hold
			}
			var err error
			if again, err = AppendMessage(again, enc, c); err != nil {
				t.Fatalf("what was read cannot be written: %v", err)
			}
			frames = append(frames, proto.CloneOf(c))
			return nil
		})
		var malformed *MalformedError
		if err != nil && !errors.As(err, &malformed) {
			t.Fatalf("error %v", err)
		}
		err = d.Decode(enc, again, func(c *clientpb.ClientFrame, broken *nodepb.Fault) error {
			if broken != nil || !proto.Equal(c, frames[0]) {
				t.Fatalf("read again: %v (%v), was %v", c, broken, frames[0])
			}
			frames = frames[1:]
			return nil
		})
		if err != nil || len(frames) != 0 {
			t.Fatalf("read again: %v, %d frames missing", err, len(frames))
		}
	})
}

func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{
		`{"ref":1,"hello":{"token":"t","client":"demo/1","heartbeat":"30s","acked":"7"}}`,
		`{"ref":2,"send":{"id":"` + idText + `","to":{"user":"bob"},"kind":"TEXT","payload":"aGVsbG8=","payloads":[{"user":"bob","device":1,"payload":""}],"ttl":"1.5s","push":"URGENT"}}`,
		"{\"ack\":{\"seq\":\"5\"}}\n{\"read\":{\"conversation\":{\"user\":\"bob\"},\"order\":1}}\n{\"ping\":{}}",
		`{"typing":{"conversation":{"group":"g_1"},"on":true}}`,
		`{"watch":{"users":["a","b"]}}`,
		`{"signalTo":{"to":{"user":"b"},"bytes":"AA"}}`,
		`{"ref":1,"ref":1}`, `{"send":{"send":1}}`, `[[[[`, `{"a":"\ud800"}`, "{\"\xff\":1}",
	} {
		f.Add([]byte(seed))
	}
	fuzzDecode(f, JSON)
}

func FuzzDecodeProtobuf(f *testing.F) {
	for _, c := range []*clientpb.ClientFrame{
		{Ref: 1, Body: &clientpb.ClientFrame_Ping{Ping: &clientpb.Ping{}}},
		{Ref: 2, Body: &clientpb.ClientFrame_Send{Send: &clientpb.Send{Id: idText, To: With("bob"), Kind: 1, Payload: []byte("x"), Payloads: []*clientpb.DevicePayload{{User: "bob", Device: 1}}}}},
		{Body: &clientpb.ClientFrame_Ack{Ack: &clientpb.Ack{Seq: 1 << 40}}},
		{Body: &clientpb.ClientFrame_Watch{Watch: &clientpb.Watch{Users: []string{"a", "b"}}}},
	} {
		data, err := AppendMessage(nil, Protobuf, c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(data, data...))
	}
	f.Add([]byte{2, 0x42, 0})
	f.Add([]byte{5, 0x1a, 3, 0x0a, 1, 0xff})
	fuzzDecode(f, Protobuf)
}
