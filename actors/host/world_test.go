package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// world is a node with some shards, whose Raft groups do what the test says,
// and a trace of everything that comes out.
type world struct {
	t      testing.TB
	now    uint64
	trace  strings.Builder
	system *System
	shards map[uint32]*rig
	mail   []func() // the router's queue
	failed error
	load   func(id string, rows user.Rows, att []user.Attachment) (Core, error)
	onLost func(conn uint64, user string)
}

// rig is a shard, its store and its group.
type rig struct {
	*Shard
	world   *world
	store   *memory
	index   uint64
	term    uint64
	token   uint64
	data    []byte // proposed; nil for a read
	busy    bool
	refuses bool
}

const start = 1_750_000_000_000

// newWorld has shards 1 and 2: users whose name ends in a digit live in that
// shard, all others in shard 1.
func newWorld(t testing.TB) *world {
	w := &world{t: t, now: start, shards: map[uint32]*rig{}, system: NewSystem()}
	w.load = func(id string, rows user.Rows, att []user.Attachment) (Core, error) {
		return loadFake(w, id, rows, att)
	}
	t.Cleanup(w.system.Close)
	for _, id := range []uint32{1, 2} {
		r := &rig{world: w, store: &memory{rows: map[string][]byte{}}}
		r.open(id)
		w.shards[id] = r
	}
	return w
}

