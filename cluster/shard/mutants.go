package shard

// Bugs put in on purpose, each switched on by a build tag of its name and
// caught by a test (.ci/mutants.txt):
//
//   - mutant_earlycommit: a proposal is called committed when it is on this
//     node's disk.
//   - mutant_skipsync: the log is not synced.
//   - mutant_leaseread: a read is confirmed because this replica has not heard
//     of another leader yet.
//   - mutant_sameid: a node's replica of a group has the id that its last one had.
//   - mutant_lostrow: the last row of a snapshot's chunk is left out.
//   - mutant_silentwrite: the log is not told that a checkpoint is being written.
