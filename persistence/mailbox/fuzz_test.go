package mailbox

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// written is what a mutation wrote, in order.
type written struct {
	keys [][]byte
	log  bytes.Buffer
}

func (w *written) note(op string, key, value []byte) {
	w.keys = append(w.keys, bytes.Clone(key))
	fmt.Fprintf(&w.log, "%s %x %x\n", op, key, value)
}

func (w *written) Put(key, value []byte)    { w.note("put", key, value) }
func (w *written) PutNew(key, value []byte) { w.note("new", key, value) }
func (w *written) Delete(key []byte)        { w.note("delete", key, nil) }

func seedMutations(f *testing.F) {
	for _, m := range []*storepb.Mutation{
		{User: "bob", Op: &storepb.Mutation_Accept{Accept: &storepb.Accept{
			Peer: "alice", Device: 1, Sender: &storepb.Sender{Accepted: 63}, Result: &storepb.Result{Id: make([]byte, 16)},
			Entry: &storepb.Entry{Seq: 1}, Mailbox: &storepb.MailboxRow{LastSeq: 1},
		}}},
		{User: "bob", Op: &storepb.Mutation_Append{Append: &storepb.Append{
			Replaces: 3, Entry: &storepb.Entry{Seq: 4}, ReceiptRow: &storepb.ReceiptRow{Receipt: &storepb.Receipt{Peer: "alice", By: "bob"}},
		}}},
		{User: "bob", Op: &storepb.Mutation_Progress{Progress: &storepb.Progress{
			Cursors: []*storepb.Cursor{{Device: 1, Seq: 2}}, Deleted: []uint64{1, 2}, Head: 3, Watermarks: []*storepb.Watermark{{Peer: "alice"}},
		}}},
		{User: "bob", Op: &storepb.Mutation_Row{Row: &storepb.Row{Key: []byte("a"), Value: []byte{}}}},
		{Op: &storepb.Mutation_OutboxPut{OutboxPut: &storepb.OutboxPut{Shard: 2, Number: 9, Step: &storepb.Step{}}}},
		{Op: &storepb.Mutation_OutboxTrim{OutboxTrim: &storepb.OutboxTrim{Shard: 2, First: 1, Last: 3}}},
		{Op: &storepb.Mutation_InboxMark{InboxMark: &storepb.InboxMark{Shard: 2, Number: 9}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzExpand: a mutation that is garbage is refused, or writes a bounded number
// of rows, all of its own user's, the same each time, and the same as if it had
// been decoded.
func FuzzExpand(f *testing.F) {
	seedMutations(f)
	space := Space{Shard: 7, Version: 1}
	f.Fuzz(func(t *testing.T, data []byte) {
		compareRows(t, data)
		m, err := ReadMutation(data)
		if err != nil {
			return
		}
		var w, again written
		x := NewExpander(space)
		x.Expand(m, &w)
		x.Expand(m, &again)
		if w.log.String() != again.log.String() {
			t.Fatalf("written once\n%s and then\n%s", &w.log, &again.log)
		}
		if len(w.keys) > maxTrim+2*len(data)+8 {
			t.Fatalf("%d rows of %d bytes", len(w.keys), len(data))
		}
		for _, key := range w.keys {
			s, user, _, _, err := Split(key)
			if err != nil || s != space || user != string(m.user) && user != "" {
				t.Fatalf("%x writes %x: %v %q, %v", data, key, s, user, err)
			}
		}
	})
}

// FuzzPeer: peers come apart as they were put together, whatever they are.
func FuzzPeer(f *testing.F) {
	f.Add("alice", "bob", uint32(1), byte(63))
	f.Add("", "", uint32(0), byte(0))
	f.Fuzz(func(t *testing.T, a, b string, device uint32, slot byte) {
		if len(a) > 255 || len(b) > 255 {
			return // Expand refuses them
		}
		for _, suffix := range [][]byte{SenderSuffix(a, device), ResultSuffix(a, device, slot), ReceiptSuffix(a, b)} {
			peer, rest, err := SplitPeer(suffix)
			if err != nil || peer != a || !bytes.Equal(append(Peer(peer), rest...), suffix) {
				t.Fatalf("%q in %x is read as %q, %v", a, suffix, peer, err)
			}
			if a != b && bytes.HasPrefix(suffix, Peer(b)) {
				t.Fatalf("a row of %q is among those of %q", a, b)
			}
		}
	})
}
