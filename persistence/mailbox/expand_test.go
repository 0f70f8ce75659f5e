package mailbox

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// rows is a store that a mutation is expanded into.
type rows map[string]string

func (r rows) Put(k, v []byte)    { r[string(k)] = string(v) }
func (r rows) PutNew(k, v []byte) { r[string(k)] = string(v) }
func (r rows) Delete(k []byte)    { delete(r, string(k)) }

var testSpace = Space{Shard: 3, Version: 9}

// expand through the encoding, as a log does.
func expand(tb interface{ Fatalf(string, ...any) }, r rows, muts []*storepb.Mutation) {
	for _, m := range muts {
		b, err := proto.Marshal(m)
		if err != nil {
			tb.Fatalf("%v", err)
		}
		encoded, err := ReadMutation(b)
		if err != nil {
			tb.Fatalf("%v", err)
		}
		NewExpander(testSpace).Expand(encoded, r)
	}
}

// history draws mutations as one user's actor and its shard may make them:
// numbers go up, and only what was written is deleted.
func history(t *rapid.T) []*storepb.Mutation {
	var muts []*storepb.Mutation
	var seq, sent, given, trimmed uint64
	var stored []uint64
	for range rapid.IntRange(1, 40).Draw(t, "length") {
		m := &storepb.Mutation{User: "bob"}
		peer := rapid.SampledFrom([]string{"alice", "carol"}).Draw(t, "peer")
		box := func() *storepb.MailboxRow { return &storepb.MailboxRow{LastSeq: seq, LastTime: seq << 16} }
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			seq++
			sent++
			stored = append(stored, seq)
			m.Op = &storepb.Mutation_Accept{Accept: &storepb.Accept{
				Peer: peer, Device: 1, Sender: &storepb.Sender{Accepted: sent, Order: sent},
				Result: &storepb.Result{Id: make([]byte, 16), Order: sent}, Mailbox: box(),
				Entry: &storepb.Entry{Seq: seq, Body: &storepb.Entry_Message{Message: &storepb.Message{Peer: peer, Order: sent}}},
			}}
		case 1:
			seq++
			a := &storepb.Append{
				Entry: &storepb.Entry{Seq: seq, Body: &storepb.Entry_Receipt{}}, Mailbox: box(),
				ReceiptRow: &storepb.ReceiptRow{Seq: seq, Receipt: &storepb.Receipt{Peer: peer, By: peer, Delivered: seq}},
			}
			if len(stored) > 0 {
				a.Replaces, stored = stored[0], stored[1:]
			}
			stored = append(stored, seq)
			m.Op = &storepb.Mutation_Append{Append: a}
		case 2:
			p := &storepb.Progress{Cursors: []*storepb.Cursor{{Device: 1, Seq: seq}}, Watermarks: []*storepb.Watermark{{Peer: peer, Delivered: sent}}}
			if n := len(stored) / 2; n > 0 {
				p.Deleted, stored = stored[:n], stored[n:]
				p.Head = stored[0]
			}
			m.Op = &storepb.Mutation_Progress{Progress: p}
		case 3, 4:
			var value proto.Message
			if rapid.Bool().Draw(t, "value") {
				value = &storepb.DeviceRow{Device: 2, Start: seq}
			}
			row, err := RowOf("bob", Device, U32(2), value)
			if err != nil {
				t.Fatalf("%v", err)
			}
			m = row
		case 5:
			given++
			m = &storepb.Mutation{Op: &storepb.Mutation_OutboxPut{OutboxPut: &storepb.OutboxPut{Shard: 4, Number: given, Step: &storepb.Step{To: peer}}}}
		default:
			if trimmed == given {
				m = &storepb.Mutation{Op: &storepb.Mutation_InboxMark{InboxMark: &storepb.InboxMark{Shard: 4, Number: seq}}}
				break
			}
			m = &storepb.Mutation{Op: &storepb.Mutation_OutboxTrim{OutboxTrim: &storepb.OutboxTrim{Shard: 4, First: trimmed + 1, Last: given}}}
			trimmed = given
		}
		muts = append(muts, m)
	}
	return muts
}

