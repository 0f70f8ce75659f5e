package host

import (
	"testing"
	"time"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// What connections had with actors that have ended without a word is forgotten,
// whether its actor is live or hibernated; what others have stays.
func TestDisown(t *testing.T) {
	for _, idle := range []time.Duration{0, 2 * time.Minute} {
		w := parkingWorld(t)
		w.park(1, 0)
		w.tell("bob2", &nodepb.Attach{Origin: &nodepb.Origin{Conn: 5, User: "bob2", Device: 1}})
		w.settle()
		for _, conn := range []uint64{6, 7} {
			w.tell("bob2", &nodepb.Watch{Origin: &nodepb.Origin{Conn: conn, User: "alice"}})
		}
		w.settle()
		w.after(idle)
		w.trace.Reset()
		s := w.shards[2]
		s.Disown(func(conn uint64) bool { return conn == 5 || conn == 6 })
		if s.Disowned() {
			t.Error("before it has begun")
		}
		s.disown()
		if s.Disowned() {
			t.Error("before it is committed")
		}
		w.after(time.Second)
		if !s.Disowned() {
			t.Error("not at its end")
		}
		w.expect("-- shard 2: committed *storepb.Mutation_Row\n7 < presence of bob2: online false")
		w.after(2 * time.Minute)
		if s.rows.usedAtt != 1 || len(s.presence.watchers["bob2"]) != 1 {
			t.Errorf("idle %v: %s, watchers %v; want the parked request, and conn 7", idle, s.counts(), s.presence.watchers)
		}
	}
}
