package control

import (
	"crypto/ed25519"
	"fmt"
	"time"
)

// Key signs tokens. Private is never logged or shown.
type Key struct {
	ID        string
	Private   ed25519.PrivateKey
	Public    ed25519.PublicKey
	CreatedAt time.Time
}

// Keys is what readers outside of the loop see. It is never changed.
type Keys struct {
	Cluster string // UUID
	Shards  uint32

	signing string
	byID    map[string]Key
}

// Signing is the key that new tokens are signed with; false before there is one.
func (k *Keys) Signing() (Key, bool) { return k.Lookup(k.signing) }

// Lookup finds a key by id: the signing one, or one that signed before it.
func (k *Keys) Lookup(id string) (Key, bool) {
	if k == nil {
		return Key{}, false
	}
	key, ok := k.byID[id]
	return key, ok
}

// view is the part of the state that everybody may see.
func (s *state) view() (*Keys, error) {
	v := &Keys{Cluster: s.cluster.GetId(), Shards: s.cluster.GetShards(), byID: make(map[string]Key, len(s.keys))}
	newest := uint64(0)
	for id, k := range s.keys {
		if len(k.GetSeed()) != ed25519.SeedSize {
			return nil, fmt.Errorf("control: key %q has a seed of %d bytes", id, len(k.GetSeed()))
		}
		private := ed25519.NewKeyFromSeed(k.GetSeed())
		v.byID[id] = Key{ID: id, Private: private, Public: private.Public().(ed25519.PublicKey), CreatedAt: time.UnixMilli(int64(k.GetCreated()))}
		if k.GetNumber() > newest {
			newest, v.signing = k.GetNumber(), id
		}
	}
	return v, nil
}
