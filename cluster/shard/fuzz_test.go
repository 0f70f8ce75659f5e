package shard

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// FuzzOpen: a group whose checkpoint, hard state and entries contradict each
// other is refused with an error, or runs: nothing panics, and what runs never
// applies an entry that is not in the log.
func FuzzOpen(f *testing.F) {
	replica, err := proto.Marshal(&shardpb.Replica{Id: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(replica, uint64(1), uint64(1), []byte{1}, uint64(2), uint64(1), uint64(3), []byte{1, 2, 2})
	f.Add(replica, uint64(5), uint64(2), []byte{1, 2, 3}, uint64(3), uint64(0), uint64(5), []byte{})
	f.Add([]byte{8}, uint64(1), uint64(1), []byte{1}, uint64(0), uint64(0), uint64(0), []byte{})
	f.Add(replica, uint64(1), uint64(9), []byte{1}, uint64(2), uint64(1), uint64(9), []byte{9, 3})
	f.Add([]byte{}, uint64(1), uint64(1), []byte{}, uint64(1), uint64(7), uint64(1), []byte{1})
	f.Fuzz(func(t *testing.T, data []byte, index, term uint64, voters []byte, hsTerm, vote, commit uint64, terms []byte) {
		tr, c := &trace{}, newClock()
		log, store := newMemLog(tr, c), newMemStore(tr)
		index %= 1 << 40 // entries follow it
		conf := &raftpb.ConfState{}
		for _, v := range voters[:min(len(voters), 7)] {
			conf.Voters = append(conf.Voters, uint64(v))
		}
		log.durable = append(log.durable, []Checkpoint{{Group: 1, Index: index, Term: term, ConfState: conf, Data: data}})
		u := Update{Group: 1, HardState: &raftpb.HardState{Term: &hsTerm, Vote: &vote, Commit: &commit}}
		have := map[string]bool{}
		for i, e := range terms {
			at, text := index+1+uint64(i), "k"+string(rune('a'+i%26))+"="+string(rune('a'+i/26%26))
			u.Entries = append(u.Entries, &raftpb.Entry{Index: &at, Term: new(uint64(e)), Data: []byte(text)})
			have[text] = true
		}
		log.durable = append(log.durable, u)
		m := &recorder{trace: tr, store: store, seen: map[uint64]string{}, t: t}
		set, err := New(Config{
			Log: log.crash(0), Store: store, Found: []uint32{1}, Machine: always(m), Now: c.Now,
			Post: func(func()) bool { return true },
			Bootstrap: func(uint32) (First, error) {
				t.Error("a group that has a checkpoint is created again")
				return First{1, map[uint64]string{1: ""}}, nil
			},
		})
		if err != nil {
			return
		}
		defer set.Close()
		if m.group = set.Group(1); m.group == nil {
			return // no replica any more
		}
		for range 4 {
			if err := set.Round(); err != nil {
				return
			}
		}
		for at, text := range m.seen {
			if text != "" && !have[text] || at <= index || at > index+uint64(len(terms))+1 {
				t.Fatalf("entry %d, %q, was applied: %d entries follow %d", at, text, len(terms), index)
			}
		}
	})
}
