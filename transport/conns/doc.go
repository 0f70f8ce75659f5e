// Package conns is a node's WebSocket connections: what package poll carries
// and package ws parses, with everything that a connection needs over its life.
// A connection is carried by an epoll loop where it can be, and by a goroutine
// of its own otherwise (TLS, systems without epoll); its user cannot tell.
//
// All of [Conns] belongs to one goroutine, the loop, which calls Poll and Flush
// in turn and hears of everything by its [Handler]. Other goroutines may call
// Post, Upgrade, Echo, Listen, StopAccepting and Len.
//
// A connection is in one of these states:
//
//	free --Opened--> open ----Close, fault, peer's close frame, silence----> closing
//	                  |                                                        |
//	                  |  lost                  close frames sent and received  |
//	                  v                                                        v
//	                 free <----------lost, or lingered too long---------- draining
//
// The handler hears Closed when a connection leaves open, or rather at the end
// of the Poll then under way or next: never from inside a call of its own. From
// the call of Close on it hears nothing else of that ID. What happens afterwards
// is the last courtesy: what was sent is flushed, the close frame goes out and
// is waited for, our half of the stream is ended and the peer's read to its end,
// so that no reset overtakes the code; all that within Config.Linger.
//
// What all connections hold together is bounded as well, see crowd: beginnings
// of messages, and what waits to be written. Before the upgrade a connection
// stands in the lobby, which is bounded too; so do requests whose body is not
// here yet.
//
// Reading stops while the node wants it (Pause), and while more than
// Config.PendingHigh bytes wait to be written. That time is not silence.
package conns
