package user

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// world is everything around the cores of several users, in miniature: rows
// that only change when a batch commits, effects that wait for that, relayed
// steps that arrive in order, and for each connection the few things that a
// gateway remembers. After every step it checks the state's invariants, after
// every command that loading the rows gives the same state again.
type world struct {
	fail  func(format string, args ...any)
	trace func(format string, args ...any)

	now        uint64 // Unix milliseconds
	outboxFull bool
	unchecked  bool // skip the comparison with a reload, which is linear
	touched    map[string]bool
	counter    uint64
	scratch    Scratch

	rows  map[string][]byte
	ever  map[string]bool // keys of PutNew
	users map[string]*State
	open  []pending
	todo  []func()

	conns    map[uint64]*conn
	current  map[string]*conn // by user/device
	watchers map[string]map[uint64]watching
	answers  map[uint64]*nodepb.Answer
	holding  bool
	requests uint64

	// What the property test listens to; may be nil.
	onMutation func(m *storepb.Mutation)
	onEntry    func(c *conn, e *storepb.Entry)
	onAnswer   func(c *conn, m proto.Message)
}

// pending is the output of one step in the open batch.
type pending struct {
	user    string
	out     Output
	encoded [][]byte
}

var space = mailbox.Space{Shard: 1, Version: 1}

const epoch = 1_000_000 // where the clock starts, milliseconds

func newWorld(fail func(format string, args ...any)) *world {
	return &world{
		fail: fail, trace: func(string, ...any) {}, now: epoch,
		rows: map[string][]byte{}, ever: map[string]bool{}, users: map[string]*State{},
		touched: map[string]bool{}, conns: map[uint64]*conn{}, current: map[string]*conn{}, watchers: map[string]map[uint64]watching{},
		answers: map[uint64]*nodepb.Answer{},
	}
}

// userRows are the rows of one user at one moment, ascending.
type userRows []row

type row struct {
	key, value []byte // the key begins at the kind
}

func (w *world) rowsOf(user string, also ...*storepb.Mutation) userRows {
	m := map[string][]byte{}
	prefix := string(space.User(user))
	for k, v := range w.rows {
		if strings.HasPrefix(k, prefix) {
			m[k] = v
		}
	}
	for _, mut := range also {
		w.expand(mut, mapWriter{m, nil, w.fail})
	}
	var out userRows
	for k, v := range m {
		out = append(out, row{[]byte(k[len(prefix):]), v})
	}
	slices.SortFunc(out, func(a, b row) int { return bytes.Compare(a.key, b.key) })
	return out
}

func (r userRows) Scan(kind byte, prefix []byte, fn func(suffix, value []byte) error) error {
	want := append([]byte{kind}, prefix...)
	i, _ := slices.BinarySearchFunc(r, want, func(x row, k []byte) int { return bytes.Compare(x.key, k) })
	for ; i < len(r) && bytes.HasPrefix(r[i].key, want); i++ {
		// What is handed out is valid during the call only.
		suffix, value := bytes.Clone(r[i].key[1:]), bytes.Clone(r[i].value)
		if err := fn(suffix, value); err != nil {
			return err
		}
		fillWith(suffix, 0xAA)
		fillWith(value, 0xAA)
	}
	return nil
}

func fillWith(b []byte, x byte) {
	for i := range b {
		b[i] = x
	}
}

// mapWriter is a store, as the host hands it to a mailbox.Expander.
type mapWriter struct {
	rows map[string][]byte
	ever map[string]bool // nil: do not check
	fail func(format string, args ...any)
}

func (w mapWriter) Put(k, v []byte) { w.rows[string(k)] = bytes.Clone(v) }
func (w mapWriter) Delete(k []byte) { delete(w.rows, string(k)) }
func (w mapWriter) PutNew(k, v []byte) {
	if w.ever != nil && w.ever[string(k)] {
		w.fail("PutNew of a key that was written before: %q", k)
	}
	if w.ever != nil {
		w.ever[string(k)] = true
	}
	w.rows[string(k)] = bytes.Clone(v)
}

