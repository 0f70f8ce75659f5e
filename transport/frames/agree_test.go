package frames

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// read decodes what must be whole frames.
func read(t *testing.T, d *Decoder, enc Encoding, data []byte) (list []*clientpb.ClientFrame) {
	t.Helper()
	err := d.Decode(enc, data, func(f *clientpb.ClientFrame, broken *nodepb.Fault) error {
		if broken != nil {
			t.Fatalf("%v: %v of %q", enc, broken, data)
		}
		list = append(list, proto.CloneOf(f))
		return nil
	})
	if err != nil {
		t.Fatalf("%v: %v of %q", enc, err, data)
	}
	return list
}

// mappable says whether JSON can write the duration.
func mappable(d *durationpb.Duration) bool { return d == nil || d.CheckValid() == nil }

// FuzzEncodingsAgree: a frame that is good in one encoding is good in the
// other, and the same. The input is read as JSON and as protobuf.
func FuzzEncodingsAgree(f *testing.F) {
	f.Add([]byte(`{"ref":2,"send":{"id":"` + idText + `","to":{"user":"bob"},"kind":"TEXT","payload":"aGVsbG8=","payloads":[{"user":"bob","device":1,"payload":""}],"ttl":"1.5s","push":"URGENT","replyTo":"` + idText + `"}}`))
	f.Add([]byte("{\"hello\":{\"token\":\"\\ud83d\\ude00\",\"heartbeat\":\"-0.000000001s\",\"acked\":\"18446744073709551615\"}}\n{\"send\":{\"to\":{\"group\":\"\"},\"kind\":77}}"))
	f.Add([]byte{4, 0x42, 2, 0x0a, 0})
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, enc := range []Encoding{JSON, Protobuf} {
			var good []*clientpb.ClientFrame
			_ = d.Decode(enc, data, func(f *clientpb.ClientFrame, broken *nodepb.Fault) error {
				if broken == nil && mappable(f.GetHello().GetHeartbeat()) && mappable(f.GetSend().GetTtl()) {
					good = append(good, proto.CloneOf(f))
				}
				return nil
			})
			for _, other := range []Encoding{JSON, Protobuf} {
				var written []byte
				var err error
				for _, f := range good {
					if written, err = AppendMessage(written, other, f); err != nil {
						t.Fatalf("%v read, and not to be written as %v: %v", enc, other, err)
					}
				}
				again := read(t, d, other, written)
				if len(again) != len(good) {
					t.Fatalf("%d frames, were %d", len(again), len(good))
				}
				for i := range good {
					if !proto.Equal(good[i], again[i]) {
						t.Fatalf("%v reads %v, %v reads %v", enc, good[i], other, again[i])
					}
				}
			}
		}
	})
}

// FuzzJudgeSend: whatever a send holds, what is made of it can be put to an
// actor, and what is wrong with it names a field.
func FuzzJudgeSend(f *testing.F) {
	f.Add(idText, "bob", "", int32(1), []byte("x"), uint32(2), int64(1), int32(5e8), int32(1), idText)
	f.Add("", "g_", "g_1", int32(-1), []byte{}, uint32(0), int64(-1<<62), int32(-5), int32(9), "not-an-id")
	f.Fuzz(func(t *testing.T, id, user, group string, kind int32, payload []byte, device uint32, seconds int64, nanos, push int32, reply string) {
		to := With(user)
		if group != "" {
			to = &clientpb.Conversation{Peer: &clientpb.Conversation_Group{Group: group}}
		}
		s := &clientpb.Send{
			Id: id, To: to, Kind: clientpb.Kind(kind), Payload: payload, ReplyTo: reply, Push: clientpb.Send_Push(push),
			Ttl: &durationpb.Duration{Seconds: seconds, Nanos: nanos},
		}
		for range device % 4 {
			s.Payloads = append(s.Payloads, &clientpb.DevicePayload{User: user, Device: device, Payload: payload})
			device--
		}
		n, broken := NewSend(s, "send.")
		if broken != nil {
			if n != nil || len(broken.GetMessage()) < len("send.x: y") || broken.GetMessage()[:5] != "send." {
				t.Fatalf("%v beside %v", broken, n)
			}
			return
		}
		if group != "" || n.GetTo() != user || len(n.GetId()) != 16 || n.GetKind() == 0 || n.GetTtl() == 0 || !bytes.Equal(n.GetPayload(), payload) {
			t.Fatalf("%v is taken for %v", s, n)
		}
	})
}
