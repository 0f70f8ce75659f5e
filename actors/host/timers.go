package host

import (
	"time"

	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

const (
	timersPerTick = 1024
	slowTick      = 100 // milliseconds between looks at what need not be punctual
	// A deadline that could not be met, or an actor that could not be put to
	// rest, is tried again after this many milliseconds.
	retryAfter = 1000
)

// Tick does what is due: deadlines, hibernation, repeating steps. Bounded; what
// is left comes with the next one. Call it every 10 to 100 ms.
func (s *Shard) Tick() {
	if !s.Leading() {
		return
	}
	now := s.cfg.Now()
	s.wheel.advance(now, timersPerTick, func(key uint32) {
		if s.Leading() {
			s.expired(key, now)
		}
	})
	s.takeOverdue(now)
	s.disown()
	if now < s.checked+slowTick && now >= s.checked {
		return
	}
	s.checked = now
	s.cfg.System.rooms.air(now)
	s.repeat(now)
	if s.open.empty() && s.flight == nil && s.outbox.trimmable() {
		s.open.eager, s.open.since = true, now // nothing to ride with
	}
	s.report()
}

// expired is the timer of a row.
func (s *Shard) expired(n uint32, now uint64) {
	r := s.rows.at(n)
	r.timer = 0
	l := s.lives[r.live]
	if l == nil {
		// Of a hibernated user only a deadline can be due. The step arms the
		// actor's timer; where it is refused it is due still.
		if s.cfg.Expiry() == 0 || s.Tell(s.rows.id(n), user.Tick{}) != nil {
			s.wake(n, now+retryAfter)
		}
		return
	}
	if l.core != nil && l.state == running {
		if d := l.core.Deadline(); d != 0 && d <= s.cfg.Expiry() {
			if err := s.Tell(l.id, user.Tick{}); err == nil && s.lives[l.slot] == l {
				s.armAfter(l, now)
				return
			}
		}
	}
	if now >= l.used+s.idle(l) && s.hibernate(l) {
		return
	}
	s.armAfter(l, now)
}

// arm the timer of a live actor: for its deadline, or to see whether it idles.
// Input does not move the timer; it is looked at when it fires.
func (s *Shard) arm(l *live) { s.armAfter(l, 0) }

func (s *Shard) armAfter(l *live, now uint64) {
	due := l.used + s.idle(l)
	if l.core != nil {
		if d := l.core.Deadline(); d != 0 {
			due = min(due, d)
		}
	}
	if now != 0 {
		due = max(due, now+1)
		if due == now+1 {
			due = now + retryAfter
		}
	}
	r := s.rows.at(l.row)
	if r.timer != 0 {
		if s.wheel.due(r.timer) <= due+wheelTick {
			return
		}
		s.wheel.cancel(r.timer)
	}
	r.timer = s.wheel.arm(due, l.row)
}

// visitIdle is how long an actor stays that was only visited: a device came or
// went, an account was made or looked at. What comes next from most of them is
// nothing for hours, and each takes some kilobytes while it stays: in a storm of
// connections, or where accounts are made by the million, a minute's worth would
// be more than all those asleep. Nor does an actor stay of which nothing is kept:
// somebody wrote to a user who does not exist, or watches one. Whoever makes
// names up could else fill the memory with actors of nobody.
const visitIdle = time.Second

// idle is how long the actor may stay without input, in milliseconds.
func (s *Shard) idle(l *live) uint64 {
	idle := s.cfg.Idle
	if c, ok := l.core.(interface{ Hollow() bool }); !l.talks || ok && c.Hollow() {
		idle = min(idle, visitIdle)
	}
	return uint64(idle.Milliseconds())
}

// visits says whether the input is a visit: no part of a conversation.
func visits(in any) bool {
	switch m := in.(type) {
	case *nodepb.Attach, *nodepb.Detach, *nodepb.Pull, *nodepb.DevicesSeen, *nodepb.Watch, *nodepb.Unwatch, *nodepb.Unpark, user.Tick:
		return true
	case *nodepb.Ask:
		switch m.GetBody().(type) {
		case *nodepb.Ask_Register, *nodepb.Ask_GetCredentials, *nodepb.Ask_LinkDevice, *nodepb.Ask_GetDevices, *nodepb.Ask_GetProfile:
			return true
		}
	}
	return false
}

// wake a row without an actor at its deadline, and drop the row where there is
// nothing to keep. Deadlines far away are left for a sweep to find.
func (s *Shard) wake(n uint32, deadline uint64) {
	r := s.rows.at(n)
	if r.timer != 0 {
		s.wheel.cancel(r.timer)
		r.timer = 0
	}
	if deadline != 0 && deadline < s.horizon() {
		r.timer = s.wheel.arm(deadline, n)
	}
	if r.first == 0 && r.timer == 0 && r.live == 0 {
		s.rows.remove(n)
	}
}

// horizon is up to when rows hold deadlines: a sweep comes by twice before.
func (s *Shard) horizon() uint64 {
	return s.cfg.Now() + 2*uint64(s.cfg.SweepEvery.Milliseconds())
}

// sweep is one pass over the mailboxes of the shard.
type sweep struct {
	at    []byte // where to go on; nil: between two passes
	began uint64
}

// Sweep looks for deadlines of users that nothing in memory stands for: after
// a restart all of them. It reads about budget rows and is called again later.
func (s *Shard) Sweep(budget int) {
	if !s.Leading() {
		return
	}
	now := s.cfg.Now()
	if s.sweep.at == nil {
		if s.sweep.began != 0 && now < s.sweep.began+uint64(s.cfg.SweepEvery.Milliseconds()) {
			return
		}
		// The shard's own rows, of the empty user, come first.
		s.sweep = sweep{at: append(s.cfg.Space.User(""), 0xff), began: now}
	}
	for read := 0; read < budget && s.Leading(); {
		id, err := s.nextUser(s.sweep.at)
		if err != nil {
			s.fail(err)
			return
		}
		if id == "" {
			s.sweep.at = nil
			return
		}
		s.sweep.at = append(s.cfg.Space.User(id), 0xff)
		read++
		if err := s.visit(id, &read); err != nil {
			s.fail(err)
			return
		}
	}
}

// nextUser with rows at or after a key, or "".
func (s *Shard) nextUser(from []byte) (id string, err error) {
	var split error
	err = s.cfg.Store.Scan(s.cfg.Space.Prefix(), from, func(key, _ []byte) bool {
		_, id, _, _, split = mailbox.Split(key)
		return false
	})
	if err == nil {
		err = split
	}
	return id, err
}

// visit a user for its deadline.
func (s *Shard) visit(id string, read *int) error {
	n := s.rows.find(id)
	if n != 0 && (s.rows.at(n).live != 0 || s.rows.at(n).timer != 0) {
		return nil
	}
	s.cold = s.cold[:0]
	if n != 0 {
		s.cold = s.rows.attached(n, s.cold)
	}
	core, err := s.cfg.Load(id, s.rowsOf(id, read), s.cold)
	if err != nil {
		return err
	}
	if d := core.Deadline(); d != 0 && d < s.horizon() {
		if n == 0 {
			n = s.rows.add(id)
		}
		s.wake(n, d)
	}
	return nil
}

// report to the node's gauges.
func (s *Shard) report() {
	live := len(s.lives) - 1 - len(s.vacant)
	s.cfg.Metrics.report(&s.reported, reported{
		live: live, hibernated: s.rows.used - live, bytes: s.rows.size(), outbox: s.outbox.depth(),
	})
}
