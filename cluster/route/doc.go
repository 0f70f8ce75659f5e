// Package route joins gateways, user actors and shards that are on different
// nodes.
//
// A [Directory] knows which node leads which shard; it is pure. An [Exchange]
// carries words from gateways to actors, deliveries back, and letters between
// shards: what stays on its node by a plain call, the rest in one body for each
// node, kind and round of the loop.
//
// # Who leads
//
//	replicas of this node, beacons of the others, hints in refusals --> Directory
//
// A node says what it leads every 300 ms, and at once when that becomes more. Of
// one whose process is known to have ended nothing is waited for.
//
//	known      --1.5 s without a word--> doubted     refused at once, by nobody's answer
//	doubted    --confirmed-->            known
//	known      --higher term-->          known       sessions attach again there
//	any        --10 s without a word-->  parted      sessions of its users end with 1013
//
// A node that said nothing for 15 s has no sessions here any more: what they had
// with actors is forgotten, and if it is heard again after all, they attach anew.
// A node that did not run for 10 s ends its sessions, before it believes what was
// said to it meanwhile.
//
// # Before and after a break
//
// A node counts its spells: times in which it ran, and was heard. Who did not hear
// it for 1.5 s takes no send any more that was said in a spell of before, and for
// 10 s none of a session that has not attached to its user's actor since: a device
// that was unlinked meanwhile would send on (spell.go).
//
// A stale entry is corrected by the answer to what was sent because of it: who
// does not lead says so, and whom it knows to lead.
//
// # What becomes of a word
//
// A word was not taken: the owner says so, or the link is full, or nobody is
// known to lead. Then it definitely changed nothing, and the session is refused
// as if by the actor; what it said behind that in the same conversation is out of
// order there, as on one node.
//
// A word may have been taken: the owner's life has ended, the link lost it, or
// its shard is led elsewhere and no answer came within half a second of that. Then its
// connection is closed, or its request answered, as of unknown outcome. Nothing
// is ever said twice on behalf of a client.
//
// The end of an attachment, a watch or a parked request is kept until the link
// takes it: nobody would say it again.
//
// # What becomes of a delivery
//
// A link keeps the order, so the stream to a device is as it is on one node. When
// deliveries do not go into a link they are dropped, and the gateway is told that
// something is missing: its sessions attach again to what that node leads, and
// pull from the last entry that they wrote.
//
// # Why a deposed leader says nothing stale
//
// A leader that was paused does not know, when it wakes, that another leads. It
// takes words, and its actors compute answers. But:
//
//   - what a step says waits for the commit of its batch, or for a ReadIndex after
//     it: rounds through a majority, which knows a higher term and confirms
//     neither. So nothing is accepted, acked or answered.
//   - what it said before the pause and comes late was committed or confirmed in
//     its term, so it is true: `sent` and refusals answer words that went to that
//     leader and to no other, and are passed on.
//   - everything else is about attachments and watches, which ended with the term.
//     Each delivery names its shard and term, and a gateway that knows of a higher
//     one drops it: typing, presence and signals as well, which wait for nothing.
//   - a gateway that has not heard of the new leader may show such a thing for a
//     moment more. It promises nothing, and 1.5 s later that gateway refuses.
//   - letters between shards need no fence: steps are sent once they are durable
//     and carry numbers that their receiver checks, and what is confirmed or told
//     beforehand stays true whoever leads.
//
// # When a node starts anew
//
// Its incarnation is higher, and said in every body. The ids of its connections
// say which life they are of, so that none is given twice; an owner forgets those
// of the life before in its own time, and until then drops what its actors say to
// them. A body for, or of, a life that has ended is dropped as a whole. A body says
// the life in full, an id modulo [Lives]: until an owner has forgotten a life, it
// takes no word of a later one whose ids look the same, and says nothing to them.
package route
