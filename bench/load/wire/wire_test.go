package wire

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	"github.com/rookery-im/rookery/transport/ws"
)

func user(u string) *clientpb.Conversation {
	return &clientpb.Conversation{Peer: &clientpb.Conversation_User{User: u}}
}

// What is written by hand is what the generated code reads.
func TestFramesWritten(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		name string
		got  []byte
		want *clientpb.ClientFrame
	}{
		{"hello", AppendHello(nil, long, "bench/1", 0), &clientpb.ClientFrame{Body: &clientpb.ClientFrame_Hello{Hello: &clientpb.Hello{Token: long, Client: "bench/1"}}}},
		{"hello with acked", AppendHello(nil, "t", "b", 1<<40), &clientpb.ClientFrame{Body: &clientpb.ClientFrame_Hello{Hello: &clientpb.Hello{Token: "t", Client: "b", Acked: 1 << 40}}}},
		{"send", AppendSend(nil, []byte("id"), "bob", []byte(long)), &clientpb.ClientFrame{Body: &clientpb.ClientFrame_Send{Send: &clientpb.Send{Id: "id", To: user("bob"), Kind: clientpb.Kind_TEXT, Payload: []byte(long)}}}},
		{"ack", AppendAck(nil, 1<<60), &clientpb.ClientFrame{Body: &clientpb.ClientFrame_Ack{Ack: &clientpb.Ack{Seq: 1 << 60}}}},
		{"read", AppendRead(nil, "bob", 7), &clientpb.ClientFrame{Body: &clientpb.ClientFrame_Read{Read: &clientpb.Read{Conversation: user("bob"), Order: 7}}}},
		{"typing", AppendTyping(nil, "bob"), &clientpb.ClientFrame{Body: &clientpb.ClientFrame_Typing{Typing: &clientpb.Typing{Conversation: user("bob"), On: true}}}},
		{"watch", AppendWatch(nil, "bob"), &clientpb.ClientFrame{Body: &clientpb.ClientFrame_Watch{Watch: &clientpb.Watch{Users: []string{"bob"}}}}},
		{"ping", AppendPing(nil, 1<<31), &clientpb.ClientFrame{Ref: 1 << 31, Body: &clientpb.ClientFrame_Ping{Ping: &clientpb.Ping{}}}},
	} {
		body, rest, err := Next(c.got)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%s: %v, %d bytes left", c.name, err, len(rest))
		}
		var got clientpb.ClientFrame
		if err := proto.Unmarshal(body, &got); err != nil || !proto.Equal(&got, c.want) {
			t.Errorf("%s: %v, %v", c.name, err, &got)
		}
	}
}

// What the generated code writes is read by hand, unknown fields skipped.
func TestFramesRead(t *testing.T) {
	yes := true
	limits := &clientpb.Limits{Payload: 9, InFlightPerConversation: 64, InFlight: 256, Sends: &clientpb.Rate{PerSecond: 128, Burst: 9}, Frames: &clientpb.Rate{PerSecond: 5}}
	for _, c := range []struct {
		frame *clientpb.ServerFrame
		want  Frame
	}{
		{&clientpb.ServerFrame{Ref: 4, Body: &clientpb.ServerFrame_Welcome{Welcome: &clientpb.Welcome{User: "u", Heartbeat: durationpb.New(1), Limits: limits}}},
			Frame{Kind: Welcome, Ref: 4, InFlight: 256, InFlightPerConversation: 64, SendsPerSecond: math.Float64bits(128)}},
		{&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Sent{Sent: &clientpb.Sent{Id: "i", Conversation: user("bob"), Order: 3, Time: 1 << 62, Duplicate: true}}},
			Frame{Kind: Sent, ID: []byte("i"), Conversation: []byte("bob"), Order: 3, Time: 1 << 62, Duplicate: true}},
		{&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Deliver{Deliver: &clientpb.Deliver{
			Seq: 5, Id: "i", From: &clientpb.Device{User: "al", Device: 2}, Conversation: user("al"), Order: 6, Time: 7, Kind: clientpb.Kind_TEXT, ReplyTo: "r", Payload: []byte("p")}}},
			Frame{Kind: Deliver, Seq: 5, ID: []byte("i"), From: []byte("al"), FromDevice: 2, Conversation: []byte("al"), Order: 6, Time: 7, Payload: []byte("p")}},
		{&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Receipt{Receipt: &clientpb.Receipt{
			Seq: 5, Conversation: user("bob"), By: "bob", DeliveredUpTo: 8, ReadUpTo: 9, Undelivered: []*clientpb.Range{{First: 1, Last: 2}, {First: 4, Last: 4}}}}},
			Frame{Kind: Receipt, Seq: 5, Conversation: []byte("bob"), By: []byte("bob"), DeliveredTo: 8, ReadTo: 9, Undelivered: 2}},
		{&clientpb.ServerFrame{Body: &clientpb.ServerFrame_DeviceEvent{DeviceEvent: &clientpb.DeviceEvent{Seq: 9, Unlinked: []uint32{1}}}}, Frame{Kind: DeviceEvent, Seq: 9}},
		{&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Presence{Presence: &clientpb.Presence{User: "x"}}}, Frame{Kind: Presence}},
		{&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Typing{Typing: &clientpb.TypingNotice{}}}, Frame{Kind: Typing}},
		{&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Signal{Signal: &clientpb.Signal{}}}, Frame{}},
		{&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Drained{Drained: &clientpb.Drained{Seq: 11}}}, Frame{Kind: Drained, Seq: 11}},
		{&clientpb.ServerFrame{Ref: 8, Body: &clientpb.ServerFrame_Pong{Pong: &clientpb.Pong{}}}, Frame{Kind: Pong, Ref: 8}},
		{&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Error{Error: &clientpb.Error{Id: "i", Code: "c", Reason: "r", Message: "m", Retryable: &yes, RetryAfterMs: 3}}},
			Frame{Kind: Error, ID: []byte("i"), Code: []byte("c"), Reason: []byte("r"), Message: []byte("m"), Retryable: true, RetryAfterMs: 3}},
		{&clientpb.ServerFrame{Body: &clientpb.ServerFrame_GoAway{GoAway: &clientpb.GoAway{Reason: "r", ReconnectAfterMs: 5}}}, Frame{Kind: GoAway, Reason: []byte("r"), RetryAfterMs: 5}},
	} {
		body, err := proto.Marshal(c.frame)
		if err != nil {
			t.Fatal(err)
		}
		body = protowire.AppendVarint(protowire.AppendTag(body, 1000, protowire.VarintType), 1) // of a newer server
		var got Frame
		if err := Decode(body, &got); err != nil {
			t.Fatalf("%v: %v", c.frame, err)
		}
		if !same(got, c.want) {
			t.Errorf("%v:\n got %+v\nwant %+v", c.frame, got, c.want)
		}
	}
}

