package mailbox

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// The shapes say what the schema says, of everything that stands in a batch.
func TestShapesAreTheSchema(t *testing.T) {
	seen := map[protoreflect.FullName]*shape{}
	compareShape(t, (&storepb.Batch{}).ProtoReflect().Descriptor(), &shapeBatch, seen)
	if len(seen) != 23 {
		t.Errorf("%d messages were compared", len(seen))
	}
}

func compareShape(t *testing.T, d protoreflect.MessageDescriptor, s *shape, seen map[protoreflect.FullName]*shape) {
	if old := seen[d.FullName()]; old != nil {
		if old != s {
			t.Errorf("%s has two shapes, %s and %s", d.FullName(), old.name, s.name)
		}
		return
	}
	seen[d.FullName()] = s
	fields := map[byte]rule{}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.Number() > maxField {
			t.Fatalf("%s: its tag takes more than a byte", f.FullName())
		}
		got := s.rules[f.Number()]
		want := rule{form: formOf(t, f, got.form), of: got.of}
		switch {
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			want.count = many
		case f.ContainingOneof() != nil && !f.ContainingOneof().IsSynthetic():
			want.count = choice
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", f.FullName(), got, want)
		}
		fields[byte(f.Number())] = want
		if got.form == part {
			compareShape(t, f.Message(), got.of, seen)
		}
	}
	oneofs := 0
	for i := range d.Oneofs().Len() {
		if !d.Oneofs().Get(i).IsSynthetic() {
			oneofs++
		}
	}
	if oneofs > 1 {
		t.Errorf("%s: the one choice of a shape cannot tell its oneofs apart", d.FullName())
	}
	for num, r := range s.rules {
		if _, ok := fields[byte(num)]; !ok && r.form != absent {
			t.Errorf("%s has no field %d", d.FullName(), num)
		}
	}
}

func formOf(t *testing.T, f protoreflect.FieldDescriptor, got form) form {
	switch {
	case f.IsPacked():
		return packed
	case f.Kind() == protoreflect.MessageKind:
		return part
	case f.Kind() == protoreflect.Uint32Kind:
		return number32
	case f.Kind() == protoreflect.Uint64Kind:
		return number64
	case f.Kind() == protoreflect.BytesKind:
		return raw
	case f.Kind() == protoreflect.StringKind && got == id:
		return id
	case f.Kind() == protoreflect.StringKind:
		return text
	}
	t.Fatalf("%s: no form for a %v", f.FullName(), f.Kind())
	return absent
}

// fill draws a message of any content.
func fill(t *rapid.T, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !rapid.Bool().Draw(t, string(f.Name())) {
			continue
		}
		switch {
		case f.IsList():
			list := m.Mutable(f).List()
			for range rapid.IntRange(0, 3).Draw(t, "length") {
				if f.Kind() == protoreflect.MessageKind {
					fill(t, list.AppendMutable().Message())
				} else {
					list.Append(scalar(t, f))
				}
			}
		case f.Kind() == protoreflect.MessageKind:
			fill(t, m.Mutable(f).Message())
		default:
			m.Set(f, scalar(t, f))
		}
	}
}

func scalar(t *rapid.T, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "n"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "n"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes"))
	default:
		return protoreflect.ValueOfString(rapid.StringN(0, 12, 70).Draw(t, "string"))
	}
}

// Whatever a mutation holds, its rows are those that decoding it and encoding
// its messages one by one would write; and what is refused is so on both ways.
func TestExpandIsDecodeAndEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &storepb.Mutation{}
		fill(t, m.ProtoReflect())
		sane := m.GetOutboxTrim()
		if sane != nil && rapid.Bool().Draw(t, "sane") {
			sane.Last = sane.GetFirst() + uint64(rapid.IntRange(0, 9).Draw(t, "trim"))
		}
		data, err := m.MarshalVTStrict()
		if err != nil {
			t.Fatal(err)
		}
		plain, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again := &storepb.Mutation{}
		if err := again.UnmarshalVT(plain); err != nil || !proto.Equal(m, again) || len(plain) != len(data) {
			t.Fatalf("%v is read as %v, %v", m, again, err)
		}
		compareRows(t, data)
	})
}

// written rows, with what became of each.
type outcome map[string]string