func (r *rig) open(id uint32) {
	s, err := New(Config{
		Shard: id, Space: mailbox.Space{Shard: id, Version: 1}, System: r.world.system, Store: r.store,
		Gateway: r.world, Router: r.world, ShardOf: shardOf, Now: func() uint64 { return r.world.now },
		Load: func(id string, rows user.Rows, att []user.Attachment) (Core, error) {
			return r.world.load(id, rows, att)
		},
		Fail: func(err error) { r.world.failed = err; r.world.say("FAIL %v", err) },
		Log:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.world.t.Fatal(err)
	}
	r.Shard = s
	s.Bind(r)
}

func shardOf(id string) uint32 {
	if strings.HasSuffix(id, "2") {
		return 2
	}
	return 1
}

func (w *world) say(format string, args ...any) { fmt.Fprintf(&w.trace, format+"\n", args...) }

// tell an actor and flush, as a round of the loop would.
func (w *world) tell(id string, in any) {
	w.t.Helper()
	s := w.shards[shardOf(id)]
	if err := s.Tell(id, in); err != nil {
		w.say("%s: %v", id, err)
	}
	s.Flush()
}

func (w *world) lead(term uint64) {
	for _, r := range w.each() {
		r.term = term
		r.Lead(term)
	}
}

func (w *world) each() []*rig {
	var list []*rig
	for _, k := range slices.Sorted(maps.Keys(w.shards)) {
		list = append(list, w.shards[k])
	}
	return list
}

// Propose implements Raft: it waits for commit, drop or lose.
func (r *rig) Propose(token uint64, data []byte) error { return r.begin(token, data) }

// Read implements Raft.
func (r *rig) Read(token uint64) error { return r.begin(token, nil) }

func (r *rig) begin(token uint64, data []byte) error {
	if r.refuses {
		return errors.New("not now")
	}
	if r.busy {
		r.world.t.Errorf("shard %d: two proposals in flight", r.cfg.Shard)
	}
	if data != nil { // Apply trusts what the shard itself proposed
		if b, err := mailbox.ReadBatch(data); err != nil || b.Term != r.term {
			r.world.t.Errorf("shard %d: a batch of term %d is proposed in term %d: %v", r.cfg.Shard, b.Term, r.term, err)
		}
	}
	r.busy, r.token, r.data = true, token, data
	return nil
}

func (r *rig) apply() {
	r.index++
	if err := r.Apply(r.index, r.term, r.data); err != nil {
		r.world.t.Fatal(err)
	}
}

// commit what is in flight; it says whether anything was.
func (r *rig) commit() bool {
	if !r.busy {
		return false
	}
	r.busy = false
	if r.data == nil {
		r.world.say("-- shard %d: read confirmed", r.cfg.Shard)
		r.Confirmed(r.token)
		return true
	}
	r.apply()
	r.world.say("-- shard %d: committed %s", r.cfg.Shard, describe(r.data))
	r.Committed(r.token)
	return true
}

func (r *rig) drop() {
	r.world.say("-- shard %d: dropped", r.cfg.Shard)
	r.busy = false
	r.Dropped(r.token)
}

func (r *rig) lose() {
	r.world.say("-- shard %d: leads no longer", r.cfg.Shard)
	r.busy = false
	r.Follow()
}

// crash and come back with the same rows.
func (r *rig) crash(term uint64) {
	r.world.say("-- shard %d: crashes, leads term %d", r.cfg.Shard, term)
	r.busy = false
	delete(r.world.system.shards, Address(r.cfg.Shard))
	r.open(r.cfg.Shard)
	r.term = term
	r.Lead(term)
}

// settle runs rounds until nothing moves.
func (w *world) settle() {
	for range 10_000 {
		moved := len(w.mail) > 0
		mail := w.mail
		w.mail = nil
		for _, f := range mail {
			f()
		}
		for _, r := range w.each() {
			r.Flush()
			moved = r.commit() || moved
		}
		if !moved {
			return
		}
	}
	w.t.Fatal("it never ends")
}

func (w *world) after(d time.Duration) {
	for end := w.now + uint64(d.Milliseconds()); w.now < end; {
		w.now += min(end-w.now, 50)
		for _, r := range w.each() {
			r.Tick()
		}
		w.settle()
	}
}

// expect the trace since the last expect.
func (w *world) expect(want string) {
	w.t.Helper()
	var lines []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	got := strings.TrimSpace(w.trace.String())
	if want := strings.Join(lines, "\n"); got != want {
		w.t.Fatalf("trace:\n%s\n\nwant:\n%s", got, want)
	}
	w.trace.Reset()
}

// Deliver implements Gateway.
func (w *world) Deliver(conn uint64, msg proto.Message) {
	w.say("%d < %s", conn, told(msg))
}

// Lost implements Gateway.
func (w *world) Lost(conn uint64, user string) {
	w.say("%d lost %s", conn, user)
	if w.onLost != nil {
		w.onLost(conn, user)
	}
}

// Unknown implements Gateway.
func (w *world) Unknown(conn uint64) { w.say("%d unknown", conn) }

// Left implements Gateway.
func (w *world) Left(shard uint32) { w.say("all left shard %d", shard) }

// Relay implements Router.
func (w *world) Relay(src, dst uint32, number uint64, step *storepb.Step) {
	w.say("step %d>%d #%d", src, dst, number)
	w.mail = append(w.mail, func() {
		if err := w.shards[dst].TakeStep(src, number, step); err != nil {
			w.say("step %d>%d #%d: %v", src, dst, number, err)
		}
	})
}

// Confirm implements Router.
func (w *world) Confirm(src, dst uint32, number uint64) {
	w.say("confirm %d>%d #%d", src, dst, number)
	w.mail = append(w.mail, func() { w.shards[src].TakeConfirm(dst, number) })
}

// Resend implements Router.
func (w *world) Resend(src, dst uint32, from uint64) {
	w.say("resend %d>%d from #%d", src, dst, from)
	w.mail = append(w.mail, func() { w.shards[src].TakeResend(dst, from) })
}

// Tell implements Router.
func (w *world) Tell(src, dst uint32, step *storepb.Step) {
	w.say("tell %d>%d", src, dst)
	w.mail = append(w.mail, func() { w.shards[dst].TakeTell(src, step) })
}

// Told implements Router.
func (w *world) Told(src, dst uint32, step *storepb.Step) {
	w.say("told %d>%d", src, dst)
	w.mail = append(w.mail, func() { w.shards[src].TakeTold(step) })
}

func told(msg proto.Message) string {
	switch m := msg.(type) {
	case *nodepb.Sent:
		return fmt.Sprintf("sent %d order %d", m.GetTag(), m.GetOrder())
	case *nodepb.Refused:
		return fmt.Sprintf("refused %d %s", m.GetTag(), m.GetFault().GetCode())
	case *nodepb.Push:
		return fmt.Sprintf("push %d after %d %q", m.GetEntry().GetSeq(), m.GetPrevious(), m.GetEntry().GetMessage().GetPayload())
	case *nodepb.Page:
		var seqs []uint64
		for _, e := range m.GetEntries() {
			seqs = append(seqs, e.GetSeq())
		}
		return fmt.Sprintf("page after %d up to %d: %v", m.GetAfter(), m.GetUpTo(), seqs)
	case *nodepb.Attached:
		if f := m.GetError(); f != nil {
			return strings.TrimSpace(fmt.Sprintf("not attached: %s %s", f.GetCode(), f.GetReason()))
		}
		return fmt.Sprintf("attached, session %d.%d, last %d", m.GetSession()>>32, uint32(m.GetSession()), m.GetLastSeq())
	case *nodepb.Presence:
		return fmt.Sprintf("presence of %s: online %v", m.GetUser(), m.GetOnline())
	case *nodepb.Notice:
		return "typing"
	case *nodepb.Answer:
		if f := m.GetFault(); f != nil {
			return strings.TrimSpace(fmt.Sprintf("answer %d: %s %s", m.GetRequest(), f.GetCode(), f.GetReason()))
		}
		if p := m.GetPage(); p != nil {
			return fmt.Sprintf("answer %d: %s", m.GetRequest(), told(p))
		}
		return fmt.Sprintf("answer %d", m.GetRequest())
	default:
		return fmt.Sprintf("%T", msg)
	}
}

// describe a batch by the kinds of its mutations.
func describe(data []byte) string {
	var b storepb.Batch
	if err := proto.Unmarshal(data, &b); err != nil {
		return err.Error()
	}
	var out []string
	for _, m := range b.GetMutations() {
		switch op := m.GetOp().(type) {
		case *storepb.Mutation_Accept:
			out = append(out, fmt.Sprintf("accept %s/%d", m.GetUser(), op.Accept.GetEntry().GetSeq()))
		case *storepb.Mutation_Append:
			out = append(out, fmt.Sprintf("append %s/%d", m.GetUser(), op.Append.GetEntry().GetSeq()))
		case *storepb.Mutation_Progress:
			out = append(out, fmt.Sprintf("delete %s/%v", m.GetUser(), op.Progress.GetDeleted()))
		case *storepb.Mutation_OutboxPut:
			out = append(out, fmt.Sprintf("out %d#%d", op.OutboxPut.GetShard(), op.OutboxPut.GetNumber()))
		case *storepb.Mutation_OutboxTrim:
			out = append(out, fmt.Sprintf("trim %d#%d-%d", op.OutboxTrim.GetShard(), op.OutboxTrim.GetFirst(), op.OutboxTrim.GetLast()))
		case *storepb.Mutation_InboxMark:
			out = append(out, fmt.Sprintf("in %d#%d", op.InboxMark.GetShard(), op.InboxMark.GetNumber()))
		default:
			out = append(out, fmt.Sprintf("%T", op))
		}
	}
	return strings.Join(out, ", ")
}

// memory is a store.
type memory struct {
	rows   map[string][]byte
	broken error
	known  map[string]struct{}
	strict func(key []byte) // told of a PutNew of a key that was there before
}

func (m *memory) Put(key, value []byte) { m.rows[string(key)] = bytes.Clone(value) }

func (m *memory) PutNew(key, value []byte) {
	if m.strict != nil {
		if _, ok := m.known[string(key)]; ok {
			m.strict(key)
		}
		if m.known == nil {
			m.known = map[string]struct{}{}
		}
		m.known[string(key)] = struct{}{}
	}
	m.Put(key, value)
}

func (m *memory) Delete(key []byte) { delete(m.rows, string(key)) }

func (m *memory) Get(key []byte) ([]byte, bool, error) {
	v, ok := m.rows[string(key)]
	return v, ok, m.broken
}

func (m *memory) Scan(prefix, from []byte, fn func(key, value []byte) bool) error {
	if m.broken != nil {
		return m.broken
	}
	for _, k := range slices.Sorted(maps.Keys(m.rows)) {
		if strings.HasPrefix(k, string(prefix)) && k >= string(from) && !fn([]byte(k), m.rows[k]) {
			break
		}
	}
	return nil
}

// fake is a core whose script is in the payloads: it numbers what it is sent,
// and does what some say.
type fake struct {
	world *world
	id    string
	seq   uint64
	dues  map[uint64]uint64 // expiry by seq
	att   []user.Attachment
}

func loadFake(w *world, id string, rows user.Rows, att []user.Attachment) (Core, error) {
	f := &fake{world: w, id: id, dues: map[uint64]uint64{}, att: slices.Clone(att)}
	err := rows.Scan(byte(mailbox.Mailbox), nil, func(_, v []byte) error {
		var m storepb.MailboxRow
		err := proto.Unmarshal(v, &m)
		f.seq = m.GetLastSeq()
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, rows.Scan(byte(mailbox.Entry), nil, func(k, v []byte) error {
		var e storepb.Entry
		err := proto.Unmarshal(v, &e)
		if e.GetExpires() != 0 {
			f.dues[binary.BigEndian.Uint64(k)] = e.GetExpires()
		}
		return err
	})
}

func (f *fake) Needs(any) []string            { return nil }
func (f *fake) Has(string) bool               { return true }
func (f *fake) Adopt(string, user.Rows) error { return nil }
func (f *fake) Idle() bool                    { return true }
func (f *fake) Hollow() bool                  { return strings.HasPrefix(f.id, "nobody") }

func (f *fake) Attachments() []user.Attachment { return f.att }

func (f *fake) Deadline() uint64 {
	var d uint64
	for _, due := range f.dues {
		if d == 0 || due < d {
			d = due
		}
	}
	return d
}

func (f *fake) Step(ctx user.Context, in any) (out user.Output) {
	switch m := in.(type) {
	case *nodepb.Send:
		f.send(ctx, m, &out)
	case *storepb.Step:
		if string(m.GetCopy().GetPayload()) == "panic" {
			panic("as it was told")
		}
		f.append(m.GetCopy(), 0, &out)
	case *nodepb.Attach:
		f.att = append(f.att, user.Attachment{Conn: m.GetOrigin().GetConn(), Session: ctx.Session, Pushed: f.seq, Live: true})
		out.Effects = append(out.Effects, user.ToConn{Conn: m.GetOrigin().GetConn(), Msg: &nodepb.Attached{Session: ctx.Session, LastSeq: f.seq}})
		out.Effects = append(out.Effects, user.PresenceChanged{Online: true})
	case *nodepb.Detach:
		out.Laziness = user.Lazy
		f.att = slices.DeleteFunc(f.att, func(a user.Attachment) bool { return a.Conn == m.GetOrigin().GetConn() })
		out.Effects = append(out.Effects, user.PresenceChanged{LastSeen: ctx.Now})
	case *nodepb.Pull:
		out.Effects = append(out.Effects, user.ReadPage{Conn: m.GetOrigin().GetConn(), Device: 1, After: m.GetAfter(), UpTo: f.seq})
	case *nodepb.Ack:
		out.Laziness = user.Lazy
		f.delete(m.GetSeq(), &out)
	case *nodepb.Watch:
		out.Effects = append(out.Effects, user.AddWatch{Conn: m.GetOrigin().GetConn(), Watcher: m.GetOrigin().GetUser(), Shown: true, Again: m.GetAgain()})
	case *nodepb.Unwatch:
		out.Effects = append(out.Effects, user.DropWatch{Conn: m.GetOrigin().GetConn()})
	case *nodepb.Typing:
		for _, a := range f.att {
			out.Effects = append(out.Effects, user.Ephemeral{Conn: a.Conn, Msg: &nodepb.Notice{}})
		}
	case *nodepb.Ask:
		out.Effects = append(out.Effects, user.ToConn{Msg: &nodepb.Answer{Request: m.GetRequest()}})
	case user.Tick:
		for _, seq := range slices.Sorted(maps.Keys(f.dues)) {
			if f.dues[seq] <= m.Expiry {
				f.delete(seq, &out)
			}
		}
	}
	return out
}

func (f *fake) send(ctx user.Context, m *nodepb.Send, out *user.Output) {
	verb, arg, _ := strings.Cut(string(m.GetPayload()), " ")
	var expires uint64
	switch verb {
	case "panic":
		f.seq += 1000
		panic("as it was told")
	case "self": // tells itself something from within its step
		f.world.tell(f.id, sendTo(m.GetOrigin().GetConn(), m.GetTag()+1, "inner"))
	case "ttl":
		d, _ := time.ParseDuration(arg)
		expires = ctx.Now + uint64(d.Milliseconds())
	case "copy":
		if ctx.OutboxFull {
			out.Effects = append(out.Effects, user.ToConn{Conn: m.GetOrigin().GetConn(), Msg: &nodepb.Refused{Tag: m.GetTag(), Fault: moved()}})
			return
		}
		to, text, _ := strings.Cut(arg, " ")
		out.Effects = append(out.Effects, user.Relay{Step: &storepb.Step{To: to, Body: &storepb.Step_Copy{Copy: &storepb.Message{Payload: []byte(text)}}}})
	}
	f.append(&storepb.Message{Payload: m.GetPayload()}, expires, out)
	out.Effects = append(out.Effects, user.ToConn{Conn: m.GetOrigin().GetConn(), Msg: &nodepb.Sent{Tag: m.GetTag(), Order: f.seq}})
}

func (f *fake) append(m *storepb.Message, expires uint64, out *user.Output) {
	f.seq++
	e := &storepb.Entry{Seq: f.seq, Expires: expires, Body: &storepb.Entry_Message{Message: m}}
	if expires != 0 {
		f.dues[f.seq] = expires
	}
	out.Mutations = append(out.Mutations, &storepb.Mutation{User: f.id, Op: &storepb.Mutation_Append{Append: &storepb.Append{
		Entry: e, Mailbox: &storepb.MailboxRow{LastSeq: f.seq},
	}}})
	for i := range f.att {
		a := &f.att[i]
		out.Effects = append(out.Effects, user.ToConn{Conn: a.Conn, Msg: &nodepb.Push{Session: a.Session, Previous: a.Pushed, Entry: e}})
		a.Pushed = f.seq
	}
}

func (f *fake) delete(seq uint64, out *user.Output) {
	delete(f.dues, seq)
	out.Mutations = append(out.Mutations, &storepb.Mutation{User: f.id, Op: &storepb.Mutation_Progress{
		Progress: &storepb.Progress{Deleted: []uint64{seq}},
	}})
}

// Inputs.

func sendTo(conn uint64, tag uint32, text string) *nodepb.Send {
	return &nodepb.Send{Origin: &nodepb.Origin{Conn: conn}, Tag: tag, Payload: []byte(text)}
}

func attachTo(user string, conn uint64) *nodepb.Attach {
	return &nodepb.Attach{Origin: &nodepb.Origin{Conn: conn, User: user}}
}

func origin(conn uint64) *nodepb.Origin {
	return &nodepb.Origin{Conn: conn, User: fmt.Sprint("user of ", conn)}
}
