package user

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// lived is a world in which bob has rows of every kind.
func lived(tb testing.TB) *world {
	w := newWorld(tb.Fatalf)
	for _, user := range []string{"alice", "bob"} {
		w.ask(&nodepb.Ask{User: user, Body: &nodepb.Ask_Register{Register: &nodepb.Register{Name: user, Password: "pw"}}})
		w.ask(&nodepb.Ask{User: user, Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: "phone", Password: "pw"}}})
	}
	w.ask(&nodepb.Ask{User: "bob", Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: "laptop", Password: "pw"}}})
	w.ask(&nodepb.Ask{User: "bob", Asker: "bob", Device: 1, Body: &nodepb.Ask_SetBlock{SetBlock: &nodepb.SetBlock{User: "carol", Blocked: true}}})
	a, b := w.attach("alice", 1, 0, 0), w.attach("bob", 1, 0, 0)
	w.settle()
	for _, id := range []string{"A", "B", "C"} {
		w.send(a, &nodepb.Send{To: "bob", Id: messageID(id), Payload: []byte("x")})
		w.settle()
	}
	w.send(b, &nodepb.Send{To: "alice", Id: messageID("D"), Payload: []byte("x")})
	w.ack(b, 3)
	w.settle()
	w.ack(a, 1)
	w.settle()
	w.detach(b)
	w.done()
	return w
}

func encodeRows(rows userRows) []byte {
	var b []byte
	for _, r := range rows {
		b = binary.AppendUvarint(b, uint64(len(r.key)))
		b = append(b, r.key...)
		b = binary.AppendUvarint(b, uint64(len(r.value)))
		b = append(b, r.value...)
	}
	return b
}

// decodeRows takes anything for rows, as a store would hand them out: ascending
// and each key once.
func decodeRows(b []byte) userRows {
	part := func() []byte {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			n, used = uint64(len(b)), 0
		}
		p := b[used : used+int(n)]
		b = b[used+int(n):]
		return p
	}
	var rows userRows
	for len(b) > 0 {
		if k := part(); len(k) > 0 {
			rows = append(rows, row{k, part()})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return bytes.Compare(a.key, b.key) })
	return slices.CompactFunc(rows, func(a, b row) bool { return bytes.Equal(a.key, b.key) })
}

// FuzzLoad: rows that are damaged give an error, or a state that keeps its own
// invariants and does not panic at the next input.
func FuzzLoad(f *testing.F) {
	rows := lived(f).rowsOf("bob")
	kinds := map[byte]bool{}
	f.Add(encodeRows(rows))
	for i, r := range rows {
		kinds[r.key[0]] = true
		short := slices.Clone(rows)
		short[i] = row{r.key[:len(r.key)-1], r.value}
		if len(r.key) > 1 {
			f.Add(encodeRows(short))
		}
		long := slices.Clone(rows)
		long[i] = row{slices.Concat(r.key, []byte{0}), r.value}
		f.Add(encodeRows(long))
		cut := slices.Clone(rows)
		cut[i] = row{r.key, r.value[:len(r.value)/2]}
		f.Add(encodeRows(cut))
		f.Add(encodeRows(slices.Delete(slices.Clone(rows), i, i+1)))
	}
	for _, k := range []mailbox.Kind{
		mailbox.Account, mailbox.Block, mailbox.Cursor, mailbox.Device, mailbox.Entry, mailbox.Head,
		mailbox.Result, mailbox.Mailbox, mailbox.Receipt, mailbox.Sender, mailbox.Seen, mailbox.Watermark,
	} {
		if !kinds[byte(k)] {
			f.Errorf("no row of kind %c to damage", k)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rows := decodeRows(b)
		s, err := Load("bob", rows, []Attachment{{Conn: 1, Session: 1, Device: 1, Live: true}})
		if err != nil {
			return
		}
		for _, peer := range []string{"alice", "bob"} {
			if err := s.Adopt(peer, rows); err != nil {
				return
			}
		}
		s.Check()
		for _, in := range []any{
			&nodepb.Ack{Origin: &nodepb.Origin{Conn: 1, User: "bob", Device: 1, Session: 1}, Seq: s.lastSeq},
			&nodepb.Send{Origin: &nodepb.Origin{User: "alice", Device: 1}, To: "bob", Id: messageID("Z")},
			Tick{Expiry: 1 << 62},
		} {
			for _, peer := range s.Needs(in) {
				if !s.Has(peer) && s.Adopt(peer, rows) != nil {
					return
				}
			}
			s.Step(Context{Now: epoch}, in)
			if s.lastSeq == 0 {
				return // wrapped around: a seq of 2^64-1
			}
			s.Check()
		}
	})
}

