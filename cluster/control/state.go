package control

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
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
)

// prefix of group 0's rows: shard (4), version (4), length of the user (1).
func prefix() []byte {
	return append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 0), 0), 0)
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
}

// draft collects the rows of operations that are decided together.
type draft struct {
	*state
	now  uint64 // Unix milliseconds
	rows []*storepb.Mutation
	err  error
}

// load reads the state from the rows.
func load(store Store) (*state, error) {
	s := &state{keys: map[string]*controlpb.SigningKey{}, invites: map[[sha256.Size]byte]*controlpb.Invite{}}
	p := prefix()
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
	default:
		return fmt.Errorf("row of unknown kind %q", key[0])
	}
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

// found creates the cluster.
func (d *draft) found(id string, shards uint32) {
	d.cluster = &controlpb.Cluster{Id: id, Shards: shards, Created: d.now}
	d.put(kindCluster, nil, d.cluster)
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
