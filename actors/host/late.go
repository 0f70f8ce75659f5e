package host

import (
	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// An ack need not be taken in at once: until then it is as if the network were
// slow, and were it forgotten, its device would say it again. So the actor of
// a live user keeps it for a moment, tells the senders beforehand, without the
// outbox, and takes it in when that is durable where they live: then no step
// has to be kept, confirmed and trimmed for it. What is not confirmed within
// limits.AckDelay goes through the outbox as ever. Newer acks of the session
// replace it; one that tells nobody anything waits for such company alone.
//
// What others say to the actor passes an ack that waits; whatever its own user
// or the clock says does not.

// late is the ack that an actor has still to take in.
type late struct {
	ack    nodepb.Ack
	origin nodepb.Origin
	since  uint64          // milliseconds
	steps  []*storepb.Step // told beforehand; no two to one user
	taken  uint64          // bit n: steps[n] is durable where it was told
}

// overdue says when an actor's ack is to be taken in.
type overdue struct {
	live  *live
	since uint64
}

// keptLates are kept for reuse in one shard.
const keptLates = 64

// settleAck is an input that has the ack taken in, and nothing else.
type settleAck struct{}

// passes says whether an input may be taken before an ack that came earlier.
func passes(in any) bool {
	switch in.(type) {
	case *nodepb.Send, *storepb.Step, *nodepb.Typing, *nodepb.Signal, *nodepb.Watch, *nodepb.Unwatch:
		return true
	default:
		return false
	}
}

// delay an ack, unless it must be taken in at once.
func (s *Shard) delay(l *live, a *nodepb.Ack) bool {
	core, ok := l.core.(Foreteller)
	if !ok || s.failed != nil || len(s.overdue) >= limits.HeldAcks || l.late != nil && !l.late.of(a.GetOrigin()) {
		return false
	}
	steps, ok := core.Foretell(a, s.told[:0])
	s.told = steps[:0]
	if !ok {
		return false
	}
	l.used = s.cfg.Now()
	if l.late == nil {
		l.late = s.lateFor(a.GetOrigin(), l.used)
		s.overdue = append(s.overdue, overdue{l, l.used})
	}
	l.late.ack.Seq = a.GetSeq()
	for _, step := range steps {
		if l.late.tell(step) {
			s.cfg.Router.Tell(s.cfg.Shard, s.cfg.ShardOf(step.GetTo()), step)
		}
	}
	return true
}

func (s *Shard) lateFor(o *nodepb.Origin, now uint64) *late {
	n := len(s.lates)
	if n == 0 {
		s.lates = append(s.lates, &late{})
		n = 1
	}
	t := s.lates[n-1]
	s.lates = s.lates[:n-1]
	t.since, t.taken, t.steps = now, 0, t.steps[:0]
	t.origin.Conn, t.origin.User, t.origin.Device, t.origin.Session = o.GetConn(), o.GetUser(), o.GetDevice(), o.GetSession()
	t.ack.Origin = &t.origin
	return t
}

func (t *late) of(o *nodepb.Origin) bool {
	return t.origin.GetSession() == o.GetSession() && t.origin.GetDevice() == o.GetDevice()
}

// tell notes a step in the place of what its user was told before; false where
// that was the same.
func (t *late) tell(step *storepb.Step) bool {
	for i, was := range t.steps {
		if was.GetTo() != step.GetTo() {
			continue
		}
		if same(was, step) {
			return false
		}
		t.steps[i] = step
		t.taken &^= 1 << i
		return true
	}
	if len(t.steps) == limits.Foretold {
		return false // the outbox will tell it
	}
	t.steps = append(t.steps, step)
	return true
}

// same says whether two steps tell a user the same of one conversation.
func same(a, b *storepb.Step) bool {
	x, y := a.GetWatermark(), b.GetWatermark()
	return x != nil && y != nil && a.GetTo() == b.GetTo() && x.GetPeer() == y.GetPeer() &&
		x.GetDelivered() == y.GetDelivered() && x.GetRead() == y.GetRead() &&
		len(x.GetUndelivered()) == 0 && len(y.GetUndelivered()) == 0
}

// knows says whether a step says what is durable already where it goes.
func (t *late) knows(step *storepb.Step) bool {
	for i, was := range t.steps {
		if t.taken&(1<<i) != 0 && same(was, step) {
			return true
		}
	}
	return false
}

// takeIn the ack that waits, as part of the step that runs.
func (s *Shard) takeIn(l *live, now uint64) {
	t := l.late
	l.late, s.taking = nil, t
	defer func() { s.taking = nil }()
	s.turn(l, &t.ack, now)
	s.recycle(t)
}

func (s *Shard) recycle(t *late) {
	clear(t.steps)
	if len(s.lates) < keptLates {
		s.lates = append(s.lates, t)
	}
}

// takeOverdue takes in the acks that have waited for long enough.
func (s *Shard) takeOverdue(now uint64) {
	wait := uint64(limits.AckDelay.Milliseconds())
	for len(s.overdue) > 0 && s.Leading() {
		o := s.overdue[0]
		waits := o.live.late != nil && o.live.late.since == o.since
		if waits && !over(now, o.since, wait) {
			return
		}
		s.overdue[0] = overdue{}
		s.overdue = s.overdue[1:]
		if waits {
			s.settleAck(o.live)
		}
	}
	if len(s.overdue) == 0 {
		s.overdue = nil
	}
}

func (s *Shard) settleAck(l *live) {
	if !l.busy && l.state == running && l.late != nil {
		s.pass(l, settleAck{})
	}
}

// TakeTell takes what an actor elsewhere tells one here beforehand.
func (s *Shard) TakeTell(src uint32, step *storepb.Step) {
	if s.takes(step) != nil || !s.ready(step.GetTo()) {
		s.cfg.Metrics.dropBusy.Inc()
		return // it comes again by the outbox
	}
	if s.Tell(step.GetTo(), step) != nil || s.failed != nil || !s.stepped {
		return
	}
	b := s.open
	b.heard = append(b.heard, heard{src, step})
	if b.since == 0 {
		b.since = s.cfg.Now()
	}
}

// TakeTold notes that what an actor here told another beforehand is durable.
func (s *Shard) TakeTold(step *storepb.Step) {
	if !s.Leading() {
		return
	}
	n := s.rows.find(step.GetWatermark().GetPeer())
	if n == 0 {
		return
	}
	l := s.lives[s.rows.at(n).live]
	if l == nil || l.late == nil {
		return
	}
	for i, was := range l.late.steps {
		if same(was, step) {
			l.late.taken |= 1 << i
		}
	}
	if l.late.taken == 1<<len(l.late.steps)-1 {
		s.settleAck(l)
	}
}

// heard is what an actor was told beforehand in a batch, and by which shard's.
type heard struct {
	src  uint32
	step *storepb.Step
}

// known says whether a step needs no place in the outbox.
func (s *Shard) known(e user.Relay) bool { return s.taking != nil && s.taking.knows(e.Step) }
