package user

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/invariant"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// turn is one step in progress.
type turn struct {
	*State
	ctx Context
	out Output

	// Room for what most steps put out.
	mutations [1]*storepb.Mutation
	effects   [2]Effect
}

// Scratch is memory for a step, to be used again. An Output that was made with
// it is good until the next use, its Entries, Steps and messages for good. Nil
// has every step make its own.
type Scratch struct {
	step     turn
	accept   acceptance
	progress progressing
	append   appending

	progressed, appended bool // in this step already
}

func (s *Scratch) turn() *turn {
	if s == nil {
		return &turn{}
	}
	s.step, s.progressed, s.appended = turn{}, false, false
	return &s.step
}

func (s *Scratch) progressing() *progressing {
	if s == nil || s.progressed {
		return &progressing{}
	}
	s.progress, s.progressed = progressing{}, true
	return &s.progress
}

func (s *Scratch) appending() *appending {
	if s == nil || s.appended {
		return &appending{}
	}
	s.append, s.appended = appending{}, true
	return &s.append
}

func (s *Scratch) acceptance() *acceptance {
	if s == nil {
		return &acceptance{}
	}
	s.accept = acceptance{}
	return &s.accept
}

// Step takes one input: from a gateway (Attach, Detach, Pull, Ack, Read, Send,
// Typing, Signal, Watch, Unwatch, DevicesSeen), from the REST API (Ask, Unpark),
// from another actor (storepb.Step), or Tick. The peers it Needs are in memory.
func (s *State) Step(ctx Context, in any) Output {
	t := ctx.Scratch.turn()
	t.State, t.ctx = s, ctx
	t.out.Mutations, t.out.Effects = t.mutations[:0], t.effects[:0]
	switch m := in.(type) {
	case *nodepb.Send:
		t.send(m, nil)
	case *nodepb.Ack:
		t.ack(m)
	case *storepb.Step:
		t.relayed(m)
	case *nodepb.Pull:
		t.pull(m)
	case *nodepb.Read:
		t.markRead(m)
	case *nodepb.Attach:
		t.attach(m)
	case *nodepb.Detach:
		t.detach(m)
	case *nodepb.Typing:
		t.typing(m)
	case *nodepb.Signal:
		t.signal(m)
	case *nodepb.Watch:
		t.watch(m)
	case *nodepb.Unwatch:
		t.effect(DropWatch{Conn: m.GetOrigin().GetConn()})
	case *nodepb.DevicesSeen:
		t.devicesSeen(m)
	case *nodepb.Ask:
		t.ask(m)
	case *nodepb.Unpark:
		t.unpark(m)
	case Tick:
		t.tick(m)
	default:
		invariant.Check(false, "user: input of type %T", in)
	}
	if t.full != t.copied() {
		t.full = !t.full
		t.tellDevices()
	}
	return t.out
}

// Needs names the peers whose rows the input touches. The list is good until
// the next call.
func (s *State) Needs(in any) []string {
	switch m := in.(type) {
	case *nodepb.Send:
		return s.needsOne(m.GetOrigin().GetUser())
	case *nodepb.Ack:
		return s.peersUpTo(m.GetOrigin().GetDevice(), m.GetSeq())
	case *storepb.Step:
		if w := m.GetWatermark(); w != nil {
			return s.needsOne(w.GetPeer())
		}
	case *nodepb.Read:
		return s.needsOne(m.GetPeer())
	case *nodepb.Attach:
		return s.peersUpTo(m.GetOrigin().GetDevice(), m.GetAcked())
	case *nodepb.Watch:
		return s.needsOne(m.GetOrigin().GetUser())
	case *nodepb.Ask:
		return s.needsOfAsk(m)
	case Tick:
		if s.retry != 0 || s.absent(m.Expiry) != nil {
			return s.peers()
		}
		return s.peersExpiring(m.Expiry)
	}
	return nil
}

func (s *State) needsOne(peer string) []string {
	s.needed[0] = peer
	return s.needed[:]
}

func (s *State) needsOfAsk(m *nodepb.Ask) []string {
	switch b := m.GetBody().(type) {
	case *nodepb.Ask_Send:
		return []string{b.Send.GetOrigin().GetUser()}
	case *nodepb.Ask_GetProfile:
		return []string{m.GetAsker()}
	case *nodepb.Ask_AckUpTo:
		return s.peersUpTo(m.GetDevice(), b.AckUpTo.GetSeq())
	case *nodepb.Ask_SetBlock:
		return []string{b.SetBlock.GetUser()}
	case *nodepb.Ask_UnlinkDevice, *nodepb.Ask_DeleteAccount:
		return s.peers()
	}
	return nil
}

// peers are those of all stored messages.
func (s *State) peers() []string {
	var peers []string
	for _, it := range s.index {
		peers = addPeer(peers, it)
	}
	return peers
}

// peersUpTo are those whose messages the device would ack by seq.
func (s *State) peersUpTo(device uint32, seq uint64) []string {
	d := s.device(device)
	if d == nil {
		return nil
	}
	var peers []string
	for i := s.after(d.cursor); i < len(s.index) && s.index[i].seq <= seq; i++ {
		peers = addPeer(peers, s.index[i])
	}
	return peers
}

