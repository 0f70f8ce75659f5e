// Package host runs the user actors of one shard on the node that leads it.
//
// A [Shard] is the process shell around the pure cores of actors/user. It
// finds the actor that a message is for, activates it from the store where it
// is cold, collects what its steps change into batches for the shard's Raft
// group, and lets out what they said once the batch is durable. Everything of
// a shard is owned by the one loop goroutine that calls it; there is no lock
// and no goroutine in this package.
//
// # A message
//
//	Tell(bob, Send)  virtual PID user/7:bob -> row of bob -> live actor (activated
//	                 if cold) -> Step -> mutations into the open batch, effects behind them
//	Flush            open batch becomes the one in flight: Propose, or Read where
//	                 nothing changed; the next batch collects meanwhile
//	Apply            the rows are written, deciding from nothing that is read
//	Committed        effects are released in the order in which the steps ran
//
// An ack is not taken in at once: its senders are told beforehand, and the
// outbox is spared where that is durable in time (late.go).
//
// # States of a user
//
//	none       --Tell-->  live          loaded from the store
//	live       --idle-->  hibernated    only attachments, in a row without pointers
//	live       --idle-->  none          where nothing volatile is left
//	hibernated --Tell-->  live          loaded with its attachments
//	live       --panic->  suspended     state thrown away, mail waits
//	suspended  --batch settled--> live  loaded again, never resumed
//	suspended  --4th panic in 10 s, batch settled--> none
//	any        --Follow--> none
//
// A state is only ever loaded when no batch that it touched is open or in
// flight: otherwise the store would lack what the actor already promised.
//
// # When leadership or a proposal is lost
//
// Dropped says that a batch is definitely not in the log: its sends are
// refused, the actors that it or a later batch touched are stopped, and what
// their sessions had with them is declared lost, so that gateways attach
// again. Follow says that the term is over: what was in flight is unknown, and
// nothing of the shard is kept.
package host
