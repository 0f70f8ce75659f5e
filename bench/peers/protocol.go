package main

import "fmt"

// protocol is how one peer is spoken to. What it holds is owned by the fleet's
// goroutine.
type protocol interface {
	// answers says what accepts a message.
	answers() answers
	// hello begins the conversation on a connection that is about to stand.
	hello(f *fleet, i int)
	// consume takes what is whole off b, and says how much that was.
	consume(f *fleet, i int, b []byte) (int, error)
	// send writes one message of the chat of user i to its partner.
	send(f *fleet, i int, number uint64)
	// round ends a round for a connection that has sent or received something.
	round(f *fleet, i int)
	// forget drops what was of a connection that has gone.
	forget(i int)
}

// stepOf a connection's hello; every protocol has its own.
type stepOf uint8

// live is the last step of every protocol: messages come and go.
const live stepOf = 255

// user is the name of a user at every peer.
func user(i int) string { return fmt.Sprintf("u%d", i) }
