package session

import (
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

// quiet is everything around a gateway, at no cost.
type quiet struct {
	tag uint32 // of the last send
}

func (*quiet) Send(uint64, []byte)                    {}
func (*quiet) Pending(uint64) int                     { return 0 }
func (*quiet) Read(uint64, Reading)                   {}
func (*quiet) Admit(uint64, time.Duration, time.Time) {}
func (*quiet) Close(uint64, uint16, string)           {}
func (*quiet) Identify(string) (Identity, error) {
	return Identity{User: "alice", Device: 1, Expires: time.Now().Add(time.Hour)}, nil
}

func (q *quiet) Tell(_ string, msg any) error {
	if m, ok := msg.(*nodepb.Send); ok {
		q.tag = m.GetTag()
	}
	return nil
}

const benchConn = 7

// benchGateway has one session, attached and live, that no rate holds back.
func benchGateway(t testing.TB, enc frames.Encoding) (*Gateway, *quiet) {
	t.Helper()
	q := &quiet{}
	cfg := DefaultConfig().Named("n1")
	for _, r := range []*Rate{&cfg.Limits.Sends, &cfg.Limits.Frames, &cfg.Limits.Hellos} {
		*r = Rate{PerSecond: 1e9, Burst: 1e9}
	}
	g, err := New(cfg, q, q, q, time.Now, slog.New(slog.DiscardHandler), NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	join(t, g, enc, benchConn)
	return g, q
}

func join(t testing.TB, g *Gateway, enc frames.Encoding, conn uint64) {
	t.Helper()
	g.Opened(conn, enc, "")
	g.Message(conn, enc, message(t, enc, &clientpb.ClientFrame{Body: &clientpb.ClientFrame_Hello{Hello: &clientpb.Hello{Token: "good"}}}))
	g.Deliver(conn, &nodepb.Attached{Session: 5})
	g.Deliver(conn, &nodepb.Page{Session: 5, End: true})
	g.Flush()
}

func message(t testing.TB, enc frames.Encoding, list ...*clientpb.ClientFrame) (data []byte) {
	t.Helper()
	for _, f := range list {
		var err error
		if data, err = frames.AppendMessage(data, enc, f); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

func sendFrame(id byte) *clientpb.ClientFrame {
	return &clientpb.ClientFrame{Ref: 3, Body: &clientpb.ClientFrame_Send{Send: &clientpb.Send{
		Id: uuidOf(id), To: frames.With("bob"), Kind: clientpb.Kind_TEXT, Payload: make([]byte, 100),
	}}}
}

func pushed(seq uint64) *nodepb.Push {
	return &nodepb.Push{Session: 5, Previous: seq - 1, Entry: &storepb.Entry{Seq: seq, Body: &storepb.Entry_Message{Message: &storepb.Message{
		Id: make([]byte, 16), From: "bob", Device: 1, Peer: "bob", Order: seq, Time: uint64(time.Now().UnixMilli()) << 16, Kind: 1, Payload: make([]byte, 100),
	}}}}
}

// hops are what a message costs a gateway: a send and its sent at the sender's,
// a push and its ack at the recipient's, a receipt at the sender's again. The
// words of the actors are not counted, nor is what one send or ack costs less
// where several come in one message.
func hops(t testing.TB, enc frames.Encoding) map[string]func() {
	t.Helper()
	g, q := benchGateway(t, enc)
	send := message(t, enc, sendFrame(1))
	sent := &nodepb.Sent{Order: 9, Time: 1 << 60}

	acker, _ := benchGateway(t, enc)
	s := acker.sessions[benchConn]
	ack := message(t, enc, &clientpb.ClientFrame{Body: &clientpb.ClientFrame_Ack{Ack: &clientpb.Ack{Seq: 7}}})

	receiver, _ := benchGateway(t, enc)
	push := pushed(1)
	receipt := &nodepb.Push{Session: 5, Entry: &storepb.Entry{Body: &storepb.Entry_Receipt{Receipt: &storepb.Receipt{
		Peer: "bob", By: "bob", Delivered: 1 << 20, Read: 1 << 10,
	}}}}
	next := func(p *nodepb.Push) {
		p.Previous = receiver.sessions[benchConn].written
		p.Entry.Seq = p.GetPrevious() + 1
		receiver.Deliver(benchConn, p)
		receiver.Flush()
	}
	return map[string]func(){
		"send": func() {
			g.Message(benchConn, enc, send)
			sent.Tag = q.tag
			g.Deliver(benchConn, sent)
			g.Flush()
		},
		"ack": func() {
			s.written, s.cursor = 7, 6
			acker.Message(benchConn, enc, ack)
			acker.Flush()
		},
		"push":    func() { next(push) },
		"receipt": func() { next(receipt) },
	}
}

func BenchmarkHops(b *testing.B) {
	for _, enc := range []frames.Encoding{frames.Protobuf, frames.JSON} {
		list := hops(b, enc)
		for _, name := range slices.Sorted(maps.Keys(list)) {
			hop := list[name]
			b.Run(enc.String()+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					hop()
				}
			})
		}
	}
}

// BenchmarkWindow is eight sends in one message, and their eight answers.
func BenchmarkWindow(b *testing.B) {
	const window = 8
	g, q := benchGateway(b, frames.Protobuf)
	var list []*clientpb.ClientFrame
	for i := range byte(window) {
		list = append(list, sendFrame(i+1))
	}
	data := message(b, frames.Protobuf, list...)
	var m proto.Message
	sent := &nodepb.Sent{Order: 9, Time: 1 << 60}
	m = sent
	b.ReportAllocs()
	for b.Loop() {
		g.Message(benchConn, frames.Protobuf, data)
		for i := range uint32(window) {
			sent.Tag = q.tag - window + 1 + i
			g.Deliver(benchConn, m)
		}
		g.Flush()
	}
}

// What stays of a message is what its actor keeps: a send is one struct and one
// copy of its bytes, an ack one struct, and what goes out is nothing.
func TestHopsAllocate(t *testing.T) {
	most := map[string]float64{"send": 2, "ack": 1}
	for _, enc := range []frames.Encoding{frames.Protobuf, frames.JSON} {
		for name, hop := range hops(t, enc) {
			if n := testing.AllocsPerRun(200, hop); n > most[name] {
				t.Errorf("%v %s: %v allocations, at most %v", enc, name, n, most[name])
			}
		}
	}
}

// Nor does it cost more where every session of many says something in a round.
func TestRoundAllocates(t *testing.T) {
	const sessions, window = 1000, 8
	g, q := benchGateway(t, frames.Protobuf)
	for conn := range uint64(sessions) {
		if conn != benchConn {
			join(t, g, frames.Protobuf, conn)
		}
	}
	var list []*clientpb.ClientFrame
	for i := range byte(window) {
		list = append(list, sendFrame(i+1))
	}
	data := message(t, frames.Protobuf, list...)
	sent := &nodepb.Sent{Order: 9, Time: 1 << 60}
	n := testing.AllocsPerRun(3, func() {
		for conn := range uint64(sessions) {
			g.Message(conn, frames.Protobuf, data)
		}
		for conn := range uint64(sessions) {
			for i := range uint32(window) {
				sent.Tag = q.tag - window + 1 + i // the same in each session
				g.Deliver(conn, sent)
			}
		}
		g.Flush()
		g.Sweep()
	})
	if per := n / (sessions * window); per > 2.1 {
		t.Errorf("%v allocations for a send", per)
	}
}
