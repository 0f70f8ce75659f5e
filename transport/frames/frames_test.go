package frames

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

const idText = "01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b"

func id(t testing.TB) []byte {
	t.Helper()
	raw, err := ident.ParseMessageID(idText)
	if err != nil {
		t.Fatal(err)
	}
	return raw[:]
}

// The examples of the protocol, as a client sees them.
func TestFramesLookAsTheProtocolSays(t *testing.T) {
	message := &storepb.Message{
		Id: id(t), From: "alice", Device: 1, Peer: "alice", Order: 1, Time: 7, Kind: 1, Payload: []byte("hello"),
		Payloads: []*storepb.DevicePayload{{Device: 2, Payload: []byte("own")}},
	}
	entry := func(seq uint64, skip uint32, e *storepb.Entry) *storepb.Entry {
		e.Seq, e.Skip = seq, skip
		return e
	}
	for _, c := range []struct {
		name   string
		entry  *storepb.Entry
		device uint32
		want   string
	}{
		{"message", entry(1, 0, &storepb.Entry{Body: &storepb.Entry_Message{Message: message}}), 1,
			`{"deliver":{"seq":"1","id":"` + idText + `","from":{"user":"alice","device":1},"conversation":{"user":"alice"},"order":"1","time":"7","kind":"TEXT","payload":"aGVsbG8="}}`},
		{"a device's own payload", entry(1, 1, &storepb.Entry{Body: &storepb.Entry_Message{Message: message}}), 2,
			`{"deliver":{"seq":"1","id":"` + idText + `","from":{"user":"alice","device":1},"conversation":{"user":"alice"},"order":"1","time":"7","kind":"TEXT","payload":"b3du"}}`},
		{"never to the device that sent it", entry(1, 1, &storepb.Entry{Body: &storepb.Entry_Message{Message: message}}), 1, ``},
		{"receipt", entry(2, 0, &storepb.Entry{Body: &storepb.Entry_Receipt{Receipt: &storepb.Receipt{Peer: "bob", By: "bob", Delivered: 9, Read: 4, Undelivered: []*storepb.Range{{First: 2, Last: 3}}}}}), 1,
			`{"receipt":{"seq":"2","conversation":{"user":"bob"},"by":"bob","deliveredUpTo":"9","readUpTo":"4","undelivered":[{"first":"2","last":"3"}]}}`},
		{"device event", entry(3, 0, &storepb.Entry{Body: &storepb.Entry_DeviceEvent{DeviceEvent: &storepb.DeviceEvent{Linked: []*storepb.DeviceRow{{Device: 2, Name: "a \" phone", Linked: 1000}}, Unlinked: []uint32{1}}}}), 1,
			`{"deviceEvent":{"seq":"3","linked":[{"device":2,"name":"a \" phone","linkedAt":"1970-01-01T00:00:01Z"}],"unlinked":[1]}}`},
		{"unknown", entry(4, 0, &storepb.Entry{}), 1, ``},
	} {
		got, _, err := AppendEntry(nil, JSON, c.entry, c.device)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}

	f := ErrorFrame(9, "not-an-id", fault.New(fault.InvalidArgument, "", "send.id: must be a UUID"))
	got, err := Append(nil, JSON, f)
	if want := `{"ref":9,"error":{"code":"invalid_argument","message":"send.id: must be a UUID","retryable":false}}`; err != nil || string(got) != want {
		t.Errorf("error frame: %s, %v; want %s", got, err, want)
	}
	got, err = Append(got, JSON, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Drained{Drained: &clientpb.Drained{}}})
	if err != nil || !bytes.HasSuffix(got, []byte("}}\n"+`{"drained":{}}`)) {
		t.Errorf("two frames in a message: %s, %v", got, err)
	}
}

func decodeAll(enc Encoding, data []byte) (out []string, err error) {
	err = NewDecoder().Decode(enc, data, func(f *clientpb.ClientFrame, broken *nodepb.Fault) error {
		line := fmt.Sprintf("%d %T", f.GetRef(), f.GetBody())
		if broken != nil {
			line = fmt.Sprintf("%d %s %s", f.GetRef(), f.GetSend().GetId(), broken.GetMessage())
			if broken.GetCode() != string(fault.InvalidArgument) {
				line = broken.GetCode()
			}
		}
		out = append(out, strings.TrimPrefix(line, "*"))
		return nil
	})
	return out, err
}

