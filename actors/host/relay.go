package host

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/rookery-im/rookery/internal/invariant"
	"github.com/rookery-im/rookery/persistence/mailbox"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// TakeStep takes a step of another shard, or of this one. Taken or not, the
// source learns by Confirm, Resend, or by time.
func (s *Shard) TakeStep(src uint32, number uint64, step *storepb.Step) error {
	if err := s.takes(step); err != nil {
		return err
	}
	p, now := s.inbox.pair(src), s.cfg.Now()
	switch p.judge(number) {
	case verdictKnown:
		if number <= p.committed {
			s.cfg.Router.Confirm(src, s.cfg.Shard, p.committed)
		}
		return nil
	case verdictGap:
		if p.ask(now, uint64(s.cfg.Resend.Milliseconds())) {
			s.cfg.Router.Resend(src, s.cfg.Shard, p.taken+1)
		}
		return nil
	}
	if err := s.tryStep(p, src, number, step); err != nil {
		return err
	}
	p.taken = number
	s.open.mark(src, number)
	if s.open.since == 0 {
		s.open.since = now
	}
	return nil
}

// errRepeat: a step was not taken; its source repeats it.
var errRepeat = errors.New("host: the actor panicked on the step")

// tryStep hands a step to its actor. One that keeps panicking is set aside: a
// pair that is wedged by one step would lose all later ones.
func (s *Shard) tryStep(p *inPair, src uint32, number uint64, step *storepb.Step) error {
	to := step.GetTo()
	if !s.ready(to) {
		s.cfg.Metrics.dropBusy.Inc()
		return ErrBusy
	}
	err := s.Tell(to, step)
	switch {
	case errors.Is(err, ErrUser):
	case err != nil:
		return err
	case s.failed != nil:
		return s.takes(step)
	case s.stepped:
		return nil
	case !p.failed(number, restartsAllowed):
		return errRepeat
	}
	s.cfg.Metrics.dropStep.Inc()
	s.log.Error("a step is set aside, no actor could take it", "from", src, "number", number, "user", to)
	return nil
}

// ready says whether the user's actor would take a message at once.
func (s *Shard) ready(id string) bool {
	n := s.rows.find(id)
	if n == 0 {
		return true
	}
	l := s.lives[s.rows.at(n).live]
	return l == nil || (!l.busy && l.state == running)
}

// TakeConfirm notes that a shard has taken this one's steps up to number.
func (s *Shard) TakeConfirm(dst uint32, number uint64) {
	if !s.Leading() || !s.outbox.confirm(dst, number, s.cfg.Now()) {
		return
	}
	s.refill(s.outbox.pair(dst))
}

// TakeResend sends steps to a shard again that it did not get.
func (s *Shard) TakeResend(dst uint32, from uint64) {
	if !s.Leading() {
		return
	}
	p := s.outbox.pair(dst)
	if from > p.confirmed {
		s.resend(p, from)
	}
}

// repeat what has been unconfirmed for too long.
func (s *Shard) repeat(now uint64) {
	for _, p := range s.outbox.pairs {
		if len(p.window) > 0 && over(now, p.moved, uint64(s.cfg.Resend.Milliseconds())) {
			p.moved = now
			s.resend(p, p.confirmed+1)
		}
	}
}

func (s *Shard) resend(p *outPair, from uint64) {
	for i := from - p.confirmed - 1; i < uint64(len(p.window)); i++ {
		s.cfg.Router.Relay(s.cfg.Shard, p.to, p.confirmed+1+i, p.window[i])
	}
}

// refill the window from the rows, and send what came in.
func (s *Shard) refill(p *outPair) {
	from, n := p.missing()
	if n == 0 {
		return
	}
	steps, err := s.stepsOf(p.to, from, n)
	if err != nil {
		s.fail(err)
		return
	}
	p.fill(steps, s.cfg.Now())
	s.resend(p, from)
}

func (s *Shard) stepsOf(to uint32, from uint64, n int) ([]*storepb.Step, error) {
	steps := make([]*storepb.Step, 0, n)
	var failed error
	prefix := s.cfg.Space.Key("", mailbox.Outbox, mailbox.U32(to)...)
	err := s.cfg.Store.Scan(prefix, mailbox.OutboxKey(s.cfg.Space, to, from), func(key, value []byte) bool {
		number := binary.BigEndian.Uint64(key[len(prefix):])
		if want := from + uint64(len(steps)); number != want {
			failed = fmt.Errorf("outbox to shard %d: row %d where %d should be", to, number, want)
			return false
		}
		step := &storepb.Step{}
		if failed = step.UnmarshalVT(value); failed != nil {
			return false
		}
		steps = append(steps, step)
		return len(steps) < n
	})
	if err == nil {
		err = failed
	}
	if err == nil && len(steps) < n {
		err = fmt.Errorf("outbox to shard %d: %d rows from %d, %d should be", to, len(steps), from, n)
	}
	return steps, err
}

// ride adds to a batch that goes out anyway what was waiting for one: how far
// other shards' steps are taken, and the deletion of confirmed ones.
func (s *Shard) ride(b *batch) {
	for _, m := range b.marks {
		s.addOwn(b, &storepb.Mutation{Op: &storepb.Mutation_InboxMark{
			InboxMark: &storepb.InboxMark{Shard: m.src, Number: m.number},
		}})
	}
	if b.count == 0 && len(b.effects)+len(b.heard) > 0 {
		return // a read stays a read
	}
	for _, t := range s.outbox.trims() {
		b.trims = append(b.trims, t)
		s.addOwn(b, &storepb.Mutation{Op: &storepb.Mutation_OutboxTrim{OutboxTrim: t}})
	}
}

func (s *Shard) addOwn(b *batch, m *storepb.Mutation) {
	err := b.add(m)
	invariant.Check(err == nil, "host: encode %T: %v", m.GetOp(), err)
}

// restore outbox and inbox from the rows.
func (s *Shard) restore() error {
	read := func(kind mailbox.Kind) (marks []mark, err error) {
		err = s.rowsOf("", nil).Scan(byte(kind), nil, func(_, value []byte) error {
			var m storepb.InboxMark
			err := m.UnmarshalVT(value)
			marks = append(marks, mark{m.GetShard(), m.GetNumber()})
			return err
		})
		return marks, err
	}
	taken, err := read(mailbox.Inbox)
	if err != nil {
		return fmt.Errorf("read the inbox: %w", err)
	}
	for _, m := range taken {
		p := s.inbox.pair(m.src)
		p.taken, p.committed = m.number, m.number
	}
	given, err := read(mailbox.OutboxNumber)
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	for _, m := range given {
		if err := s.restorePair(m.src, m.number); err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
	}
	return nil
}

func (s *Shard) restorePair(to uint32, given uint64) error {
	var first uint64
	prefix := mailbox.U32(to)
	err := s.rowsOf("", nil).Scan(byte(mailbox.Outbox), prefix, func(suffix, _ []byte) error {
		first = binary.BigEndian.Uint64(suffix[len(prefix):])
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	s.outbox.restore(to, given, first)
	p := s.outbox.pair(to)
	from, n := p.missing()
	if n == 0 {
		return nil
	}
	steps, err := s.stepsOf(to, from, n)
	p.fill(steps, 0) // as if long ago: Lead sends them at once
	return err
}

// errEnough ends a scan.
var errEnough = errors.New("enough")
