package node

import (
	"github.com/rookery-im/rookery/actors/host"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
	wirepb "github.com/rookery-im/rookery/proto/rookery/wire/v1"
)

// mail is one word between two shards, one of which is on this node.
type mail struct {
	kind   mailKind
	src    uint32
	dst    uint32
	number uint64
	step   *storepb.Step
}

type mailKind uint8

const (
	mailStep mailKind = iota
	mailConfirm
	mailResend
	mailTell
	mailTold
)

// router queues the mail between shards, for the loop to hand out: a shard is
// never called from within another. What is lost here is sent again; a shard
// bounds what it has unconfirmed.
type router struct {
	queue, spare []mail
	shards       map[uint32]*host.Shard
	elsewhere    func(shard uint32, l *wirepb.Letter) // for a shard that is not led here
}

func (r *router) Relay(src, dst uint32, number uint64, step *storepb.Step) {
	r.queue = append(r.queue, mail{mailStep, src, dst, number, step})
}

func (r *router) Confirm(src, dst uint32, number uint64) {
	r.queue = append(r.queue, mail{kind: mailConfirm, src: src, dst: dst, number: number})
}

func (r *router) Resend(src, dst uint32, from uint64) {
	r.queue = append(r.queue, mail{kind: mailResend, src: src, dst: dst, number: from})
}

func (r *router) Tell(src, dst uint32, step *storepb.Step) {
	r.queue = append(r.queue, mail{kind: mailTell, src: src, dst: dst, step: step})
}

func (r *router) Told(src, dst uint32, step *storepb.Step) {
	r.queue = append(r.queue, mail{kind: mailTold, src: src, dst: dst, step: step})
}

// to is the shard that the word is for.
func (m *mail) to() uint32 {
	if m.kind == mailStep || m.kind == mailTell {
		return m.dst
	}
	return m.src
}

// letter is the word as it goes to another node.
func (m *mail) letter() *wirepb.Letter {
	return &wirepb.Letter{Kind: wirepb.Letter_Kind(m.kind) + wirepb.Letter_STEP, Src: m.src, Dst: m.dst, Number: m.number, Step: m.step}
}

// take a letter that came from another node.
func (r *router) take(l *wirepb.Letter) {
	k := l.GetKind()
	m := mail{mailKind(k - wirepb.Letter_STEP), l.GetSrc(), l.GetDst(), l.GetNumber(), l.GetStep()} //nolint:gosec // looked at below
	if k < wirepb.Letter_STEP || k > wirepb.Letter_TOLD || r.shards[m.to()] == nil {
		return // a newer node's, or for a shard that has gone from here
	}
	r.queue = append(r.queue, m)
}

// deliver hands out what is queued. What that queues waits for the next call.
func (r *router) deliver() {
	now := r.queue
	r.queue = r.spare[:0]
	for i := range now {
		m := &now[i]
		s := r.shards[m.to()]
		if s == nil || !s.Leading() {
			r.elsewhere(m.to(), m.letter())
			continue
		}
		switch m.kind {
		case mailStep:
			// What is not taken now is sent again.
			_ = s.TakeStep(m.src, m.number, m.step)
		case mailConfirm:
			s.TakeConfirm(m.dst, m.number)
		case mailResend:
			s.TakeResend(m.dst, m.number)
		case mailTell:
			s.TakeTell(m.src, m.step)
		case mailTold:
			s.TakeTold(m.step)
		}
	}
	clear(now)
	r.spare = now[:0]
}
