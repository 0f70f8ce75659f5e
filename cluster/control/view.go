package control

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// MemberState is how far a node has come in the cluster.
type MemberState uint8

// The states, and what leads from one to the next:
//
//	Joining   it has a number; it holds nothing, and counts for nothing
//	Ready     it has said that it is up: replicas may be placed on it
//	Lost      it was gone for so long that others took its replicas over;
//	          Ready again when it comes back
//	Leaving   somebody has said that it goes: its replicas move away
//	Removed   for good; it is in no View
const (
	Joining MemberState = iota + 1
	Ready
	Lost
	Leaving
	Removed
)

// String is the state in a word.
func (s MemberState) String() string {
	switch s {
	case Joining:
		return "joining"
	case Ready:
		return "ready"
	case Lost:
		return "lost"
	case Leaving:
		return "leaving"
	case Removed:
		return "removed"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Roles of nodes.
const (
	RoleData    = "data"    // holds replicas
	RoleGateway = "gateway" // takes clients
)

// Member is a node of the cluster, as group 0 knows it.
type Member struct {
	Node string // UUID
	// Number from 1, never given twice; the creator of the cluster is 1.
	Number uint16
	// Incarnation is higher after each start of the node.
	Incarnation uint64
	Peer        string // address of its links, host:port; empty where it has none
	Gossip      string // address, host:port; empty where it has none
	Clients     string // URL of its WebSocket
	Roles       []string
	Zone        string
	Version     string // of the program, for people
	State       MemberState
	Since       time.Time // of the state
}

// Has says whether the node has a role.
func (m Member) Has(role string) bool { return slices.Contains(m.Roles, role) }

// View is what group 0 has agreed on, as every node knows it. It is never
// changed: of two of one cluster, the one with the higher Version is newer.
type View struct {
	Version uint64
	Cluster string // UUID; empty before there is a cluster
	Shards  uint32
	// Members but those that were removed, by number.
	Members []Member
	// Replicas are the numbers of the nodes that ought to hold each group, from
	// group 0 to Shards, the one that should lead first. It is an intent: the
	// committed configuration of each group rules.
	Replicas [][]uint16

	signing string
	keys    map[string]Key
}

// Member finds a node by its number.
func (v *View) Member(number uint16) (Member, bool) {
	if v == nil {
		return Member{}, false
	}
	i, ok := slices.BinarySearchFunc(v.Members, number, func(m Member, n uint16) int { return cmp.Compare(m.Number, n) })
	if !ok {
		return Member{}, false
	}
	return v.Members[i], true
}

// Node finds a node by its UUID.
func (v *View) Node(node string) (Member, bool) {
	if v == nil {
		return Member{}, false
	}
	for i := range v.Members { // no copies: it is asked of each shard in each tick
		if m := &v.Members[i]; m.Node == node {
			return *m, true
		}
	}
	return Member{}, false
}

// Of is the numbers of the nodes that ought to hold a group.
func (v *View) Of(group uint32) []uint16 {
	if v == nil || uint64(group) >= uint64(len(v.Replicas)) {
		return nil
	}
	return v.Replicas[group]
}

// Newer says whether the view replaces another of the same cluster, or none.
func (v *View) Newer(than *View) bool { return than == nil || v.Version > than.Version }

// ErrView: what should be a view is none.
var ErrView = errors.New("control: not a view")

// Proto is the view as nodes send it. It holds private keys.
func (v *View) Proto() *controlpb.View {
	p := &controlpb.View{Version: v.Version, Cluster: v.Cluster, Shards: v.Shards}
	for i := range v.Members {
		p.Members = append(p.Members, v.Members[i].Proto())
	}
	for _, replicas := range v.Replicas {
		p.Groups = append(p.Groups, placed(replicas))
	}
	for _, k := range v.keys {
		p.Keys = append(p.Keys, &controlpb.SigningKey{
			Id: k.ID, Seed: k.Private.Seed(), Number: k.number, Created: uint64(k.CreatedAt.UnixMilli()), //nolint:gosec // after 1970
		})
	}
	slices.SortFunc(p.Keys, func(a, b *controlpb.SigningKey) int { return cmp.Compare(a.GetNumber(), b.GetNumber()) })
	return p
}

// ViewOf takes what Proto gave.
func ViewOf(p *controlpb.View) (*View, error) {
	v := &View{Version: p.GetVersion(), Cluster: p.GetCluster(), Shards: p.GetShards(), keys: map[string]Key{}}
	if v.Cluster == "" || v.Version == 0 || len(p.GetGroups()) != int(v.Shards)+1 {
		return nil, fmt.Errorf("%w: version %d of cluster %q, %d groups for %d shards", ErrView, v.Version, v.Cluster, len(p.GetGroups()), v.Shards)
	}
	for _, m := range p.GetMembers() {
		member, err := MemberOf(m)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrView, err)
		}
		if n := len(v.Members); n > 0 && v.Members[n-1].Number >= member.Number {
			return nil, fmt.Errorf("%w: number %d after %d", ErrView, member.Number, v.Members[n-1].Number)
		}
		v.Members = append(v.Members, member)
	}
	for _, g := range p.GetGroups() {
		replicas, err := replicasOf(g)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrView, err)
		}
		v.Replicas = append(v.Replicas, replicas)
	}
	for _, k := range p.GetKeys() {
		if err := v.addKey(k); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrView, err)
		}
	}
	return v, nil
}

// Encode is the view as nodes keep it. It holds private keys.
func (v *View) Encode() ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(v.Proto())
	if err != nil {
		return nil, fmt.Errorf("control: encode view: %w", err)
	}
	return b, nil
}

// Decode what Encode gave.
func Decode(b []byte) (*View, error) {
	var p controlpb.View
	if err := proto.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrView, err)
	}
	return ViewOf(&p)
}

// Key signs tokens. Private is never logged or shown.
type Key struct {
	ID        string
	Private   ed25519.PrivateKey
	Public    ed25519.PublicKey
	CreatedAt time.Time

	number uint64 // the highest signs
}

// Signing is the key that new tokens are signed with; false before there is one.
func (v *View) Signing() (Key, bool) {
	if v == nil {
		return Key{}, false
	}
	return v.Lookup(v.signing)
}

// Lookup finds a key by id: the signing one, or one that signed before it.
func (v *View) Lookup(id string) (Key, bool) {
	if v == nil {
		return Key{}, false
	}
	key, ok := v.keys[id]
	return key, ok
}

func (v *View) addKey(k *controlpb.SigningKey) error {
	if len(k.GetSeed()) != ed25519.SeedSize {
		return fmt.Errorf("control: key %q has a seed of %d bytes", k.GetId(), len(k.GetSeed()))
	}
	private := ed25519.NewKeyFromSeed(k.GetSeed())
	v.keys[k.GetId()] = Key{
		ID: k.GetId(), Private: private, Public: private.Public().(ed25519.PublicKey),
		CreatedAt: time.UnixMilli(int64(k.GetCreated())), number: k.GetNumber(), //nolint:gosec // a time, whatever it is
	}
	if k.GetNumber() > v.keys[v.signing].number {
		v.signing = k.GetId()
	}
	return nil
}
