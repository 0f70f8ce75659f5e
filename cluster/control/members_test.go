package control

import (
	"errors"
	"reflect"
	"slices"
	"testing"
)

// admit a node, and say how it is known.
func (n *node) admit(m Member) (Member, error) {
	n.t.Helper()
	var known Member
	err := errUnanswered
	n.c.Admit(m, func(k Member, e error) { known, err = k, e })
	n.commit()
	return known, err
}

// join a node and have it ready.
func (n *node) join(m Member) Member {
	n.t.Helper()
	known, err := n.admit(m)
	if err != nil {
		n.t.Fatal(err)
	}
	n.do(func(done func(error)) { n.c.MarkReady(m.Node, done) })
	return known
}

// do an operation that succeeds.
func (n *node) do(op func(done func(error))) {
	n.t.Helper()
	if err := n.try(op); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) try(op func(done func(error))) error {
	n.t.Helper()
	err := errUnanswered
	op(func(e error) { err = e })
	n.commit()
	return err
}

func (n *node) state(number uint16) MemberState {
	m, _ := n.c.View().Member(number)
	return m.State
}

// The creator is node 1, ready, and holds everything, once.
func TestCreatorHoldsEverything(t *testing.T) {
	n := newNode(t, rows{})
	if v := n.c.View(); v.Version != 0 || len(v.Members) != 0 || len(v.Replicas) != 0 {
		t.Errorf("before there is a cluster: %+v", v)
	}
	n.lead()
	v := n.c.View()
	if v.Cluster != clusterID || v.Version != 1 || len(v.Members) != 1 || v.Members[0].Number != 1 || v.Members[0].State != Ready {
		t.Fatalf("%+v", v)
	}
	if len(v.Replicas) != DefaultShards+1 {
		t.Fatalf("%d groups", len(v.Replicas))
	}
	for g := range v.Replicas {
		if !slices.Equal(v.Of(uint32(g)), []uint16{1}) {
			t.Errorf("group %d: %v", g, v.Replicas[g])
		}
	}
}

// A cluster whose creator could hold nothing is held by it once it can.
func TestCreatorWithoutData(t *testing.T) {
	r := rows{}
	n := newNode(t, r)
	n.c.config.Self.Roles = []string{RoleGateway}
	n.lead()
	n = newNode(t, r)
	n.term = 2
	n.lead()
	again := member(1)
	again.Incarnation = 2
	if _, err := n.admit(again); err != nil {
		t.Fatal(err)
	}
	v := n.c.View()
	for g := range uint32(DefaultShards + 1) {
		if !slices.Equal(v.Of(g), []uint16{1}) {
			t.Errorf("group %d: %v", g, v.Of(g))
		}
	}
}

func TestAdmission(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	two, err := n.admit(member(2))
	if err != nil || two.Number != 2 || two.State != Joining {
		t.Fatalf("%+v, %v", two, err)
	}
	was := n.c.View()
	for _, c := range []struct {
		name   string
		change func(*Member)
		want   error
		newer  bool // the view is another
	}{
		{"the same again", func(*Member) {}, nil, false},
		{"elsewhere, in the same life", func(m *Member) { m.Peer = "10.9.9.9:1" }, ErrStale, false},
		{"elsewhere, in a later life", func(m *Member) { m.Incarnation, m.Peer = 2, "10.9.9.9:1" }, nil, true},
		{"an earlier life", func(m *Member) { m.Incarnation = 1 }, ErrStale, false},
		{"another zone", func(m *Member) { m.Incarnation, m.Zone = 3, "b" }, nil, true},
		{"no id", func(m *Member) { m.Node = "two" }, ErrMember, false},
		{"no roles", func(m *Member) { m.Roles = nil }, ErrMember, false},
		{"another role", func(m *Member) { m.Roles = []string{"boss"} }, ErrMember, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := member(2)
			c.change(&m)
			known, err := n.admit(m)
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil && (known.Number != 2 || known.State != Joining || !same(known, m)) {
				t.Errorf("known as %+v", known)
			}
			now := n.c.View()
			if now.Newer(was) != c.newer {
				t.Errorf("view %d after %d", now.Version, was.Version)
			}
			was = now
		})
	}
}

// A number is never given twice, and whoever was removed stays so, under any
// leader.
func TestRemovedForGood(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	n.join(member(2))
	n.do(func(done func(error)) { n.c.Remove(2, done) })
	if _, ok := n.c.View().Member(2); ok {
		t.Error("it is still to be seen")
	}
	later := newNode(t, n.rows)
	later.term = 2
	later.lead()
	m := member(2)
	m.Incarnation = 9
	if _, err := later.admit(m); !errors.Is(err, ErrRemoved) {
		t.Errorf("admitted again: %v", err)
	}
	if err := later.try(func(done func(error)) { later.c.MarkReady(m.Node, done) }); !errors.Is(err, ErrRemoved) {
		t.Errorf("ready: %v", err)
	}
	if three, err := later.admit(member(3)); err != nil || three.Number != 3 {
		t.Errorf("%+v, %v", three, err)
	}
}

