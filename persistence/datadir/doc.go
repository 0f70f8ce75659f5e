// Package datadir is the folder that a node's data lives in.
//
//	LOCK       held (flock) while a node uses the folder; names its process
//	identity   format of the folder, id of the node, whether it is in use; its cluster,
//	           its number there, and how often it was started
//	view       what the node knew last of its cluster, private keys included
//	log/       the Raft log
//	store/     Badger
//
// A part that is lost is never taken for one that is empty: once Established
// has been called, a folder without its log or store is refused, and so is one
// that has them but no identity. Until then every part may be missing: nothing
// was acknowledged yet, and a first start may have been cut short anywhere.
package datadir
