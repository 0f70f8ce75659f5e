package host

import (
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
