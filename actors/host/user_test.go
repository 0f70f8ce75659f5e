package host

import (
	"runtime"
	"testing"
	"time"

	"github.com/rookery-im/rookery/actors/user"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// The real core on this host: Alice, who lives in shard 1, writes to Bob in
// shard 2 from one of her two devices; her other device gets a copy, Bob acks,
// the receipt comes back. Both shards crash on the way.
func TestRealUsers(t *testing.T) {
	w := newWorld(t)
	w.load = func(id string, rows user.Rows, att []user.Attachment) (Core, error) {
		s, err := user.Load(id, rows, att)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	w.lead(1)
	ask := func(id string, body func(*nodepb.Ask)) {
		a := &nodepb.Ask{User: id, Request: 99}
		body(a)
		w.tell(id, a)
		w.settle()
	}
	for _, id := range []string{"alice", "bob2"} {
		ask(id, func(a *nodepb.Ask) {
			a.Body = &nodepb.Ask_Register{Register: &nodepb.Register{Name: id, Password: "x"}}
		})
		ask(id, func(a *nodepb.Ask) { a.Body = &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Password: "x"}} })
	}
	ask("alice", func(a *nodepb.Ask) { a.Body = &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Password: "x"}} })
	from := func(id string, conn uint64, device uint32, session uint64) *nodepb.Origin {
		return &nodepb.Origin{User: id, Conn: conn, Device: device, Session: session}
	}
	sessions := map[uint64]uint64{}
	attach := func(id string, conn uint64, device uint32, session uint64) {
		sessions[conn] = session
		w.tell(id, &nodepb.Attach{Origin: from(id, conn, device, 0)})
		w.settle()
		w.tell(id, &nodepb.Pull{Origin: from(id, conn, device, session), MaxEntries: 100, MaxBytes: 1 << 20})
		w.settle()
	}
	attach("alice", 11, 1, 1<<32|1)
	attach("alice", 12, 2, 1<<32|2)
	attach("bob2", 20, 1, 1<<32|1)
	w.after(2 * time.Minute) // all hibernate, attached
	if s := w.shards[1]; len(s.lives)-1 != len(s.vacant) || s.rows.usedAtt != 2 {
		t.Errorf("shard 1 has %s, want 2 attachments and nobody live", s.counts())
	}
	w.trace.Reset()
	w.tell("bob2", &nodepb.Send{
		Origin: from("alice", 11, 1, sessions[11]), To: "bob2", Tag: 5, Number: 1, Id: make([]byte, 16), Kind: 1,
		Payload: []byte("hello"), Others: []uint32{2}, Copy: true,
	})
	w.settle()
	w.expect(`
		-- shard 2: committed accept bob2/1, out 1#1
		11 < sent 5 order 1
		20 < push 1 after 0 "hello"
		step 2>1 #1
		-- shard 1: committed append alice/2, in 2#1
		12 < push 2 after 0 "hello"
		confirm 2>1 #1
	`)
	w.shards[1].crash(2)
	w.shards[2].crash(2)
	attach("bob2", 21, 1, 2<<32|1)
	w.trace.Reset()
	w.tell("bob2", &nodepb.Ack{Origin: from("bob2", 21, 1, 2<<32|1), Seq: 1})
	w.after(time.Second)
	w.expect(`
		-- shard 2: committed delete bob2/[1], out 1#2, trim 1#1-1
		step 2>1 #2
		-- shard 1: committed append alice/3, in 2#2
		confirm 2>1 #2
		-- shard 2: committed trim 1#2-2
	`)
}

// What a live actor costs here and in protoactor, its core aside. Bytes.
func TestLiveBudget(t *testing.T) {
	const actors = 2000
	s, q := quietShard(t)
	before := heap()
	for i := range actors {
		if err := s.Tell(string(rune('a'+i%26))+time.Duration(i).String(), &nodepb.Ask{}); err != nil {
			t.Fatal(err)
		}
		s.Flush()
		q.commit(s)
	}
	per := (heap() - before) / actors
	t.Logf("%d bytes per live actor", per)
	if per > 2500 {
		t.Errorf("%d bytes per live actor, at most 2500", per)
	}
	runtime.KeepAlive(s)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
