// Package ledger accounts for every message of a run by its id: sent once,
// answered once, delivered once to each device that it is for, in order, and
// covered by a receipt that does not come early. It is pure: it is told what
// was written and read, and says what is wrong.
//
// # What is counted against whom
//
//	missing      accepted, and a device that it is for never got it
//	duplicates   a device got it twice, or it was answered twice
//	outOfOrder   it came after one that was sent later, or its order is not the next
//	phantoms     delivered, but never sent, or definitely refused
//	receipts     a watermark that fell, or claims what no device had acked
//	unanswered   sent, and neither accepted nor refused
//	unreceipted  acked by its devices, and no receipt covers it
//	corrupt      delivered with another payload, sender or conversation
//
// # How
//
// A flow is what one device sends to one user. Its messages are numbered from
// 1; the number is in the id. An entry stands for a message until everything
// that must happen to it has happened; what is left when a run is over is what
// is missing. Entries leave in the order of their numbers, and must then have
// contiguous orders from 1: refused ones have none.
package ledger
