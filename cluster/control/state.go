package control

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Kinds of rows, the first byte of their keys.
const (
	kindCluster byte = 'c'
	kindKey     byte = 'k'
	kindInvite  byte = 'i'
	kindMember  byte = 'm'
	// kindPlacement rows are the map, one a group.
	kindPlacement byte = 'p'
	kindMark      byte = 'v'
)

// prefix of group 0's rows: shard (4), version of its key space (4), length of
// the user (1). They are laid out as a shard's own rows, so that what copies a
// shard can copy group 0.
func prefix(version uint32) []byte {
	return append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 0), version), 0)
}

// Why an operation is refused, finally. The first stands for the three after it.
var (
	ErrInvite        = errors.New("control: the invite is not good")
	ErrInviteUnknown = fmt.Errorf("%w: there is no such", ErrInvite)
	ErrInviteUsed    = fmt.Errorf("%w: another user has used it", ErrInvite)
	ErrInviteExpired = fmt.Errorf("%w: it has expired", ErrInvite)

	ErrTooMany = errors.New("control: too many invites are open")
)

// Bounds of the state.
const (
	maxInvites = 10_000
	maxGroup   = 1 << 16        // far more than a cluster has
	maxPrune   = 64             // rows that one operation clears away
	keptUsed   = 24 * time.Hour // for the same user to redeem again, after expiry
	// InviteLife is how long an invite can be used, unless it says otherwise.
	InviteLife = 7 * 24 * time.Hour
	// InviteLifeMax is the longest that one can be used.
	InviteLifeMax = 365 * 24 * time.Hour
)

// state is what group 0 has decided, and what it is about to.
type state struct {
	cluster *controlpb.Cluster
	keys    map[string]*controlpb.SigningKey
	invites map[[sha256.Size]byte]*controlpb.Invite
	members map[string]Member // by UUID; those that were removed as well
	placed  [][]uint16        // by group
	version uint64            // of the view
}

func newState() *state {
	return &state{
		keys: map[string]*controlpb.SigningKey{}, invites: map[[sha256.Size]byte]*controlpb.Invite{}, members: map[string]Member{},
	}
}

// draft collects the rows of operations that are decided together.
type draft struct {
	*state
	now  uint64 // Unix milliseconds
	rows []*storepb.Mutation
	seen bool // the view changes
	err  error
}

