package frames

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// writtenAgrees compares what was written by hand, after other frames of the
// message, with what the generated code and the library say.
func writtenAgrees(t *testing.T, enc Encoding, before, got []byte, want *clientpb.ServerFrame) {
	t.Helper()
	after, ok := bytes.CutPrefix(got, before)
	if !ok {
		t.Fatalf("%q does not begin with %q", got, before)
	}
	if enc != Protobuf {
		text, err := Append(bytes.Clone(before), enc, want)
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("got  %s\nwant %s, %v", got, text, err)
		}
		return
	}
	body, n := protowire.ConsumeBytes(after)
	if n != len(after) {
		t.Fatalf("length prefix: %d of %d bytes", n, len(after))
	}
	back := new(clientpb.ServerFrame)
	if err := proto.Unmarshal(body, back); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(back, want) {
		t.Fatalf("got  %v\nwant %v", back, want)
	}
}

// values that fields may have, zero among them often.
type values struct{ *rand.Rand }

func (v values) number() uint64 { return v.Uint64() >> v.IntN(64) * uint64(v.IntN(2)) }

func (v values) user() string {
	return []string{"", "alice", "+4915112345678", "a\"b", "a\\b", "\x1f\x7f", "жук"}[v.IntN(7)]
}

func (v values) id(t *testing.T) []byte { return id(t)[:16*v.IntN(2)] }

func (v values) before(enc Encoding) []byte {
	if v.IntN(2) == 0 {
		return nil
	}
	if enc == Protobuf {
		return []byte{2, 0x62, 0}
	}
	return []byte("{}")
}

var allEncodings = []Encoding{JSON, Protobuf, EventStream}

func TestAppendEntryAgrees(t *testing.T) {
	v := values{rand.New(rand.NewPCG(1, 2))}
	for range 20_000 {
		e := &storepb.Entry{Seq: v.number(), Body: &storepb.Entry_Message{Message: &storepb.Message{
			Id: v.id(t), From: v.user(), Device: uint32(v.number()), Peer: v.user(),
			Order: v.number(), Time: v.number(), Kind: uint32(v.IntN(12)), ReplyTo: v.id(t),
			Payload: make([]byte, v.IntN(300)), Payloads: []*storepb.DevicePayload{{Device: 2, Payload: []byte("two")}},
		}}}
		if v.IntN(2) == 0 {
			r := &storepb.Receipt{Peer: v.user(), By: v.user(), Delivered: v.number(), Read: v.number()}
			for range v.IntN(4) {
				r.Undelivered = append(r.Undelivered, &storepb.Range{First: v.number(), Last: v.number()})
			}
			e.Body = &storepb.Entry_Receipt{Receipt: r}
		}
		device := uint32(1 + v.IntN(3))
		enc := allEncodings[v.IntN(3)]
		before := v.before(enc)
		got, ok, err := AppendEntry(before[:len(before):len(before)], enc, e, device)
		if err != nil || !ok {
			t.Fatalf("AppendEntry: %v, %v", ok, err)
		}
		writtenAgrees(t, enc, before, got, FromEntry(e, device))
	}
}

func TestAppendSentAgrees(t *testing.T) {
	v := values{rand.New(rand.NewPCG(3, 4))}
	for range 20_000 {
		m := &nodepb.Sent{Order: v.number(), Time: v.number(), Duplicate: v.IntN(2) == 0}
		ref, peer := uint32(v.number()), v.user()
		enc := allEncodings[v.IntN(3)]
		before := v.before(enc)
		got, err := AppendSent(before[:len(before):len(before)], enc, ref, [16]byte(id(t)), peer, m)
		if err != nil {
			t.Fatal(err)
		}
		writtenAgrees(t, enc, before, got, sent(ref, idText, peer, m))
	}
}

func TestHotFramesDoNotAllocate(t *testing.T) {
	message, dst := benchEntry(t), make([]byte, 0, 1024)
	receipt := &storepb.Entry{Seq: 7, Body: &storepb.Entry_Receipt{Receipt: &storepb.Receipt{Peer: "bob", By: "bob", Delivered: 1 << 40}}}
	answer, of := &nodepb.Sent{Order: 3, Time: 1 << 60}, [16]byte(id(t))
	for _, enc := range []Encoding{Protobuf, JSON} {
		for name, write := range map[string]func(){
			"deliver": func() { dst, _, _ = AppendEntry(dst[:0], enc, message, 1) },
			"receipt": func() { dst, _, _ = AppendEntry(dst[:0], enc, receipt, 1) },
			"sent":    func() { dst, _ = AppendSent(dst[:0], enc, 9, of, "bob", answer) },
		} {
			if n := testing.AllocsPerRun(100, write); n != 0 {
				t.Errorf("%v %s: %v allocations", enc, name, n)
			}
		}
	}
}

func benchEntry(t testing.TB) *storepb.Entry {
	return &storepb.Entry{Seq: 77, Body: &storepb.Entry_Message{Message: &storepb.Message{
		Id: id(t), From: "alice", Device: 1, Peer: "alice", Order: 4, Time: 1 << 60, Kind: 1, Payload: make([]byte, 100),
	}}}
}

func BenchmarkAppendEntry(b *testing.B) {
	e := benchEntry(b)
	for _, enc := range []Encoding{Protobuf, JSON} {
		b.Run(enc.String(), func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 1024)
			for b.Loop() {
				dst, _, _ = AppendEntry(dst[:0], enc, e, 1)
			}
		})
	}
}
