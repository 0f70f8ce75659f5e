// Package history judges what clients of a messaging server saw, against what
// the server promised them. A Recorder collects events of all devices in one
// order; a Judge hears them, says at any moment what is broken, and at rest what
// is missing.
//
// Recording makes the order sound: what a client does (a send, an ack, a read)
// is recorded before it is written to the socket, what it learns after it was
// read from there. So if event a made event b possible, a stands before b.
//
// What is judged, and by which promise of docs/guarantees.md:
//
//   - accepted once (2): every sent of an id has the same order and time, all
//     but the first are duplicates, and the first of a first attempt is not; no
//     id has two seqs
//   - nothing lost (1, 4): at rest, what was sent has reached every device of
//     the recipient and every other device of the sender; and whenever a
//     connection is drained, what was stored before it began, and not acked by
//     this device, has come on it, also where it had come before
//   - nothing invented (5): what is delivered was sent, to this conversation,
//     with this payload, and an attempt at it was not refused
//   - nothing twice (2): no delivery at or below what hello.acked named, or
//     where a stream was to begin, or an ack that was answered; none twice on
//     one connection, and a repeated one is the same in every field
//   - order (3): seq rises on every connection and over first deliveries;
//     order is contiguous from 1 per direction, rises on every device, follows
//     each sending device's own order; a seq means the same on all devices
//   - time: rises with order, and is later than whatever the sending device
//     had been delivered before
//   - receipts (6): not before the ack or read they speak of, never
//     decreasing, and at rest at their final marks
package history