// What is wrong with a frame is said by the field's name; what is no frame at
// all ends the connection.
func TestDecodeJSON(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	for _, c := range []struct {
		in, want string
	}{
		{`{"ref":1,"ping":{}}`, `1 *clientpb.ClientFrame_Ping`},
		{" {\"ref\":1,\"ping\":{}} \r\n\n{\"ack\":{\"seq\":\"5\"}}\n", "1 *clientpb.ClientFrame_Ping|0 *clientpb.ClientFrame_Ack"},
		{`{"ack":{"seq":5}}`, `0 *clientpb.ClientFrame_Ack`},
		{``, ``},
		{`{"ref":2}`, `2  the frame holds none of hello, send, ack, read, typing, watch, signalTo, ping`},
		{`{"ref":3,"group":{"create":{}}}`, `3  group: unknown field`},
		{`{"ref":3,"send":{"id":"` + idText + `","bogus":1}}`, `3 ` + idText + ` send.bogus: unknown field`},
		{`{"ref":3,"send":{"id":"` + idText + `","to":{"user":"bob","nick":"b"}}}`, `3 ` + idText + ` send.to.nick: unknown field`},
		{`{"ref":3,"send":{"id":5}}`, `3  send.id: must be a string`},
		{`{"ref":3,"send":{"kind":"SMELL"}}`, `3  send.kind: must be one of TEXT, IMAGE, VIDEO, AUDIO, DOCUMENT, LOCATION, CONTACT, STATUS, ENCRYPTED, CONTROL`},
		{`{"ref":3,"send":{"payload":"%%%"}}`, `3  send.payload: must be a string in base64`},
		{`{"ref":3,"send":{"ttl":"soon"}}`, `3  send.ttl: must be a duration such as "30s"`},
		{`{"ref":3,"send":{"payloads":[{"device":1},{"device":-1}]}}`, `3  send.payloads[1].device: must be a whole number of 32 bits`},
		{`{"ref":3,"send":{"payloads":{}}}`, `3  send.payloads: must be a list`},
		{`{"ref":3,"send":{"payloads":[7]}}`, `3  send.payloads[0]: must be an object`},
		{`{"ref":3,"send":{"to":{"user":"a","group":"g_b"}}}`, `3  send.to.group: only one of user and group may be given`},
		{`{"ref":3,"send":"x"}`, `3  send: must be an object`},
		{`{"ref":3,"ping":{},"ack":{}}`, `3  ack: only one of ping and ack may be given`},
		{`{"ref":3,"ack":{"seq":"-1"}}`, `3  ack.seq: must be a whole number of 64 bits, as a string`},
		{`{"ref":3,"ack":{"seq":"1","seq":"2"}}`, `3  ack.seq: is given twice`},
		{`{"ref":3,"ref":3,"ack":{}}`, `3  ref: is given twice`},
		{`{"ref":3,"typing":{"on":1}}`, `3  typing.on: must be true or false`},
		{`{"ref":-3,"ping":{}}`, `0  ref: must be a whole number of 32 bits`},
		{"{\"ref\":3,\"hello\":{\"client\":\"\xff\"}}", `3  hello.client: is not valid UTF-8`},
		{`{"ref":3,"hello":{"client":"\ud800"}}`, `3  hello.client: must be a string`},
		{`{"ref":3,"x":` + deep + `}`, `3  x is nested deeper than 32`},
		{`{"ref":3,"x":1}` + "\n" + `{"ref":4,"ping":{}}`, `3  x: unknown field|4 *clientpb.ClientFrame_Ping`},
		{`{"ref":3,"` + strings.Repeat("x", 5000) + `":1}`, `3  "` + strings.Repeat("x", 64) + `"...: unknown field`},
		{`hello`, `malformed message: a frame is not valid JSON`},
		{`{"ref":3`, `malformed message: a frame is not valid JSON`},
		{`{"ping":{}} {"ping":{}}`, `malformed message: a frame is not valid JSON`},
		{`[]`, `malformed message: a frame is not a JSON object`},
		{`7`, `malformed message: a frame is not a JSON object`},
		{`{"ping":{}}` + "\n" + `{`, `0 *clientpb.ClientFrame_Ping|malformed message: a frame is not valid JSON`},
	} {
		got, err := decodeAll(JSON, []byte(c.in))
		if err != nil {
			got = append(got, err.Error())
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%.120s\n got  %s\n want %s", c.in, strings.Join(got, "|"), c.want)
		}
	}
}

func delimited(bodies ...[]byte) (out []byte) {
	for _, b := range bodies {
		out = protowire.AppendBytes(out, b)
	}
	return out
}

