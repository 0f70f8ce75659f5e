package host

import (
	"fmt"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/internal/invariant"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// live is an actor in memory. It is the protoactor Actor itself, across
// restarts; only its core is made anew.
type live struct {
	shard *Shard
	id    string
	row   uint32
	slot  uint32
	pid   *actor.PID
	post  post
	state liveState

	core     Core     // nil until the first message, and after a panic
	conns    []uint64 // attached or parked before the step that runs
	sessions int      // attached among them
	batch    uint64   // the last one that a step became part of
	used     uint64   // when it last got something, milliseconds
	busy     bool     // its step runs
	talks    bool     // it got more than visits, see timers.go
	input    any      // of the step that runs
	waiting  []any    // mail that came while busy or suspended
	late     *late    // an ack that is yet to be taken in

	failures []uint64 // milliseconds
	guardian actor.Supervisor
}

// liveState of an actor; the package comment has the transitions.
type liveState uint8

const (
	running   liveState = iota
	suspended           // after a panic: restarted once its batches are settled
	stopping            // after too many: stopped once they are
)

func (t liveState) String() string { return [...]string{"running", "suspended", "stopping"}[t] }

// forward a message to the actor of a user, which is activated if it is cold.
func (s *Shard) forward(id string, in any) error {
	if !s.leading {
		return ErrNotLeading
	}
	n := s.rows.find(id)
	if n == 0 {
		n = s.rows.add(id)
	}
	l := s.lives[s.rows.at(n).live]
	if l == nil {
		l = s.activate(n, id)
	}
	if l.busy || l.state != running {
		if (len(l.waiting) >= limits.ActorMail || l.state == stopping) && !essential(in) {
			s.cfg.Metrics.dropBusy.Inc()
			return ErrBusy
		}
		l.waiting = append(l.waiting, in)
		return nil
	}
	if a, ok := in.(*nodepb.Ack); ok && s.delay(l, a) {
		return nil
	}
	s.pass(l, in)
	return nil
}

// pass a message, and what comes up meanwhile, to an actor that is not busy.
func (s *Shard) pass(l *live, in any) {
	outer := s.current
	l.busy = true
	for {
		s.current = l
		s.stepped = false
		l.post.PostUserMessage(in)
		if l.state != running || len(l.waiting) == 0 {
			break
		}
		in, l.waiting[0] = l.waiting[0], nil
		l.waiting = l.waiting[1:]
	}
	l.busy = false
	if len(l.waiting) == 0 {
		l.waiting = nil
	}
	s.current = outer
	if outer == nil {
		s.revive()
	}
}

// activate spawns the actor of a row that has none. Its state is loaded by its
// first message.
func (s *Shard) activate(n uint32, id string) *live {
	if len(s.lives)-len(s.vacant) > s.cfg.Live {
		s.evict()
	}
	l := &live{shard: s, id: id, row: n, used: s.cfg.Now()}
	if k := len(s.vacant); k > 0 {
		l.slot, s.vacant = s.vacant[k-1], s.vacant[:k-1]
		s.lives[l.slot] = l
	} else {
		l.slot = uint32(len(s.lives))
		s.lives = append(s.lives, l)
	}
	s.rows.at(n).live = l.slot
	outer := s.current
	s.current = l // for incarnate
	// Never named after the user: an actor that is ending and its successor
	// exist at the same time.
	pid, err := s.root.SpawnNamed(s.props, strconv.Itoa(int(s.cfg.Shard))+s.cfg.System.system.ProcessRegistry.NextId())
	invariant.Check(err == nil, "host: spawn: %v", err)
	s.current = outer
	l.pid = pid
	s.cfg.Metrics.Activations.Inc()
	s.arm(l)
	return l
}

// evict puts an actor to rest before its time, because there are many: one of
// the next few that nothing keeps awake. Config.Live may be passed where all
// of them are at work.
func (s *Shard) evict() {
	for range 8 {
		s.hand = s.hand%uint32(len(s.lives)-1) + 1
		if l := s.lives[s.hand]; l != nil && s.hibernate(l) {
			return
		}
	}
}

// incarnate implements actor.Producer, for the first life and after a restart.
func (s *Shard) incarnate() actor.Actor { return s.current }

// Receive implements actor.Actor.
func (l *live) Receive(ctx actor.Context) {
	switch in := ctx.Message().(type) {
	case *actor.Started, *actor.Stopping, *actor.Stopped, *actor.Restarting:
	default:
		l.shard.step(l, in)
	}
}

// step runs one input through the core. A tick that is due comes before it.
func (s *Shard) step(l *live, in any) {
	if s.failed != nil {
		return
	}
	now, expiry := s.cfg.Now(), s.cfg.Expiry()
	l.used, l.input = now, in
	l.talks = l.talks || !visits(in)
	if l.core == nil {
		if err := s.load(l); err != nil {
			s.fail(err)
			return
		}
	}
	due := func() bool { d := l.core.Deadline(); return d != 0 && d <= expiry }
	if l.late != nil && (due() || !passes(in)) {
		s.takeIn(l, now)
	}
	if due() {
		s.turn(l, user.Tick{Expiry: expiry}, now)
	}
	switch in.(type) {
	case user.Tick, settleAck:
	default:
		s.turn(l, in, now)
	}
	l.input = nil
	if s.failed == nil {
		s.stepped = true
		s.arm(l)
	}
}

func (s *Shard) turn(l *live, in any, now uint64) {
	if s.failed != nil {
		return
	}
	for _, peer := range l.core.Needs(in) {
		if l.core.Has(peer) {
			continue
		}
		if err := l.core.Adopt(peer, s.rowsOf(l.id, nil)); err != nil {
			s.fail(fmt.Errorf("load a peer: %w", err))
			return
		}
	}
	// A step within a step, as a gateway may have it, finds the scratch taken.
	scratch := s.scratch
	s.scratch = nil
	ctx := user.Context{Now: now, OutboxFull: s.outbox.full(), Scratch: scratch, Silent: s.cfg.Silent}
	if _, ok := in.(*nodepb.Attach); ok {
		ctx.Session = s.session()
	}
	s.take(l, in, l.core.Step(ctx, in))
	s.scratch = scratch
	if attaches(in) {
		l.remember(l.core.Attachments())
	}
}

// attaches says whether a step of the input may change whose attachments there
// are.
func attaches(in any) bool {
	switch in.(type) {
	case *nodepb.Attach, *nodepb.Pull, *nodepb.Detach, *nodepb.Ask, *nodepb.Unpark, user.Tick:
		return true
	default:
		return false
	}
}

// remember whose attachments go with the state, if a step breaks it.
func (l *live) remember(list []user.Attachment) {
	l.conns, l.sessions = l.conns[:0], 0
	for _, a := range list {
		l.conns = append(l.conns, a.Conn)
		if !a.Parked() {
			l.sessions++
		}
	}
}

// load the state from the store, which has everything that it ever promised:
// no batch that it touched is open or in flight.
func (s *Shard) load(l *live) error {
	invariant.Check(l.batch <= s.settled, "host: state loaded while its batch %d is not settled", l.batch)
	s.cold = s.rows.detach(l.row, s.cold[:0])
	core, err := s.cfg.Load(l.id, s.rowsOf(l.id, nil), s.cold)
	if err != nil {
		return fmt.Errorf("load an actor: %w", err)
	}
	l.core = core
	l.remember(s.cold)
	return nil
}

// hibernate an actor, unless something of it is under way or would be lost.
// The row is emptied first and the actor ended by its own mailbox, so that
// mail that waits there is not overtaken.
func (s *Shard) hibernate(l *live) bool {
	if l.busy || l.state != running || l.batch > s.settled || l.late != nil || (l.core != nil && !l.core.Idle()) {
		return false
	}
	if l.core == nil { // its first message is still to come, or failed to load
		s.vacate(l, s.rows.detach(l.row, nil), 0)
	} else {
		s.vacate(l, l.core.Attachments(), l.core.Deadline())
	}
	s.root.Poison(l.pid)
	s.cfg.Metrics.Hibernations.Inc()
	return true
}

// vacate the actor's slot, and keep in its row what is volatile, if anything.
func (s *Shard) vacate(l *live, keep []user.Attachment, deadline uint64) {
	s.lives[l.slot], l.late = nil, nil
	s.vacant = append(s.vacant, l.slot)
	s.rows.at(l.row).live = 0
	s.rows.detach(l.row, nil)
	s.rows.attach(l.row, keep)
	s.wake(l.row, deadline)
}

// stop an actor at once; its mail is lost.
func (s *Shard) stop(l *live) {
	l.waiting = nil
	s.root.Stop(l.pid)
}
