// Package core decides what a client does: which connection it wants, what it
// says, stores and hands over, and when. It is single-threaded and pure. Time,
// randomness and everything that happened come in by Step, and what is to be
// done comes out as effects in order; package client around it has the
// sockets, the store and the clock.
//
// # States
//
//	resting ─ time, Wake ─▶ asking (a token) ─▶ dialling ─▶ greeting ─ welcome ─▶ online
//	   ▲                        │                   │           │                  │ │
//	   │◀───────────────────────┴───── failed ──────┴───────────┴──── Lost ────────┘ │ goAway
//	   │◀──────────────────────────────────────────────────────────── Lost ── leaving ◀
//	any ─ Close, 4100, 4102, 4103, no token to be had ─▶ stopped
//
// Asking is left out while the token that is there is good.
//
// # What comes first
//
// The effects of one or more steps are performed so: all Writes, as one; a sync
// if one of them wants it; then the rest in order. Hence nothing is said or
// answered before what it rests on is written:
//
//   - a message is synced before it goes out and before its id is returned;
//   - the cursor is synced before an ack, or hello.acked, speaks of it;
//   - an event is written down as taken before the next one is handed over.
//
// # Invariants
//
//  1. A message is in the outbox from Queue until its fate is known and, where
//     nobody waits for it, until the event of its fate is taken.
//  2. Within a lane (a conversation) what is in flight comes before what waits,
//     unless the lane is held; a held lane sends nothing until all its
//     answers are in, and then begins with its oldest.
//  3. cursor <= received: what was taken was handed over before.
//  4. An ack never passes what this connection has delivered, though the cursor
//     may: it counts what an earlier connection had delivered as well.
package core
