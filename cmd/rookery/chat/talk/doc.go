// Package talk is what a terminal chat knows, and nothing of how it is shown,
// stored or sent: conversations with their lines, ticks, drafts, who is there,
// and how the connection stands.
//
// It is a pure core. Step takes one event and returns effects, in the order in
// which they are to be done; time and message ids come in with the events. Some events
// tell the whole story again when they are replayed: those are what a Save
// effect names, the local history is nothing but a list of them, and Events
// gives the shortest such list.
//
// A line of one's own goes through
//
//	Queued → (Waiting ⇄) → Sent → Delivered → Seen
//	Queued → Refused → taken back into the input, or dropped
//	Sent → Expired
//
// where all behind Sent is not stored with the line but follows from the
// conversation's watermarks.
package talk
