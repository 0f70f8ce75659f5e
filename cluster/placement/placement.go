// Package placement says where an identity lives. It is pure: the same
// identity and the same number of shards give the same answer on every node,
// for the life of a cluster.
package placement

import (
	"github.com/cespare/xxhash/v2"

	"github.com/rookery-im/rookery/internal/invariant"
)

// Control is the group that holds what the whole cluster agrees on. Shards
// are the groups 1 to the number of shards.
const Control uint32 = 0

// ShardOf returns the shard of an identity, from 1 to shards: XXH64 of its
// bytes, modulo shards, plus one. The number of shards is fixed when a cluster
// is created, because changing it moves nearly every identity.
func ShardOf(identity string, shards uint32) uint32 {
	invariant.Check(shards > 0, "placement among no shards")
	return uint32(xxhash.Sum64String(identity)%uint64(shards)) + 1
}
