package host

import (
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// outbox numbers the steps from this shard to each other one, and keeps those
// that are not confirmed. Pure: it says what to send, it sends nothing.
//
// Per pair, always: trimmed <= confirmed <= confirmed+len(window) <= committed
// <= given. The rows of the store hold the steps after trimmed; memory holds
// the window, at most outboxWindow steps, and whatever is beyond is read from
// the rows as confirmations make room. So neither a slow shard nor one that is
// gone fills this node's memory, and it is never sent more than a window.
type outbox struct {
	pairs []*outPair // in the order of their first step
	byTo  map[uint32]*outPair
	limit uint64 // unconfirmed steps per pair
	over  int    // pairs at their limit
}

type outPair struct {
	to        uint32
	given     uint64 // last number given, in whatever batch
	committed uint64 // last number whose step is in the rows
	confirmed uint64 // last number the other shard has taken
	trimming  uint64 // rows up to here are deleted by a batch under way
	trimmed   uint64 // rows up to here are deleted
	window    []*storepb.Step
	moved     uint64 // when the window was last sent or confirmed, milliseconds
	over      bool
}

const outboxWindow = 1024

func newOutbox(limit uint64) *outbox { return &outbox{byTo: make(map[uint32]*outPair), limit: limit} }

func (o *outbox) pair(to uint32) *outPair {
	p := o.byTo[to]
	if p == nil {
		p = &outPair{to: to}
		o.byTo[to] = p
		o.pairs = append(o.pairs, p)
	}
	return p
}

// restore a pair as the rows have it: the last number given, and the first
// step still there (0 for none).
func (o *outbox) restore(to uint32, given, first uint64) {
	p := o.pair(to)
	p.given, p.committed = given, given
	p.confirmed = given
	if first != 0 {
		p.confirmed = first - 1
	}
	p.trimming, p.trimmed = p.confirmed, p.confirmed
	o.weigh(p)
}

// give the next number of a pair.
func (o *outbox) give(to uint32) uint64 {
	p := o.pair(to)
	p.given++
	o.weigh(p)
	return p.given
}

// takeBack the last number given, whose step goes nowhere.
func (o *outbox) takeBack(to uint32) {
	p := o.pair(to)
	p.given--
	o.weigh(p)
}

// commit a step whose batch is applied; true says that it is to be sent now.
func (o *outbox) commit(to uint32, number uint64, step *storepb.Step, now uint64) bool {
	p := o.pair(to)
	p.committed = number
	if len(p.window) >= outboxWindow || p.confirmed+uint64(len(p.window))+1 != number {
		return false
	}
	if len(p.window) == 0 {
		p.moved = now
	}
	p.window = append(p.window, step)
	return true
}

// confirm everything up to number; false where that says nothing new. It may
// reach past the window, where an earlier leader had sent more.
func (o *outbox) confirm(to uint32, number, now uint64) bool {
	p := o.pair(to)
	if number <= p.confirmed || number > p.committed {
		return false
	}
	n := min(number-p.confirmed, uint64(len(p.window)))
	clear(p.window[:n])
	p.window = p.window[n:]
	if len(p.window) == 0 {
		p.window = nil
	}
	p.confirmed, p.moved = number, now
	o.weigh(p)
	return true
}

// missing says which committed steps belong into the window and are not there:
// n from number from. It waits until half the window is free.
func (p *outPair) missing() (from uint64, n int) {
	end := p.confirmed + uint64(len(p.window))
	if end >= p.committed || len(p.window) > outboxWindow/2 {
		return 0, 0
	}
	return end + 1, int(min(p.committed-end, uint64(outboxWindow-len(p.window))))
}

// fill the window with steps read from the rows.
func (p *outPair) fill(steps []*storepb.Step, now uint64) {
	p.window = append(p.window, steps...)
	p.moved = now
}

// trims are the ranges of rows that no batch deletes yet, as part of one that does.
func (o *outbox) trims() []*storepb.OutboxTrim {
	var out []*storepb.OutboxTrim
	for _, p := range o.pairs {
		if p.confirmed > p.trimming {
			out = append(out, &storepb.OutboxTrim{Shard: p.to, First: p.trimming + 1, Last: p.confirmed})
			p.trimming = p.confirmed
		}
	}
	return out
}

// trimmable says whether trims would return anything.
func (o *outbox) trimmable() bool {
	for _, p := range o.pairs {
		if p.confirmed > p.trimming {
			return true
		}
	}
	return false
}

// keepTrims forgets what trims returned last: the batch was not taken.
func (o *outbox) keepTrims() {
	for _, p := range o.pairs {
		p.trimming = p.trimmed
	}
}

// deleted says that the batch with these trims is applied.
func (o *outbox) deleted(trims []*storepb.OutboxTrim) {
	for _, t := range trims {
		o.pair(t.GetShard()).trimmed = t.GetLast()
	}
}

// rollback forgets what was given and trimmed by batches that are lost.
func (o *outbox) rollback() {
	for _, p := range o.pairs {
		p.given, p.trimming = p.committed, p.trimmed
		o.weigh(p)
	}
}

func (o *outbox) full() bool { return o.over > 0 }

// depth is the number of steps that are not confirmed.
func (o *outbox) depth() int {
	n := 0
	for _, p := range o.pairs {
		n += int(p.given - p.confirmed)
	}
	return n
}

func (o *outbox) weigh(p *outPair) {
	if over := p.given-p.confirmed >= o.limit; over != p.over {
		p.over = over
		if over {
			o.over++
		} else {
			o.over--
		}
	}
}

// inbox knows how far the steps of each other shard were taken. Pure.
type inbox struct {
	pairs map[uint32]*inPair
}

type inPair struct {
	taken     uint64 // last number taken, in whatever batch
	committed uint64 // last number whose taking is durable
	asked     uint64 // number last asked for again, and when
	askedAt   uint64
	broken    uint64 // number of a step that failed, and how often
	attempts  int
}

func newInbox() inbox { return inbox{pairs: make(map[uint32]*inPair)} }

func (i inbox) pair(src uint32) *inPair {
	p := i.pairs[src]
	if p == nil {
		p = &inPair{}
		i.pairs[src] = p
	}
	return p
}

// verdict on the number of a step that came in.
type verdict uint8

const (
	verdictNext  verdict = iota // take it
	verdictKnown                // taken before
	verdictGap                  // steps before it are missing
)

func (v verdict) String() string { return [...]string{"next", "known", "gap"}[v] }

func (p *inPair) judge(number uint64) verdict {
	switch {
	case number <= p.taken:
		return verdictKnown
	case number == p.taken+1:
		return verdictNext
	default:
		return verdictGap
	}
}

// ask says whether to ask for the missing steps: once per gap and interval, or
// each step behind the gap would have the whole window sent again.
func (p *inPair) ask(now, interval uint64) bool {
	if p.asked == p.taken+1 && !over(now, p.askedAt, interval) {
		return false
	}
	p.asked, p.askedAt = p.taken+1, now
	return true
}

// failed counts a failure of the step; true when it is to be set aside.
func (p *inPair) failed(number uint64, limit int) bool {
	if p.broken != number {
		p.broken, p.attempts = number, 0
	}
	p.attempts++
	return p.attempts >= limit
}

func (i inbox) rollback() {
	for _, p := range i.pairs {
		p.taken = p.committed
	}
}
