package host

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/rookery-im/rookery/persistence/mailbox"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

func accept(to, from string, seq uint64) *storepb.Mutation {
	return &storepb.Mutation{User: to, Op: &storepb.Mutation_Accept{Accept: &storepb.Accept{
		Peer: from, Device: 1,
		Sender:  &storepb.Sender{Session: 1, Number: seq, Accepted: seq, Order: seq},
		Result:  &storepb.Result{Id: make([]byte, 16), Order: seq},
		Entry:   &storepb.Entry{Seq: seq, Body: &storepb.Entry_Message{Message: &storepb.Message{From: from, Payload: []byte(fmt.Sprint(seq))}}},
		Mailbox: &storepb.MailboxRow{LastSeq: seq},
	}}}
}

func encode(t interface{ Fatal(...any) }, term uint64, list ...*storepb.Mutation) []byte {
	data, err := proto.Marshal(&storepb.Batch{Term: term, Mutations: list})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// After a crash the store may hold any of the rows of any later moment, row by
// row. Replaying the log over them ends in the rows that the log says, because
// applying decides from nothing that it reads.
func TestReplayDecidesFromTheLogAlone(t *testing.T) {
	w := newWorld(t)
	s := w.shards[1]
	data := encode(t, 1, accept("bob", "alice", 1))
	if err := s.Apply(1, 1, data); err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(s.store.rows)
	key := string(s.cfg.Space.Key("bob", mailbox.Entry, mailbox.U64(1)...))
	s.store.rows = map[string][]byte{key: want[key]} // the entry, of all rows, is on disk
	if err := s.Apply(1, 1, data); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(s.store.rows, want, bytes.Equal) {
		t.Fatalf("%d rows after replay, want %d", len(s.store.rows), len(want))
	}
	rapid.Check(t, func(t *rapid.T) { replayAhead(t, s) })
}

func replayAhead(t *rapid.T, s *rig) {
	var log [][]byte
	seq := map[string]uint64{}
	for i := range rapid.IntRange(1, 12).Draw(t, "entries") {
		var list []*storepb.Mutation
		for range rapid.IntRange(1, 4).Draw(t, "mutations") {
			id := rapid.SampledFrom([]string{"bob", "carol"}).Draw(t, "user")
			switch n := seq[id]; rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				seq[id] = n + 1
				list = append(list, accept(id, "alice", n+1))
			case 1:
				list = append(list, &storepb.Mutation{User: id, Op: &storepb.Mutation_Progress{Progress: &storepb.Progress{
					Deleted: []uint64{rapid.Uint64Range(0, n).Draw(t, "seq")}, Head: n,
					Cursors: []*storepb.Cursor{{Device: 1, Seq: n}},
				}}})
			case 2:
				list = append(list, &storepb.Mutation{Op: &storepb.Mutation_InboxMark{InboxMark: &storepb.InboxMark{Shard: 2, Number: uint64(i)}}})
			}
		}
		log = append(log, encode(t, 1, list...))
	}
	s.store.rows = map[string][]byte{}
	moments := []map[string][]byte{{}}
	keys := map[string]struct{}{}
	for i, data := range log {
		if err := s.Apply(uint64(i)+1, 1, data); err != nil {
			t.Fatal(err)
		}
		moments = append(moments, maps.Clone(s.store.rows))
		for k := range s.store.rows {
			keys[k] = struct{}{}
		}
	}
	s.store.rows = map[string][]byte{}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if v, ok := moments[rapid.IntRange(0, len(log)).Draw(t, "moment")][k]; ok {
			s.store.rows[k] = v
		}
	}
	for i, data := range log {
		if err := s.Apply(uint64(i)+1, 1, data); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.EqualFunc(s.store.rows, moments[len(log)], bytes.Equal) {
		t.Fatalf("%d rows after replay, want %d", len(s.store.rows), len(moments[len(log)]))
	}
}
