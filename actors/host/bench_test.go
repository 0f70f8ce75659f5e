package host

import (
	"encoding/binary"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/actors/user"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// still is a core that does nothing but hand out what it was made with.
type still struct{ out user.Output }

func (still) Needs(any) []string                                  { return nil }
func (still) Has(string) bool                                     { return true }
func (still) Adopt(string, user.Rows) error                       { return nil }
func (s still) Step(user.Context, any) user.Output                { return s.out }
func (still) Deadline() uint64                                    { return 0 }
func (still) Idle() bool                                          { return true }
func (still) Attachments() []user.Attachment                      { return nil }
func (q *quiet) Deliver(uint64, proto.Message)                    {}
func (q *quiet) Lost(uint64, string)                              {}
func (q *quiet) Unknown(uint64)                                   {}
func (q *quiet) Left(uint32)                                      {}
func (q *quiet) Put(_, _ []byte)                                  {}
func (q *quiet) PutNew(_, _ []byte)                               {}
func (q *quiet) Delete([]byte)                                    {}
func (q *quiet) Get([]byte) ([]byte, bool, error)                 { return nil, false, nil }
func (q *quiet) Propose(token uint64, d []byte) error             { q.token, q.data = token, d; return nil }
func (q *quiet) Read(token uint64) error                          { q.token, q.data = token, nil; return nil }
func (q *quiet) Scan(_, _ []byte, _ func(_, _ []byte) bool) error { return nil }

// quiet is a world that costs nothing.
type quiet struct {
	token uint64
	data  []byte
}

func quietShard(t testing.TB) (*Shard, *quiet) {
	w := newWorld(t)
	q := &quiet{}
	s := w.shards[1].Shard
	s.cfg.Store, s.cfg.Gateway = q, q
	s.Bind(q)
	msg := &storepb.Message{Id: make([]byte, 16), From: "alice", Payload: make([]byte, 100)}
	e := &storepb.Entry{Seq: 1, Body: &storepb.Entry_Message{Message: msg}}
	s.cfg.Load = func(id string, _ user.Rows, _ []user.Attachment) (Core, error) {
		return still{user.Output{
			Mutations: []*storepb.Mutation{{User: id, Op: &storepb.Mutation_Accept{Accept: &storepb.Accept{
				Peer: "alice", Device: 1, Sender: &storepb.Sender{Session: 1, Number: 1, Accepted: 1, Order: 1},
				Result: &storepb.Result{Id: msg.GetId(), Order: 1}, Entry: e, Mailbox: &storepb.MailboxRow{LastSeq: 1},
			}}}},
			Effects: []user.Effect{
				user.ToConn{Conn: 1, Msg: &nodepb.Sent{}},
				user.ToConn{Conn: 2, Msg: &nodepb.Push{Entry: e}},
			},
		}}, nil
	}
	s.Lead(1)
	return s, q
}

func (q *quiet) commit(s *Shard) {
	if q.data != nil {
		if err := s.Apply(1, 1, q.data); err != nil {
			panic(err)
		}
	}
	s.Committed(q.token)
}

// One message through a live actor: Tell, its share of a batch of 64, apply and
// release. The core, Raft, the store and the gateway cost nothing here.
func BenchmarkTell(b *testing.B) {
	s, q := quietShard(b)
	in := sendTo(1, 1, "hello")
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("+49151%08d", i)
	}
	b.ReportAllocs()
	for i := range b.N {
		if err := s.Tell(ids[i%len(ids)], in); err != nil {
			b.Fatal(err)
		}
		if i%64 == 63 {
			s.Flush()
			q.commit(s)
		}
	}
}

// The same without the way into the store: what the host and protoactor add.
func BenchmarkTellOnly(b *testing.B) {
	s, _ := quietShard(b)
	s.cfg.Load = func(string, user.Rows, []user.Attachment) (Core, error) { return still{}, nil }
	in := sendTo(1, 1, "hello")
	b.ReportAllocs()
	for range b.N {
		if err := s.Tell("bob", in); err != nil {
			b.Fatal(err)
		}
	}
}

