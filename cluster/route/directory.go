package route

import (
	"cmp"
	"slices"
	"time"
)

// How long what is known of a shard's leader is good.
const (
	// Every so often each node says what it leads.
	Every = 300 * time.Millisecond
	// Doubt: who was not confirmed for so long is told nothing. Beacons may be
	// lost; five in a row hardly are.
	Doubt = 1500 * time.Millisecond
	// Parting: the sessions of users whose shard nobody confirmed for so long end.
	// It is longer than any failover, and an unlinked device cannot go on for
	// longer through a gateway that is cut off.
	Parting = 10 * time.Second
	// Expelling: who said nothing for so long has nothing here any more. Its sessions
	// have parted, or it does not run: it may have heard of this node for longer than it
	// was heard, but not by more than it takes links to break.
	Expelling = Parting + 5*time.Second
)

// Directory knows which node leads which shard. It belongs to one goroutine,
// and is told the time, of a clock that is not set.
//
// Of each shard it keeps the highest term that it heard of, and who leads in
// that: a term has one leader, so whatever comes later, from whomever, of an
// earlier term is no news. Its invariants, checked by Check:
//
//  1. a shard's term never falls.
//  2. who leads is a node that was said to lead in that very term.
type Directory struct {
	shards []leadership // by shard; the first is no shard
	nodes  map[uint16]*node
	dirty  bool // a shard moved since Moves
}

// leadership of a shard.
type leadership struct {
	term   uint64
	at     time.Time // confirmed last; where it never was, when the directory began
	node   uint16    // 0: nobody is known to lead in the term
	moved  bool      // since Moves
	parted bool      // said by Parted, and not confirmed since
}

// node as its beacons show it.
type node struct {
	incarnation, beat uint64
	spoke             time.Time // anything at all
	broke             time.Time // the end of its last silence of Doubt
	heard             time.Time // its last beacon
	spell             uint32    // the latest that it spoke of
	over              uint32    // spells up to this one ended with such a silence
	load              Load
}

// Load of a node.
type Load struct {
	Connections uint32
	Lag         time.Duration // of its loop
	Astray      bool          // its wall clock is not trusted, so others had better lead
}

// Lead is a shard that a node leads.
type Lead struct {
	Shard uint32
	Term  uint64
}

// Sign of life of a node: its beacon.
type Sign struct {
	Node              uint16
	Incarnation, Beat uint64
	Leads             []Lead
	Load              Load
}

// News is what a sign tells.
type News uint8

// What a sign may be.
const (
	Stale   News = iota // an earlier life's, or overtaken; nothing was taken in
	Alive               // the life that is known
	NewLife             // the node has started anew: what it had is gone
)

func (n News) String() string { return [...]string{"stale", "alive", "new life"}[n] }

// NewDirectory of the shards from 1, of whose leaders nothing is known.
func NewDirectory(shards uint32, now time.Time) *Directory {
	d := &Directory{shards: make([]leadership, shards+1), nodes: map[uint16]*node{}}
	for i := range d.shards {
		d.shards[i].at = now
	}
	return d
}

func (d *Directory) has(shard uint32) bool { return shard > 0 && int(shard) < len(d.shards) }

// Confirm that a node leads a shard in a term: by that node's own word, or by
// that of a replica that follows it.
func (d *Directory) Confirm(shard uint32, node uint16, term uint64, now time.Time) {
	if d.learn(shard, node, term) {
		l := &d.shards[shard]
		l.at, l.parted = now, false
	}
}

// Hint that a node leads a shard in a term, by somebody's word who may know no
// better. It is believed where it says more than is known, and confirms nothing else.
func (d *Directory) Hint(shard uint32, node uint16, term uint64, now time.Time) {
	if d.has(shard) && (term > d.shards[shard].term || d.shards[shard].node == 0) {
		d.Confirm(shard, node, term, now)
	}
}

// learn says whether the node leads the shard, as far as is known now.
func (d *Directory) learn(shard uint32, node uint16, term uint64) bool {
	if !d.has(shard) || node == 0 || term < d.shards[shard].term {
		return false
	}
	l := &d.shards[shard]
	if term > l.term || l.node == 0 {
		if l.term != 0 { // else nobody here had anything there
			l.moved, d.dirty = true, true
		}
		l.node, l.term = node, term
	}
	return l.node == node
}

// Resign says that a node does not lead a shard in a term, or no longer.
func (d *Directory) Resign(shard uint32, node uint16, term uint64) {
	if d.has(shard) && d.shards[shard].node == node && d.shards[shard].term <= term {
		d.shards[shard].node = 0
	}
}

// Hear a node's beacon.
func (d *Directory) Hear(s Sign, now time.Time) News {
	news := d.Live(s.Node, s.Incarnation, now)
	n := d.nodes[s.Node]
	if news == Stale || news == Alive && s.Beat <= n.beat {
		return Stale
	}
	n.beat, n.heard, n.load = s.Beat, now, s.Load
	leads := make(map[uint32]bool, len(s.Leads))
	for _, l := range s.Leads {
		d.Confirm(l.Shard, s.Node, l.Term, now)
		leads[l.Shard] = true
	}
	for i := range d.shards {
		if d.shards[i].node == s.Node && !leads[uint32(i)] { //nolint:gosec // a shard
			d.shards[i].node = 0
		}
	}
	return news
}

