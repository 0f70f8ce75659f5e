// Package shard runs Raft groups. A Group is this node's replica of one of
// them; a Set is all groups of a node, on one goroutine, the loop, writing to
// one log with one sync for all.
//
// # A round
//
//	proposals and reads that machines handed in go to Raft
//	collect    the Ready of every group that has one
//	append     all of them to the log, at once
//	sync       once; nothing below this line happens before it is finished
//	send       messages to the other replicas
//	apply      committed entries to the machines; confirm reads
//	           and again, while there is a Ready
//
// What a machine proposes from within a callback waits for the next round, so
// that a round ends. A group of one replica commits in the second pass, which
// changes no more than the commit index: that is not worth a sync, and rides
// with the group's next write.
//
// A committer goroutine syncs. The round waits for it, up to Config.SyncWait,
// while recent syncs were fast; otherwise the loop goes on. No group gets a
// further Ready before that sync is finished.
//
// # States of a group
//
//	Follower -> Elected   Raft made this replica the leader of a term
//	Elected  -> Leading   an entry of that term is applied: Machine.Lead
//	Elected  -> Follower  another term or leader
//	Leading  -> Follower  the same, or the log broke: Machine.Follow
//
// # When a replica stands for election
//
// Raft's PreVote, CheckQuorum and leases are as they are, and all safety is
// theirs; the Set only chooses when it calls Campaign. Raft draws that from one
// to two election timeouts. With many groups to elect at once the slowest draw
// counts, and each split vote costs another draw. So the voters take turns: by
// rank, which is the order of their random ids, with the leader that was lost at
// the end. Each of two survivors is the first in about half of the groups.
//
//	leader unheard for ElectionTicks+1    rank 0 stands; the other leases are over
//	3 ticks later                         rank 1, and so on: where rank 0 is gone
//	                                      as well, or its log is behind
//	no leader after a candidacy           again after 3, 6, then ElectionTicks
//	                                      ticks, always by rank; from the third on
//	                                      with a draw by id and term on top
//
// To try again so soon can disturb nobody: a PreVote changes no term, and a
// leader that is there is heard within a heartbeat. It grows because an election
// that takes longer than a try would never end. Raft's own timer goes on below all
// this, and would do alone.
//
// Forsake is for whoever knows better than a timeout that a node's process is gone
// (cluster/peer: both links broken, and dialling refused). The replicas forget
// that leader, and with it the lease that would refuse votes, and rank 0 stands
// with the next tick. Where a majority does not have the same evidence, it refuses,
// and the timeout decides as ever; where all were wrong, one election was for nothing.
//
// # What becomes of a proposal
//
// An error from Propose: it was not taken, and no call follows. Otherwise one
// of these happens, once:
//
//	Committed  it is in the log for good, and applied
//	Dropped    it is not in the log and never will be
//	Follow     unknown: it may be applied later, by this replica or by
//	           another, like any entry; there will be no Committed for it
//
// Dropped may be followed by Follow. A read is Confirmed, or voided by Follow.
//
// # A log that broke
//
// After a write or sync that failed nothing is accepted, and every group
// follows. Whoever owns the log may repair it; Resume then begins each group
// anew on what the log holds, as a restart would, but for what is applied
// already: that was synced, and the overlay has it.
//
// # Checkpoints
//
// The log is the truth; the store is written behind it. A checkpoint freezes
// the store's overlay together with the applied index of every group, has the log
// note those as how far ahead the store may be from now on, writes it out, syncs
// it, and only then saves the indexes in the log, which may then
// forget what lies before them. Every step but the first and the last runs off
// the loop. After a crash each group applies again what follows its checkpoint:
// machines write absolute values, so it does no harm that the store may already
// have some of it. Up to what was noted it does so at once, alone: that is
// committed. From there on the store is exact, and snapshots can be given.
package shard