func (o outcome) Put(k, v []byte)    { o[string(k)] = "put " + string(normal(k, v)) }
func (o outcome) PutNew(k, v []byte) { o[string(k)] = "new " + string(normal(k, v)) }
func (o outcome) Delete(k []byte)    { o[string(k)] = "delete" }

// normal is a value in the order and shortness that our encoder writes it in.
func normal(key, value []byte) []byte {
	_, _, kind, _, _ := Split(key)
	var m proto.Message
	switch kind {
	case Cursor:
		m = &storepb.Cursor{}
	case Entry:
		m = &storepb.Entry{}
	case Head:
		m = &storepb.HeadRow{}
	case Result:
		m = &storepb.Result{}
	case Mailbox:
		m = &storepb.MailboxRow{}
	case Receipt:
		m = &storepb.ReceiptRow{}
	case Sender:
		m = &storepb.Sender{}
	case Watermark:
		m = &storepb.Watermark{}
	case OutboxNumber, Inbox:
		m = &storepb.InboxMark{}
	case Outbox:
		m = &storepb.Step{}
	default:
		return value
	}
	if proto.Unmarshal(value, m) != nil {
		return value // of a Row mutation, which may hold anything
	}
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return b
}

// compareRows expands data in both ways. Expand may refuse more, but not what
// our encoder makes of it.
func compareRows(t interface{ Fatalf(string, ...any) }, data []byte) {
	var m storepb.Mutation
	bad := proto.Unmarshal(data, &m)
	want := outcome{}
	if bad == nil {
		bad = decodedExpand(testSpace, &m, want)
	}
	got := outcome{}
	encoded, err := ReadMutation(data)
	if err == nil {
		NewExpander(testSpace).Expand(encoded, got)
	}
	var known storepb.Mutation
	_ = proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, &known)
	canonical, _ := known.MarshalVTStrict()
	switch {
	case err == nil && bad != nil:
		t.Fatalf("%x is taken; decoded it is %v: %v", data, &m, bad)
	case err != nil && bad == nil && bytes.Equal(canonical, data) && tolerated(&m):
		t.Fatalf("%x of %v is refused: %v", data, &m, err)
	case err == nil && !maps.Equal(got, want):
		t.Fatalf("%v is expanded into\n%q\nwant\n%q", &m, got, want)
	}
}

// tolerated says whether a mutation is within what only the encoded way bounds.
func tolerated(m *storepb.Mutation) bool {
	peers := []string{m.GetAppend().GetEntry().GetReceipt().GetPeer(), m.GetAppend().GetEntry().GetReceipt().GetBy(),
		m.GetAccept().GetEntry().GetReceipt().GetPeer(), m.GetAccept().GetEntry().GetReceipt().GetBy(),
		m.GetOutboxPut().GetStep().GetWatermark().GetPeer()}
	own := m.GetOutboxPut() != nil || m.GetOutboxTrim() != nil || m.GetInboxMark() != nil
	return !(own && m.GetUser() != "") && !slices.ContainsFunc(peers, func(s string) bool { return len(s) > 64 }) &&
		len(m.GetRow().GetKey()) <= maxRowKey
}

