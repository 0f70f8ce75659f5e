package frames

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// strangeInside says whether a message holds fields that nobody knows.
func strangeInside(m protoreflect.Message) (found bool) {
	found = len(m.GetUnknown()) > 0
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				found = found || strangeInside(v.List().Get(i).Message())
			}
		default:
			found = found || strangeInside(v.Message())
		}
		return true
	})
	return found
}

// readAgrees compares what is read by hand with what the library reads, from a
// buffer that is used again at once.
func readAgrees(t *testing.T, d *Decoder, data []byte) {
	t.Helper()
	want := new(clientpb.ClientFrame)
	fits := proto.Unmarshal(data, want) == nil && !strangeInside(want.ProtoReflect())
	lent := bytes.Clone(data)
	got, ok := d.readFrame(lent)
	clear(lent)
	if ok != fits {
		t.Fatalf("%x: fits %v, the library says %v: %v", data, ok, fits, want)
	}
	if fits && !proto.Equal(got, want) {
		t.Fatalf("%x\n got  %v\n want %v", data, got, want)
	}
}

// frameOf makes one of every kind of frame.
func frameOf(rng *rand.Rand) *clientpb.ClientFrame {
	number := func() uint64 { return rng.Uint64() >> rng.IntN(64) * uint64(rng.IntN(2)) }
	text := func() string { return []string{"", "bob", idText, "жук", string(make([]byte, 200))}[rng.IntN(5)] }
	with := func() *clientpb.Conversation {
		switch rng.IntN(4) {
		case 0:
			return nil
		case 1:
			return &clientpb.Conversation{}
		case 2:
			return &clientpb.Conversation{Peer: &clientpb.Conversation_Group{Group: text()}}
		}
		return With(text())
	}
	wait := func() *durationpb.Duration {
		if rng.IntN(2) == 0 {
			return nil
		}
		return &durationpb.Duration{Seconds: int64(number()), Nanos: int32(number())}
	}
	f := &clientpb.ClientFrame{Ref: uint32(number())}
	switch rng.IntN(9) {
	case 0:
		f.Body = &clientpb.ClientFrame_Hello{Hello: &clientpb.Hello{Token: text(), Client: text(), Heartbeat: wait(), Acked: number()}}
	case 1:
		s := &clientpb.Send{
			Id: text(), To: with(), Kind: clientpb.Kind(number()), Payload: []byte(text()), ReplyTo: text(), Ttl: wait(), Push: clientpb.Send_Push(number()),
		}
		for range rng.IntN(3) {
			s.Payloads = append(s.Payloads, &clientpb.DevicePayload{User: text(), Device: uint32(number()), Payload: []byte(text())})
		}
		f.Body = &clientpb.ClientFrame_Send{Send: s}
	case 2:
		f.Body = &clientpb.ClientFrame_Ack{Ack: &clientpb.Ack{Seq: number()}}
	case 3:
		f.Body = &clientpb.ClientFrame_Read{Read: &clientpb.Read{Conversation: with(), Order: number()}}
	case 4:
		f.Body = &clientpb.ClientFrame_Typing{Typing: &clientpb.Typing{Conversation: with(), On: rng.IntN(2) == 0}}
	case 5:
		f.Body = &clientpb.ClientFrame_Watch{Watch: &clientpb.Watch{Users: []string{text(), text()}[:rng.IntN(3)]}}
	case 6:
		f.Body = &clientpb.ClientFrame_SignalTo{SignalTo: &clientpb.SignalTo{To: with(), Bytes: []byte(text())}}
	case 7:
		f.Body = &clientpb.ClientFrame_Ping{Ping: &clientpb.Ping{}}
	}
	return f
}

// Frames as they are, several one behind the other (which merges them, or has
// the last body stand), and frames with a bit flipped, a part missing or a
// field from elsewhere put in.
func TestReadAgrees(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	d := NewDecoder()
	fits := 0
	for range 50_000 {
		var data []byte
		for range 1 + rng.IntN(3) {
			var err error
			if data, err = (proto.MarshalOptions{}).MarshalAppend(data, frameOf(rng)); err != nil {
				t.Fatal(err)
			}
		}
		switch at := rng.IntN(len(data) + 1); rng.IntN(6) {
		case 0:
			data = data[:at]
		case 1:
			data = append(data[:at:at], data[min(at+rng.IntN(4), len(data)):]...)
		case 2:
			if at < len(data) {
				data[at] ^= 1 << rng.IntN(8)
			}
		case 3:
			stray := protowire.AppendTag(nil, protowire.Number(rng.IntN(12)), protowire.Type(rng.IntN(8)))
			stray = protowire.AppendVarint(stray, rng.Uint64()>>rng.IntN(64))
			data = append(data[:at:at], append(stray, data[at:]...)...)
		}
		readAgrees(t, d, data)
		if _, ok := d.readFrame(data); ok {
			fits++
		}
	}
	if fits < 25_000 {
		t.Errorf("%d of the frames fit: too few to compare much", fits)
	}
}

func FuzzReadAgrees(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		data, err := proto.Marshal(frameOf(rng))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, seed := range [][]byte{
		{0x52, 2, 0x98, 0, 0x22, 0},                                        // what is strange in a body that another takes the place of
		{0x1a, 2, 0x12, 0, 0x1a, 2, 0x12, 0},                               // a send in two parts
		{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, // a ref of too many bits
		{0xf8, 0xff, 0xff, 0xff, 0x0f, 0}, {0x88, 0x80, 0x80, 0x80, 0x80, 0, 1}, {0x0b, 0x0c}, {0x53, 0x54},
	} {
		f.Add(seed)
	}
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, data []byte) { readAgrees(t, d, data) })
}

// A send that is read owns what it holds: one copy, in the buffer of which it
// does not matter what else came.
func TestReadKeepsNothingOfTheBuffer(t *testing.T) {
	d := NewDecoder()
	data, err := AppendMessage(nil, Protobuf, &clientpb.ClientFrame{Body: &clientpb.ClientFrame_Send{Send: &clientpb.Send{
		Id: idText, To: With("bob"), Payload: []byte("hello"), ReplyTo: idText,
		Payloads: []*clientpb.DevicePayload{{User: "carol", Device: 3, Payload: []byte("own")}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	list := read(t, d, Protobuf, data)
	kept, _ := d.readFrame(data[1:])
	s := kept.GetSend()
	id, payload, own, user := s.GetId(), s.GetPayload(), s.GetPayloads()[0], s.GetTo().GetUser()
	clear(data)
	_ = append(payload, strings.Repeat("!", 15)...) // may not reach what stands behind it
	if id != idText || string(payload) != "hello" || user != "bob" || !proto.Equal(own, list[0].GetSend().GetPayloads()[0]) || s.GetReplyTo() != idText {
		t.Errorf("%q %q %q %v %q", id, payload, user, own, s.GetReplyTo())
	}
}
