package auth

import (
	"crypto/sha256"
	"sync"
	"time"

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
// a hit costs one lookup.
type cache struct {
	// immutable
	half int

	mu    sync.Mutex
	young map[digest]verified
	old   map[digest]verified
}

func newCache(size int) *cache {
	return &cache{half: max(1, size/2), young: make(map[digest]verified)}
}

func (c *cache) get(sum digest) (verified, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.young[sum]; ok {
		return v, true
	}
	v, ok := c.old[sum]
	return v, ok
}

func (c *cache) put(sum digest, v verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.half {
		c.old, c.young = c.young, make(map[digest]verified)
	}
	c.young[sum] = v
}

func (c *cache) drop(sum digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, sum)
	delete(c.old, sum)
}

func (c *cache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.young) + len(c.old)
}