// A message and its receipt through two shards with the real core, in batches
// of 64 pairs of users: send, ack, told, taken in, ack of the receipt. Raft and
// the gateway cost nothing here; the store is a map.
func BenchmarkReceiptHops(b *testing.B) {
	w := newWorld(b)
	w.load = func(id string, rows user.Rows, att []user.Attachment) (Core, error) { return user.Load(id, rows, att) }
	hops := &hops{shards: map[uint32]*rig{1: w.shards[1], 2: w.shards[2]}}
	for _, r := range w.each() {
		r.cfg.Router, r.cfg.Gateway = hops, &quiet{}
	}
	w.lead(1)
	const pairs = 64
	var from, to [pairs]*nodepb.Origin
	for i := range pairs {
		from[i], to[i] = hops.connect(w, fmt.Sprintf("alice%d1", i)), hops.connect(w, fmt.Sprintf("bob%d2", i))
	}
	id := make([]byte, 16)
	b.ReportAllocs()
	for n := uint64(1); b.Loop(); n++ {
		for i := range pairs {
			id := append(id[:0:0], id...)
			binary.BigEndian.PutUint64(id, n)
			_ = w.shards[2].Tell(to[i].GetUser(), &nodepb.Send{
				Origin: from[i], To: to[i].GetUser(), Number: n, Previous: n - 1, Id: id, Kind: 1, Payload: make([]byte, 100),
			})
		}
		hops.round()
		for i := range pairs {
			_ = w.shards[2].Tell(to[i].GetUser(), &nodepb.Ack{Origin: to[i], Seq: n})
		}
		hops.round()
		w.now += 30
		hops.round()
		for i := range pairs {
			_ = w.shards[1].Tell(from[i].GetUser(), &nodepb.Ack{Origin: from[i], Seq: n})
		}
		w.now += 30
		hops.round()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pairs), "ns/message")
}

// hops is a router that hands out at the end of a round.
type hops struct {
	shards map[uint32]*rig
	queue  []hop
}

type hop struct {
	src, dst uint32
	number   uint64
	step     *storepb.Step
	take     func(h *hops, m hop)
}

func (h *hops) add(m hop) { h.queue = append(h.queue, m) }

func (h *hops) Relay(src, dst uint32, number uint64, step *storepb.Step) {
	h.add(hop{src, dst, number, step, func(h *hops, m hop) { _ = h.shards[m.dst].TakeStep(m.src, m.number, m.step) }})
}

func (h *hops) Confirm(src, dst uint32, number uint64) {
	h.add(hop{src, dst, number, nil, func(h *hops, m hop) { h.shards[m.src].TakeConfirm(m.dst, m.number) }})
}

func (h *hops) Resend(uint32, uint32, uint64) {}

func (h *hops) Tell(src, dst uint32, step *storepb.Step) {
	h.add(hop{src, dst, 0, step, func(h *hops, m hop) { h.shards[m.dst].TakeTell(m.src, m.step) }})
}

func (h *hops) Told(src, dst uint32, step *storepb.Step) {
	h.add(hop{src, dst, 0, step, func(h *hops, m hop) { h.shards[m.src].TakeTold(m.step) }})
}

// round as the loop has it.
func (h *hops) round() {
	now := h.queue
	h.queue = nil
	for _, m := range now {
		m.take(h, m)
	}
	for _, r := range h.shards {
		r.Tick()
		r.Flush()
		if r.busy {
			r.busy = false
			if r.data != nil {
				r.apply()
			}
			r.Committed(r.token)
		}
	}
}

// connect a user with one device.
func (h *hops) connect(w *world, id string) *nodepb.Origin {
	s := w.shards[shardOf(id)]
	o := &nodepb.Origin{User: id, Conn: 1, Device: 1}
	for _, in := range []any{
		&nodepb.Ask{User: id, Body: &nodepb.Ask_Register{Register: &nodepb.Register{Name: id, Password: "x"}}},
		&nodepb.Ask{User: id, Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Password: "x"}}},
		&nodepb.Attach{Origin: o},
	} {
		_ = s.Tell(id, in)
	}
	o.Session = s.term<<32 | uint64(s.sessions)
	_ = s.Tell(id, &nodepb.Pull{Origin: o, MaxEntries: 100, MaxBytes: 1 << 20})
	h.round()
	return o
}

// A cold user's message: spawn, load, step; hibernation after it.
func BenchmarkActivate(b *testing.B) {
	s, q := quietShard(b)
	in := sendTo(1, 1, "hello")
	b.ReportAllocs()
	for range b.N {
		if err := s.Tell("bob", in); err != nil {
			b.Fatal(err)
		}
		s.Flush()
		q.commit(s)
		if !s.hibernate(s.lives[1]) {
			b.Fatal("awake")
		}
	}
}
