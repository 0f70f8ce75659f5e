package node

import (
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/actors/host"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
	"github.com/rookery-im/rookery/transport/session"
)

// mail is one word between two shards of this node.
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

// deliver hands out what is queued. What that queues waits for the next call.
func (r *router) deliver() {
	now := r.queue
	r.queue = r.spare[:0]
	for _, m := range now {
		switch m.kind {
		case mailStep:
			// What is not taken now is sent again.
			_ = r.shards[m.dst].TakeStep(m.src, m.number, m.step)
		case mailConfirm:
			r.shards[m.src].TakeConfirm(m.dst, m.number)
		case mailResend:
			r.shards[m.src].TakeResend(m.dst, m.number)
		case mailTell:
			r.shards[m.dst].TakeTell(m.src, m.step)
		case mailTold:
			r.shards[m.src].TakeTold(m.step)
		}
	}
	clear(now)
	r.spare = now[:0]
}

// gateway is where actors' answers go: to sessions, or to REST requests.
type gateway struct {
	sessions *session.Gateway
	rest     *backend
	lived    func(user string, shard uint32) bool
}

func (g *gateway) Deliver(conn uint64, msg proto.Message) {
	switch m := msg.(type) {
	case *nodepb.Answer:
		g.rest.answered(m)
	case *nodepb.Woken:
		g.rest.wake(conn &^ restBit)
	default:
		g.sessions.Deliver(conn, msg)
	}
}

func (g *gateway) Unknown(conn uint64) {
	if isRequest(conn) {
		g.rest.unknown(conn &^ restBit)
		return
	}
	g.sessions.Unknown(conn)
}

func (g *gateway) Lost(conn uint64, user string) {
	if isRequest(conn) {
		g.rest.wake(conn &^ restBit)
		return
	}
	g.sessions.Lost(conn, user)
}

func (g *gateway) Left(shard uint32) {
	lived := func(user string) bool { return g.lived(user, shard) }
	g.sessions.Left(lived)
	g.rest.left(lived)
}