func TestNumbersEnd(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	last := member(2)
	last.Number, last.State = 65535, Removed
	n.c.state.members[last.Node] = last
	if _, err := n.admit(member(3)); !errors.Is(err, ErrNumbers) {
		t.Errorf("got %v", err)
	}
}

// One replica until three data nodes are ready, then three; a fourth gets its
// share; one that leaves gives up what it has.
func TestMapFollowsMembers(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	most := func(number uint16) (replicas, leads int) {
		for _, r := range n.c.View().Replicas {
			if slices.Contains(r, number) {
				replicas++
			}
			if r[0] == number {
				leads++
			}
		}
		return replicas, leads
	}
	width := func(want int) {
		t.Helper()
		for g, r := range n.c.View().Replicas {
			if len(r) != want {
				t.Fatalf("group %d: %v, want %d", g, r, want)
			}
		}
	}
	gateway := member(2)
	gateway.Roles = []string{RoleGateway}
	n.join(gateway)
	n.join(member(3))
	if _, err := n.admit(member(4)); err != nil {
		t.Fatal(err)
	}
	width(1)
	if r, _ := most(1); r != DefaultShards+1 {
		t.Errorf("the creator holds %d", r)
	}
	n.do(func(done func(error)) { n.c.MarkReady(member(4).Node, done) })
	width(3)
	if r, _ := most(2); r != 0 {
		t.Errorf("a gateway holds %d", r)
	}
	five := n.join(member(5))
	if r, leads := most(five.Number); r < 48 || r > 49 || leads < 16 || leads > 17 {
		t.Errorf("the fourth holds %d and leads %d", r, leads)
	}
	n.do(func(done func(error)) { n.c.Leave(1, done) })
	width(3)
	if r, _ := most(1); r != 0 || n.state(1) != Leaving {
		t.Errorf("it is %v and holds %d", n.state(1), r)
	}
	n.do(func(done func(error)) { n.c.Remove(1, done) })
	n.do(func(done func(error)) { n.c.Leave(3, done) })
	width(2)
}

// A node that is gone for long is replaced where there is another, and only there.
func TestLostIsReplaced(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	n.join(member(2))
	n.join(member(3))
	before := n.c.View().Replicas
	n.do(func(done func(error)) { n.c.MarkLost(3, done) })
	if n.state(3) != Lost || !reflect.DeepEqual(before, n.c.View().Replicas) {
		t.Errorf("%v: a third replica was given up", n.state(3))
	}
	n.join(member(4))
	for g, r := range n.c.View().Replicas {
		if slices.Contains(r, 3) || len(r) != 3 {
			t.Fatalf("group %d: %v", g, r)
		}
	}
	n.join(member(3)) // it comes back
	if n.state(3) != Ready || !slices.ContainsFunc(n.c.View().Replicas, func(r []uint16) bool { return slices.Contains(r, 3) }) {
		t.Errorf("%v, and holds nothing", n.state(3))
	}
}

func TestLastDataNodeStays(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	two, err := n.admit(member(2))
	if err != nil {
		t.Fatal(err)
	}
	for name, op := range map[string]func(uint16, func(error)){"leave": n.c.Leave, "remove": n.c.Remove} {
		if err := n.try(func(done func(error)) { op(1, done) }); !errors.Is(err, ErrLastData) {
			t.Errorf("%s: %v", name, err)
		}
		if err := n.try(func(done func(error)) { op(9, done) }); !errors.Is(err, ErrNoMember) {
			t.Errorf("%s: %v", name, err)
		}
	}
	n.do(func(done func(error)) { n.c.MarkReady(two.Node, done) })
	n.do(func(done func(error)) { n.c.Leave(1, done) })
}

// What is decided together is one change of the view.
func TestViewsAreCounted(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	was := n.c.View().Version
	none := func(error) {}
	n.c.RotateKey(none)
	for i := 2; i < 5; i++ {
		n.c.Admit(member(i), func(Member, error) {})
		n.c.MarkReady(member(i).Node, none)
	}
	n.commit()
	if now := n.c.View(); now.Version != was+2 || len(now.Members) != 4 {
		t.Errorf("version %d after %d, members %v", now.Version, was, now.Members)
	}
	n.invite()
	if now := n.c.View(); now.Version != was+2 {
		t.Error("an invite is a change")
	}
}

func TestViewTravels(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	n.join(member(2))
	n.join(member(3))
	n.do(n.c.RotateKey)
	v := n.c.View()
	b, err := v.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(b)
	if err != nil || !reflect.DeepEqual(v, back) {
		t.Errorf("%v: %+v became %+v", err, v, back)
	}
	if m, ok := back.Node(member(3).Node); !ok || m.Number != 3 {
		t.Errorf("%+v", m)
	}
	if _, ok := back.Member(4); ok {
		t.Error("there is no fourth")
	}
	for _, bad := range [][]byte{nil, []byte("\xff"), b[:len(b)/2]} {
		if _, err := Decode(bad); !errors.Is(err, ErrView) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}
