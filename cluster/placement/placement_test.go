package placement

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// These values are on disks: a hash or a formula that changes would look for
// every user in a shard where the user's rows are not.
func TestShardOfNeverChanges(t *testing.T) {
	for _, c := range []struct {
		identity string
		shards   uint32
		want     uint32
	}{
		{"", 64, 26}, {"alice", 64, 10}, {"bob", 64, 60}, {"alice", 1, 1}, {"bob", 1024, 60}, {"zoë", 64, 27},
	} {
		if got := ShardOf(c.identity, c.shards); got != c.want {
			t.Errorf("ShardOf(%q, %d) = %d, want %d", c.identity, c.shards, got, c.want)
		}
	}
}

func TestShardOfStaysAmongShards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := rapid.Uint32Range(1, 1<<20).Draw(t, "shards")
		got := ShardOf(rapid.String().Draw(t, "identity"), shards)
		if got == Control || got > shards {
			t.Fatalf("shard %d of %d", got, shards)
		}
	})
}

// 64,000 names on 64 shards: none may be far from its thousand, or one shard's
// log is everybody's bottleneck.
func TestShardOfSpreadsNames(t *testing.T) {
	const shards, each = 64, 1000
	var counts [shards + 1]int
	for i := range shards * each {
		counts[ShardOf(fmt.Sprintf("user%d", i), shards)]++
	}
	for shard := 1; shard <= shards; shard++ {
		if n := counts[shard]; n < each*85/100 || n > each*115/100 {
			t.Errorf("shard %d has %d names, want about %d", shard, n, each)
		}
	}
}
