package session

import (
	"slices"

	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// A read has no answer, and a client says it once in a connection. The actor may
// never hear it, or forget it with its term, and the connection lives on: so the
// session keeps what it said lately, and says it again when it attaches again.
// That changes nothing where it was taken: reads are cumulative.
//
// Lately is for longer than any word is under way to a leader that still counts:
// one that nobody confirms for as long parts the session.

// reads of a session, one for each conversation; nil where it said none lately.
type reads struct {
	list []readSaid
	// dropped is when the last one had to go for want of room, or 0.
	dropped int64
}

type readSaid struct {
	peer           string
	order, written uint64
	ref            uint32
	at             int64 // see Gateway.clock
}

// keep a read, in the place of the one before it.
func (r *reads) keep(said readSaid) {
	at := slices.IndexFunc(r.list, func(k readSaid) bool { return k.peer == said.peer })
	switch {
	case at >= 0 && r.list[at].order > said.order:
		return
	case at >= 0:
		r.list = slices.Delete(r.list, at, at+1) // it is the youngest now
	case len(r.list) >= limits.ReadsKept:
		r.dropped = r.list[0].at
		r.list = slices.Delete(r.list, 0, 1)
	}
	r.list = append(r.list, said)
}

// refused: the client was told that a read changed nothing.
func (r *reads) refused(ref uint32) {
	if ref != 0 {
		r.list = slices.DeleteFunc(r.list, func(k readSaid) bool { return k.ref == ref })
	}
}

// forget those that were taken, or lost with the connection, by now.
func (r *reads) forget(now int64) {
	before := now - limits.ReadsKeptFor.Microseconds()
	r.list = slices.DeleteFunc(r.list, func(k readSaid) bool { return k.at < before })
	if r.dropped < before {
		r.dropped = 0
	}
}

func (r *reads) empty() bool { return r == nil || len(r.list) == 0 && r.dropped == 0 }

// keepRead that is about to be said.
func (g *Gateway) keepRead(s *session, m *nodepb.Read) {
	a := g.activity(s)
	if a.reads == nil {
		a.reads = &reads{}
	}
	a.reads.keep(readSaid{m.GetPeer(), m.GetOrder(), m.GetWritten(), m.GetRef(), g.clock()})
}

// forgetReads of a session that would sleep but for them.
func (g *Gateway) forgetReads(s *session) {
	if s.busy == nil || s.busy.reads == nil {
		return
	}
	if s.busy.reads.forget(g.clock()); s.busy.reads.empty() {
		s.busy.reads = nil
	}
}

// readAgain says what the actor may not know, to one that has just attached the
// session again.
func (g *Gateway) readAgain(s *session) {
	g.forgetReads(s)
	if s.busy == nil || s.busy.reads == nil {
		return
	}
	if s.busy.reads.dropped != 0 {
		g.close(s, CloseUnavailable, "what became of many reads is not known; reconnect and say them again")
		return
	}
	for _, k := range s.busy.reads.list {
		g.tellRead(s, &nodepb.Read{Origin: s.origin(), Ref: k.ref, Peer: k.peer, Order: k.order, Written: k.written})
	}
}

// tellRead to an actor that knows the session; to another it is said with the
// attachment.
func (g *Gateway) tellRead(s *session, m *nodepb.Read) {
	if s.bond == adrift {
		return
	}
	if g.users.Tell(s.user, m) != nil {
		g.metrics.Untaken.Inc()
		g.loosen(s)
	}
}