// expand a mutation as it would stand in the log.
func (w *world) expand(m *storepb.Mutation, into mapWriter) {
	data, err := proto.Marshal(m)
	if err != nil {
		w.fail("encode: %v", err)
	}
	encoded, err := mailbox.ReadMutation(data)
	if err != nil {
		w.fail("expand: %v", err)
	}
	mailbox.NewExpander(space).Expand(encoded, into)
}

func (w *world) state(user string) *State {
	if s := w.users[user]; s != nil {
		return s
	}
	s, err := Load(user, w.rowsOf(user), nil)
	if err != nil {
		w.fail("load %s: %v", user, err)
	}
	w.users[user] = s
	return s
}

// step runs one input, after the tick that may be due before it, as the host does.
func (w *world) step(user string, in any) {
	s := w.state(user)
	if d := s.Deadline(); d != 0 && d <= w.now {
		w.step1(user, s, Tick{Expiry: w.now})
	}
	w.step1(user, s, in)
}

func (w *world) step1(user string, s *State, in any) {
	for _, peer := range s.Needs(in) {
		if !s.Has(peer) {
			// From the applied rows: the open batch is not in the store yet.
			if err := s.Adopt(peer, w.rowsOf(user)); err != nil {
				w.fail("adopt: %v", err)
			}
		}
	}
	w.counter++
	out := s.Step(Context{Now: w.now, Session: w.counter, OutboxFull: w.outboxFull, Scratch: &w.scratch}, in)
	p := pending{user: user, out: Output{Laziness: out.Laziness, Effects: slices.Clone(out.Effects)}}
	for _, m := range out.Mutations {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			w.fail("a mutation cannot be encoded: %v", err)
		}
		p.encoded = append(p.encoded, b)
		p.out.Mutations = append(p.out.Mutations, proto.CloneOf(m)) // the scratch is used again
		w.trace("%s| %s", user, traceMutation(m))
	}
	for _, e := range out.Effects {
		switch e := e.(type) {
		case Ephemeral:
			w.toConn(e.Conn, e.Msg)
		case Relay:
			if w.outboxFull {
				w.fail("%s relays a step while the outbox is full: %v", user, e.Step)
			}
		}
	}
	w.open = append(w.open, p)
	w.touched[user] = true
	s.Check()
}

// check a state's invariants, and that its rows give the same state.
func (w *world) check(user string) {
	s := w.users[user]
	s.Check()
	if w.unchecked {
		return
	}
	var muts []*storepb.Mutation
	for _, p := range w.open {
		if p.user == user {
			muts = append(muts, p.out.Mutations...)
		}
	}
	rows := w.rowsOf(user, muts...)
	again, err := Load(user, rows, s.Attachments())
	if err != nil {
		w.fail("%s cannot be loaded again: %v", user, err)
		return
	}
	for peer := range s.convs {
		if err := again.Adopt(peer, rows); err != nil {
			w.fail("%s cannot adopt %s again: %v", user, peer, err)
		}
	}
	again.Check()
	if d := difference(s, again); d != "" {
		w.fail("%s in memory is not what its rows say: %s", user, d)
	}
}

// commit the open batch: rows first, then the effects in order.
func (w *world) commit() {
	open := w.open
	w.open = nil
	for _, p := range open {
		for i, m := range p.out.Mutations {
			b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
			if !bytes.Equal(b, p.encoded[i]) {
				w.fail("a mutation of %s changed after its step: %v", p.user, m)
			}
			w.expand(m, mapWriter{w.rows, w.ever, w.fail})
			if w.onMutation != nil {
				w.onMutation(m)
			}
		}
	}
	for _, p := range open {
		for _, e := range p.out.Effects {
			w.release(p.user, e)
		}
	}
}