func (s *State) peersExpiring(now uint64) []string {
	var peers []string
	for _, it := range s.index {
		if it.expires != 0 && it.expires <= now {
			peers = addPeer(peers, it)
		}
	}
	return peers
}

func addPeer(peers []string, it item) []string {
	if it.kind != itemInbound || slices.Contains(peers, it.peer) {
		return peers
	}
	return append(peers, it.peer)
}

// after is the position in the index of the first entry past seq.
func (s *State) after(seq uint64) int {
	i, found := slices.BinarySearchFunc(s.index, seq, func(it item, seq uint64) int { return cmp.Compare(it.seq, seq) })
	if found {
		i++
	}
	return i
}

func (t *turn) effect(e Effect)                   { t.out.Effects = append(t.out.Effects, e) }
func (t *turn) tell(conn uint64, m proto.Message) { t.effect(ToConn{Conn: conn, Msg: m}) }
func (t *turn) relay(m *storepb.Step)             { t.effect(Relay{Step: m}) }

func (t *turn) mutate(m *storepb.Mutation) {
	m.User = t.id
	t.out.Mutations = append(t.out.Mutations, m)
}

// put writes one row; a nil value deletes it.
func (t *turn) put(kind mailbox.Kind, suffix []byte, value proto.Message) {
	m, err := mailbox.RowOf(t.id, kind, suffix, value)
	invariant.Check(err == nil, "user: %v", err) // strings were checked as UTF-8 where they came in
	t.mutate(m)
}

// nextSeq gives the next seq of the mailbox.
func (t *turn) nextSeq() uint64 {
	t.lastSeq++
	return t.lastSeq
}

// nextTime gives a time after every one seen here and after the given one: a
// hybrid logical clock (Kulkarni et al., Logical Physical Clocks, 2014), 48
// bits of milliseconds and 16 of counter.
func (t *turn) nextTime(after uint64) uint64 {
	t.lastTime = max(t.ctx.Now<<16, t.lastTime+1, after+1)
	return t.lastTime
}

// enter puts an entry into the index, and pushes it to the live devices; room is
// for the first push, or nil.
func (t *turn) enter(e *storepb.Entry, room *nodepb.Push) {
	it := t.itemOf(e)
	t.index = append(t.index, it)
	t.weigh(it, 1)
	t.soonest(it.expires)
	for _, d := range t.devices {
		if !d.att.Live || d.number() == e.GetSkip() || d.start >= e.GetSeq() {
			continue
		}
		if room == nil {
			room = &nodepb.Push{}
		}
		room.Session, room.Previous, room.Entry = d.att.Session, d.att.Pushed, e
		t.tell(d.att.Conn, room)
		room = nil
		d.att.Pushed = e.GetSeq()
	}
	if len(t.parked) > 0 { // all of them after seqs given before this one
		t.wake(func(p Attachment) bool { return p.Device != e.GetSkip() })
	}
}

// appending is what an entry is written as, in one allocation.
type appending struct {
	mutation storepb.Mutation
	op       storepb.Mutation_Append
	append   storepb.Append
	mailbox  storepb.MailboxRow
}

// append adds an entry that is not an accepted message.
func (t *turn) append(e *storepb.Entry, replaces uint64, receipt *storepb.ReceiptRow) {
	e.Seq = t.nextSeq()
	if replaces != 0 && !t.remove(replaces) {
		replaces = 0
	}
	if receipt != nil {
		receipt.Seq = e.GetSeq()
	}
	m := t.ctx.Scratch.appending()
	m.mutation.Op, m.op.Append = &m.op, &m.append
	m.append.Entry, m.append.Replaces, m.append.ReceiptRow, m.append.Mailbox = e, replaces, receipt, &m.mailbox
	m.mailbox.LastSeq, m.mailbox.LastTime = t.lastSeq, t.lastTime
	t.mutate(&m.mutation)
	t.enter(e, nil)
}

// remove takes one entry out of the index.
func (t *turn) remove(seq uint64) bool {
	i := t.after(seq - 1)
	if i == len(t.index) || t.index[i].seq != seq {
		return false
	}
	t.forget(t.index[i])
	t.index = slices.Delete(t.index, i, i+1)
	return true
}

// forget takes an entry that leaves the index out of the sums.
func (t *turn) forget(it item) {
	t.weigh(it, -1)
	if c := t.convs[it.peer]; c != nil && it.kind == itemInbound {
		c.entries--
		c.bytes -= int(it.size)
	}
}

// firstStored is the head: the lowest seq that may still be stored.
func (t *turn) firstStored() uint64 {
	if len(t.index) > 0 {
		return t.index[0].seq
	}
	return t.lastSeq + 1
}

func (t *turn) ttl(ms uint64) uint64 {
	most := t.settings.ttl()
	if ms == 0 || ms > most {
		ms = most
	}
	return t.ctx.Now + ms
}