// What decoding would take and our encoder never writes is refused: where a
// field stands twice, a key could be of one and the value of both.
func TestReadRefuses(t *testing.T) {
	encode := func(m interface{ MarshalVTStrict() ([]byte, error) }) []byte {
		b, err := m.MarshalVTStrict()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	field := func(num protowire.Number, body ...[]byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Join(body, nil))
	}
	number := func(num protowire.Number, n uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), n)
	}
	mark := encode(&storepb.InboxMark{Shard: 1, Number: 2})
	cursor := encode(&storepb.Cursor{Device: 1, Seq: 5})
	for name, c := range map[string]struct {
		data []byte
		want string // "" where it is taken
	}{
		"good":                        {field(mutationInboxMark, mark), ""},
		"nothing":                     {nil, "no kind"},
		"only a user":                 {field(mutationUser, []byte("bob")), "no kind"},
		"an unknown kind":             {field(9, mark), "field 9: unknown"},
		"an unknown field within":     {field(mutationInboxMark, mark, number(3, 1)), "inbox_mark: field 3: unknown"},
		"a tag of two bytes":          {field(mutationInboxMark, mark, number(16, 1)), "unknown"},
		"field 0":                     {field(mutationInboxMark, []byte{0, 0}), "field 0: unknown"},
		"a user twice":                {bytes.Join([][]byte{field(mutationUser, []byte("al")), field(mutationUser, []byte("al")), field(mutationInboxMark, mark)}, nil), "field 1: twice"},
		"a kind twice":                {bytes.Join([][]byte{field(mutationInboxMark, mark), field(mutationInboxMark, mark)}, nil), "field 8: twice"},
		"two kinds":                   {bytes.Join([][]byte{field(mutationInboxMark, mark), field(mutationProgress)}, nil), "field 4: twice"},
		"a number twice":              {field(mutationInboxMark, mark, number(markNumber, 7)), "field 2: twice"},
		"a part twice":                {field(mutationAccept, field(acceptSender), field(acceptSender)), "field 3: twice"},
		"a list that is not packed":   {field(mutationProgress, number(progressDeleted, 3)), "field 3: malformed"},
		"two lists":                   {field(mutationProgress, field(progressDeleted, []byte{1}), field(progressDeleted, []byte{2})), "field 3: twice"},
		"a list that ends in between": {field(mutationProgress, field(progressDeleted, []byte{1, 0x80})), "field 3: malformed"},
		"cursors, of which any many":  {field(mutationProgress, field(progressCursors, cursor), field(progressCursors, cursor)), ""},
		"a device of 33 bits":         {field(mutationProgress, field(progressCursors, number(cursorDevice, 1<<32))), "malformed"},
		"bytes for a number":          {field(mutationInboxMark, field(markShard, []byte{1})), "malformed"},
		"a number for bytes":          {number(mutationInboxMark, 0), "malformed"},
		"a fixed number":              {field(mutationInboxMark, []byte{markShard<<3 | 5, 0, 0, 0, 0}), "malformed"},
		"a number without end":        {field(mutationInboxMark, []byte{markNumber << 3, 0xff}), "malformed"},
		"a number of 70 bits":         {field(mutationInboxMark, []byte{markNumber << 3}, bytes.Repeat([]byte{0xff}, 9), []byte{0x7f}), "malformed"},
		"longer than it is":           {append(field(mutationInboxMark, mark), mutationUser<<3|2, 9), "field 1: malformed"},
		"a long user":                 {bytes.Join([][]byte{field(mutationUser, []byte(strings.Repeat("u", 65))), field(mutationProgress)}, nil), "65 bytes"},
		"a long peer":                 {field(mutationAccept, field(acceptPeer, []byte(strings.Repeat("u", 65)))), "65 bytes"},
		"a peer that is not UTF-8":    {field(mutationAccept, field(acceptPeer, []byte{0xff})), "not UTF-8"},
		"a name that is not UTF-8":    {field(mutationOutboxPut, field(putStep, field(1, []byte{0xff}))), "not UTF-8"},
		"a shard's row of a user":     {bytes.Join([][]byte{field(mutationUser, []byte("al")), field(mutationInboxMark, mark)}, nil), "names a user"},
		"a row without a key":         {field(mutationRow, field(rowValue)), "key of 0"},
		"a row with a long key":       {field(mutationRow, field(rowKey, make([]byte, maxRowKey+1))), "key of 257"},
		"a trim backwards":            {field(mutationOutboxTrim, number(trimFirst, 5), number(trimLast, 4)), "trim"},
		"a trim of everything":        {field(mutationOutboxTrim, number(trimLast, 1<<60)), "trim"},
	} {
		_, err := ReadMutation(c.data)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		b, err := ReadBatch(append(number(batchTerm, 3), field(batchMutations, c.data)...))
		if (err == nil) != (c.want == "") || err == nil && (b.Term != 3 || len(slices.Collect(b.Mutations())) != 1) {
			t.Errorf("%s, in a batch: %v, want %q", name, err, c.want)
		}
	}
	if _, err := ReadBatch(append(number(batchTerm, 3), number(batchTerm, 3)...)); err == nil {
		t.Error("a batch with two terms is taken")
	}
}

// One message as it is accepted, fetched and acked, with its receipt.
func benchMutations(b *testing.B) []Mutation {
	var out []Mutation
	for _, m := range messageMutations() {
		data, err := m.MarshalVTStrict()
		if err != nil {
			b.Fatal(err)
		}
		encoded, err := ReadMutation(data)
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, encoded)
	}
	return out
}