// settle commits until nothing is left to do.
func (w *world) settle() {
	for len(w.open) > 0 || len(w.todo) > 0 {
		w.commit()
		if len(w.todo) > 0 {
			next := w.todo[0]
			w.todo = w.todo[1:]
			next()
		}
	}
}

// done ends a command: unless batches are held open, everything settles.
func (w *world) done() {
	if !w.holding {
		w.settle()
	}
	for user := range w.touched {
		w.check(user)
	}
	clear(w.touched)
}

func (w *world) release(user string, e Effect) {
	switch e := e.(type) {
	case ToConn:
		w.toConn(e.Conn, e.Msg)
	case ReadPage:
		w.readPage(user, e)
	case Relay:
		step := proto.CloneOf(e.Step)
		w.trace("%s ~> %s: %s", user, step.GetTo(), traceStep(step))
		w.todo = append(w.todo, func() { w.step(step.GetTo(), step) })
	case PresenceChanged:
		w.trace("%s is now online=%t seen=%s", user, e.Online, since(e.LastSeen))
		for _, c := range w.watching(user) {
			w.toConn(c, &nodepb.Presence{User: user, Online: e.Online, LastSeen: e.LastSeen})
		}
	case AddWatch:
		if w.watchers[user] == nil {
			w.watchers[user] = map[uint64]watching{}
		}
		if _, still := w.watchers[user][e.Conn]; e.Again && !still {
			return
		}
		w.watchers[user][e.Conn] = watching{e.Watcher, e.Shown}
	case DropWatch:
		delete(w.watchers[user], e.Conn)
	case Rewatch:
		for _, c := range slices.Sorted(maps.Keys(w.watchers[user])) {
			by := w.watchers[user][c].by
			if e.User == "" || e.User == by {
				w.todo = append(w.todo, func() {
					w.step(user, &nodepb.Watch{Origin: &nodepb.Origin{Conn: c, User: by}, Again: true})
				})
			}
		}
	}
}

// watching is a session's watch of a user.
type watching struct {
	by    string
	shown bool
}

// watching are the sessions that are told of changes of a user.
func (w *world) watching(user string) []uint64 {
	var out []uint64
	for c, x := range w.watchers[user] {
		if !x.shown {
			continue
		}
		out = append(out, c)
	}
	slices.Sort(out)
	return out
}

func (w *world) readPage(user string, e ReadPage) {
	page := &nodepb.Page{Session: e.Session, After: e.After, End: e.End}
	_ = w.rowsOf(user).Scan(byte(mailbox.Entry), nil, func(_, v []byte) error {
		x := &storepb.Entry{}
		if err := proto.Unmarshal(v, x); err != nil {
			w.fail("entry: %v", err)
		}
		m := x.GetMessage()
		switch {
		case x.GetSeq() <= max(e.After, e.Acked) || x.GetSeq() > e.UpTo || x.GetSkip() == e.Device:
		case e.Peer != "" && m.GetPeer() != e.Peer && x.GetReceipt().GetPeer() != e.Peer:
		case len(e.ID) > 0 && !bytes.Equal(e.ID, m.GetId()):
		default:
			page.Entries = append(page.Entries, x)
		}
		return nil
	})
	if e.Request != 0 {
		w.toConn(0, &nodepb.Answer{Request: e.Request, Body: &nodepb.Answer_Page{Page: page}})
		return
	}
	w.toConn(e.Conn, page)
}

// reload one user's state, as a hibernation does.
func (w *world) reload(user string, att []Attachment) {
	s, err := Load(user, w.rowsOf(user), att)
	if err != nil {
		w.fail("load %s: %v", user, err)
	}
	w.users[user] = s
	w.check(user)
}

// restart loses everything that is not in the rows; with it the open batch.
func (w *world) restart() {
	w.open, w.todo = nil, nil
	for user := range w.users {
		w.reload(user, nil)
	}
	for _, c := range w.conns {
		c.closed = true
	}
	clear(w.current)
	clear(w.watchers)
}

