package route

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	wirepb "github.com/rookery-im/rookery/proto/rookery/wire/v1"
)

func protoField(n int) protowire.Number { return protowire.Number(n) } //nolint:gosec // a constant

// Hear a body of a kind from another node.
func (x *Exchange) Hear(k Kind, from string, body []byte) {
	number, ok := x.cfg.Members.Number(from)
	if !ok || number == x.self || x.cfg.Shards == 0 {
		x.cfg.Metrics.drop(dropStranger)
		return
	}
	x.awake(x.cfg.Now())
	var err error
	switch k {
	case Words:
		err = x.hearWords(number, body)
	case Deliveries:
		err = x.hearDeliveries(number, body)
	case Mail:
		err = x.hearMail(body)
	case Beacon:
		err = x.hearBeacon(number, body)
	}
	if err != nil {
		x.cfg.Metrics.drop(dropBroken)
		x.cfg.Log.Warn("what another node said makes no sense", "kind", k, "node", from, "err", err)
	}
	x.settle()
}

// lives takes in which life of a node speaks; false where it has ended.
func (x *Exchange) lives(number uint16, incarnation uint64) bool {
	was := x.directory.Incarnation(number)
	return x.heard(number, was, x.directory.Live(number, incarnation, x.cfg.Now()))
}

// heard of a node: what its life before, was, had with actors here is forgotten.
func (x *Exchange) heard(number uint16, was uint64, news News) bool {
	switch news {
	case Stale:
		x.cfg.Metrics.drop(dropStale)
		return false
	case NewLife:
		x.former[number] |= 1 << (was & lifeMask)
		x.renew(number)
		delete(x.expelled, number)
		x.cfg.Owners.Disown(x.ended)
	case Alive:
		if x.expelled[number] {
			delete(x.expelled, number)
			x.to(number).torn = true // its sessions are to attach again
		}
	}
	return true
}

// expel the nodes that have said nothing for so long that all their sessions have
// ended: what those had with actors here is forgotten. Only time in which this node
// listened counts.
func (x *Exchange) expel(now time.Time) {
	if now.Sub(x.listening) < Expelling {
		return
	}
	more := false
	for _, number := range x.directory.Mute(now.Add(-Expelling)) {
		if number != x.self && !x.expelled[number] {
			x.expelled[number], more = true, true
			x.cfg.Log.Warn("a node was not heard for long; its sessions are taken for ended", "number", number, "for", Expelling)
		}
	}
	if more {
		x.cfg.Owners.Disown(x.ended)
	}
}

// awake notices that this node did not run for a while, before it believes what has
// waited for it meanwhile. Where it was so long that its sessions would have parted,
// they do: their users' actors are led elsewhere by now and have forgotten them, and
// may have said of a device that it is unlinked.
func (x *Exchange) awake(now time.Time) {
	gap := now.Sub(x.ticked)
	x.ticked = now
	if gap < Doubt {
		return
	}
	x.listening = now
	x.directory.Awoke(now)
	x.pastSpell(x.spell)
	if gap >= Parting && len(x.cfg.Members.Others()) > 0 {
		x.cfg.Log.Warn("this node did not run for long; its sessions end", "for", gap)
		x.cfg.Sessions.Parted(func(string) bool { return true })
	}
}

// renew what waits for a node that has started anew: it was for the life before.
func (x *Exchange) renew(number uint16) {
	o := x.out[number]
	if o == nil {
		return
	}
	words := o.bodies[Words]
	*o = outgoing{number: number}
	if words != nil {
		x.refuseAll(o, words[len(x.cfg.Office.Body(Words, 0)):])
		o.owed = nil
	}
}

// ended says whether a connection is of a life that is known to have ended.
func (x *Exchange) ended(c Conn) bool {
	number := Node(c)
	if number == x.self {
		return !x.cfg.Stamp.Ours(c)
	}
	if _, member := x.cfg.Members.Node(number); !member || x.expelled[number] {
		return true
	}
	life := x.directory.Incarnation(number)
	return life != 0 && (!sameLife(c, life) || x.mistakable(number))
}

