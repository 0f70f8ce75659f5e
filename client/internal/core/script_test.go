package core

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

var update = flag.Bool("update", false, "write what the scripts give into testdata")

// TestScripts plays testdata/*.txt: a line that begins with > is something
// that happens, the lines below it are the effects, in order. The invariants of
// the package comment are checked after every line.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("%s (-update writes it):\n%s", path, difference(string(text), got))
			}
		})
	}
}

// difference shows the first line that differs, with what stands before it.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			from := max(0, i-8)
			return strings.Join(a[from:min(i, len(a))], "\n") + "\nwant: " + line(a, i) + "\ngot:  " + line(b, i)
		}
	}
	return ""
}

func line(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "(end)"
}

// player is a machine with its store and clock.
type player struct {
	t       *testing.T
	m       *Machine
	cfg     Config
	now     time.Time
	roll    float64
	records map[string][]byte
	conn    uint64
	calls   uint64
	out     strings.Builder
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func play(t *testing.T, script string) string {
	p := &player{t: t, now: epoch, roll: 0.5, records: map[string][]byte{}, cfg: Config{
		User: "alice", ClientName: "test/1", QueueLimit: 4, AckDelay: 50 * time.Millisecond,
		Backoff: time.Second, MaxBackoff: 30 * time.Second,
	}}
	for l := range strings.Lines(script) {
		l = strings.TrimRight(l, "\n")
		switch {
		case strings.HasPrefix(l, ">"):
			fmt.Fprintln(&p.out, l)
			p.command(strings.Fields(l[1:]))
			p.check(l)
		case strings.HasPrefix(l, "#"), l == "":
			fmt.Fprintln(&p.out, l)
		}
	}
	return p.out.String()
}

// command does one line.
func (p *player) command(words []string) {
	word, args := words[0], words[1:]
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch word {
	case "open": // with: password, source, limit=N; a store is kept from one open to the next
		p.cfg.HasPassword, p.cfg.HasSource = slices.Contains(args, "password"), slices.Contains(args, "source")
		var list []Record
		for k, v := range p.records {
			list = append(list, Record{k, v})
		}
		slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
		m, err := New(p.cfg, list)
		if err != nil {
			p.t.Fatal(err)
		}
		p.m = m
		p.show(m.Start(p.now, p.roll))
	case "linked": // the store holds a device
		p.records[keyDevice] = device{User: "alice", Device: 1, Token: "t0", Issued: p.now, Expires: p.now.Add(24 * time.Hour)}.record().Value
	case "roll":
		p.roll = p.float(arg(0))
	case "tick":
		if next := p.m.Next(); !next.IsZero() {
			fmt.Fprintf(&p.out, "  after %v\n", max(next.Sub(p.now), 0))
			p.now = later(p.now, next)
			p.step(Tick{})
		} else {
			fmt.Fprintln(&p.out, "  never")
		}
	case "fetchall": // until nothing is handed over; hands and what is written for them are only counted
		p.fetchAll()
	case "wait": // time passes without a tick
		d, err := time.ParseDuration(arg(0))
		if err != nil {
			p.t.Fatal(err)
		}
		p.now = p.now.Add(d)
	default:
		p.step(p.input(word, args, arg))
	}
}

func (p *player) fetchAll() {
	var rest []Effect
	handed := 0
	for more := true; more; {
		more = false
		for _, e := range p.m.Step(p.now, p.roll, Fetch{}) {
			switch e.(type) {
			case Hand:
				handed++
				more = true
			case Write:
			default:
				rest = append(rest, e)
			}
		}
	}
	fmt.Fprintf(&p.out, "  handed %d\n", handed)
	p.show(rest)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (p *player) float(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

func (p *player) number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		p.t.Fatalf("%q: %v", s, err)
	}
	return n
}

func user(name string) *clientpb.Conversation {
	return &clientpb.Conversation{Peer: &clientpb.Conversation_User{User: name}}
}

// input is what the application, or a token's giver, or a link has to say.
func (p *player) input(word string, args []string, arg func(int) string) Input {
	switch word {
	case "queue": // id peer
		return Queue{Send: &clientpb.Send{Id: arg(0), To: user(arg(1)), Payload: []byte(arg(2))}}
	case "send": // the same, and somebody waits
		p.calls++
		return Queue{Send: &clientpb.Send{Id: arg(0), To: user(arg(1)), Payload: []byte(arg(2))}, Call: p.calls}
	case "abandon":
		return Abandon{Call: p.number(arg(0))}
	case "fetch":
		return Fetch{}
	case "unfetch":
		return Unfetch{}
	case "take":
		return Take{}
	case "return":
		return Return{}
	case "read":
		return Read{Conversation: user(arg(0)), Order: p.number(arg(1))}
	case "typing":
		return Typing{Conversation: user(arg(0)), On: true}
	case "watch":
		return Watch{Users: args}
	case "wake":
		return Wake{}
	case "token":
		return Token{User: "alice", Device: uint32(p.number(arg(1))), Token: arg(0), Life: 24 * time.Hour}
	case "sourced":
		return Token{Token: arg(0)}
	case "notoken":
		return NoToken{Means: p.m.asked, Refused: arg(0) == "refused", Gone: arg(0) == "gone", Err: errors.New("no token")}
	case "nodes": // node=url
		var list []Place
		for _, a := range args {
			node, url, _ := strings.Cut(a, "=")
			list = append(list, Place{node, url})
		}
		return Nodes{Places: list}
	case "dialled":
		return Dialled{Conn: p.conn}
	case "heard":
		return Heard{Conn: p.conn}
	case "lost":
		code := 0
		if arg(0) != "" {
			code = int(p.number(arg(0)))
		}
		return Lost{Conn: p.conn, Code: code, Err: fmt.Errorf("closed %d", code)}
	case "close":
		return Close{}
	case "broken":
		return Broken{Err: errors.New("disk full")}
	default:
		return Frames{Conn: p.conn, Frames: p.frames(word, args, arg)}
	}
}

// frames is what the server says.
func (p *player) frames(word string, args []string, arg func(int) string) []*clientpb.ServerFrame {
	yes, no := true, false
	one := func(f *clientpb.ServerFrame) []*clientpb.ServerFrame { return []*clientpb.ServerFrame{f} }
	switch word {
	case "welcome":
		return one(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Welcome{Welcome: &clientpb.Welcome{
			User: "alice", Device: 1, Session: "1", Node: "n1", Heartbeat: durationpb.New(30 * time.Second),
			Limits: &clientpb.Limits{Payload: 64, Message: 4096, InFlight: 3, InFlightPerConversation: 2, Sends: &clientpb.Rate{PerSecond: 10, Burst: 10}},
		}}})
	case "sent":
		return one(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Sent{Sent: &clientpb.Sent{Id: arg(0), Order: 1, Time: 1}}})
	case "deliver": // seqs
		var list []*clientpb.ServerFrame
		for _, a := range args {
			seq, id, named := strings.Cut(a, "=")
			if !named {
				id = "m" + seq
			}
			list = append(list, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Deliver{Deliver: &clientpb.Deliver{
				Seq: p.number(seq), Id: id, From: &clientpb.Device{User: "bob", Device: 1}, Conversation: user("bob"),
			}}})
		}
		return list
	case "flood": // from to
		var list []*clientpb.ServerFrame
		for seq := p.number(arg(0)); seq <= p.number(arg(1)); seq++ {
			list = append(list, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Receipt{Receipt: &clientpb.Receipt{Seq: seq, Conversation: user("bob"), By: "bob"}}})
		}
		return list
	case "drained":
		return one(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Drained{Drained: &clientpb.Drained{}}})
	case "presence":
		return one(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Presence{Presence: &clientpb.Presence{User: arg(0)}}})
	case "pong":
		return one(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Pong{Pong: &clientpb.Pong{}}})
	case "refused": // id code; for good
		return one(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Error{Error: &clientpb.Error{Id: arg(0), Code: arg(1), Retryable: &no}}})
	case "delayed": // id code ms reason
		e := &clientpb.Error{Id: arg(0), Code: arg(1), Retryable: &yes, Reason: arg(3)}
		if arg(2) != "" {
			e.RetryAfterMs = uint32(p.number(arg(2)))
		}
		return one(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Error{Error: e}})
	case "unhappy": // what code [retry]: an error about the last such frame
		kind := uint32(slices.Index(refNames[:], arg(0)))
		ref := kind
		for _, r := range p.m.reads.by {
			if kind == refRead {
				ref = r.ref
			}
		}
		return one(&clientpb.ServerFrame{Ref: ref, Body: &clientpb.ServerFrame_Error{Error: &clientpb.Error{Code: arg(1), Retryable: map[string]*bool{"retry": &yes, "": &no}[arg(2)]}}})
	case "goaway":
		return one(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_GoAway{GoAway: &clientpb.GoAway{Reason: "restart", ReconnectAfterMs: uint32(p.number(arg(0))), Alternates: args[1:]}}})
	}
	p.t.Fatalf("what is %q?", word)
	return nil
}

