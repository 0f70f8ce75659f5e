package raftlog

import (
	"bytes"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A frame checks in its place, segment and log, and nowhere else.
func TestFramePlace(t *testing.T) {
	f := frames{log: 7}
	at := position{3, 512}
	buf := closeFrame(append(openFrame(nil), kindSeal, 4), 0)
	f.stamp(buf, at, position{2, 800})
	h, body, ok := f.readFrame(buf, at)
	if !ok || !bytes.Equal(body, []byte{kindSeal, 4}) || h.synced != (position{2, 800}) {
		t.Fatalf("%v %v %v", h, body, ok)
	}
	for _, other := range []struct {
		frames
		position
	}{
		{frames{8}, at}, {f, position{4, 512}}, {f, position{3, 520}}, {f, position{3, 0}},
	} {
		if _, _, ok := other.readFrame(buf, other.position); ok {
			t.Errorf("checks at %v of log %d", other.position, other.log)
		}
		if _, ok := other.readHead(buf, other.position); ok {
			t.Errorf("its head checks at %v of log %d", other.position, other.log)
		}
	}
}

func seedBodies(f *testing.F) {
	ents := []*raftpb.Entry{
		{Index: new(uint64(9)), Term: new(uint64(2)), Data: []byte("data")},
		{Index: new(uint64(10)), Term: new(uint64(300)), Type: raftpb.EntryConfChangeV2.Enum()},
	}
	f.Add(appendUpdate(nil, &Update{Group: 70_000, HardState: hardState{1, 2, 3}.message(), Entries: ents}))
	f.Add(appendUpdate(nil, &Update{Group: 1, HardState: hardState{1, 2, 3}.message()}))
	ckpt := Checkpoint{Group: 2, Index: 8, Term: 2, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}, Data: []byte("x")}
	state, _ := appendState(nil, []groupState{{group: 2, hardState: hardState{3, 4, 8}, last: 9, checkpoint: ckpt, saved: true}, {group: 3}})
	f.Add(state)
	saved, _ := appendCheckpoints(nil, []savedCheckpoint{{ckpt, true}})
	f.Add(saved)
	f.Add(appendSeal(nil, 1<<31))
}

// Whatever a body holds, reading it does not fail but by saying so, and what
// was read, written again, reads the same.
func FuzzBody(f *testing.F) {
	seedBodies(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		readSeal(body)
		if groups, ok := readState(body); ok {
			again, err := appendState(nil, groups)
			if groups2, ok := readState(again); err != nil || !ok || len(groups2) != len(groups) {
				t.Errorf("state %v became %v", groups, groups2)
			}
		}
		if all, ok := readCheckpoints(body); ok {
			again, err := appendCheckpoints(nil, all)
			if all2, ok := readCheckpoints(again); err != nil || !ok || len(all2) != len(all) {
				t.Errorf("checkpoints %v became %v", all, all2)
			}
		}
		u, ok := readUpdate(body)
		if !ok {
			return
		}
		copied := u
		ents, ok := copied.decode(nil, 0, u.first+u.count)
		if !ok {
			return
		}
		if uint64(len(ents)) != u.count {
			t.Fatalf("%d entries of %d", len(ents), u.count)
		}
		again := Update{Group: u.group, Entries: ents}
		if u.hasHardState {
			again.HardState = u.hardState.message()
		}
		u2, ok := readUpdate(appendUpdate(nil, &again))
		ents2, ok2 := u2.decode(nil, 0, u.first+u.count)
		if !ok || !ok2 || u2.hardState != u.hardState || len(ents2) != len(ents) {
			t.Fatalf("update %v became %v", u, u2)
		}
		for i := range ents {
			if !proto.Equal(ents[i], ents2[i]) {
				t.Fatalf("entry %v became %v", ents[i], ents2[i])
			}
		}
	})
}
