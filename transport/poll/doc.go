// Package poll is connections as byte streams on one goroutine: an epoll loop
// over bare descriptors that have been taken out of Go's runtime.
//
// A connection that is idle costs one slot in a slab without pointers, and no
// buffer: bytes are read into one buffer of the loop's, and lent to the
// [Handler]; bytes to be written wait in pooled chunks, which are held only
// while there are any. Nothing is written before [Loop.Flush], which makes one
// system call for each connection that has something to say.
//
// A round is bounded, however many have something to say: [Loop.Wait] reads one
// share of each connection in turn until the round is over, and goes on where it
// stopped. Connections that send at no more than a person's pace come first.
//
// An [ID] names a connection for ever. The slot's generation is a part of it,
// so that what was meant for a connection that has gone, be it a late call or
// an event of the kernel's that was already fetched, never reaches the one that
// took its slot or its descriptor.
//
// For measuring more connections than a process may open descriptors, a Loop can
// carry stand-ins: see [Loop.Carry].
//
// Everything is to be called on the loop's goroutine, save [Loop.Wake] and
// [Detach]. Epoll is Linux's; elsewhere a Loop only waits and wakes, [Supported]
// is false, and Attach refuses.
package poll