// Live says in which of its lives a node is heard. What it led in an earlier
// one it leads no more.
func (d *Directory) Live(of uint16, incarnation uint64, now time.Time) News {
	n := d.nodes[of]
	if n == nil {
		n = &node{}
		d.nodes[of] = n
	}
	switch {
	case of == 0 || incarnation < n.incarnation:
		return Stale
	case incarnation == n.incarnation:
		if now.Sub(n.spoke) >= Doubt {
			n.broke, n.over = now, n.spell
		}
		n.spoke = now
		return Alive
	}
	first := n.incarnation == 0
	*n = node{incarnation: incarnation, spoke: now}
	if first {
		return Alive
	}
	d.forsake(of)
	return NewLife
}

// Remove a node that is no longer a member.
func (d *Directory) Remove(of uint16) {
	delete(d.nodes, of)
	d.forsake(of)
}

// forsake a node: it leads none of the shards that it led.
func (d *Directory) forsake(of uint16) (led []uint32) {
	for i := range d.shards {
		if d.shards[i].node == of && of != 0 {
			d.shards[i].node = 0
			led = append(led, uint32(i)) //nolint:gosec // a shard
		}
	}
	return led
}

// Incarnation of a node that was heard; 0 where it never was.
func (d *Directory) Incarnation(of uint16) uint64 {
	if n := d.nodes[of]; n != nil {
		return n.incarnation
	}
	return 0
}

// Term of a shard: the highest that was heard of.
func (d *Directory) Term(shard uint32) uint64 {
	if !d.has(shard) {
		return 0
	}
	return d.shards[shard].term
}

// Last is the node that leads a shard as far as is known, however long ago it was
// confirmed; 0 where nobody does.
func (d *Directory) Last(shard uint32) uint16 {
	if !d.has(shard) {
		return 0
	}
	return d.shards[shard].node
}

// Leader of a shard, whom to tell now; false where nobody is known to lead, or
// was not confirmed for Doubt.
func (d *Directory) Leader(shard uint32, now time.Time) (node uint16, term uint64, ok bool) {
	if !d.has(shard) {
		return 0, 0, false
	}
	l := &d.shards[shard]
	return l.node, l.term, l.node != 0 && now.Sub(l.at) < Doubt
}

// Moves since the last call: the shards that have another leader, or another
// term, so that nothing is left of what sessions had there.
func (d *Directory) Moves() (moved []uint32) {
	if !d.dirty {
		return nil
	}
	d.dirty = false
	for i := range d.shards {
		if l := &d.shards[i]; l.moved {
			moved = append(moved, uint32(i)) //nolint:gosec // a shard
			l.moved = false
		}
	}
	return moved
}

// Parted are the shards that nobody has confirmed for Parting, each said once
// until it is confirmed again.
func (d *Directory) Parted(now time.Time) (parted []uint32) {
	for i := range d.shards {
		if l := &d.shards[i]; i > 0 && !l.parted && now.Sub(l.at) >= Parting {
			parted = append(parted, uint32(i)) //nolint:gosec // a shard
			l.parted = true
		}
	}
	return parted
}

// Feel the load of a node that says no beacons to itself.
func (d *Directory) Feel(of uint16, l Load, now time.Time) {
	if d.nodes[of] == nil {
		d.nodes[of] = &node{}
	}
	d.nodes[of].heard, d.nodes[of].load = now, l
}

// Silent says whether a node was not heard for Doubt.
func (d *Directory) Silent(of uint16, now time.Time) bool {
	n := d.nodes[of]
	return n == nil || now.Sub(n.heard) >= Doubt
}

// Mute are the nodes that have said nothing since then.
func (d *Directory) Mute(since time.Time) (mute []uint16) {
	for number, n := range d.nodes {
		if n.incarnation != 0 && n.spoke.Before(since) {
			mute = append(mute, number)
		}
	}
	return mute
}

// Awoke: the one that is told did not run for a while, so that it heard nobody says
// nothing of them.
func (d *Directory) Awoke(now time.Time) {
	for _, n := range d.nodes {
		n.spoke = now
	}
}

// Spell takes in which spell a node speaks of.
func (d *Directory) Spell(of uint16, spell uint32) {
	if n := d.nodes[of]; n != nil {
		n.spell = max(n.spell, spell)
	}
}

// Over is the last spell of a node that is over: it was silent for Doubt since,
// and what it said in that spell may be as old; 0 where it never was.
func (d *Directory) Over(of uint16) uint32 {
	if n := d.nodes[of]; n != nil {
		return n.over
	}
	return 0
}

// Back says whether a node was silent for Doubt, and has been heard again for
// less than Parting: it may not have heard yet what happened meanwhile.
func (d *Directory) Back(of uint16, now time.Time) bool {
	n := d.nodes[of]
	return n != nil && !n.broke.IsZero() && now.Sub(n.broke) < Parting
}

// Astray says whether a node has said so of itself.
func (d *Directory) Astray(of uint16) bool {
	n := d.nodes[of]
	return n != nil && n.load.Astray
}

// Nodes that were heard within Doubt, the one with the least load first: by the
// lag of the loop in steps of 10 ms, which noise does not pass, then by connections.
func (d *Directory) Nodes(now time.Time) []uint16 {
	var list []uint16
	for number, n := range d.nodes {
		if !n.heard.IsZero() && now.Sub(n.heard) < Doubt {
			list = append(list, number)
		}
	}
	slices.SortFunc(list, func(a, b uint16) int { return cmp.Or(d.nodes[a].load.compare(d.nodes[b].load), cmp.Compare(a, b)) })
	return list
}

func (l Load) compare(m Load) int {
	const step = 10 * time.Millisecond
	return cmp.Or(cmp.Compare(l.Lag/step, m.Lag/step), cmp.Compare(l.Connections, m.Connections))
}

// Moved says whether Moves has shards to name.
func (d *Directory) Moved() bool { return d.dirty }
