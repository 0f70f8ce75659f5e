// Package load generates load: many connections on one epoll loop, each a
// device that sends, acks and keeps account.
//
// # Parts
//
//	wire      frames, by hand                                   pure
//	ledger    the account of every message                      pure
//	pace      when an open loop sends                           pure
//	latency   histograms                                        pure
//	Engine    one loop on one goroutine: connections, flows
//	Fleet     engines in this process, or in others that it starts where one
//	          process may not open enough descriptors
//
// An engine is told what to do by orders, each of which returns at once; how
// far it is, [Status] says. Both are plain data, so that an engine in another
// process is told the same by its standard input.
//
// # What a device does
//
// It acks whatever it was sent in one read of its socket by one ack, receipts
// included; it answers pings; and after a retryable error, or a lost connection
// where it is told to come back, it sends again in order what has no answer,
// with the same ids. A message is counted from the time it was to be sent, not
// from when it could be.
//
// # One message in the engine
//
//	schedule or window  →  Ledger.Send      number, id, intended time
//	pump                →  frames of the connection's round, masked, one write
//	Data                →  Split, Next, Decode, Ledger.Sent / Deliver / Receipt
//	end of the round    →  ack, one write for each connection that has something
package load
