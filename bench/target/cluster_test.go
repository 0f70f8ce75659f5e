package target

import (
	"encoding/json"
	"testing"
)

// A cluster is settled when every group is where it ought to be, and nowhere else.
func TestSettled(t *testing.T) {
	for text, want := range map[string]bool{
		`{"group":1,"leader":2,"wanted":[2,1,3],"replicas":[{"number":1},{"number":2},{"number":3}]}`:                             true,
		`{"group":1,"leader":1,"wanted":[2,1,3],"replicas":[{"number":1},{"number":2},{"number":3}]}`:                             false,
		`{"group":1,"leader":2,"wanted":[2,1,3],"replicas":[{"number":1},{"number":2},{"number":3,"learner":true}]}`:              false,
		`{"group":1,"leader":2,"wanted":[2,1,3],"replicas":[{"number":1},{"number":2},{"number":3},{"number":4}]}`:                false,
		`{"group":1,"leader":2,"wanted":[2,1,3],"replicas":[{"number":1},{"number":2}]}`:                                          false,
		`{"group":1,"leader":0,"wanted":[],"replicas":[]}`:                                                                        false,
		`{"group":1,"leader":2,"wanted":[2,1,4],"replicas":[{"number":1},{"number":2},{"number":3}]}`:                             false,
		`{"group":1,"leader":2,"wanted":[2,1,3],"replicas":[{"number":1},{"number":2},{"number":3},{"number":0,"learner":true}]}`: false,
	} {
		p := Placement{FullyReplicated: true, Groups: make([]Group, 1)}
		if err := json.Unmarshal([]byte(text), &p.Groups[0]); err != nil {
			t.Fatal(err)
		}
		if got := p.Settled(); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// What moved are the replicas of shards that are where none was before.
func TestMoved(t *testing.T) {
	var before, after Placement
	for text, p := range map[string]*Placement{
		`{"groups":[{"group":0,"replicas":[{"number":1}]},{"group":1,"replicas":[{"number":1},{"number":2}]},{"group":2,"replicas":[{"number":2}]}]}`: &before,
		`{"groups":[{"group":0,"replicas":[{"number":3}]},{"group":1,"replicas":[{"number":2},{"number":3}]},{"group":2,"replicas":[{"number":2}]}]}`: &after,
	} {
		if err := json.Unmarshal([]byte(text), p); err != nil {
			t.Fatal(err)
		}
	}
	if n := after.Moved(before); n != 1 || after.Shards() != 2 {
		t.Errorf("%d of %d moved", n, after.Shards())
	}
}
