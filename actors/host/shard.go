package host

import (
	"bytes"
	"fmt"
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Shard is one shard on this node. Every method belongs to the loop.
type Shard struct {
	// Immutable after Bind.
	cfg     Config
	log     *slog.Logger
	root    *actor.RootContext
	address *actor.PID // the virtual PID of whom Tell is for
	props   *actor.Props
	raft    Raft

	expander *mailbox.Expander

	// State of the replica.
	failed  error // the store is broken, nothing goes on
	term    uint64
	leading bool

	// Of the term.
	sessions  uint32 // last counter of Context.Session
	rows      *rows
	wheel     *wheel
	lives     []*live // slots that rows name; 0 is unused
	vacant    []uint32
	hand      uint32  // where evict looks next
	failing   []*live // suspended after a panic, to be restarted or stopped
	presence  presence
	outbox    *outbox
	inbox     inbox
	sweep     sweep
	disowning disowning
	overdue   []overdue // in the order in which they come

	// Batches. Tokens are never used twice, in no term.
	open    *batch
	flight  *batch
	spare   *batch
	settled uint64 // every batch up to this token is applied or lost
	held    held
	pushes  uint64 // mutant_lostdeliver

	// Of the call under way.
	current  *live // whose step runs
	refused  error // why the virtual process did not take the message
	stepped  bool  // the step of the last message ran to its end
	reported reported
	checked  uint64            // when the slower part of Tick was last done
	cold     []user.Attachment // scratch
	told     []*storepb.Step   // scratch
	lates    []*late           // for reuse
	scratch  *user.Scratch     // nil while a step has it
	taking   *late             // the ack that is being taken in
}

// New makes a shard that leads nothing yet. Bind follows.
func New(cfg Config) (*Shard, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Shard{cfg: cfg, log: cfg.Log.With("shard", cfg.Shard), expander: mailbox.NewExpander(cfg.Space)}
	s.open, s.scratch = s.fresh(1), &user.Scratch{}
	s.forget()
	if err := cfg.System.add(s); err != nil {
		return nil, err
	}
	return s, nil
}

// Bind gives the shard its Raft group, whose machine it is.
func (s *Shard) Bind(r Raft) { s.raft = r }

// forget everything that dies with the term.
func (s *Shard) forget() {
	s.rows = newRows()
	s.wheel = newWheel(s.cfg.Now())
	s.lives, s.vacant, s.failing, s.hand = make([]*live, 1), nil, nil, 0
	s.presence = newPresence()
	s.outbox = newOutbox(limits.OutboxSteps)
	s.inbox = newInbox()
	s.sweep, s.disowning, s.overdue = sweep{}, disowning{}, nil
	s.sessions = 0
}

// Leading says whether Tell takes messages.
func (s *Shard) Leading() bool { return s.leading && s.failed == nil }

// Term that the shard's actors run in; meaningless unless Leading.
func (s *Shard) Term() uint64 { return s.term }

// Tell an actor something: an input of user.State's Step. The step runs before
// Tell returns, unless the actor is running already or waits for a restart. An
// error means that the message was definitely not taken.
func (s *Shard) Tell(id string, in any) error {
	if err := s.takes(in); err != nil {
		return err
	}
	if id == "" || len(id) > limits.UserID {
		return ErrUser
	}
	s.refused = nil
	s.address.Id = id
	s.root.Send(s.address, in)
	err := s.refused
	s.refused = nil
	return err
}

func (s *Shard) takes(in any) error {
	switch {
	case s.failed != nil:
		return fmt.Errorf("%w: %w", ErrFailed, s.failed)
	case !s.leading:
		return ErrNotLeading
	case s.open.full() && !essential(in):
		s.cfg.Metrics.dropBusy.Inc()
		return ErrBusy
	}
	return nil
}

// essential inputs are taken past every bound: nobody repeats them, and there
// are no more of them than there were attachments, watches and parked requests
// to begin with.
func essential(in any) bool {
	switch m := in.(type) {
	case *nodepb.Detach, *nodepb.Unwatch, *nodepb.Unpark:
		return true
	case *nodepb.Watch:
		return m.GetAgain()
	default:
		return false
	}
}

// Apply writes the rows of a committed batch. It reads nothing: replayed over
// rows that are partly ahead it ends in the same rows.
func (s *Shard) Apply(index, term uint64, data []byte) error {
	b, err := s.readBatch(term, data)
	if err != nil {
		return fmt.Errorf("host: shard %d: read entry %d: %w", s.cfg.Shard, index, err)
	}
	if b.Term != term && !mutantAnyTerm {
		s.cfg.Metrics.dropTerm.Inc()
		s.log.Warn("refused a batch of another term", "index", index, "term", term, "batch", b.Term)
		return nil
	}
	for m := range b.Mutations() {
		if mutantApplyReads && s.seen(m) {
			continue
		}
		s.expander.Expand(m, s.cfg.Store)
	}
	return nil
}

// readBatch checks a committed batch, unless it is byte for byte the one in
// flight, each mutation of which was checked when it was added.
func (s *Shard) readBatch(term uint64, data []byte) (mailbox.Batch, error) {
	if s.flight != nil && s.leading && term == s.term && len(data) > 0 && bytes.Equal(data, s.flight.data) {
		return mailbox.OwnBatch(term, data), nil
	}
	return mailbox.ReadBatch(data)
}

// seen is the bug of mutant_applyreads: to take an entry that is in the store
// as a sign that the rest of its mutation is.
func (s *Shard) seen(encoded mailbox.Mutation) bool {
	var m storepb.Mutation
	if err := m.UnmarshalVT(encoded.Bytes()); err != nil {
		return false
	}
	_, ok, err := s.cfg.Store.Get(s.cfg.Space.Key(m.GetUser(), mailbox.Entry, mailbox.U64(m.GetAccept().GetEntry().GetSeq())...))
	return m.GetAccept() != nil && ok && err == nil
}

// Lead begins the term: from now on actors run.
func (s *Shard) Lead(term uint64) {
	if s.leading {
		s.Follow()
	}
	if s.failed != nil {
		return
	}
	s.forget()
	if err := s.restore(); err != nil {
		s.fail(err)
		return
	}
	s.term, s.leading = term, true
	s.log.Debug("leading", "term", term)
	s.repeat(s.cfg.Now())
}

// Follow ends the term: of what was in flight nothing is known, and nothing of
// the shard is kept.
func (s *Shard) Follow() {
	if !s.leading {
		return
	}
	s.leading = false
	flight, open := s.takeBatches()
	var out notices
	if flight != nil {
		if flight.count > 0 {
			out.unknown(flight.asks)
		} else {
			out.refuse(flight.asks, moved())
		}
	}
	out.refuse(open.asks, moved()) // never proposed
	for _, l := range s.lives {
		if l != nil {
			out.refuse(asksOf(l.waiting), moved())
			s.stop(l)
		}
	}
	s.forget()
	s.report()
	s.log.Info("following", "term", s.term)
	out.send(s.cfg.Gateway)
	s.cfg.Gateway.Left(s.cfg.Shard)
}

// fail stops the shard for good: its store cannot be believed.
func (s *Shard) fail(err error) {
	if s.failed == nil {
		s.failed = fmt.Errorf("host: shard %d: %w", s.cfg.Shard, err)
		s.log.Error("the store is broken", "err", s.failed)
		s.cfg.Fail(s.failed)
	}
}

// session gives a number that the shard never gave before.
func (s *Shard) session() uint64 {
	s.sessions++
	return s.term<<32 | uint64(s.sessions)
}

// userRows are the rows of one user.
type userRows struct {
	store Store
	base  []byte
	read  *int // counts rows
}

func (s *Shard) rowsOf(id string, read *int) userRows {
	return userRows{store: s.cfg.Store, base: s.cfg.Space.User(id), read: read}
}

// Scan implements user.Rows.
func (r userRows) Scan(kind byte, prefix []byte, fn func(suffix, value []byte) error) error {
	key := make([]byte, 0, len(r.base)+1+len(prefix))
	key = append(append(append(key, r.base...), kind), prefix...)
	var failed error
	err := r.store.Scan(key, nil, func(k, v []byte) bool {
		if r.read != nil {
			*r.read++
		}
		failed = fn(k[len(r.base)+1:], v)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}
