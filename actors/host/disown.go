package host

import (
	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// disowning is a pass over the rows for what connections have with actors that
// have ended without saying so: their node has.
type disowning struct {
	ended func(conn uint64) bool // nil: no pass
	next  uint32                 // row
	last  uint64                 // batch that may still have something for them, once the pass has ended
}

// Disowned says whether the passes so far are over, and what was said before to
// connections that have ended is out, or lost.
func (s *Shard) Disowned() bool {
	return !s.Leading() || s.disowning.ended == nil && s.settled >= s.disowning.last && len(s.failing) == 0
}

// Disown has the shard forget what connections have with its actors of which
// ended says yes. Watches end at once, attachments and parked requests with the
// next ticks, some at a time: to forget an attachment is a step of its actor.
func (s *Shard) Disown(ended func(conn uint64) bool) {
	if !s.Leading() {
		return // nothing is attached
	}
	for of := range s.presence.watchers {
		s.presence.drop(of, func(w watcher) bool { return ended(w.conn) })
	}
	s.disowning = disowning{ended: ended, next: 1}
}

// disown some more.
func (s *Shard) disown() {
	for range limits.Disowned {
		d := &s.disowning
		if d.ended == nil {
			return
		}
		if d.next > s.rows.list.Last() {
			*d = disowning{last: s.settled}
			if s.flight != nil {
				d.last = s.flight.token
			}
			if !s.open.empty() {
				d.last = s.open.token
			}
			return
		}
		n := d.next
		d.next++
		if s.rows.at(n).size != 0 {
			s.disownRow(n, d.ended)
		}
	}
}

func (s *Shard) disownRow(n uint32, ended func(conn uint64) bool) {
	list := s.rows.attached(n, s.cold[:0])
	if l := s.lives[s.rows.at(n).live]; l != nil && l.core != nil {
		list = l.core.Attachments()
	}
	var gone []user.Attachment
	for _, a := range list {
		if ended(a.Conn) {
			gone = append(gone, a)
		}
	}
	if len(gone) == 0 {
		return
	}
	id := s.rows.id(n)
	for _, a := range gone {
		o := &nodepb.Origin{Conn: a.Conn, User: id, Device: a.Device, Session: a.Session}
		var in any = &nodepb.Detach{Origin: o}
		if a.Parked() {
			in = &nodepb.Unpark{Origin: o}
		}
		if s.Tell(id, in) != nil {
			return // the term is over, and with it every attachment
		}
	}
}