func TestDecodeProtobuf(t *testing.T) {
	marshal := func(f *clientpb.ClientFrame) []byte {
		b, err := proto.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	send := func(s *clientpb.Send) []byte {
		return marshal(&clientpb.ClientFrame{Ref: 3, Body: &clientpb.ClientFrame_Send{Send: s}})
	}
	ping := marshal(&clientpb.ClientFrame{Ref: 1, Body: &clientpb.ClientFrame_Ping{Ping: &clientpb.Ping{}}})
	stray := protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)
	inside := func(field protowire.Number, body []byte) []byte {
		b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 3)
		return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), body)
	}
	plain, _ := proto.Marshal(&clientpb.Send{Id: idText})
	badID := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{0xff})
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"two", delimited(ping, ping), "1 *clientpb.ClientFrame_Ping|1 *clientpb.ClientFrame_Ping"},
		{"none", nil, ""},
		{"empty frame", delimited(nil), "0  the frame holds none of hello, send, ack, read, typing, watch, signalTo, ping"},
		{"payloads", delimited(send(&clientpb.Send{Id: idText, Payloads: []*clientpb.DevicePayload{{User: "a", Device: 1}}, Ttl: durationpb.New(time.Second)})), "3 *clientpb.ClientFrame_Send"},
		{"unknown at the top", delimited(append(bytes.Clone(ping), stray...)), "1  99: unknown field"},
		{"the group frame", delimited(inside(8, nil)), "3  8: unknown field"},
		{"unknown in send", delimited(inside(3, append(bytes.Clone(plain), stray...))), "3 " + idText + " send.99: unknown field"},
		{"unknown in a conversation", delimited(inside(3, protowire.AppendBytes(protowire.AppendTag(bytes.Clone(plain), 2, protowire.BytesType), stray))), "3 " + idText + " send.to.99: unknown field"},
		{"unknown in payloads", delimited(inside(3, protowire.AppendBytes(protowire.AppendTag(bytes.Clone(plain), 5, protowire.BytesType), stray))), "3 " + idText + " send.payloads.99: unknown field"},
		{"unknown in ttl", delimited(inside(3, protowire.AppendBytes(protowire.AppendTag(bytes.Clone(plain), 7, protowire.BytesType), stray))), "3 " + idText + " send.ttl.99: unknown field"},
		{"unknown in ack", delimited(inside(4, stray)), "3  ack.99: unknown field"},
		{"unknown in read", delimited(inside(5, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), stray))), "3  read.conversation.99: unknown field"},
		{"wrong wire type", delimited(inside(4, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), nil))), "3  ack.seq: is written with wire type 2, not 0"},
		{"bad UTF-8", delimited(inside(3, badID)), "3  send.id: is not valid UTF-8"},
		{"bad UTF-8, then good", delimited(inside(3, badID), ping), "3  send.id: is not valid UTF-8|1 *clientpb.ClientFrame_Ping"},
		{"too long a length", []byte{5, 1}, "malformed message: a frame's length does not fit the message"},
		{"endless length", bytes.Repeat([]byte{0xff}, 11), "malformed message: a frame's length does not fit the message"},
		{"no message", delimited([]byte{0xff}), "malformed message: a frame is not a protobuf message"},
		{"no message inside", delimited(inside(3, []byte{0xff})), "malformed message: a frame is not a protobuf message"},
		{"bad UTF-8, then no message", delimited(append(inside(3, badID), 0xff)), "malformed message: a frame is not a protobuf message"},
	} {
		got, err := decodeAll(Protobuf, c.in)
		if err != nil {
			got = append(got, err.Error())
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s\n got  %s\n want %s", c.name, strings.Join(got, "|"), c.want)
		}
	}
}

func TestDecodeBoundsFrames(t *testing.T) {
	for enc, frame := range map[Encoding]string{JSON: "{\"ping\":{}}\n", Protobuf: "\x02\x52\x00"} {
		got, err := decodeAll(enc, []byte(strings.Repeat(frame, limits.FrameCount)))
		if err != nil || len(got) != limits.FrameCount {
			t.Errorf("%v: %d frames, %v", enc, len(got), err)
		}
		_, err = decodeAll(enc, []byte(strings.Repeat(frame, limits.FrameCount+1)))
		var malformed *MalformedError
		if !errors.As(err, &malformed) {
			t.Errorf("%v: one frame too many: %v", enc, err)
		}
	}
}

