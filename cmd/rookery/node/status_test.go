package node

import (
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/membership"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// viewOf nodes a, b, c... and of the groups' replicas.
func viewOf(nodes string, groups ...[]uint16) *control.View {
	v := &control.View{Version: 1, Cluster: "x", Shards: uint32(len(groups) - 1), Replicas: groups}
	for i, n := range nodes {
		v.Members = append(v.Members, control.Member{
			Node: string(n), Number: uint16(i + 1), State: control.Ready, Roles: []string{control.RoleData}, Peer: "peer " + string(n),
		})
	}
	return v
}

// led is what a group's leader says of it: a leads, and a letter is a replica;
// in lower case one that is sound, in upper case one that is silent.
func led(group uint32, term uint64, replicas string) *controlpb.Group {
	g := &controlpb.Group{Group: group, Term: term, Leader: strings.ToLower(replicas[:1]), Last: 100}
	for _, r := range replicas {
		name := strings.ToLower(string(r))
		g.Replicas = append(g.Replicas, &controlpb.Replica{Node: name, Active: name == string(r), Match: 100})
	}
	return g
}

func TestStatus(t *testing.T) {
	three := []uint16{1, 2, 3}
	for _, c := range []struct {
		name    string
		view    *control.View
		reports map[string]*controlpb.Report
		full    bool
		loss    map[string]string // part of it, by node
	}{{
		name: "alone", view: viewOf("a", []uint16{1}, []uint16{1}),
		reports: map[string]*controlpb.Report{"a": {Leads: []*controlpb.Group{led(0, 1, "a"), led(1, 1, "a")}}},
		loss:    map[string]string{"a": "2 groups would be lost"},
	}, {
		name: "three", view: viewOf("abc", three, three), full: true,
		reports: map[string]*controlpb.Report{"a": {Leads: []*controlpb.Group{led(0, 1, "abc")}}, "b": {Leads: []*controlpb.Group{led(1, 3, "bac")}}},
		loss:    map[string]string{"a": "nothing: the others have all of the 2 groups", "c": "nothing: the others have all"},
	}, {
		name: "one is silent", view: viewOf("abc", three, three),
		reports: map[string]*controlpb.Report{"a": {Leads: []*controlpb.Group{led(0, 1, "abC"), led(1, 1, "abC")}}},
		loss:    map[string]string{"a": "2 groups would stop", "b": "2 groups would stop", "c": "nothing"},
	}, {
		name: "an old leader speaks as well", view: viewOf("abc", three, three), full: true,
		reports: map[string]*controlpb.Report{"a": {Leads: []*controlpb.Group{led(0, 1, "abc"), led(1, 1, "aBC")}}, "b": {Leads: []*controlpb.Group{led(1, 2, "bac")}}},
		loss:    map[string]string{"a": "nothing"},
	}, {
		name: "nobody leads", view: viewOf("abc", three, three),
		reports: map[string]*controlpb.Report{"a": {Leads: []*controlpb.Group{led(0, 1, "abc")}}},
		loss:    map[string]string{"a": "not known"},
	}, {
		name: "on the way to another node", view: viewOf("abcd", three, []uint16{1, 2, 4}),
		reports: map[string]*controlpb.Report{"a": {Leads: []*controlpb.Group{led(0, 1, "abc"), led(1, 1, "abc")}}},
		loss:    map[string]string{"d": "nothing: it holds no data"},
	}, {
		name: "two replicas", view: viewOf("ab", []uint16{1, 2}, []uint16{1, 2}),
		reports: map[string]*controlpb.Report{"a": {Leads: []*controlpb.Group{led(0, 1, "ab"), led(1, 1, "ab")}}},
		loss:    map[string]string{"a": "2 groups would stop"},
	}} {
		t.Run(c.name, func(t *testing.T) {
			s := statusOf(c.view, c.reports)
			if s.FullyReplicated != c.full {
				t.Errorf("fully replicated: %v", s.FullyReplicated)
			}
			for _, m := range s.Members {
				if want := c.loss[m.Node]; !strings.Contains(m.Loss, want) {
					t.Errorf("node %s: %q, want %q", m.Node, m.Loss, want)
				}
			}
		})
	}
}

// A replica that lags, or does not vote yet, is not what could be relied on.
func TestStatusOfReplicasOnTheirWay(t *testing.T) {
	three := []uint16{1, 2, 3}
	for name, change := range map[string]func(*controlpb.Replica){
		"a learner":  func(r *controlpb.Replica) { r.Learner = true },
		"far behind": func(r *controlpb.Replica) { r.Match = 1 },
	} {
		g := led(0, 1, "abc")
		g.Last = maxLag + 50
		for _, r := range g.Replicas {
			r.Match = g.Last
		}
		change(g.Replicas[2])
		s := statusOf(viewOf("abc", three), map[string]*controlpb.Report{"a": {Leads: []*controlpb.Group{g}}})
		if s.FullyReplicated {
			t.Errorf("%s: fully replicated", name)
		}
	}
}

// A node that leaves is let go only when it is certain that it holds nothing.
func TestEmpty(t *testing.T) {
	v := viewOf("abcd", []uint16{1, 2, 3}, []uint16{1, 2, 3})
	all := []*controlpb.Group{led(0, 2, "abc"), led(1, 2, "abc")}
	for _, c := range []struct {
		name    string
		reports map[string]*controlpb.Report
		want    bool
	}{
		{"all say so", map[string]*controlpb.Report{"a": {Leads: all}, "d": {}}, true},
		{"it is gone itself", map[string]*controlpb.Report{"a": {Leads: all}}, true},
		{"it holds one that nobody counts", map[string]*controlpb.Report{"a": {Leads: all}, "d": {Holds: []uint32{1}}}, false},
		{"a group says nothing", map[string]*controlpb.Report{"a": {Leads: all[:1]}, "d": {}}, false},
		{"it is a replica", map[string]*controlpb.Report{"a": {Leads: []*controlpb.Group{all[0], led(1, 2, "abcd")}}, "d": {}}, false},
		{"it was one, says an old leader", map[string]*controlpb.Report{"a": {Leads: all}, "b": {Leads: []*controlpb.Group{led(1, 1, "bad")}}}, true},
	} {
		if got := empty(v, v.Members[3], c.reports); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// Who is gone for long is overdue, counted from when this leader missed it first.
func TestOverdue(t *testing.T) {
	v := viewOf("abc", []uint16{1, 2, 3})
	g := &guard{gone: map[uint16]time.Time{}}
	at := time.UnixMilli(1_700_000_000_000)
	in := func(there map[string]bool) func(string) bool { return func(n string) bool { return there[n] } }
	there := map[string]bool{"a": true, "b": true}
	for _, c := range []struct {
		after time.Duration
		there map[string]bool
		want  int
	}{
		{0, there, 0}, {59 * time.Second, there, 0}, {time.Minute, there, 1},
		{61 * time.Second, map[string]bool{"a": true, "b": true, "c": true}, 0},
		{62 * time.Second, there, 0}, {121 * time.Second, there, 0}, {122 * time.Second, there, 1},
	} {
		if late := g.overdue(at.Add(c.after), v, in(c.there), time.Minute); len(late) != c.want {
			t.Errorf("after %v: %v, want %d", c.after, late, c.want)
		}
	}
	v.Members[2].State = control.Lost
	if late := g.overdue(at.Add(time.Hour), v, in(there), time.Minute); len(late) != 0 {
		t.Errorf("lost again: %v", late)
	}
}

// Members are linked to where gossip has seen them last; so is who is about to
// join, or has to be told that it was removed; nobody of another cluster is.
func TestPeersOf(t *testing.T) {
	v := viewOf("abc", []uint16{1})
	got := peersOf("a", "x", v, []membership.Member{
		{Node: "a", Cluster: "x", Peer: "here"}, {Node: "c", Cluster: "x", Peer: "moved"}, {Node: "n", Peer: "new"},
		{Node: "r", Cluster: "x", Peer: "removed"}, {Node: "o", Cluster: "y", Peer: "other"}, {Node: "s", Cluster: "x"},
	})
	want := map[string]string{"b": "peer b", "c": "moved", "n": "new", "r": "removed"}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for node, address := range want {
		if got[node] != address {
			t.Errorf("%s at %q, want %q", node, got[node], address)
		}
	}
}

// Who takes a node out hears what will be worse.
func TestFewer(t *testing.T) {
	for nodes, want := range map[string]string{"abcd": "", "abc": "2 data nodes are left", "ab": "one data node is left", "a": ""} {
		v := viewOf(nodes, nil)
		got := fewer(v, v.Members[0])
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("a of %s: %q, want %q", nodes, got, want)
		}
	}
	v := viewOf("abcd", nil)
	v.Members[1].State, v.Members[2].Roles = control.Leaving, []string{control.RoleGateway}
	if got := fewer(v, v.Members[0]); !strings.Contains(got, "one data node is left") {
		t.Errorf("beside one that leaves and one without data: %q", got)
	}
	if got := fewer(v, v.Members[2]); got != "" {
		t.Errorf("one without data: %q", got)
	}
}
