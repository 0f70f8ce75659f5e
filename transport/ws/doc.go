// Package ws is WebSocket (RFC 6455) for a server that keeps no goroutine per
// connection: the opening handshake on a hijacked net/http connection, and a
// parser that is a value, fed with whatever bytes have arrived.
//
// Nothing here reads a clock or a socket, save [Upgrade], which writes the
// handshake's reply. A [Parser] holds no pointer, so that a million of them can
// stand in a slab that the garbage collector does not look into. What must be
// remembered of an unfinished message stands in an [Assembly], which its owner
// lends to the parser and takes back when [Parser.Idle].
//
//	header ----> payload ----> header ...      a frame
//	   |            |
//	   |            +--> Message, Ping, Pong   the last frame of a message
//	   |            +--> Close                 then dead
//	   +------------+--> Fault                 then dead
//
// A complete frame that is a whole message is unmasked where it lies and lent
// out without a copy. Everything else is copied into the assembly as it
// arrives, unmasked, and, where it is text, checked at once: a text message that
// can no longer become UTF-8 is refused at its first wrong byte, not at its end.
//
// There are no extensions: permessage-deflate costs about a megabyte a
// connection, and ciphertext does not compress.
package ws
