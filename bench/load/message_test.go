package load

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/bench/load/ledger"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// BenchmarkMessage is what a message costs the generator beside its system calls,
// from the send to the ack of the receipt: the account, the frames, the masking. A
// generator that needs more than a few microseconds here would be what a node of
// 110,000 messages a second is bounded by. batch is how many come in one read.
func BenchmarkMessage(b *testing.B) {
	for _, batch := range []int{1, 8} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) { benchmarkMessage(b, batch) })
	}
}

func benchmarkMessage(b *testing.B, batch int) {
	e, err := NewEngine()
	if err != nil {
		b.Skip(err)
	}
	defer func() {
		if err := e.loop.Stop(); err != nil {
			b.Error(err)
		}
	}()
	if err := e.prepare(Setup{
		Run: ledger.Run{Start: 1 << 40, Tag: 7}, Payload: 100,
		Users: []User{{"alice", []Device{{1, ""}}}, {"bob", []Device{{1, ""}}}}, Flows: []Flow{{User: 0, To: 1}},
	}); err != nil {
		b.Fatal(err)
	}
	for i := range e.conns { // connected, to nobody
		e.conns[i].state = live
	}
	const cycle = 512 // of answers made beforehand
	read := func(i int, message []byte, now int64) {
		if err := e.receive(i, message, now); err != nil {
			b.Fatal(err)
		}
		if e.conns[i].lastSeq > e.conns[i].acked { // as Data does
			e.soil(i)
		}
	}
	var sents, delivers, receipts [][]byte
	number := uint64(0)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		if len(sents) == 0 {
			b.StopTimer()
			sents, delivers, receipts = answers(b, e, number+1, cycle, batch)
			b.StartTimer()
		}
		now := e.now()
		for range batch {
			number = e.book.Send(0, now)
			e.write(0, number, now)
		}
		e.say()
		read(0, sents[0], now)
		read(1, delivers[0], now)
		e.say()
		read(0, receipts[0], now)
		e.say()
		sents, delivers, receipts = sents[1:], delivers[1:], receipts[1:]
		n += batch
	}
	b.StopTimer()
	if wrong := e.book.Audit().Wrong(); wrong != 0 || len(e.problems) > 0 {
		b.Errorf("%d wrong: %q", wrong, e.problems)
	}
}

// answers of a node to the messages from a number on: rounds of messages with a
// batch each of sent, of deliver, and one receipt for it.
func answers(b *testing.B, e *Engine, first uint64, rounds, batch int) (sents, delivers, receipts [][]byte) {
	add := func(to *[]byte, f *clientpb.ServerFrame) {
		body, err := proto.Marshal(f)
		if err != nil {
			b.Fatal(err)
		}
		*to = protowire.AppendBytes(*to, body)
	}
	for range rounds {
		var sent, deliver, receipt []byte
		for range batch {
			id := string(e.setup.Run.AppendID(nil, 0, first))
			add(&sent, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Sent{Sent: &clientpb.Sent{Id: id, Conversation: talk("bob"), Order: first, Time: 1}}})
			add(&deliver, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Deliver{Deliver: &clientpb.Deliver{
				Seq: first, Id: id, From: &clientpb.Device{User: "alice", Device: 1}, Conversation: talk("alice"), Order: first, Time: 1,
				Kind: clientpb.Kind_TEXT, Payload: e.payload(0, first),
			}}})
			first++
		}
		add(&receipt, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Receipt{Receipt: &clientpb.Receipt{
			Seq: first - 1, Conversation: talk("bob"), By: "bob", DeliveredUpTo: first - 1,
		}}})
		sents, delivers, receipts = append(sents, sent), append(delivers, deliver), append(receipts, receipt)
	}
	return sents, delivers, receipts
}
