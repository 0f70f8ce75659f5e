// Package user is the pure core of a user: mailbox, devices, conversations,
// account. It does no I/O and knows no clock: Step takes an input and returns
// mutations, which are rows with absolute values, and effects, which wait for
// them to be durable. The host runs one State per live user, in one goroutine.
//
// # The mailbox
//
// An entry has a seq, increasing over the user's life. It leaves when every
// device that was linked when it came has acked it (the device that sent it
// counts as having done so), or at its expiry. In memory stands an index of
// what is stored, without payloads.
//
// # A conversation
//
// Each direction between two users is kept by its recipient, who gives every
// accepted message the next order. Per sending device it remembers the session
// and the number of the last send, and the results of the last
// limits.IdempotencyWindow sends. A send is looked up there before anything
// else is asked of it.
//
//	send ── known id ────────────────────────▶ sent, duplicate
//	     ── older session, predecessor open ─▶ out_of_order, retryable
//	     ── devices do not match ────────────▶ failed_precondition
//	     ── blocked ─────────────────────────▶ sent; the order is spent, nothing kept
//	     ── mailbox or share full ───────────▶ mailbox_full, retryable
//	     ── otherwise ───────────────────────▶ entry, sent, push, copy
//
// The delivered watermark of a direction is the highest order at or below
// which each message was acked by some device, or is named as undelivered: it
// expired, a block discarded it, or the last device to wait for it was unlinked
// without having acked it. An ack counts even after its device is gone.
//
// While the shard's outbox is full nothing is relayed: what can be refused is
// (unavailable), acks are held in memory and expiry waits, until a later tick.
//
// # A device
//
//	linked ─ Attach ─▶ pulling ─ Pull to the end ─▶ live ─ Detach ─▶ linked
//
// A live device is pushed each entry with the seq of the entry before it. The
// session that misses one pulls again from the last it wrote.
package user
