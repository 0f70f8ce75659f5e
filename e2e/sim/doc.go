// Package sim runs a cluster of Rookery in one goroutine, from a seed: the real
// Raft groups (cluster/shard) over the real log (persistence/raftlog) on a disk
// that forgets, group 0 (cluster/control) and what nodes say to its leader
// (cluster/council), the real actors (actors/host, actors/user), sessions
// (transport/session) and the exchange that joins them (cluster/route), between a
// network, disks and clocks that are simulated. It holds tests only.
//
// # A run
//
// One generator, seeded once, decides everything: delays, losses, faults, what
// devices do. Time is a number, and the only thing that moves it is the queue of
// events. A node is what cmd/rookery/node is: an inbox and a loop that empties
// it, ticks, hands out mail, flushes the shards, runs a round of the Raft groups
// and flushes the sessions; the disk's work is handed to the simulation
// (shard.Config.Offload), which lets it end when the simulated disk is done.
// Raft draws its election timeouts from crypto/rand, which testing/cryptotest
// makes repeat. A run takes a quarter of a second, about 10,000 seeds an hour and
// processor.
//
// A run has three parts: users register and their devices link; devices talk
// while faults come and go; everything is healed and comes to rest.
//
// # Faults
//
// See fault_test.go: messages lost, doubled, delayed and reordered; nodes cut
// off, both ways and one way; processes killed, and machines that lose power
// with what was not synced; pauses; slow disks; wall clocks that leap; proposals
// dropped; leaders that hand over, also to whom cannot take it; entries that come
// up again in a later term; pushes that are lost on their way to a session; nodes that
// are cut off for longer than sessions bear.
//
// And evidence_test.go: what cluster/peer says of a process that has ended, in time
// where that is true, and late, to some only, again and again, of one that lives.
//
// And members_test.go and orders_test.go, for group 0: a machine loses its disk and
// comes back as another node; one joins; one leaves, or is removed, alive or dead;
// one that is there is taken for lost; keys are rotated. What is wanted of group 0 is
// asked of any node, again and again until it is answered, and where the groups ought
// to be is what it then decides: their leaders follow by single steps
// (cluster/balance), by the view that each knows. On top of that one or two groups make
// a detour, to a spare node and back, which no view has. No more is lost for good at
// once than three replicas bear.
//
// The cluster begins with its first nodes as members, as if that had been the first
// entry of group 0.
//
// # What is checked
//
// After every step (fence_test.go):
//
//   - a term of a group has one leader, and a leader one state of an actor
//   - replicas apply the same entry at an index, and hold the same rows after it
//   - what is committed is on the synced disks of a majority of the group's voters,
//     as its configuration was then
//   - every replica has, at an index, the configuration that the log says
//   - no replica's id is used twice
//   - nothing that waits for durability leaves a shard but within the commit of
//     its batch, or the confirmation of its read, in the term that it leads
//   - a confirmed read has applied all that anybody had applied when it was asked
//   - an entry of another term than its batch changes no row
//   - nothing comes to a gateway for a connection that this life of it never opened
//
// for group 0 all of these that are not of actors, and (charter_test.go)
//
//   - each view follows the last by one, and every node that knows one knows it as it
//     was agreed on; no life of a node knows less than it knew
//   - no number is given twice, and no node has another than it had; one that was
//     removed, as was answered, is in no view, and one that leaves goes on leaving
//   - every group ought to be on members, each once, and on three, or on as many as
//     are ready to hold data
//
// and by what devices see (e2e/history): nothing acknowledged is lost, doubled
// or reordered; receipts are not early; at rest everything has arrived, all that was
// asked of group 0 is answered, its members are those that are there, all of them
// know its newest view, and every group is where that wants it.
//
// And what is promised in time (bounds_test.go), counted while a node is awake:
//
//   - a leader that no majority can answer leads for no longer than 2 s and two
//     ticks, counted from when it was told last to hand over
//   - a gateway that nobody who leads a shard can reach, nor who could tell it of
//     such a one in a further term, takes no send for it after 2 s, and after 10 s,
//     and half a second, has no session of the shard's users, each of which it has
//     closed with 1013
//   - a send is answered, or its connection closed, 5 s after it was read
//   - 5 s after all is healed, every gateway knows who leads each shard, and it does,
//     and so does a leader of group 0
//   - where a process ends and its machine goes on, others lead within 600 ms
//     (TestEvidenceSpeedsFailover, without other faults)
//
// The mutants of .ci/mutants.txt that TestSeeds is to catch fail with these
// seeds: earlycommit and skipsync 1, lostrow 2, ignoregap 3, sameid 6, anyterm 7,
// keepstate 8. leaseread is TestStaleLeaders', seed 2.
//
// # What is not covered
//
// Invites; gossip, of which all is known at once; when group 0's leader takes a node for
// lost, or finds that one that leaves holds nothing any more (cmd/rookery/node's guard),
// which the world does in its place; peer links, whose place an in-memory link with the
// same promises takes; cmd/rookery/node, whose wiring council_test.go (its cluster, views
// and roster), office_test.go and node_test.go repeat; the store below the overlay; REST
// requests and streams but for registering; TTLs.
//
// # To repeat a failure
//
//	SIM_SEED=n go test ./e2e/sim -run TestSeeds
//
// prints the script of faults and the last events of every node, first as they
// were and then with as few faults as still make the seed fail; SIM_SKIP leaves out
// faults by number, and SIM_TRACE=all prints all events.
package sim