func (p *player) step(in Input) { p.show(p.m.Step(p.now, p.roll, in)) }

// show writes effects down, and performs those on the store.
func (p *player) show(effects []Effect) {
	for _, e := range effects {
		if w, ok := e.(Write); ok {
			for _, r := range w.Records {
				if r.Value == nil {
					delete(p.records, r.Key)
				} else {
					p.records[r.Key] = r.Value
				}
			}
		}
		if d, ok := e.(Dial); ok {
			p.conn = d.Conn
		}
		fmt.Fprintf(&p.out, "  %s\n", render(e))
	}
}

func render(e Effect) string {
	switch e := e.(type) {
	case Write:
		text := "write"
		for _, r := range e.Records {
			text += " " + renderRecord(r)
		}
		if e.Sync {
			text += " sync"
		}
		return text
	case Ask:
		return "ask " + [...]string{"", "login", "password", "token", "source"}[e.Means]
	case Dial:
		return strings.TrimSpace("dial " + e.Alternate)
	case Look:
		return strings.TrimSpace("look " + e.Alternate)
	case Say:
		return "say " + renderFrame(e.Frame)
	case Hangup:
		if e.Orderly {
			return "hang up in good order: " + e.Reason
		}
		return "hang up: " + e.Reason
	case Hold:
		return map[bool]string{true: "stop reading", false: "read on"}[e.On]
	case Queued:
		if e.Err != nil {
			return "queued: " + e.Err.Error()
		}
		return "queued " + e.ID
	case Answer:
		return fmt.Sprintf("answer %d: %s", e.Call, renderFate(&e.Fate))
	case Said:
		if e.Err != nil {
			return "said: " + e.Err.Error()
		}
		return "said"
	case Hand:
		return "hand " + renderEvent(e.Event)
	case Note:
		return fmt.Sprintf("note %s: %v, %v", e.Text, e.Err, e.Wait)
	case Stop:
		return fmt.Sprintf("stop %s: %v", [...]string{"", "closed", "displaced", "unlinked", "unauthenticated", "malformed", "store broken"}[e.Why], e.Err)
	}
	return fmt.Sprintf("%T", e)
}