// mistakable says whether ids of the life that a node is in cannot be told from
// those of one before, of which something here is not forgotten yet.
func (x *Exchange) mistakable(number uint16) bool {
	return x.former[number]>>(x.directory.Incarnation(number)&lifeMask)&1 != 0
}

// forgotten is what all lives that have ended had with actors here.
func (x *Exchange) forgotten() {
	if len(x.former) > 0 && x.cfg.Owners.Disowned() {
		clear(x.former)
	}
}

func (x *Exchange) hearWords(from uint16, body []byte) error {
	var m wirepb.Words
	if err := m.UnmarshalVT(body); err != nil {
		return err
	}
	if !x.lives(from, m.GetIncarnation()) {
		return nil
	}
	x.directory.Spell(from, m.GetSpell())
	for _, w := range m.GetWords() {
		in, conn := input(w)
		switch {
		case in == nil:
			x.cfg.Metrics.drop(dropKind)
		case Node(conn) != from || !sameLife(conn, m.GetIncarnation()):
			x.cfg.Metrics.drop(dropForeign)
		default:
			x.take(from, m.GetSpell(), w.GetUser(), in, conn)
		}
	}
	return nil
}

// take a word of another node, or say that it was not taken.
func (x *Exchange) take(from uint16, spell uint32, user string, in any, conn Conn) {
	shard := x.cfg.ShardOf(user)
	if over, fenced := x.fenced(from, spell, in); fenced {
		x.cfg.Metrics.drop(dropFenced)
		x.notTake(from, shard, in, conn, &wirepb.NotTaken{User: user, Busy: true, Spell: over})
		return
	}
	if m, ok := in.(*nodepb.Send); ok && m.GetTerm() < x.termOf(m) {
		m.Copy = true // the session has not attached in the term that is known here
	}
	if _, leads := x.cfg.Owners.Leads(shard); leads && !x.mistakable(from) && x.cfg.Owners.Tell(shard, user, in) == nil {
		return
	}
	_, leads := x.cfg.Owners.Leads(shard)
	no := &wirepb.NotTaken{User: user, Busy: leads}
	if to, known, ok := x.directory.Leader(shard, x.cfg.Now()); ok && !leads && to != x.self {
		no.Leader, no.Term = uint32(to), known
	}
	x.notTake(from, shard, in, conn, no)
}

// notTake says that a word was not taken, if it is one that somebody waits for.
func (x *Exchange) notTake(from uint16, shard uint32, in any, conn Conn, no *wirepb.NotTaken) {
	kind, tag, told := kindOf(in)
	if !told {
		return
	}
	no.Kind, no.Tag = kind, tag
	term, _ := x.cfg.Owners.Leads(shard)
	x.delivery.Body = &wirepb.Delivery_NotTaken{NotTaken: no}
	x.deliverTo(from, shard, conn, max(term, x.directory.Term(shard)))
}

func (x *Exchange) hearDeliveries(from uint16, body []byte) error {
	var m wirepb.Deliveries
	if err := m.UnmarshalVT(body); err != nil {
		return err
	}
	if !x.lives(from, m.GetIncarnation()) {
		return nil
	}
	if m.GetLife() != x.cfg.Incarnation {
		x.cfg.Metrics.drop(dropStale)
		return nil
	}
	for _, d := range m.GetDeliveries() {
		x.hand(from, d)
	}
	return nil
}

