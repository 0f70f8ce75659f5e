package route

import nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"

// A spell is a time in which a node ran, and was heard, without a break of Doubt.
// It counts its own, and says with everything in which it was said.
//
// What a node said before a break may come after it: it waited in a link, or the
// process did not run. Meanwhile others may lead what it led, and know of none of
// its sessions; a device may have been unlinked, and its user been told that
// nothing it sends is taken any more. So whoever did not hear a node for Doubt
// takes no send that was said in a spell of before, nor, until it has surely heard
// what happened meanwhile, one of a session that has not attached since its user's
// shard has another term. They are refused, and may be sent again. Where only the
// link broke, the node does not know of it, and learns of it by the refusal.

// pastSpell begins a spell after one that is over.
func (x *Exchange) pastSpell(over uint32) { x.spell = max(x.spell, over+1) }

// fenced says whether a word is a send of before a break of its node, and which
// spell that ended.
func (x *Exchange) fenced(from uint16, spell uint32, in any) (over uint32, fenced bool) {
	over = x.directory.Over(from)
	switch m := in.(type) {
	case *nodepb.Send:
		adrift := m.GetCopy() || m.GetTerm() < x.termOf(m)
		return over, spell <= over && over > 0 || adrift && x.directory.Back(from, x.cfg.Now())
	case *nodepb.Ask:
		return over, m.GetSend() != nil && spell <= over && over > 0
	}
	return over, false
}