func renderRecord(r Record) string {
	switch {
	case r.Value == nil:
		return "-" + r.Key
	case strings.HasPrefix(r.Key, keyOut):
		s, fate, err := parsePending(r.Value)
		if err != nil {
			return err.Error()
		}
		if fate != nil {
			return r.Key + "=" + s.GetId() + ",decided"
		}
		return r.Key + "=" + s.GetId()
	case strings.HasPrefix(r.Key, keySeen):
		return r.Key + "=" + strings.ReplaceAll(string(r.Value), "\x00", ":")
	default:
		return r.Key + "=" + string(r.Value)
	}
}

func renderFrame(f *clientpb.ClientFrame) string {
	switch b := f.GetBody().(type) {
	case *clientpb.ClientFrame_Hello:
		return fmt.Sprintf("hello %s acked %d", b.Hello.GetToken(), b.Hello.GetAcked())
	case *clientpb.ClientFrame_Send:
		return "send " + b.Send.GetId()
	case *clientpb.ClientFrame_Ack:
		return fmt.Sprintf("ack %d", b.Ack.GetSeq())
	case *clientpb.ClientFrame_Read:
		return fmt.Sprintf("read %s %d", b.Read.GetConversation().GetUser(), b.Read.GetOrder())
	case *clientpb.ClientFrame_Watch:
		return fmt.Sprintf("watch %v", b.Watch.GetUsers())
	case *clientpb.ClientFrame_Typing:
		return "typing"
	case *clientpb.ClientFrame_Ping:
		return "ping"
	}
	return "?"
}