// hand a delivery to the connection that it is for.
func (x *Exchange) hand(from uint16, d *wirepb.Delivery) {
	shard, term := d.GetShard(), d.GetTerm()
	switch b := d.GetBody().(type) {
	case *wirepb.Delivery_Left:
		x.directory.Resign(shard, from, term)
		if term >= x.directory.Term(shard) {
			x.left[shard] = true
		}
		return
	case *wirepb.Delivery_Torn:
		x.torn(from)
		return
	case *wirepb.Delivery_NotTaken:
		x.notTaken(from, d, b.NotTaken)
		return
	}
	switch msg := message(d); {
	case !x.cfg.Stamp.Ours(d.GetConn()):
		x.cfg.Metrics.drop(dropEnded)
	case term < x.directory.Term(shard) && !lasting(d):
		x.cfg.Metrics.drop(dropDeposed)
	case msg != nil:
		x.cfg.Gateway.Deliver(d.GetConn(), msg)
	case d.GetLost() != nil:
		x.cfg.Gateway.Lost(d.GetConn(), d.GetLost().GetUser())
	case d.GetUnknown() != nil:
		x.cfg.Gateway.Unknown(d.GetConn())
	default:
		x.cfg.Metrics.drop(dropKind)
	}
}

// torn: of what that node's actors had for sessions here something is missing.
// That it was not confirmed of late does not matter: a link that was full for
// long is often one that was cut.
func (x *Exchange) torn(from uint16) {
	for shard := uint32(1); shard <= x.cfg.Shards; shard++ {
		if x.directory.Last(shard) == from {
			x.left[shard] = true
		}
	}
}

// notTaken corrects the directory, and refuses what was said.
func (x *Exchange) notTaken(from uint16, d *wirepb.Delivery, no *wirepb.NotTaken) {
	now := x.cfg.Now()
	x.pastSpell(no.GetSpell())
	if !no.GetBusy() {
		x.directory.Resign(d.GetShard(), from, d.GetTerm())
	}
	if no.GetLeader() != 0 && no.GetLeader() <= limits.NodeNumber {
		x.directory.Hint(d.GetShard(), uint16(no.GetLeader()), no.GetTerm(), now) //nolint:gosec // checked
	}
	x.settle() // before the session says more
	if x.cfg.Stamp.Ours(d.GetConn()) {
		x.refuse(d.GetConn(), no.GetKind(), no.GetTag(), no.GetUser())
	}
}

func (x *Exchange) hearMail(body []byte) error {
	var m wirepb.Mail
	if err := m.UnmarshalVT(body); err != nil {
		return err
	}
	for _, l := range m.GetLetters() {
		x.cfg.Owners.Take(l)
	}
	return nil
}

func (x *Exchange) hearBeacon(from uint16, body []byte) error {
	var m wirepb.Beacon
	if err := m.UnmarshalVT(body); err != nil {
		return err
	}
	if len(m.GetShards()) != len(m.GetTerms()) {
		return errBeacon
	}
	s := Sign{Node: from, Incarnation: m.GetIncarnation(), Beat: m.GetBeat(), Load: Load{
		Connections: m.GetConnections(), Lag: time.Duration(m.GetLag()) * time.Microsecond, Astray: m.GetAstray(),
	}}
	for i, shard := range m.GetShards() {
		s.Leads = append(s.Leads, Lead{shard, m.GetTerms()[i]})
	}
	was := x.directory.Incarnation(from)
	if news := x.directory.Hear(s, x.cfg.Now()); news != Stale {
		x.heard(from, was, news)
		x.directory.Spell(from, m.GetSpell())
	}
	return nil
}

// Returned takes back bodies of which it is not known whether the node got them: its
// life has ended, or it has forgotten this one.
func (x *Exchange) Returned(k Kind, to string, bodies [][]byte) {
	number, ok := x.cfg.Members.Number(to)
	if !ok || x.cfg.Shards == 0 {
		return
	}
	switch k {
	case Words:
		for _, body := range bodies {
			x.lostWords(x.to(number), body)
		}
	case Deliveries:
		x.to(number).torn = true
	}
}

func (x *Exchange) lostWords(o *outgoing, body []byte) {
	for _, w := range x.own(body) {
		in, conn := input(w)
		kind, _, told := kindOf(in)
		switch {
		case essential(in):
			x.remember(o, w)
		case !told:
		case kind == wirepb.NotTaken_SEND, kind == wirepb.NotTaken_ASK:
			x.cfg.Gateway.Unknown(conn)
		default:
			x.cfg.Gateway.Lost(conn, w.GetUser())
		}
	}
}

