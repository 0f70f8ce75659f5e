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
//	linked ─ Attach ─▶ expected ─ Pull ─▶ pulling ─ Pull to the end ─▶ live ─ Detach ─▶ linked
//
// A live device is pushed each entry with the seq of the entry before it. The
// session that misses one pulls again from the last it wrote.
//
// A session begins with its first Pull, which its gateway says as soon as it
// hears of the attachment, and so proves that the connection is still there; the
// session that the device has stands until then. For an Attach may be late: held
// up in a link that is cut, or with a node that is paused, it comes when the
// device has given that connection up and works through another, and the Detach
// behind it. Did it displace the session that lives, a client would be told not
// to come back (4102), by nobody. A late one gets no Pull, however late it is; so
// no clock has to say what is too late, which a pause or a short cut would get
// wrong. The device has one session nevertheless: entries go to the one that has
// begun, recipients refuse sends of a lower number than the highest they know, and
// who links a device or unlinks one reaches both.
//
// An Attach that resumes has begun already. It does not give way to one that is
// expected, though that has a higher number: which of them lives is not known
// until that one pulls.
//
// What is left: both ends of a connection that is dead for its client but not for
// its gateway, because no end of it came through there. Such a late one would pull.
// Until limits.AnswerTimeout after its hello, that is: then the gateway ends it.
package user
