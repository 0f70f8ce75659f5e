package membership

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	gossippb "github.com/rookery-im/rookery/proto/rookery/gossip/v1"
)

// Protocol that nodes have to have in common. It changes when nodes of before
// and after cannot be members together.
const Protocol = 1

// metaLimit is what memberlist sends of it (MetaMaxSize).
const metaLimit = 512

// Member is a node as it describes itself.
type Member struct {
	Node        string // UUID
	Cluster     string // UUID; empty while it is about to join one
	Incarnation uint64
	Version     string
	Zone        string
	Roles       []string
	Gossip      string // address, host:port
	Peer        string // address of its links, host:port
	Leaving     bool   // for good: it is not looked for
}

// name under which one life of a node gossips.
func (m Member) name() string { return fmt.Sprintf("%s.%d", m.Node, m.Incarnation) }

// Why a node is not let in.
var (
	ErrCluster  = errors.New("membership: of another cluster")
	ErrProtocol = errors.New("membership: speaks another protocol")
	ErrMeta     = errors.New("membership: describes itself wrongly")
)

func (m Member) encode() ([]byte, error) {
	b, err := proto.Marshal(&gossippb.Meta{
		Cluster: m.Cluster, Node: m.Node, Incarnation: m.Incarnation, Protocol: Protocol,
		Version: m.Version, Zone: m.Zone, Roles: m.Roles, Peer: m.Peer, Leaving: m.Leaving,
	})
	if err == nil && len(b) > metaLimit {
		err = fmt.Errorf("%w: %d bytes, at most %d; are zone and version as short as they could be?", ErrMeta, len(b), metaLimit)
	}
	return b, err
}

// decode what a node under a name and an address says.
func decode(name, address string, meta []byte) (Member, error) {
	var p gossippb.Meta
	if err := proto.Unmarshal(meta, &p); err != nil {
		return Member{}, fmt.Errorf("%w: %w", ErrMeta, err)
	}
	m := Member{
		Node: p.GetNode(), Cluster: p.GetCluster(), Incarnation: p.GetIncarnation(), Version: p.GetVersion(),
		Zone: p.GetZone(), Roles: p.GetRoles(), Gossip: address, Peer: p.GetPeer(), Leaving: p.GetLeaving(),
	}
	switch {
	case p.GetProtocol() != Protocol:
		return m, fmt.Errorf("%w: %d, here it is %d (version %s)", ErrProtocol, p.GetProtocol(), Protocol, p.GetVersion())
	case m.Node == "" || m.Incarnation == 0 || m.name() != name:
		return m, fmt.Errorf("%w: node %q calls itself %q", ErrMeta, name, m.name())
	}
	return m, nil
}

// view is who is there, as far as gossip knows. It is pure.
type view struct {
	self  Member
	lives map[string]Member // alive, by name
	lost  map[string]Member // by node: no life of it is alive, and the last did not say that it leaves
	most  int               // lost ones that are remembered
}

func newView(self Member, most int) *view {
	return &view{self: self, lives: map[string]Member{}, lost: map[string]Member{}, most: most}
}

// admits says whether a node may be a member.
func (v *view) admits(m Member) error {
	if m.Cluster != "" && v.self.Cluster != "" && m.Cluster != v.self.Cluster {
		return fmt.Errorf("%w: node %s belongs to %s, this one to %s", ErrCluster, m.Node, m.Cluster, v.self.Cluster)
	}
	return nil
}

func (v *view) joined(m Member) {
	v.lives[m.name()] = m
	delete(v.lost, m.Node)
}

// gone takes the end of one life in. Those that are lost, and not only leave,
// are called again.
func (v *view) gone(m Member) {
	delete(v.lives, m.name())
	if m.Leaving || m.Node == v.self.Node {
		return
	}
	if _, alive := v.last(m.Node); !alive && len(v.lost) < v.most {
		v.lost[m.Node] = m
	}
}

// last life of a node that is alive.
func (v *view) last(node string) (last Member, ok bool) {
	for _, m := range v.lives {
		if m.Node == node && (!ok || m.Incarnation > last.Incarnation) {
			last, ok = m, true
		}
	}
	return last, ok
}

// members are the last lives of all nodes, sorted by id; this one is among them.
func (v *view) members() []Member {
	by := map[string]Member{v.self.Node: v.self}
	for _, m := range v.lives {
		if b, ok := by[m.Node]; !ok || m.Incarnation >= b.Incarnation && m.Node != v.self.Node {
			by[m.Node] = m
		}
	}
	return slices.SortedFunc(maps.Values(by), func(a, b Member) int { return cmp.Compare(a.Node, b.Node) })
}

// cluster of the members that know theirs; the first in their order, should a
// newcomer have met several.
func (v *view) cluster() string {
	if v.self.Cluster != "" {
		return v.self.Cluster
	}
	for _, m := range v.members() {
		if m.Cluster != "" {
			return m.Cluster
		}
	}
	return ""
}

// calls are the addresses to call: seeds that no member stands behind, and
// members that were lost.
func (v *view) calls(seeds []string) []string {
	there := map[string]bool{v.self.Gossip: true}
	for _, m := range v.lives {
		there[m.Gossip] = true
	}
	var calls []string
	for _, address := range seeds {
		if !there[address] {
			calls = append(calls, address)
		}
	}
	for _, m := range v.lost {
		if !there[m.Gossip] {
			calls = append(calls, m.Gossip)
		}
	}
	slices.SortFunc(calls, strings.Compare)
	return slices.Compact(calls)
}
