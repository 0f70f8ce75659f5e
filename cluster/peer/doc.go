// Package peer keeps the links between the nodes of a cluster.
//
// A link goes one way: from the node that has something to say to the one that
// hears it, over one gRPC stream that the first of them keeps up for as long as
// both are members. Two nodes that talk to each other have two.
//
// # What a link promises
//
// Bodies given to Send arrive in order, each once, for as long as both nodes
// live and know each other: a stream that breaks is replaced by another, which
// goes on where the last one ended. Acknowledged means received, never done. When the other node
// comes back in a new life (its incarnation is higher), or has forgotten this
// one meanwhile, what it had not acknowledged is given to Handler.Lost: it may
// have been received or not.
// When this node starts again, what it had not sent is gone with its memory.
//
// Bodies given to SendLoose promise nothing: Raft's messages, typing, presence.
//
// Both queues are bounded. When one is full the sender is told and keeps the
// body; nothing waits in secret. A node that does not take what it is sent fills
// its gRPC window, and so the queue at the other end.
//
// # Who is there
//
// Each end names its cluster, its id and its incarnation, and the caller whom it
// means to reach; whoever is called and is not that node, or knows no such
// caller, refuses. With a TLS configuration the certificates say the same: a URI
// as NodeURI makes it, checked at both ends. Without one nothing is checked but
// the words, which is for loopback addresses.
//
// A node whose process has ended is told of at once, see Config.Gone: its kernel
// ends the streams and refuses new ones. Of one that is stopped, or cut off, nothing
// is known but its silence.
//
//	stream    dialling → greeting → open → broken → dialling
package peer
