package host

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/invariant"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// take puts what a step said into the open batch, all of it or, by a panic,
// nothing.
func (s *Shard) take(l *live, in any, out user.Output) {
	b := s.open
	data, count, effects := len(b.data), b.count, len(b.effects)
	given, err := 0, error(nil)
	for _, m := range out.Mutations {
		if err == nil {
			err = b.add(m)
		}
	}
	ephemeral := false
	for _, e := range out.Effects {
		switch e := e.(type) {
		case user.Ephemeral:
			ephemeral = true
		case user.Relay:
			if err == nil && !s.known(e) {
				err = s.enclose(l.id, e)
				given++
			}
		default:
			b.effects = append(b.effects, pending{user: l.id, effect: e})
		}
	}
	if err != nil {
		// A string that is not UTF-8; inputs are checked where they come in.
		s.takeBack(b.effects[effects:], given)
		b.data, b.count, b.effects = b.data[:data], count, b.effects[:effects]
		invariant.Check(false, "host: output cannot be encoded: %v", err)
	}
	if b.count > count || len(b.effects) > effects {
		s.touch(l, in, out.Laziness, b.count > count)
	}
	if !ephemeral {
		return
	}
	// Last, because a gateway may answer by telling an actor something.
	for _, e := range out.Effects {
		if e, ok := e.(user.Ephemeral); ok {
			s.cfg.Gateway.Deliver(e.Conn, e.Msg)
		}
	}
}

// touch notes that a step of the actor is part of the open batch.
func (s *Shard) touch(l *live, in any, lazy user.Laziness, wrote bool) {
	b := s.open
	if b.since == 0 {
		b.since = s.cfg.Now()
	}
	if lazy == user.Eager || !wrote {
		b.eager = true
	}
	l.batch = b.token
	if a, ok := askOf(in); ok {
		b.asks = append(b.asks, a)
	}
}

// enclose numbers a step into the outbox, as part of the open batch.
func (s *Shard) enclose(from string, e user.Relay) error {
	to := s.cfg.ShardOf(e.Step.GetTo())
	n := s.outbox.give(to)
	s.open.effects = append(s.open.effects, pending{user: from, effect: e, to: to, number: n})
	return s.open.add(&storepb.Mutation{Op: &storepb.Mutation_OutboxPut{
		OutboxPut: &storepb.OutboxPut{Shard: to, Number: n, Step: e.Step},
	}})
}

// takeBack the numbers of steps that go nowhere.
func (s *Shard) takeBack(effects []pending, given int) {
	for _, p := range effects {
		if p.number != 0 && given > 0 {
			s.outbox.takeBack(p.to)
			given--
		}
	}
}

// release lets out what waited for the batch, in the order of the steps.
func (s *Shard) release(b *batch) {
	for i := range b.effects {
		s.do(&b.effects[i])
		if s.failed != nil {
			return
		}
	}
	s.outbox.deleted(b.trims)
	for _, h := range b.heard {
		s.cfg.Router.Told(h.src, s.cfg.Shard, h.step)
	}
	for _, m := range b.marks {
		s.inbox.pair(m.src).committed = m.number
		s.cfg.Router.Confirm(m.src, s.cfg.Shard, m.number)
	}
}

func (s *Shard) do(p *pending) {
	switch e := p.effect.(type) {
	case user.ToConn:
		if mutantLostDeliver && s.losePush(e.Msg) {
			return
		}
		s.cfg.Gateway.Deliver(e.Conn, e.Msg)
	case user.ReadPage:
		s.readPage(p.user, e)
	case user.Relay:
		if s.outbox.commit(p.to, p.number, e.Step, s.cfg.Now()) {
			s.cfg.Router.Relay(s.cfg.Shard, p.to, p.number, e.Step)
		}
	case user.PresenceChanged:
		s.announce(p.user, e.Online, e.LastSeen)
	case user.AddWatch:
		if e.Again && !s.presence.watches(p.user, e.Conn) {
			return
		}
		if !s.presence.add(p.user, watcher{conn: e.Conn, user: e.Watcher, shown: e.Shown}, limits.Watchers) {
			s.cfg.Metrics.dropWatch.Inc()
		}
	case user.DropWatch:
		s.presence.drop(p.user, func(w watcher) bool { return w.conn == e.Conn })
	case user.Rewatch:
		s.rewatch(p.user, e.User)
	default:
		invariant.Check(false, "host: effect of type %T", e)
	}
}

// losePush is the bug of mutant_lostdeliver.
func (s *Shard) losePush(m proto.Message) bool {
	if _, ok := m.(*nodepb.Push); !ok {
		return false
	}
	s.pushes++
	return s.pushes%7 == 0
}

// announce a user's presence to those who watch.
func (s *Shard) announce(id string, online bool, lastSeen uint64) {
	for _, w := range s.presence.watchers[id] {
		if w.shown {
			s.cfg.Gateway.Deliver(w.conn, &nodepb.Presence{User: id, Online: online, LastSeen: lastSeen})
		}
	}
}

// rewatch asks the actor anew what those who watch may be shown. Until it has
// said so they are told nothing.
func (s *Shard) rewatch(id, watcher string) {
	for _, w := range s.presence.hide(id, watcher) {
		again := &nodepb.Watch{Origin: &nodepb.Origin{Conn: w.conn, User: w.user}, Again: true}
		if err := s.Tell(id, again); err != nil {
			s.cfg.Metrics.dropWatch.Inc()
		}
	}
}