// load reads the state from the rows.
func load(store Store, p []byte) (*state, error) {
	s := newState()
	var bad error
	err := store.Scan(p, p, func(key, value []byte) bool {
		bad = s.take(bytes.TrimPrefix(key, p), value)
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, fmt.Errorf("control: load: %w", err)
	}
	return s, nil
}

func (s *state) take(key, value []byte) error {
	if len(key) == 0 {
		return errors.New("row without a kind")
	}
	switch suffix := key[1:]; key[0] {
	case kindCluster:
		s.cluster = &controlpb.Cluster{}
		return proto.Unmarshal(value, s.cluster)
	case kindKey:
		k := &controlpb.SigningKey{}
		s.keys[string(suffix)] = k
		return proto.Unmarshal(value, k)
	case kindInvite:
		if len(suffix) != sha256.Size {
			return fmt.Errorf("invite with a key of %d bytes", len(suffix))
		}
		i := &controlpb.Invite{}
		s.invites[[sha256.Size]byte(suffix)] = i
		return proto.Unmarshal(value, i)
	case kindMember:
		return s.takeMember(string(suffix), value)
	case kindPlacement:
		return s.takePlacement(suffix, value)
	case kindMark:
		mark := &controlpb.Mark{}
		err := proto.Unmarshal(value, mark)
		s.version = mark.GetVersion()
		return err
	default:
		return fmt.Errorf("row of unknown kind %q", key[0])
	}
}

func (s *state) takeMember(node string, value []byte) error {
	var p controlpb.Member
	if err := proto.Unmarshal(value, &p); err != nil {
		return err
	}
	m, err := MemberOf(&p)
	if err == nil && m.Node != node {
		err = fmt.Errorf("member %q is %q", node, m.Node)
	}
	s.members[node] = m
	return err
}

func (s *state) takePlacement(suffix, value []byte) error {
	var p controlpb.Placement
	if err := proto.Unmarshal(value, &p); err != nil {
		return err
	}
	replicas, err := replicasOf(&p)
	if err != nil {
		return err
	}
	if len(suffix) != 4 || binary.BigEndian.Uint32(suffix) > maxGroup {
		return fmt.Errorf("placement of group %x", suffix)
	}
	group := int(binary.BigEndian.Uint32(suffix))
	for len(s.placed) <= group {
		s.placed = append(s.placed, nil)
	}
	s.placed[group] = replicas
	return nil
}

// view is the part of the state that everybody may see.
func (s *state) view() (*View, error) {
	v := &View{Version: s.version, Cluster: s.cluster.GetId(), Shards: s.cluster.GetShards(), Replicas: slices.Clone(s.placed), keys: make(map[string]Key, len(s.keys))}
	for _, m := range s.ordered() {
		if m.State != Removed {
			v.Members = append(v.Members, m)
		}
	}
	for _, k := range s.keys {
		if err := v.addKey(k); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (d *draft) put(kind byte, suffix []byte, m proto.Message) {
	value, err := proto.Marshal(m)
	if err != nil {
		d.err = errors.Join(d.err, fmt.Errorf("control: encode: %w", err))
		return
	}
	d.row(kind, suffix, value)
}

func (d *draft) row(kind byte, suffix, value []byte) {
	row := &storepb.Row{Key: append([]byte{kind}, suffix...), Value: value}
	d.rows = append(d.rows, &storepb.Mutation{Op: &storepb.Mutation_Row{Row: row}})
}

// found creates the cluster. Its creator is node 1, ready at once, and holds
// everything.
func (d *draft) found(id string, shards uint32, creator Member) error {
	if err := creator.Validate(); err != nil {
		return err
	}
	d.cluster = &controlpb.Cluster{Id: id, Shards: shards, Created: d.now}
	d.put(kindCluster, nil, d.cluster)
	d.seen = true
	d.placed = make([][]uint16, shards+1)
	creator.Number = d.nextNumber()
	d.become(creator, Ready)
	return nil
}

// finish counts a change of the view, once for all operations of the draft.
func (d *draft) finish() {
	if d.seen {
		d.version++
		d.put(kindMark, nil, &controlpb.Mark{Version: d.version})
	}
}

// addKey adds the key that signs from now on.
func (d *draft) addKey(id string, seed []byte) {
	number := uint64(1)
	for _, k := range d.keys {
		number = max(number, k.GetNumber()+1)
	}
	k := &controlpb.SigningKey{Id: id, Seed: seed, Number: number, Created: d.now}
	d.keys[id] = k
	d.put(kindKey, []byte(id), k)
	d.seen = true
}

func (d *draft) addInvite(code string, expires uint64) error {
	d.prune()
	if len(d.invites) >= maxInvites {
		return ErrTooMany
	}
	hash := sha256.Sum256([]byte(code))
	i := &controlpb.Invite{Created: d.now, Expires: expires}
	d.invites[hash] = i
	d.put(kindInvite, hash[:], i)
	return nil
}

// prune clears away some invites that can be used no more.
func (d *draft) prune() {
	n := 0
	for hash, i := range d.invites {
		if n == maxPrune {
			return
		}
		if i.GetExpires()+uint64(keptUsed.Milliseconds()) <= d.now {
			delete(d.invites, hash)
			d.row(kindInvite, hash[:], nil)
			n++
		}
	}
}

// good finds the invite with which a user can register, perhaps again.
func (d *draft) good(code, user string) (*controlpb.Invite, error) {
	i := d.invites[sha256.Sum256([]byte(code))]
	switch {
	case i == nil:
		return nil, ErrInviteUnknown
	case i.GetUser() == user:
		return i, nil
	case i.GetUser() != "":
		return nil, ErrInviteUsed
	case i.GetExpires() <= d.now:
		return nil, ErrInviteExpired
	}
	return i, nil
}

// redeem gives an invite to a user; the same user may ask again.
func (d *draft) redeem(code, user string) error {
	i, err := d.good(code, user)
	if err != nil || i.GetUser() == user {
		return err
	}
	hash := sha256.Sum256([]byte(code))
	i = proto.Clone(i).(*controlpb.Invite)
	i.User, i.Redeemed = user, d.now
	d.invites[hash] = i
	d.put(kindInvite, hash[:], i)
	return nil
}