func TestDecodeStopsWhenToldTo(t *testing.T) {
	stop, calls := errors.New("stop"), 0
	err := NewDecoder().Decode(JSON, []byte("{\"ping\":{}}\n{\"ping\":{}}"), func(*clientpb.ClientFrame, *nodepb.Fault) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestNewSend(t *testing.T) {
	bob := With("bob")
	for _, c := range []struct {
		name string
		in   *clientpb.Send
		want string
	}{
		{"least", &clientpb.Send{Id: idText, To: bob}, ""},
		{"no id", &clientpb.Send{To: bob}, "invalid_argument send.id: must be a UUID"},
		{"no to", &clientpb.Send{Id: idText}, "invalid_argument send.to: must name a user or a group"},
		{"bad user", &clientpb.Send{Id: idText, To: With("b b")}, "invalid_argument send.to.user: may hold only"},
		{"group", &clientpb.Send{Id: idText, To: &clientpb.Conversation{Peer: &clientpb.Conversation_Group{Group: "g_1"}}}, "permission_denied send.to.group: you are not a member"},
		{"bad group", &clientpb.Send{Id: idText, To: &clientpb.Conversation{Peer: &clientpb.Conversation_Group{Group: "x"}}}, "invalid_argument send.to.group: must begin with g_"},
		{"kind", &clientpb.Send{Id: idText, To: bob, Kind: 99}, "invalid_argument send.kind: must be one of TEXT"},
		{"push", &clientpb.Send{Id: idText, To: bob, Push: 99}, "invalid_argument send.push: must be one of"},
		{"most payload", &clientpb.Send{Id: idText, To: bob, Payload: make([]byte, limits.Payload)}, ""},
		{"payload", &clientpb.Send{Id: idText, To: bob, Payload: make([]byte, limits.Payload+1)}, "payload_too_large send.payload: has 65537 bytes"},
		{"payloads", &clientpb.Send{Id: idText, To: bob, Payloads: []*clientpb.DevicePayload{{User: "a", Device: 1, Payload: make([]byte, limits.DevicePayloads)}, {User: "a", Device: 2, Payload: []byte{1}}}}, "payload_too_large send.payloads: have more than"},
		{"no device", &clientpb.Send{Id: idText, To: bob, Payloads: []*clientpb.DevicePayload{{User: "a"}}}, "invalid_argument send.payloads[0].device: must be"},
		{"no user", &clientpb.Send{Id: idText, To: bob, Payloads: []*clientpb.DevicePayload{{Device: 1}}}, "invalid_argument send.payloads[0].user: must not be empty"},
		{"twice", &clientpb.Send{Id: idText, To: bob, Payloads: []*clientpb.DevicePayload{{User: "a", Device: 1}, {User: "a", Device: 1}}}, "invalid_argument send.payloads[1]: names a device for the second"},
		{"reply", &clientpb.Send{Id: idText, To: bob, ReplyTo: "x"}, "invalid_argument send.replyTo: must be a UUID"},
		{"ttl", &clientpb.Send{Id: idText, To: bob, Ttl: durationpb.New(0)}, "invalid_argument send.ttl: must be a duration above zero"},
		{"broken ttl", &clientpb.Send{Id: idText, To: bob, Ttl: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "invalid_argument send.ttl: must be a duration above zero"},
	} {
		_, broken := NewSend(c.in, "send.")
		got := ""
		if broken != nil {
			got = broken.GetCode() + " " + broken.GetMessage()
		}
		if (c.want == "") != (got == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}

	out, broken := NewSend(&clientpb.Send{Id: strings.ToUpper(idText), To: bob, ReplyTo: idText, Ttl: durationpb.New(1500 * time.Microsecond)}, "")
	if broken != nil {
		t.Fatal(broken)
	}
	want := &nodepb.Send{To: "bob", Id: id(t), ReplyTo: id(t), Kind: uint32(clientpb.Kind_TEXT), Ttl: 2}
	if !proto.Equal(out, want) {
		t.Errorf("got %v, want %v", out, want)
	}
}

func BenchmarkDecodeSend(b *testing.B) {
	f := &clientpb.ClientFrame{Ref: 3, Body: &clientpb.ClientFrame_Send{Send: &clientpb.Send{Id: idText, To: With("bob"), Kind: 1, Payload: make([]byte, 100)}}}
	for _, enc := range []Encoding{Protobuf, JSON} {
		b.Run(enc.String(), func(b *testing.B) {
			data, err := AppendMessage(nil, enc, f)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			d := NewDecoder()
			for b.Loop() {
				_ = d.Decode(enc, data, func(*clientpb.ClientFrame, *nodepb.Fault) error { return nil })
			}
		})
	}
}
