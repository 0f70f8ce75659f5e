package host

import (
	"bytes"
	"maps"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/persistence/mailbox"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// FuzzApply: a batch that is garbage is refused or writes rows of its own
// shard's space, the same when it is replayed; and leading over what it left
// is refused or works, but does not panic.
func FuzzApply(f *testing.F) {
	f.Add(encode(f, 1, accept("bob", "alice", 1), accept("bob", "alice", 2)), uint64(1))
	f.Add(encode(f, 3, accept("carol", "alice", 1)), uint64(2))
	f.Add(encode(f, 1,
		&storepb.Mutation{Op: &storepb.Mutation_OutboxPut{OutboxPut: &storepb.OutboxPut{Shard: 2, Number: 1, Step: &storepb.Step{}}}},
		&storepb.Mutation{Op: &storepb.Mutation_InboxMark{InboxMark: &storepb.InboxMark{Shard: 2, Number: 7}}},
		&storepb.Mutation{Op: &storepb.Mutation_OutboxTrim{OutboxTrim: &storepb.OutboxTrim{Shard: 2, First: 1, Last: 1}}},
	), uint64(1))
	f.Add(encode(f, 1, &storepb.Mutation{Op: &storepb.Mutation_Row{Row: &storepb.Row{Key: []byte("o\x00\x00"), Value: []byte("x")}}}), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, term uint64) {
		w := newWorld(t)
		s := w.shards[1]
		err := s.Apply(1, term, data)
		rows := maps.Clone(s.store.rows)
		for key := range rows {
			space, _, _, _, bad := mailbox.Split([]byte(key))
			if bad != nil || space != s.cfg.Space {
				t.Fatalf("row %x: %v", key, bad)
			}
		}
		if again := s.Apply(1, term, data); (err == nil) != (again == nil) || !maps.EqualFunc(rows, s.store.rows, bytes.Equal) {
			t.Fatalf("applied again: %v, was %v; rows %d, were %d", again, err, len(s.store.rows), len(rows))
		}
		if err != nil {
			return
		}
		var b storepb.Batch
		if proto.Unmarshal(data, &b) != nil || b.GetTerm() != term && len(rows) > 0 {
			t.Fatalf("%d rows of a batch of term %d in term %d", len(rows), b.GetTerm(), term)
		}
		s.term = term + 1
		s.Lead(term + 1)
		if w.failed == nil {
			s.Follow()
		}
	})
}
