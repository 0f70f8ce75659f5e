// Package control is the machine of group 0: what the whole cluster agrees on.
// That is its id and number of shards, fixed at creation; its members, and which
// of them ought to hold the replicas of each group; the keys that sign tokens;
// invites. All of it but the invites is in the View, which its leader gives to
// every node; most nodes have nothing else.
//
// It lives on the loop like every machine. Operations wait in a bounded queue.
// All that wait are decided together, in order, and become one proposal, or one
// read where nothing changes; only when that is committed, or confirmed, is any
// of them answered. The state they are decided on runs ahead of the log, so
// when a proposal is dropped or leadership lost it is thrown away and read from
// the store again.
//
// Rows lie in the store under shard 0, beside those of the shards:
//
//	'c'               Cluster
//	'k' key id        SigningKey
//	'i' SHA-256(code) Invite
//	'm' node id       Member
//	'p' group         Placement
//	'v'               Mark
//
// Applying only puts and deletes rows, in absolute values.
package control
