package council

import (
	"fmt"
	"testing"

	"github.com/rookery-im/rookery/cluster/control"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// rows are a store of group 0.
type rows map[string][]byte

func (r rows) Put(key, value []byte) { r[string(key)] = value }
func (r rows) Delete(key []byte)     { delete(r, string(key)) }
func (r rows) Scan(_, _ []byte, fn func(key, value []byte) bool) error {
	for key, value := range r {
		if !fn([]byte(key), value) {
			break
		}
	}
	return nil
}

// group is group 0, which confirms what it is given when the test says so.
type group struct {
	machine *control.Control
	confirm func()
}

func (g *group) Propose(token uint64, data []byte) error {
	g.confirm = func() {
		if err := g.machine.Apply(1, 1, data); err == nil {
			g.machine.Committed(token)
		}
	}
	return nil
}

func (g *group) Read(token uint64) error {
	g.confirm = func() { g.machine.Confirmed(token) }
	return nil
}

func node(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }

// leader of a cluster of one.
func leader(t *testing.T) *group {
	t.Helper()
	m, err := control.New(control.Config{
		Store: rows{}, Shards: 1, Cluster: node(0), Self: control.Member{Node: node(1), Incarnation: 1, Roles: []string{control.RoleData}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := &group{machine: m}
	m.Attach(g)
	m.Lead(1)
	g.confirm()
	return g
}

// A leader that was deposed and has not heard of it does not know whom the next one
// has admitted. It must not refuse that node: what is refused is refused for good.
// (Found by e2e/sim.)
func TestDeposedLeaderRefusesNobody(t *testing.T) {
	g := leader(t)
	var got *controlpb.Answer
	ask := func() {
		got = nil
		Decide(g.machine, "", node(2), &controlpb.Ask{Body: &controlpb.Ask_Ready{Ready: &controlpb.Nothing{}}}, func(a *controlpb.Answer) { got = a })
	}
	ask()
	if got != nil {
		t.Errorf("answered before the group has confirmed anything: %v", got)
	}
	g.machine.Follow()
	if got.GetOutcome() != controlpb.Outcome_UNKNOWN {
		t.Errorf("answered %v by a leader that was deposed", got)
	}

	g.machine.Lead(2)
	g.confirm()
	ask()
	g.confirm()
	if got.GetOutcome() != controlpb.Outcome_REFUSED || got.GetCode() != "no_member" {
		t.Errorf("a stranger is answered %v", got)
	}
}