func messageMutations() []*storepb.Mutation {
	const bob, alice = "+4915112345678", "+4915187654321"
	id := bytes.Repeat([]byte{7}, 16)
	box := &storepb.MailboxRow{LastSeq: 1000, LastTime: 1_700_000_000_000 << 16}
	mark := &storepb.Watermark{Peer: alice, Delivered: 1000}
	receipt := &storepb.Receipt{Peer: bob, By: bob, Delivered: 1000}
	return []*storepb.Mutation{
		{User: bob, Op: &storepb.Mutation_Accept{Accept: &storepb.Accept{
			Peer: alice, Device: 1, Sender: &storepb.Sender{Session: 5<<32 | 9, Number: 1000, Accepted: 1000, Order: 1000},
			Result: &storepb.Result{Id: id, Order: 1000, Time: 1_700_000_000_000 << 16}, Mailbox: box,
			Entry: &storepb.Entry{Seq: 1000, Expires: 1_700_000_000_000, Body: &storepb.Entry_Message{Message: &storepb.Message{
				Id: id, From: alice, Device: 1, Peer: alice, Order: 1000, Time: 1_700_000_000_000 << 16, Kind: 1, Payload: make([]byte, 64)}}},
		}}},
		{User: bob, Op: &storepb.Mutation_Progress{Progress: &storepb.Progress{
			Cursors: []*storepb.Cursor{{Device: 1, Seq: 1000}}, Head: 1001, Deleted: []uint64{1000}, Watermarks: []*storepb.Watermark{mark},
		}}},
		{Op: &storepb.Mutation_OutboxPut{OutboxPut: &storepb.OutboxPut{Shard: 9, Number: 1000, Step: &storepb.Step{To: alice, Body: &storepb.Step_Watermark{Watermark: mark}}}}},
		{User: alice, Op: &storepb.Mutation_Append{Append: &storepb.Append{
			Entry: &storepb.Entry{Seq: 1000, Body: &storepb.Entry_Receipt{Receipt: receipt}}, Replaces: 999, Mailbox: box,
			ReceiptRow: &storepb.ReceiptRow{Seq: 1000, Receipt: receipt},
		}}},
		{Op: &storepb.Mutation_InboxMark{InboxMark: &storepb.InboxMark{Shard: 9, Number: 1000}}},
		{User: alice, Op: &storepb.Mutation_Progress{Progress: &storepb.Progress{
			Cursors: []*storepb.Cursor{{Device: 1, Seq: 1000}}, Head: 1001, Deleted: []uint64{1000},
		}}},
		{Op: &storepb.Mutation_OutboxTrim{OutboxTrim: &storepb.OutboxTrim{Shard: 9, First: 1000, Last: 1000}}},
	}
}

type nowhere struct{}

func (nowhere) Put(_, _ []byte)    {}
func (nowhere) PutNew(_, _ []byte) {}
func (nowhere) Delete([]byte)      {}

// The mutations of one message, read from the log and expanded.
func BenchmarkExpand(b *testing.B) {
	list := benchMutations(b)
	bytes := 0
	for _, m := range list {
		bytes += len(m.Bytes())
	}
	b.Run("encoded", func(b *testing.B) {
		x := NewExpander(testSpace)
		b.ReportAllocs()
		for b.Loop() {
			for _, m := range list {
				m, err := ReadMutation(m.Bytes())
				if err != nil {
					b.Fatal(err)
				}
				x.Expand(m, nowhere{})
			}
		}
		b.ReportMetric(float64(bytes), "log-B/op")
	})
	b.Run("decoded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, m := range list {
				var decoded storepb.Mutation
				if err := proto.Unmarshal(m.Bytes(), &decoded); err != nil {
					b.Fatal(err)
				}
				if err := decodedExpand(testSpace, &decoded, nowhere{}); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// The mutations of one message, encoded.
func BenchmarkEncode(b *testing.B) {
	list := messageMutations()
	var buf []byte
	for name, encode := range map[string]func(m *storepb.Mutation) error{
		"generated": func(m *storepb.Mutation) error {
			size := m.SizeVT()
			buf = slices.Grow(buf[:0], size)[:size]
			_, err := m.MarshalToSizedBufferVTStrict(buf)
			return err
		},
		"reflected": func(m *storepb.Mutation) (err error) {
			size := proto.Size(m)
			buf, err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(slices.Grow(buf[:0], size), m)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, m := range list {
					if err := encode(m); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
