// Package membership finds the other nodes of a cluster by gossip, and suspects
// those that are gone. It decides nothing: who owns what is agreed on by Raft,
// and a node that gossip calls dead may lead a shard.
//
// A node gossips under a name that is new with each of its starts (its id and
// its incarnation), so that neither a quick restart nor another address under
// the same id is a conflict. Of several lives of one node only the last counts.
//
// Nodes of another cluster, and those that speak another protocol, are not let
// in; with a key, neither is whoever does not have it. A node that does not know
// its cluster yet takes the one of those it meets, see Membership.Cluster.
//
// Gossip forgets the dead, so two halves of a cluster that were cut off from
// each other for long would never meet again by themselves: seeds, and the
// members that were lost, are called again and again.
//
//	member    unknown → alive → left or lost → alive (in a later life, or found again)
package membership
