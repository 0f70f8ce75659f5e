// Package node wires one node together and runs its loop. It is the only place
// that knows all parts; each part knows the others by interfaces of its own.
//
// # Goroutines
//
//	loop           sockets, sessions, actors, shards, log: everything hot
//	net/http       a goroutine per request; upgrades hand the socket to the loop
//	committer      syncs the log; the loop waits while that is fast (cluster/shard)
//	checkpoint     writes what the store holds in memory to Badger (cluster/shard)
//	upkeep         Badger's housekeeping, hourly
//	passwords      a bounded number of argon2id workers (transport/auth)
//	TLS            one per connection, for reading (transport/conns)
//	links          two and more for each other node (cluster/peer)
//
// They reach the loop by conns.Post alone, other nodes by the office's queue.
//
// # A round of the loop
//
//	poll       read sockets; sessions tell actors; actors fill their shard's batch
//	office     take what other nodes said
//	mail       steps between shards of this node
//	flush      batches are proposed
//	raft       one append, one sync, apply, release of effects
//	flush      one message and one write per connection
package node
