package host

import (
	"encoding/binary"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/mailbox"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// batch is one entry of the log in the making, and what waits for it. It is
// encoded as it grows, so that a mutation may share memory with a state.
type batch struct {
	token   uint64
	rooms   *rooms
	data    []byte // of a storepb.Batch; term and now are the last of it
	count   int    // mutations in data
	effects []pending
	asks    []ask
	marks   []mark                // how far other shards' steps are taken in it
	trims   []*storepb.OutboxTrim // those in data
	heard   []heard               // what actors were told beforehand in it
	eager   bool                  // flush at the next opportunity
	since   uint64                // when the first output came in, milliseconds
}

// Fields of storepb.Batch.
const (
	batchTerm      = 1
	batchNow       = 2
	batchMutations = 3
)

// pending is an effect that waits for its batch.
type pending struct {
	user   string
	effect user.Effect
	to     uint32 // of a Relay
	number uint64
}

// mark: the steps of src up to number are taken.
type mark struct {
	src    uint32
	number uint64
}

func (b *batch) empty() bool {
	return b.count == 0 && len(b.effects) == 0 && len(b.marks) == 0 && len(b.heard) == 0 && !b.eager
}

func (b *batch) full() bool {
	return b.count >= limits.BatchMutations || len(b.data) >= limits.BatchBytes || len(b.effects)+len(b.heard) >= limits.BatchMutations
}

func (b *batch) add(m *storepb.Mutation) error {
	before, size := len(b.data), m.SizeVT()
	b.data = b.rooms.grow(b.data, 1+binary.MaxVarintLen64+size)
	b.data = append(b.data, batchMutations<<3|byte(protowire.BytesType))
	b.data = protowire.AppendVarint(b.data, uint64(size))
	at := len(b.data)
	b.data = b.data[:at+size]
	_, err := m.MarshalToSizedBufferVTStrict(b.data[at:])
	if err == nil {
		// What applying would refuse may not get into the log.
		_, err = mailbox.ReadMutation(b.data[at:])
	}
	if err != nil {
		b.data = b.data[:before]
		return err
	}
	b.count++
	return nil
}

// finish makes the entry, in the batch's own memory, which stays as it is until
// the batch is settled.
func (b *batch) finish(term, now uint64) []byte {
	b.data = b.rooms.grow(b.data, 2*(1+binary.MaxVarintLen64))
	b.data = protowire.AppendTag(b.data, batchTerm, protowire.VarintType)
	b.data = protowire.AppendVarint(b.data, term)
	b.data = protowire.AppendTag(b.data, batchNow, protowire.VarintType)
	b.data = protowire.AppendVarint(b.data, now)
	return b.data
}

// reset for reuse.
func (b *batch) reset(token uint64) *batch {
	clear(b.effects)
	clear(b.asks)
	clear(b.trims)
	clear(b.heard)
	*b = batch{
		token: token, rooms: b.rooms, data: b.rooms.keep(b.data), effects: b.effects[:0], asks: b.asks[:0], marks: b.marks[:0], trims: b.trims[:0], heard: b.heard[:0],
	}
	return b
}

// mark that a step of a shard was taken in this batch.
func (b *batch) mark(src uint32, number uint64) {
	for i := range b.marks {
		if b.marks[i].src == src {
			b.marks[i].number = number
			return
		}
	}
	b.marks = append(b.marks, mark{src, number})
}

// Pending says that there is something to flush, now or within limits.LazyDelay.
func (s *Shard) Pending() bool { return !s.open.empty() }

// Due says that Flush would send the open batch on its way at once. One that is
// not taken is tried again with the next tick: a disk may stay full for long.
func (s *Shard) Due() bool {
	return s.flight == nil && !s.held.is && (s.open.eager || s.open.full()) && s.Leading()
}

// Flush sends the open batch on its way, unless one is in flight, or nothing
// in it is in a hurry yet.
func (s *Shard) Flush() {
	if !s.Leading() || s.flight != nil || s.open.empty() {
		return
	}
	b, now := s.open, s.cfg.Now()
	if !b.eager && !b.full() && !over(now, b.since, uint64(limits.LazyDelay.Milliseconds())) {
		return
	}
	data, count := len(b.data), b.count
	s.ride(b)
	if b.count == 0 && len(b.effects) == 0 && len(b.heard) == 0 {
		b.reset(b.token)
		return
	}
	if err := s.start(b, now); err != nil {
		// Nothing is void yet: the batch stays open, and is tried again until it
		// is taken or the term ends. When it is full, Tell says ErrBusy.
		b.data, b.count, b.trims = b.data[:data], count, b.trims[:0]
		s.outbox.keepTrims()
		s.hold(now, err)
		return
	}
	s.held.is = false
	s.flight, s.open = b, s.fresh(b.token+1)
}

func (s *Shard) start(b *batch, now uint64) error {
	if b.count == 0 {
		s.cfg.Metrics.Reads.Inc()
		return s.raft.Read(b.token)
	}
	err := s.raft.Propose(b.token, b.finish(s.term, now))
	if err == nil {
		s.cfg.Metrics.BatchMutations.Observe(float64(b.count))
		s.cfg.Metrics.BatchBytes.Observe(float64(len(b.data)))
	}
	return err
}

// holdNews is how long batches are not taken before that is worth a line: while
// leadership is handed over none is, for a moment.
const holdNews = 2 * time.Second

// held says that the last attempt to flush was refused.
type held struct {
	is    bool
	since uint64 // first of them, milliseconds
	told  bool
}

func (s *Shard) hold(now uint64, err error) {
	s.cfg.Metrics.Held.Inc()
	switch h := &s.held; {
	case !h.is:
		*h = held{is: true, since: now}
	case !h.told && over(now, h.since, uint64(holdNews.Milliseconds())):
		h.told = true
		s.log.Warn("batches are not taken", "err", err)
	}
}

// over says whether a time has passed since then, by the wall clock: when that
// was set back there is no telling, and waiting for it to catch up could take hours.
func over(now, since, wait uint64) bool { return now >= since+wait || now < since }

func (s *Shard) fresh(token uint64) *batch {
	if b := s.spare; b != nil {
		s.spare, b.token = nil, token
		return b
	}
	return &batch{token: token, rooms: s.cfg.System.rooms}
}

// Committed says that the batch in flight is applied.
func (s *Shard) Committed(token uint64) { s.settle(token) }

// Confirmed says that this node still led when the batch in flight was asked for.
func (s *Shard) Confirmed(token uint64) { s.settle(token) }

func (s *Shard) settle(token uint64) {
	if s.flight == nil || s.flight.token != token || s.failed != nil {
		return
	}
	b := s.flight
	s.flight, s.settled = nil, token
	s.release(b)
	s.spare = b.reset(0)
	s.revive()
}

// Dropped says that the batch in flight is definitely not in the log. What was
// computed on it is void: the open batch, and every state that either touched.
func (s *Shard) Dropped(token uint64) {
	if s.flight == nil || s.flight.token != token {
		return
	}
	before := s.settled
	flight, open := s.takeBatches()
	var out notices
	out.refuse(flight.asks, dropped())
	out.refuse(open.asks, dropped())
	if !mutantKeepState {
		s.discard(before, &out)
	}
	s.lose(flight.effects, &out)
	s.lose(open.effects, &out)
	s.outbox.rollback()
	s.inbox.rollback()
	s.cfg.Metrics.dropBatch.Inc()
	s.revive()
	out.send(s.cfg.Gateway)
}

// lose effects. The end of a watch is not one that can be lost.
func (s *Shard) lose(effects []pending, out *notices) {
	for i := range effects {
		if _, ok := effects[i].effect.(user.DropWatch); ok {
			s.do(&effects[i])
		}
	}
	out.lose(effects)
}

// takeBatches ends the batch in flight and the open one.
func (s *Shard) takeBatches() (flight, open *batch) {
	flight, open = s.flight, s.open
	s.flight, s.spare, s.settled = nil, nil, open.token
	s.open = s.fresh(open.token + 1)
	return flight, open
}

// discard the actors that lost batches touched; settled is from before.
func (s *Shard) discard(settled uint64, out *notices) {
	for _, l := range s.lives {
		if l == nil || l.batch <= settled || l.state != running {
			continue
		}
		s.abandon(l, out)
		s.stop(l)
		s.vacate(l, nil, 0)
	}
}