// Tick takes in what this node leads, tells the others, and has what is due
// done. Call it every 100 ms or so.
func (x *Exchange) Tick() {
	now := x.cfg.Now()
	x.awake(now)
	x.expel(now)
	for shard := uint32(1); shard <= x.cfg.Shards; shard++ {
		if term, leads := x.cfg.Owners.Leads(shard); leads {
			x.directory.Confirm(shard, x.self, term, now)
			continue
		}
		x.directory.Resign(shard, x.self, x.directory.Term(shard))
		if x.cfg.Follows == nil {
			continue
		}
		if node, term, ok := x.cfg.Follows(shard); ok && node != x.self {
			x.directory.Confirm(shard, node, term, now)
		}
	}
	x.forgotten()
	news := x.directory.Moved()
	x.settle()
	if parted := x.directory.Parted(now); len(parted) > 0 {
		x.cfg.Sessions.Parted(x.livedIn(set(parted)))
	}
	for len(x.unsure) > 0 && !now.Before(x.unsure[0].due) {
		d := x.unsure[0]
		x.unsure = x.unsure[1:]
		x.cfg.Sessions.Unsure(x.livedIn(d.shards), d.at)
	}
	if news || now.Sub(x.beacon) >= Every {
		x.announce()
	}
}

// Along has the beacon go with what the others are sent now anyway, if it is due soon:
// on an idle node what costs is that somebody is woken.
func (x *Exchange) Along() {
	if x.cfg.Now().Sub(x.beacon) > Every/2 {
		x.announce()
	}
}

// settle tells the sessions which shards have moved, before anything more is
// said to them.
func (x *Exchange) settle() {
	if !x.directory.Moved() && len(x.left) == 0 {
		return
	}
	now := x.cfg.Now()
	shards := x.left
	x.left = map[uint32]bool{}
	moved := x.directory.Moves()
	for _, shard := range moved {
		shards[shard] = true
	}
	x.unsure = append(x.unsure, doubt{shards, now, now.Add(grace)})
	x.cfg.Sessions.Moved(x.livedIn(shards))
}

func (x *Exchange) livedIn(shards map[uint32]bool) func(string) bool {
	return func(user string) bool { return shards[x.cfg.ShardOf(user)] }
}

func set(list []uint32) map[uint32]bool {
	m := make(map[uint32]bool, len(list))
	for _, n := range list {
		m[n] = true
	}
	return m
}

// announce what this node leads.
func (x *Exchange) announce() {
	x.beacon, x.led = x.cfg.Now(), false
	others := x.cfg.Members.Others()
	if len(others) == 0 {
		return
	}
	x.beat++
	b := &wirepb.Beacon{Incarnation: x.cfg.Incarnation, Beat: x.beat, Spell: x.spell}
	if x.cfg.Load != nil {
		l := x.cfg.Load()
		x.directory.Feel(x.self, l, x.cfg.Now())
		b.Connections, b.Astray = l.Connections, l.Astray
		b.Lag = uint32(min(l.Lag, time.Minute).Microseconds()) //nolint:gosec // bounded
	}
	for shard := uint32(1); shard <= x.cfg.Shards; shard++ {
		if term, leads := x.cfg.Owners.Leads(shard); leads {
			b.Shards, b.Terms = append(b.GetShards(), shard), append(b.GetTerms(), term)
		}
	}
	for _, node := range others {
		body := x.cfg.Office.Body(Beacon, b.SizeVT())
		at := len(body)
		body = append(body, make([]byte, b.SizeVT())...)
		if _, err := b.MarshalToSizedBufferVTStrict(body[at:]); err != nil {
			x.cfg.Log.Error("a beacon", "err", err)
			return
		}
		x.cfg.Office.Loose(node, body)
	}
}