// clock moves on, and the deadlines that it passes are ticked.
func (w *world) clock(d time.Duration) {
	w.now += uint64(d.Milliseconds())
	var due []string
	for user, s := range w.users {
		if t := s.Deadline(); t != 0 && t <= w.now {
			due = append(due, user)
		}
	}
	slices.Sort(due)
	for _, user := range due {
		w.step1(user, w.users[user], Tick{Expiry: w.now})
		if t := w.users[user].Deadline(); t != 0 && t <= w.now {
			w.fail("%s: deadline %d is still past after the tick at %d", user, t, w.now)
		}
	}
}

// difference between a state and the one that its rows give. Not compared are
// the volatile things: link requests, and the session and number that a final
// refusal moved a sender to (noteRefused). A deadline in memory may be early.
func difference(a, b *State) string {
	var d []string
	diff := func(what string, x, y any) {
		if fmt.Sprint(x) != fmt.Sprint(y) {
			d = append(d, fmt.Sprintf("%s %v, rows say %v", what, x, y))
		}
	}
	diff("account", a.account, b.account)
	diff("seq", a.lastSeq, b.lastSeq)
	diff("time", a.lastTime, b.lastTime)
	diff("head", a.head, b.head)
	diff("bytes", a.bytes, b.bytes)
	diff("copies", a.copies, b.copies)
	diff("blocks", a.blocks, b.blocks)
	if a.retry == 0 && b.deadline != 0 && (a.deadline == 0 || a.deadline > b.deadline) {
		diff("deadline", a.deadline, b.deadline)
	}
	diff("devices", describeDevices(a), describeDevices(b))
	diff("index", describeIndex(a), describeIndex(b))
	diff("parked", a.parked, b.parked)
	for peer, c := range a.convs {
		diff("conversation with "+peer, describeConv(c), describeConv(b.convs[peer]))
		for _, snd := range c.senders {
			was := b.convs[peer].sender(snd.device)
			if snd.row.GetSession() < was.row.GetSession() || snd.row.GetSession() == was.row.GetSession() && snd.row.GetNumber() < was.row.GetNumber() {
				diff("sender", snd.row, was.row)
			}
		}
	}
	return strings.Join(d, "; ")
}

func describeDevices(s *State) (out []string) {
	for _, d := range s.devices {
		out = append(out, fmt.Sprint(d.row, d.cursor, d.seen, d.att))
	}
	return out
}

func describeIndex(s *State) (out []item) {
	for _, it := range s.index {
		// Whether an entry was acked is asked only of messages whose
		// conversation is in memory.
		if it.kind != itemInbound || !s.Has(it.peer) {
			it.acked = false
		}
		out = append(out, it)
	}
	return out
}

func describeConv(c *conv) string {
	senders := slices.Clone(c.senders)
	slices.SortFunc(senders, func(a, b *sender) int { return cmp.Compare(a.device, b.device) })
	var out []string
	for _, snd := range senders {
		if snd.row.GetAccepted() > 0 {
			out = append(out, fmt.Sprint(snd.device, snd.row.GetAccepted(), snd.row.GetOrder(), snd.slots))
		}
	}
	receipts := slices.Clone(c.receipts)
	slices.SortFunc(receipts, func(a, b *storepb.ReceiptRow) int { return cmp.Compare(a.GetReceipt().GetBy(), b.GetReceipt().GetBy()) })
	return fmt.Sprint(c.lastOrder, c.delivered, c.read, c.undelivered, c.open, c.entries, c.bytes, out, receipts)
}

// messageID is a short name as a stored id.
func messageID(name string) []byte {
	b := make([]byte, 16)
	copy(b, name)
	return b
}

var defaultTTL = uint64(limits.TimeToLive.Milliseconds())