func renderFate(f *Fate) string {
	switch {
	case f.Sent != nil:
		return f.ID + " sent"
	case f.Refusal != nil:
		return f.ID + " " + f.Refusal.GetCode()
	default:
		return fmt.Sprintf("%s %v", f.ID, f.Err)
	}
}

func renderEvent(e Event) string {
	switch e := e.(type) {
	case nil:
		return "nothing more"
	case *clientpb.Deliver:
		return fmt.Sprintf("deliver %d %s", e.GetSeq(), e.GetId())
	case *clientpb.Receipt:
		return fmt.Sprintf("receipt %d", e.GetSeq())
	case *clientpb.Drained:
		return "drained"
	case *clientpb.Presence:
		return "presence " + e.GetUser()
	case *Fate:
		return "fate of " + renderFate(e)
	case *Delay:
		return fmt.Sprintf("delay of %s by %s", e.ID, e.Refusal.GetCode())
	case *Refused:
		return "refused " + e.What
	case *Changed:
		return "state " + [...]string{"", "connecting", "online", "waiting", "stopped"}[e.Status.Phase]
	}
	return fmt.Sprintf("%T", e)
}

// check the invariants of the package comment.
func (p *player) check(at string) {
	m := p.m
	if m == nil {
		return
	}
	flying, undecided := 0, 0
	for key, l := range m.outbox.lanes {
		n := 0
		for i, e := range l.list {
			if e.flying {
				n++
				if i >= l.flying && !l.held {
					p.t.Errorf("%s: lane %s: %s flies behind one that waits", at, key, e.send.GetId())
				}
			}
			if i > 0 && l.list[i-1].pos >= e.pos {
				p.t.Errorf("%s: lane %s is out of order", at, key)
			}
			if _, ok := p.records[outKey(e.pos)]; !ok {
				p.t.Errorf("%s: %s is not stored", at, e.send.GetId())
			}
		}
		if n != l.flying {
			p.t.Errorf("%s: lane %s counts %d in flight, there are %d", at, key, l.flying, n)
		}
		flying += n
		undecided += len(l.list)
	}
	if flying != m.outbox.flying || undecided != m.outbox.undecided {
		p.t.Errorf("%s: counts %d flying, %d undecided; there are %d and %d", at, m.outbox.flying, m.outbox.undecided, flying, undecided)
	}
	if m.inbox.cursor > m.inbox.received && m.inbox.received != 0 {
		p.t.Errorf("%s: cursor %d beyond received %d", at, m.inbox.cursor, m.inbox.received)
	}
	if m.state == online && m.session.acked > m.session.delivered {
		p.t.Errorf("%s: acked %d, and this connection brought %d", at, m.session.acked, m.session.delivered)
	}
}