// A replay starts at a checkpoint, over rows of which some are ahead of it: of
// all later mutations any may have reached the disk in part. It must end in
// the same rows.
func TestExpandReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		muts := history(t)
		want := rows{}
		expand(t, want, muts)
		from := rapid.IntRange(0, len(muts)).Draw(t, "checkpoint")
		got := rows{}
		expand(t, got, muts[:from])
		ahead := rows{}
		expand(t, ahead, muts[:rapid.IntRange(from, len(muts)).Draw(t, "ahead")])
		// Each row that differs is on disk in one or the other version.
		all := maps.Clone(got)
		maps.Copy(all, ahead)
		for _, k := range rapid.SliceOfDistinct(rapid.SampledFrom(append(keysOf(all), "")), func(k string) string { return k }).Draw(t, "reached") {
			if v, ok := ahead[k]; ok {
				got[k] = v
			} else {
				delete(got, k)
			}
		}
		expand(t, got, muts[from:])
		if !maps.Equal(got, want) {
			t.Fatalf("replay from %d of %d:\n%s", from, len(muts), difference(got, want))
		}
		expand(t, got, muts)
		if !maps.Equal(got, want) {
			t.Fatalf("the whole log again:\n%s", difference(got, want))
		}
	})
}

func keysOf(r rows) []string {
	var out []string
	for k := range r {
		out = append(out, k)
	}
	// Sorted, so that a seed repeats the draw.
	for i := range out {
		for j := i; j > 0 && out[j] < out[j-1]; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

func difference(got, want rows) string {
	var b strings.Builder
	for _, k := range keysOf(got) {
		if v, ok := want[k]; !ok || v != got[k] {
			fmt.Fprintf(&b, "%x is %x\n", k, got[k])
		}
	}
	for _, k := range keysOf(want) {
		if v, ok := got[k]; !ok || v != want[k] {
			fmt.Fprintf(&b, "%x should be %x\n", k, want[k])
		}
	}
	return b.String()
}

// Each mutation writes the rows that keys.go names, and no others.
func TestExpandRows(t *testing.T) {
	id := make([]byte, 16)
	for name, c := range map[string]struct {
		m    *storepb.Mutation
		want []string
	}{
		"accept": {
			&storepb.Mutation{User: "bob", Op: &storepb.Mutation_Accept{Accept: &storepb.Accept{
				Peer: "al", Device: 1, Sender: &storepb.Sender{Accepted: 65}, Result: &storepb.Result{Id: id},
				Entry: &storepb.Entry{Seq: 5}, Mailbox: &storepb.MailboxRow{LastSeq: 5},
			}}},
			[]string{"e\x00\x00\x00\x00\x00\x00\x00\x05", "i\x02al\x00\x00\x00\x01\x01", "m", "s\x02al\x00\x00\x00\x01"},
		},
		"accept, discarded": {
			&storepb.Mutation{User: "bob", Op: &storepb.Mutation_Accept{Accept: &storepb.Accept{
				Peer: "al", Device: 1, Sender: &storepb.Sender{Accepted: 64}, Result: &storepb.Result{Id: id}, Mailbox: &storepb.MailboxRow{},
			}}},
			[]string{"i\x02al\x00\x00\x00\x01\x00", "m", "s\x02al\x00\x00\x00\x01"},
		},
		"receipt": {
			&storepb.Mutation{User: "bob", Op: &storepb.Mutation_Append{Append: &storepb.Append{
				Entry: &storepb.Entry{Seq: 5}, ReceiptRow: &storepb.ReceiptRow{Receipt: &storepb.Receipt{Peer: "al", By: "bob"}},
			}}},
			[]string{"e\x00\x00\x00\x00\x00\x00\x00\x05", "m", "r\x02albob"},
		},
		"progress": {
			&storepb.Mutation{User: "bob", Op: &storepb.Mutation_Progress{Progress: &storepb.Progress{
				Cursors: []*storepb.Cursor{{Device: 2, Seq: 5}}, Head: 6, Deleted: []uint64{5}, Watermarks: []*storepb.Watermark{{Peer: "al"}},
			}}},
			[]string{"c\x00\x00\x00\x02", "h", "w\x02al"},
		},
		"empty row": {
			&storepb.Mutation{User: "bob", Op: &storepb.Mutation_Row{Row: &storepb.Row{Key: []byte("bal"), Value: []byte{}}}},
			[]string{"bal"},
		},
		"no row": {
			&storepb.Mutation{User: "bob", Op: &storepb.Mutation_Row{Row: &storepb.Row{Key: []byte("bal")}}},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := rows{}
			expand(t, r, []*storepb.Mutation{c.m})
			var got []string
			for _, k := range keysOf(r) {
				got = append(got, strings.TrimPrefix(k, string(testSpace.User("bob"))))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
				t.Errorf("wrote %q, want %q", got, c.want)
			}
		})
	}
}