// Load and Adopt say what is wrong with a row.
func TestDamagedRows(t *testing.T) {
	encode := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	peer := mailbox.Peer("alice")
	for name, r := range map[string]row{
		"account":               {[]byte("a"), []byte{0xFF}},
		"mailbox":               {[]byte("m"), []byte{0xFF}},
		"head past the end":     {[]byte("h"), encode(&storepb.HeadRow{Head: 9})},
		"device without number": {[]byte("d"), nil},
		"device of another key": {append([]byte("d"), mailbox.U32(2)...), encode(&storepb.DeviceRow{Device: 3})},
		"device in the future":  {append([]byte("d"), mailbox.U32(2)...), encode(&storepb.DeviceRow{Device: 2, Start: 77})},
		"cursor without device": {[]byte("c\x00"), nil},
		"cursor past the end":   {append([]byte("c"), mailbox.U32(1)...), encode(&storepb.Cursor{Device: 1, Seq: 77})},
		"seen without device":   {[]byte("t"), nil},
		"entry without seq":     {[]byte("e"), nil},
		"entry of another key":  {append([]byte("e"), mailbox.U64(2)...), encode(&storepb.Entry{Seq: 1})},
		"entry past the end":    {append([]byte("e"), mailbox.U64(9)...), encode(&storepb.Entry{Seq: 9})},
		"sender without device": {append([]byte("s"), peer...), nil},
		"result without slot":   {slices.Concat([]byte("i"), peer, mailbox.U32(1)), encode(&storepb.Result{Id: messageID("A")})},
		"result without id":     {slices.Concat([]byte("i"), peer, mailbox.U32(1), []byte{0}), nil},
		"result past the ring":  {slices.Concat([]byte("i"), peer, mailbox.U32(1), []byte{64}), encode(&storepb.Result{Id: messageID("A")})},
		"receipt":               {slices.Concat([]byte("r"), peer, []byte("alice")), []byte{0xFF}},
		"watermark":             {slices.Concat([]byte("w"), peer), []byte{0xFF}},
	} {
		t.Run(name, func(t *testing.T) {
			rows := userRows{{[]byte("m"), encode(&storepb.MailboxRow{LastSeq: 5})}}
			if r.key[0] != 'm' {
				rows = append(rows, r)
			} else {
				rows[0] = r
			}
			slices.SortFunc(rows, func(a, b row) int { return bytes.Compare(a.key, b.key) })
			s, err := Load("bob", rows, nil)
			if err == nil {
				err = s.Adopt("alice", rows)
			}
			if err == nil {
				t.Error("loaded without an error")
			}
		})
	}
}

// A mailbox is full by its entries and by its bytes, whoever sent them; a
// receipt never counts and always fits, and copies count apart.
func TestMailboxFull(t *testing.T) {
	w := lived(t)
	s := w.state("bob")
	if err := s.Adopt("dave", w.rowsOf("bob")); err != nil {
		t.Fatal(err)
	}
	send := func(id string) *nodepb.Fault {
		out := s.Step(Context{Now: w.now}, &nodepb.Send{Origin: &nodepb.Origin{Conn: 9, User: "dave", Device: 1}, To: "bob", Id: messageID(id)})
		for _, e := range out.Effects {
			if r, ok := e.(ToConn).Msg.(*nodepb.Refused); ok {
				return r.GetFault()
			}
		}
		return nil
	}
	receipts, copies := 0, 0
	for _, it := range s.index {
		switch it.kind {
		case itemReceipt:
			receipts++
		case itemCopy:
			copies++
		}
	}
	if receipts == 0 || copies == 0 || s.entries != len(s.index)-receipts-copies || s.copies.entries != copies {
		t.Fatalf("%d entries and %d copies count of %d, %d of them receipts, %d copies", s.entries, s.copies.entries, len(s.index), receipts, copies)
	}
	entries, bytes := s.entries, s.bytes
	for name, fill := range map[string]func(){
		"entries": func() { s.entries = 20_000 },
		"bytes":   func() { s.bytes = 64 << 20 },
	} {
		fill()
		if f := send("full " + name); f.GetCode() != string(fault.MailboxFull) || !f.GetRetryable() {
			t.Errorf("full of %s: %v", name, f)
		}
		s.entries, s.bytes = entries, bytes
	}
	if f := send("fits"); f != nil {
		t.Errorf("not full: %v", f)
	}
}