// readPage sends entries as they are in the store now: with this batch, and
// without any later one.
func (s *Shard) readPage(id string, e user.ReadPage) {
	page := &nodepb.Page{Session: e.Session, After: e.After, UpTo: e.UpTo, End: e.End}
	prefix := s.cfg.Space.Key(id, mailbox.Entry)
	from := s.cfg.Space.Key(id, mailbox.Entry, mailbox.U64(max(e.After, e.Acked)+1)...)
	var failed error
	err := s.cfg.Store.Scan(prefix, from, func(_, value []byte) bool {
		entry := &storepb.Entry{}
		if failed = entry.UnmarshalVT(value); failed != nil || entry.GetSeq() > e.UpTo {
			return false
		}
		if entry.GetSkip() != e.Device && matches(e, entry) {
			page.Entries = append(page.Entries, entry)
		}
		return true
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		s.fail(err)
		return
	}
	if e.Request != 0 {
		s.cfg.Gateway.Deliver(e.Conn, &nodepb.Answer{Request: e.Request, Body: &nodepb.Answer_Page{Page: page}})
		return
	}
	s.cfg.Gateway.Deliver(e.Conn, page)
}

func matches(e user.ReadPage, entry *storepb.Entry) bool {
	m, r := entry.GetMessage(), entry.GetReceipt()
	if len(e.ID) > 0 && !bytes.Equal(m.GetId(), e.ID) {
		return false
	}
	return e.Peer == "" || m.GetPeer() == e.Peer || r.GetPeer() == e.Peer
}

// ask is an input that somebody waits to have answered. What else a session
// asks of its own actor is settled when it attaches again.
type ask struct {
	kind askKind
	conn uint64 // or the request
	tag  uint32
	user string // of an askAttach
}

type askKind uint8

const (
	askTagged  askKind = iota + 1 // a session's Send: Refused
	askAttach                     // Attached with an error
	askRequest                    // of the REST API: Answer
)

func askOf(in any) (ask, bool) {
	switch m := in.(type) {
	case *nodepb.Send:
		return ask{kind: askTagged, conn: m.GetOrigin().GetConn(), tag: m.GetTag()}, true
	case *nodepb.Attach:
		return ask{kind: askAttach, conn: m.GetOrigin().GetConn(), tag: m.GetTag(), user: m.GetOrigin().GetUser()}, true
	case *nodepb.Ask:
		return ask{kind: askRequest, conn: m.GetRequest()}, true
	default:
		return ask{}, false
	}
}

func asksOf(inputs []any) []ask {
	var list []ask
	for _, in := range inputs {
		if a, ok := askOf(in); ok {
			list = append(list, a)
		}
	}
	return list
}

func moved() *nodepb.Fault {
	return fault.New(fault.Unavailable, "", "the shard has moved; try again")
}

func dropped() *nodepb.Fault {
	return fault.New(fault.Unavailable, "", "the shard could not write; try again")
}

func broke() *nodepb.Fault {
	return fault.New(fault.Internal, "", "the request could not be handled")
}

// notices are what gateways are told about things that came to nothing. They
// are collected first and sent when the shard is whole again, because a
// gateway may answer by telling an actor something.
type notices struct {
	list []func(Gateway)
	told map[relation]struct{} // those that know already
}

// relation of a connection to an actor.
type relation struct {
	conn uint64
	user string
}

func (n *notices) send(g Gateway) {
	for _, fn := range n.list {
		fn(g)
	}
}

func (n *notices) once(conn uint64, user string) bool {
	r := relation{conn, user}
	if _, ok := n.told[r]; ok {
		return false
	}
	if n.told == nil {
		n.told = make(map[relation]struct{})
	}
	n.told[r] = struct{}{}
	return true
}

// refuse: it definitely did not happen.
func (n *notices) refuse(asks []ask, f *nodepb.Fault) {
	for _, a := range asks {
		var m proto.Message
		switch a.kind {
		case askTagged:
			m = &nodepb.Refused{Tag: a.tag, Fault: f}
		case askAttach:
			n.once(a.conn, a.user)
			m = &nodepb.Attached{Tag: a.tag, Error: f}
		case askRequest:
			n.list = append(n.list, func(g Gateway) {
				g.Deliver(0, &nodepb.Answer{Request: a.conn, Body: &nodepb.Answer_Fault{Fault: f}})
			})
			continue
		}
		n.list = append(n.list, func(g Gateway) { g.Deliver(a.conn, m) })
	}
}

// unknown: it may or may not have happened.
func (n *notices) unknown(asks []ask) {
	for _, a := range asks {
		switch a.kind {
		case askTagged:
			if n.once(a.conn, "") {
				n.list = append(n.list, func(g Gateway) { g.Unknown(a.conn) })
			}
		case askAttach: // it dies with the term in any case
			n.refuse([]ask{a}, moved())
		case askRequest:
			n.refuse([]ask{a}, fault.New(fault.Unavailable, fault.ReasonOutcomeUnknown, "the outcome is not known; send it again with the same id"))
		}
	}
}

// lost: conn has no attachment to, or watch of, the user any more.
func (n *notices) lost(conn uint64, user string) {
	if n.once(conn, user) {
		n.list = append(n.list, func(g Gateway) { g.Lost(conn, user) })
	}
}

// lose tells those to whom effects would have gone that they will not come.
// Answers to asks are refused instead.
func (n *notices) lose(effects []pending) {
	for _, p := range effects {
		switch e := p.effect.(type) {
		case user.ToConn:
			switch e.Msg.(type) {
			case *nodepb.Sent, *nodepb.Refused, *nodepb.Answer:
			default:
				n.lost(e.Conn, p.user)
			}
		case user.ReadPage:
			if e.Request == 0 {
				n.lost(e.Conn, p.user)
			}
		case user.AddWatch:
			n.lost(e.Conn, p.user)
		}
	}
}
