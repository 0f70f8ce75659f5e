package session

import (
	"maps"
	"slices"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// What a session has with actors, its attachment and its watches, ends with the
// term of their shard, which may be led elsewhere then. The session begins it
// again: attached once more it goes on from the last entry that it wrote, under
// the number that it has, by which recipients know its sends. When a node dies
// that is the business of a third of all sessions at once, so they are paced, and
// those that sleep are come upon some at a time.

// bond of an attached session to its actor.
type bond uint8

const (
	bound  bond = iota
	adrift      // the actor has forgotten it; its turn to attach again comes
	asking      // it has asked
)

func (b bond) String() string { return [...]string{"bound", "adrift", "asking"}[b] }

// renewal is something that a session has to begin again.
type renewal struct {
	conn  uint64
	watch string // of that user; else the attachment
	due   int64  // see Gateway.clock
	asked int64  // when the session last asked for it, likewise
}

const (
	renewAfter = 250 * time.Millisecond // what was not taken is tried again
	renewAgain = 2 * time.Second        // what was not answered is asked again
)

// passing goes over the sleeping sessions after shards have moved, or nobody has
// led them for long.
type passing struct {
	lived  func(user string) bool
	next   uint32 // record
	parted bool
}

// renewals of a Gateway.
type renewals struct {
	first   []renewal // at once, in their order
	later   []renewal // all of them renewAfter after they came in
	passing []passing
}

// Moved takes up that the actors of the users that lived says yes to have
// forgotten everything: attachments and watches begin again where they are led now.
func (g *Gateway) Moved(lived func(user string) bool) {
	g.look()
	for _, s := range append([]*session(nil), g.awake...) {
		g.moved(s, lived)
	}
	if g.sleepers.records.Len() > 0 {
		g.renewals.passing = append(g.renewals.passing, passing{lived: lived, next: 1})
	}
}

func (g *Gateway) moved(s *session, lived func(user string) bool) {
	switch {
	case s.state == closing || s.user == "":
		return
	case lived(s.user):
		g.loosen(s)
	}
	if s.busy == nil || s.state == closing {
		return
	}
	for _, user := range slices.Sorted(maps.Keys(s.busy.watched)) {
		if lived(user) {
			g.renewals.first = append(g.renewals.first, renewal{conn: s.conn, watch: user})
		}
	}
}

// Parted ends the sessions of users whose shards nobody is known to lead: their
// devices may have been unlinked long ago.
func (g *Gateway) Parted(lived func(user string) bool) {
	g.look()
	for _, s := range append([]*session(nil), g.awake...) {
		if s.user != "" && lived(s.user) {
			g.close(s, CloseUnavailable, "this node is cut off from the majority; reconnect elsewhere")
		}
	}
	if g.sleepers.records.Len() > 0 {
		g.renewals.passing = append(g.renewals.passing, passing{lived: lived, next: 1, parted: true})
	}
}

// Unsure ends the sessions that asked something of the users' actors before a
// time, and have no answer: there will be none.
func (g *Gateway) Unsure(lived func(user string) bool, before time.Time) {
	at := before.Sub(g.start).Microseconds() + 1
	for _, s := range append([]*session(nil), g.awake...) {
		if s.state == closing || s.busy == nil {
			continue
		}
		for _, p := range s.busy.pending {
			if p.at < at && lived(p.peer) {
				g.Unknown(s.conn)
				break
			}
		}
	}
}

// loosen a session that its actor has forgotten. One that is about to attach has
// shown nothing yet, and is to come again.
func (g *Gateway) loosen(s *session) {
	switch {
	case s.state == attaching:
		g.close(s, CloseUnavailable, "the attachment was lost; reconnect")
	case s.state != attached || s.bond == adrift:
	default:
		if s.bond == bound {
			g.renewals.first = append(g.renewals.first, renewal{conn: s.conn})
		} // else it is among the later ones
		s.bond, s.stream = adrift, pulling
		g.metrics.Adrift.Inc()
	}
}

// Due says that there is something to begin again, or to send, that waits for the
// next Flush and for nothing else.
func (g *Gateway) Due() bool {
	return len(g.renewals.first)+len(g.renewals.passing)+len(g.dirty) > 0
}

// renew what is due, some of it.
func (g *Gateway) renew() {
	r := &g.renewals
	if len(r.first)+len(r.later)+len(r.passing) == 0 {
		return
	}
	g.look()
	g.pass()
	now, n := g.clock(), limits.Renewals
	for ; n > 0 && len(r.later) > 0 && r.later[0].due <= now; n-- {
		g.begin(pop(&r.later))
	}
	for ; n > 0 && len(r.first) > 0; n-- {
		g.begin(pop(&r.first))
	}
}

func pop(list *[]renewal) renewal {
	next := (*list)[0]
	(*list)[0] = renewal{}
	if *list = (*list)[1:]; len(*list) == 0 {
		*list = nil
	}
	return next
}

// begin something again, or have that tried later.
func (g *Gateway) begin(r renewal) {
	s := g.find(r.conn)
	if s == nil || s.state != attached {
		return
	}
	var again bool
	if r.watch != "" {
		again = g.rewatch(s, r.watch)
	} else {
		again = g.reattach(s, &r)
	}
	if again {
		r.due = g.clock() + renewAfter.Microseconds()
		g.renewals.later = append(g.renewals.later, r)
	}
}

// rewatch says whether it is to be tried again.
func (g *Gateway) rewatch(s *session, user string) bool {
	if s.busy == nil {
		return false
	}
	_, watched := s.busy.watched[user]
	return watched && g.users.Tell(user, &nodepb.Watch{Origin: s.origin()}) != nil
}

// reattach says whether the session has to be looked at again.
func (g *Gateway) reattach(s *session, r *renewal) bool {
	switch {
	case s.bond == bound:
		return false
	case s.bond == asking && g.clock() < r.asked+renewAgain.Microseconds():
		return true
	}
	s.renewed++
	attach := &nodepb.Attach{Origin: s.origin(), Tag: s.renewed, Acked: s.cursor, Resumes: s.number}
	if g.users.Tell(s.user, attach) == nil && s.bond != bound { // else it was answered at once
		s.bond, r.asked = asking, g.clock()
	}
	return s.bond != bound && s.state == attached
}

// resumed takes the answer to a session that attached again.
func (g *Gateway) resumed(s *session, m *nodepb.Attached) {
	if s.bond == bound || m.GetTag() != s.renewed {
		return
	}
	f := m.GetError()
	switch {
	case f == nil:
	case f.GetCode() == string(fault.Unauthenticated):
		g.close(s, CloseUnlinked, f.GetMessage())
		return
	case f.GetRetryable():
		s.bond = adrift
		return
	default:
		g.close(s, CloseUnavailable, "the attachment was lost; reconnect")
		return
	}
	g.metrics.Resumed.Inc()
	s.bond, s.cursor = bound, max(s.cursor, m.GetCursor())
	s.written = max(s.written, s.cursor)
	if !s.drained {
		s.backlog = m.GetLastSeq()
	}
	g.devices(s, &nodepb.Devices{Session: s.number, Epoch: m.GetEpoch(), Others: m.GetOthers(), Full: m.GetFull()})
	g.pull(s)
	g.readAgain(s)
}

// pass over the next of the sleeping sessions.
func (g *Gateway) pass() {
	r := &g.renewals
	for n := limits.Passed; n > 0 && len(r.passing) > 0; n-- {
		p := &r.passing[0]
		if p.next > g.sleepers.records.Last() {
			if r.passing = r.passing[1:]; len(r.passing) == 0 {
				r.passing = nil
			}
			continue
		}
		at := p.next
		p.next++
		if rec := g.sleepers.records.At(at); rec.size != 0 && p.lived(g.sleepers.user(rec)) {
			p.take(g, g.find(rec.conn))
		}
	}
}

func (p *passing) take(g *Gateway, s *session) {
	switch {
	case s.state == closing:
	case p.parted:
		g.close(s, CloseUnavailable, "this node is cut off from the majority; reconnect elsewhere")
	default:
		g.loosen(s)
	}
}

// wokenBefore takes up what moved while the session slept, where the pass over
// the sleeping ones has not come upon its record yet.
func (g *Gateway) wokenBefore(s *session, record uint32) {
	for i := range g.renewals.passing {
		if p := &g.renewals.passing[i]; record >= p.next && p.lived(s.user) {
			p.take(g, s)
		}
	}
}
