package user

import (
	"encoding/binary"
	"testing"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// BenchmarkSendAck is the hot path: a message for an online user with one
// device, and its ack, with 100 bytes of payload. Building the inputs is not
// counted as work of the core, but is part of the allocations: 1 per input and
// what protobuf needs.
func BenchmarkSendAck(b *testing.B) {
	w := lived(b)
	w.attach("bob", 1, 0, 0)
	w.settle()
	c := w.current["bob/1"]
	s := w.state("bob")
	w.ask(&nodepb.Ask{User: "bob", Asker: "bob", Device: 1, Body: &nodepb.Ask_UnlinkDevice{UnlinkDevice: &nodepb.UnlinkDevice{Device: 2}}})
	w.settle()
	origin := &nodepb.Origin{Conn: 9, User: "alice", Device: 1, Session: 1 << 40}
	send := &nodepb.Send{Origin: origin, To: "bob", Kind: 1, Payload: make([]byte, 100)}
	ack := &nodepb.Ack{Origin: c.origin()}
	ctx := Context{Now: w.now, Scratch: &Scratch{}}
	var previous uint64
	b.ReportAllocs()
	for i := uint64(1); b.Loop(); i++ {
		id := make([]byte, 16) // kept by the entry
		binary.BigEndian.PutUint64(id, i)
		send.Id, send.Number, send.Previous = id, i, previous
		previous = i
		if out := s.Step(ctx, send); len(out.Mutations) != 1 {
			b.Fatalf("send: %v", out)
		}
		ack.Seq = s.lastSeq
		if out := s.Step(ctx, ack); len(out.Mutations) != 1 {
			b.Fatalf("ack: %v", out)
		}
	}
}

// BenchmarkForetell is what an ack is asked before it is taken in.
func BenchmarkForetell(b *testing.B) {
	w := lived(b)
	bob, alice := w.attach("bob", 1, 0, 0), w.attach("alice", 1, 0, 0)
	w.settle()
	w.send(alice, &nodepb.Send{To: "bob", Id: messageID("a"), Payload: make([]byte, 100)})
	w.settle()
	s := w.state("bob")
	ack := &nodepb.Ack{Origin: bob.origin(), Seq: s.lastSeq}
	var steps []*storepb.Step
	b.ReportAllocs()
	for b.Loop() {
		steps, _ = s.Foretell(ack, steps[:0])
		if len(steps) != 1 {
			b.Fatal(steps)
		}
	}
}

// BenchmarkReceipt is the sender's side of an ack: a receipt that takes the
// place of the one before it.
func BenchmarkReceipt(b *testing.B) {
	w := lived(b)
	w.attach("alice", 1, 0, 0)
	w.settle()
	s := w.state("alice")
	ctx := Context{Now: w.now, Scratch: &Scratch{}}
	b.ReportAllocs()
	for i := uint64(10); b.Loop(); i++ {
		step := &storepb.Step{To: "alice", Body: &storepb.Step_Watermark{Watermark: &storepb.Watermark{Peer: "bob", Delivered: i}}}
		s.Needs(step)
		if out := s.Step(ctx, step); len(out.Mutations) != 1 {
			b.Fatalf("receipt: %v", out)
		}
	}
}

// BenchmarkLoad1000 loads a mailbox in which 1,000 messages wait.
func BenchmarkLoad1000(b *testing.B) {
	w := lived(b)
	w.unchecked = true
	w.attach("alice", 1, 0, 0)
	w.settle()
	c := w.current["alice/1"]
	for i := range uint64(1000) {
		w.send(c, &nodepb.Send{To: "bob", Id: binary.BigEndian.AppendUint64(messageID("backlog")[:8], i), Payload: make([]byte, 100)})
		w.settle()
	}
	rows := w.rowsOf("bob")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load("bob", rows, nil); err != nil {
			b.Fatal(err)
		}
	}
}
