package membership

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	gossippb "github.com/rookery-im/rookery/proto/rookery/gossip/v1"
)

func member(node string, incarnation uint64, gossip string) Member {
	return Member{Node: node, Cluster: "c", Incarnation: incarnation, Gossip: gossip}
}

func names(members []Member) (names []string) {
	for _, m := range members {
		names = append(names, m.name())
	}
	return names
}

// A node that comes back before its earlier life is noticed to be over is one
// member, and the end of the earlier life takes nothing from the later.
func TestLastLifeCounts(t *testing.T) {
	v := newView(member("a", 1, "h:1"), 10)
	v.joined(v.self)
	v.joined(member("b", 1, "h:2"))
	v.joined(member("b", 2, "h:3"))
	v.gone(member("b", 1, "h:2"))
	if got := names(v.members()); !reflect.DeepEqual(got, []string{"a.1", "b.2"}) {
		t.Errorf("members %v", got)
	}
	if calls := v.calls(nil); len(calls) != 0 {
		t.Errorf("calls %v, though b is there", calls)
	}
}

// Whoever is lost is called again, whoever left is not; seeds are, while nobody
// is there behind them.
func TestCalls(t *testing.T) {
	v := newView(member("a", 1, "h:1"), 1)
	for _, m := range []Member{member("b", 1, "h:2"), member("c", 1, "h:3"), member("d", 1, "h:4")} {
		v.joined(m)
	}
	leaving := member("c", 1, "h:3")
	leaving.Leaving = true
	v.gone(member("b", 1, "h:2"))
	v.gone(leaving)
	v.gone(member("d", 1, "h:4")) // one too many to be remembered
	if calls := v.calls([]string{"h:1", "h:9"}); !reflect.DeepEqual(calls, []string{"h:2", "h:9"}) {
		t.Errorf("calls %v", calls)
	}
	v.joined(member("b", 2, "h:2"))
	if calls := v.calls([]string{"h:2"}); len(calls) != 0 {
		t.Errorf("calls %v", calls)
	}
}

func TestGate(t *testing.T) {
	v := newView(member("a", 1, "h:1"), 1)
	other := member("b", 1, "h:2")
	other.Cluster = "x"
	if err := v.admits(other); !errors.Is(err, ErrCluster) {
		t.Errorf("of another cluster: %v", err)
	}
	newcomer := member("b", 1, "h:2")
	newcomer.Cluster = ""
	if err := v.admits(newcomer); err != nil {
		t.Errorf("a newcomer: %v", err)
	}
	if v.self.Cluster = ""; v.admits(other) != nil {
		t.Error("a newcomer lets nobody in")
	}
	if v.joined(other); v.cluster() != "x" {
		t.Errorf("the newcomer's cluster is %q", v.cluster())
	}
}

func TestMeta(t *testing.T) {
	m := Member{Node: "n", Cluster: "c", Incarnation: 3, Version: "v1", Zone: "z", Roles: []string{"data"}, Gossip: "h:1", Peer: "h:2"}
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decode("n.3", "h:1", b); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := decode("n.4", "h:1", b); !errors.Is(err, ErrMeta) {
		t.Errorf("under another name: %v", err)
	}
	if _, err := decode("n.3", "h:1", []byte{0xff}); !errors.Is(err, ErrMeta) {
		t.Errorf("noise: %v", err)
	}
	later, err := proto.Marshal(&gossippb.Meta{Node: "n", Incarnation: 3, Protocol: Protocol + 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode("n.3", "h:1", later); !errors.Is(err, ErrProtocol) {
		t.Errorf("another protocol: %v", err)
	}
	m.Zone = strings.Repeat("z", 600)
	if _, err := m.encode(); !errors.Is(err, ErrMeta) {
		t.Errorf("too much: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	b, err := Member{Node: "n", Incarnation: 3}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("n.3", b)
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, name string, meta []byte) {
		m, err := decode(name, "h:1", meta)
		if err == nil && (m.Node == "" || m.name() != name) {
			t.Errorf("%+v under the name %q", m, name)
		}
	})
}