func same(a, b Frame) bool {
	for _, p := range [][2]*[]byte{{&a.ID, &b.ID}, {&a.Conversation, &b.Conversation}, {&a.From, &b.From}, {&a.Payload, &b.Payload},
		{&a.By, &b.By}, {&a.Code, &b.Code}, {&a.Reason, &b.Reason}, {&a.Message, &b.Message}} {
		if !bytes.Equal(*p[0], *p[1]) {
			return false
		}
		*p[0], *p[1] = nil, nil
	}
	return a.Kind == b.Kind && a.Ref == b.Ref && a.Seq == b.Seq && a.Order == b.Order && a.Time == b.Time && a.Duplicate == b.Duplicate &&
		a.FromDevice == b.FromDevice && a.DeliveredTo == b.DeliveredTo && a.ReadTo == b.ReadTo && a.Undelivered == b.Undelivered &&
		a.InFlight == b.InFlight && a.InFlightPerConversation == b.InFlightPerConversation && a.SendsPerSecond == b.SendsPerSecond &&
		a.Retryable == b.Retryable && a.RetryAfterMs == b.RetryAfterMs
}

// A stream cut anywhere gives the same frames; what no server sends is refused.
func TestSplit(t *testing.T) {
	var stream []byte
	sizes := []int{0, 1, 125, 126, 300, 65535, 65536}
	for _, n := range sizes {
		stream = append(ws.AppendHeader(stream, ws.Binary, n), make([]byte, n)...)
	}
	for step := range 3 {
		var got []int
		var have []byte
		chunk := []int{1, 7, 4096}[step]
		for rest := stream; len(rest) > 0 || len(have) > 0; {
			k := min(chunk, len(rest))
			have, rest = append(have, rest[:k]...), rest[k:]
			for {
				_, payload, n, err := Split(have)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				got = append(got, len(payload))
				have = have[n:]
			}
			if k == 0 && len(have) > 0 {
				t.Fatalf("%d bytes are left", len(have))
			}
		}
		if len(got) != len(sizes) {
			t.Fatalf("chunks of %d: got %v", chunk, got)
		}
		for i, n := range sizes {
			if got[i] != n {
				t.Errorf("chunks of %d: got %v", chunk, got)
			}
		}
	}
	for name, b := range map[string][]byte{
		"masked": {0x82, 0x81, 0, 0, 0, 0, 0}, "a fragment": {0x02, 0x01, 0}, "compressed": {0xc2, 0x01, 0},
		"huge": {0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0},
	} {
		if _, _, _, err := Split(b); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(AppendSend(nil, []byte("id"), "bob", []byte("x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var frame Frame
		ours := Decode(b, &frame)
		var theirs clientpb.ServerFrame
		if err := proto.Unmarshal(b, &theirs); err == nil && ours != nil {
			t.Fatalf("the generated code reads it, we say %v", ours)
		}
	})
}

func BenchmarkDecodeDeliver(b *testing.B) {
	body, err := proto.Marshal(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Deliver{Deliver: &clientpb.Deliver{
		Seq: 5, Id: "01935b3e-0000-7000-8000-000000000001", From: &clientpb.Device{User: "alice", Device: 2}, Conversation: user("alice"), Order: 6, Time: 7 << 40, Kind: 1, Payload: make([]byte, 100)}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var f Frame
	for b.Loop() {
		if err := Decode(body, &f); err != nil {
			b.Fatal(err)
		}
	}
}
