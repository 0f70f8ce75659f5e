package host

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/rookery-im/rookery/actors/user"
)

// Three restarts within restartWindow; the next failure stops the actor.
const (
	restartsAllowed = 3
	restartWindow   = 10_000 // milliseconds
)

// broken takes in that a step panicked. It has said nothing, but its state may
// be half changed: the state is thrown away, and so are the attachments, whose
// sessions attach again. The input is set aside.
func (s *Shard) broken(l *live, guardian actor.Supervisor, reason any) {
	now := s.cfg.Now()
	s.log.Error("an actor panicked", "user", l.id, "input", fmt.Sprintf("%T", l.input), "reason", sayable(reason), "stack", string(debug.Stack()))
	s.cfg.Metrics.dropInput.Inc()
	s.cfg.Metrics.Restarts.Inc()
	recent := l.failures[:0]
	for _, at := range l.failures {
		if at+restartWindow > now {
			recent = append(recent, at)
		}
	}
	l.failures = append(recent, now)
	l.state, l.guardian = suspended, guardian
	if len(l.failures) > restartsAllowed {
		l.state = stopping
	}
	var out notices
	if a, ok := askOf(l.input); ok {
		out.refuse([]ask{a}, broke())
	}
	s.abandon(l, &out)
	l.core, l.input, l.late = nil, nil, nil
	s.scratch = &user.Scratch{} // the step had it, or one around it has it still
	s.failing = append(s.failing, l)
	out.send(s.cfg.Gateway)
}

// sayable is what of a panic may be logged: nothing that might quote a payload.
func sayable(reason any) string {
	if err, ok := reason.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", reason)
}

// abandon the attachments of a state that is thrown away. Those who watch are
// told at once: if the devices do not come back, nobody would.
func (s *Shard) abandon(l *live, out *notices) {
	for _, conn := range l.conns {
		out.lost(conn, l.id)
	}
	if l.sessions > 0 {
		now := s.cfg.Now()
		out.list = append(out.list, func(Gateway) { s.announce(l.id, false, now) })
	}
	l.conns, l.sessions = nil, 0
}

// revive the actors that panicked and whose batches are settled by now.
func (s *Shard) revive() {
	if len(s.failing) == 0 || s.current != nil {
		return
	}
	var out notices
	waiting := s.failing
	s.failing = nil
	for _, l := range waiting {
		switch {
		case l.batch > s.settled:
			s.failing = append(s.failing, l)
		case l.state == stopping:
			s.log.Error("an actor is stopped, it panicked too often", "user", l.id)
			out.refuse(asksOf(l.waiting), broke())
			s.vacate(l, nil, 0)
			l.waiting = nil
			l.guardian.StopChildren(l.pid)
		default:
			s.restart(l)
		}
	}
	out.send(s.cfg.Gateway)
}

// restart an actor by its supervisor, and hand it the mail that waited. Its
// state is loaded anew.
func (s *Shard) restart(l *live) {
	l.state = running
	s.current = l // for incarnate
	l.guardian.RestartChildren(l.pid)
	s.current = nil
	if len(l.waiting) > 0 {
		in := l.waiting[0]
		l.waiting = l.waiting[1:]
		s.pass(l, in)
	} else {
		s.arm(l)
	}
}
