package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/internal/slab"
	"github.com/rookery-im/rookery/transport/auth/keyset"
)

// verified is what is remembered of a token whose signature was checked.
type verified struct {
	claims Claims
	key    string // its id, where it is one of the cluster's own

	// Of an outside issuer's token: its key, and when it begins.
	outside *keyset.Key
	begins  time.Time
}

type digest [sha256.Size]byte

// cache remembers verified tokens by their hash, in two generations: when the
// young one is full the old one is forgotten. Reading moves nothing, so that
// a hit costs one lookup. A token takes about 105 bytes without a pointer; in
// a map of what it proves, with the strings beside it, it took 260, and small
// objects that live long among garbage hold the pages around them.
type cache struct {
	// immutable
	half int

	mu         sync.Mutex
	young, old *generation
	signers    []signer // few: the keys that are in use
}

// signer is the key that checked a token.
type signer struct {
	own     string
	outside *keyset.Key
}

// signersMax bounds them; past it everything is forgotten. Keys are changed by
// the day or by the hour.
const signersMax = 1 << 10

// remembered is verified at rest.
type remembered struct {
	sum                   digest
	expires, begins       int64 // seconds, and nanoseconds besides
	expiresNano, beginsNs int32
	device                uint32
	signer                uint16
	size                  uint8 // of the user's id; one longer than inlineUser is in generation.long
	user                  [inlineUser]byte
}

const inlineUser = 33

type generation struct {
	records slab.Slab[remembered]
	index   *slab.Index
	long    slab.Slab[[limits.UserID]byte]
}

func newGeneration() *generation {
	g := &generation{}
	g.index = slab.NewIndex(func(n uint32) uint32 { return g.records.At(n).sum.hash() })
	return g
}

func (d digest) hash() uint32 { return binary.LittleEndian.Uint32(d[:]) }

func newCache(size int) *cache {
	return &cache{half: max(1, size/2), young: newGeneration(), old: newGeneration()}
}

func (c *cache) get(sum digest) (verified, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range []*generation{c.young, c.old} {
		if n := g.find(sum); n != 0 {
			r := g.records.At(n)
			by := c.signers[r.signer]
			return verified{
				claims: Claims{User: g.userOf(r), Device: r.device, Expires: time.Unix(r.expires, int64(r.expiresNano))},
				key:    by.own, outside: by.outside, begins: time.Unix(r.begins, int64(r.beginsNs)),
			}, true
		}
	}
	return verified{}, false
}

func (c *cache) put(sum digest, v verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := slices.Index(c.signers, signer{v.key, v.outside})
	switch {
	case by >= 0:
	case len(c.signers) == signersMax:
		c.young, c.old, c.signers = newGeneration(), newGeneration(), nil
		fallthrough
	default:
		by = len(c.signers)
		c.signers = append(c.signers, signer{v.key, v.outside})
	}
	c.young.drop(sum)
	if c.young.records.Len() >= c.half {
		c.old, c.young = c.young, newGeneration()
	}
	c.young.add(remembered{
		sum: sum, device: v.claims.Device, signer: uint16(by), //nolint:gosec // below signersMax
		expires: v.claims.Expires.Unix(), expiresNano: int32(v.claims.Expires.Nanosecond()), //nolint:gosec // below 1e9
		begins: v.begins.Unix(), beginsNs: int32(v.begins.Nanosecond()), //nolint:gosec // below 1e9
	}, v.claims.User)
}

func (c *cache) drop(sum digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.young.drop(sum)
	c.old.drop(sum)
}

func (c *cache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.young.records.Len() + c.old.records.Len()
}

func (g *generation) find(sum digest) uint32 {
	return g.index.Find(sum.hash(), func(n uint32) bool { return g.records.At(n).sum == sum })
}

// add a token of a user whose id has at most limits.UserID bytes.
func (g *generation) add(r remembered, user string) {
	r.size = uint8(len(user)) //nolint:gosec // checked with the token
	if len(user) > inlineUser {
		at, id := g.long.Take()
		copy(id[:], user)
		binary.LittleEndian.PutUint32(r.user[:], at)
	} else {
		copy(r.user[:], user)
	}
	n, place := g.records.Take()
	*place = r
	g.index.Add(n)
}

func (g *generation) drop(sum digest) {
	n := g.find(sum)
	if n == 0 {
		return
	}
	if r := g.records.At(n); r.size > inlineUser {
		g.long.Give(binary.LittleEndian.Uint32(r.user[:]))
	}
	g.index.Remove(n)
	g.records.Give(n)
}

func (g *generation) userOf(r *remembered) string {
	if r.size <= inlineUser {
		return string(r.user[:r.size])
	}
	return string(g.long.At(binary.LittleEndian.Uint32(r.user[:]))[:r.size])
}
