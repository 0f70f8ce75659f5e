// Package session is what a connected device is: the client protocol between
// a connection and the user actors. It runs on the loop goroutine, holds no
// lock and starts no goroutine.
//
// # A session
//
//	Opened ─▶ greeting ─ hello ─▶ attaching ─ Attached ─▶ attached ─▶ closing
//	                                                        │
//	                       pulling ◀── gap, lag ── live ◀───┘ end of pages
//
// An attached and live session that nothing happens to sleeps after 2 s, as a
// record without pointers; one that said a read a while later, see reads. Closed ends any of them. What is written to a
// connection in one round of the loop goes out as one WebSocket message.
//
// # Sends
//
// A send is stamped with its number in the session and the number of the
// session's previous send to the same user that was not finally refused, so
// that the recipient's actor can tell when one before it is missing. After a
// retryable refusal of an id, later sends to that user are refused here until
// that id comes again. Past the bound of sends in flight nothing more is read,
// nor between hello and welcome: what was read by then waits.
//
// # The stream
//
// Each pushed entry names the one before it. Where that is not what was last
// written, something was lost on the way: nothing is forwarded, and the session
// pulls from the last it wrote. A session whose peer does not read is not
// pushed to either; it pulls once there is room.
package session
