package core

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// TestRandomLives plays lives from seeds: a machine, its store, a network that
// cuts and delays, a server as docs/protocol.md describes it, crashes and
// power cuts; and judges by what the server and the application saw.
// ROOKERY_LIVES is how many (120).
func TestRandomLives(t *testing.T) {
	first := rand.Uint64()
	lives := 120
	if text := os.Getenv("ROOKERY_LIVES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		lives = n
	}
	for i := range uint64(lives) {
		seed := first + i
		if len(live(seed, silent).faults) > 0 {
			s := live(seed, traced) // the same again, to be read
			t.Fatalf("seed %d:\n%s\n\nthe last steps:\n%s", seed, strings.Join(s.faults, "\n"), strings.Join(s.trace[max(0, len(s.trace)-60):], "\n"))
		}
	}
}

type tracing uint8

const (
	silent tracing = iota
	traced
)

func live(seed uint64, how tracing) *sim {
	s := newSim(seed, how)
	s.run(400)
	s.settle()
	return s
}

// sim is everything of one life.
type sim struct {
	how    tracing
	rng    *rand.Rand
	now    time.Time
	faults []string
	trace  []string

	// the device
	m            *Machine
	cfg          Config
	disk, synced map[string][]byte // as a crash leaves it, as a power cut does
	waiting      bool              // a Fetch is open
	calls        map[uint64]string
	call         uint64
	dialling     uint64

	// what its application saw
	made    []string // ids, in the order they were queued
	lane    map[string]string
	fates   map[string]string
	shown   map[string]bool
	allowed map[string]bool // may be shown again: a power cut took its note
	handed  uint64          // seq of the last event handed over, if it has one
	notes   []noted         // taken, in order, with their seqs

	conns  map[uint64]*simConn // of this life, by the machine's number
	all    []*simConn          // of all lives, in the order they were opened
	server simServer
}

type noted struct {
	seq uint64
	id  string
}

func newSim(seed uint64, how tracing) *sim {
	s := &sim{
		how: how,
		rng: rand.New(rand.NewPCG(seed, 0)), now: epoch,
		cfg:  Config{User: "alice", HasPassword: true, ClientName: "t", QueueLimit: 200, AckDelay: 50 * time.Millisecond, Backoff: 100 * time.Millisecond, MaxBackoff: time.Second},
		disk: map[string][]byte{}, lane: map[string]string{}, fates: map[string]string{}, shown: map[string]bool{}, allowed: map[string]bool{},
		conns:  map[uint64]*simConn{},
		server: simServer{accepted: map[string]uint64{}, recent: map[string][]string{}, orders: map[string]uint64{}},
	}
	s.disk[keyDevice] = device{User: "alice", Device: 1, Token: "t"}.record().Value
	s.synced = maps.Clone(s.disk)
	s.open()
	return s
}

func (s *sim) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *sim) note(format string, args ...any) {
	if s.how == traced {
		s.trace = append(s.trace, fmt.Sprintf(format, args...))
	}
}

func (s *sim) open() {
	var list []Record
	for _, k := range slices.Sorted(maps.Keys(s.disk)) {
		list = append(list, Record{k, s.disk[k]})
	}
	m, err := New(s.cfg, list)
	if err != nil {
		s.fault("open: %v", err)
		return
	}
	s.conns = map[uint64]*simConn{}
	s.m, s.waiting, s.calls, s.dialling, s.handed = m, false, map[uint64]string{}, 0, 0
	s.perform(m.Start(s.now, s.rng.Float64()))
}

// step gives the machine an input, and does what it wants done.
func (s *sim) step(in Input) {
	s.note("> %T %+v", in, in)
	s.perform(s.m.Step(s.now, s.rng.Float64(), in))
}

func (s *sim) perform(effects []Effect) {
	sync := false
	for _, e := range effects { // writes first, as the package comment has it
		if w, ok := e.(Write); ok {
			sync = sync || w.Sync
			for _, r := range w.Records {
				if r.Value == nil {
					delete(s.disk, r.Key)
				} else {
					s.disk[r.Key] = r.Value
				}
			}
		}
	}
	if sync {
		s.synced = maps.Clone(s.disk)
	}
	for _, e := range effects {
		if s.how == traced {
			s.note("  %s", render(e))
		}
		s.do(e)
	}
}

func (s *sim) do(e Effect) {
	switch e := e.(type) {
	case Dial:
		s.dialling = e.Conn
		c := &simConn{id: e.Conn, serial: len(s.all), blocked: map[string]string{}}
		s.conns[e.Conn] = c
		s.all = append(s.all, c)
	case Say:
		s.said(e)
	case Hangup:
		if c := s.conns[e.Conn]; c != nil {
			c.lost = true
		}
		if s.dialling == e.Conn {
			s.dialling = 0
		}
	case Queued:
		if e.Err != nil {
			s.fault("queue %s: %v", e.ID, e.Err)
		}
	case Answer:
		id := s.calls[e.Call]
		if e.Fate.ID != id {
			s.fault("call %d was for %s, answered for %s", e.Call, id, e.Fate.ID)
		}
		if e.Fate.Err == nil {
			s.decided(&e.Fate)
		}
	case Hand:
		s.waiting = false
		s.hand(e.Event)
	case Stop:
		if e.Why != Closed {
			s.fault("stopped: %d %v", e.Why, e.Err)
		}
	}
}

// said: what a frame promises must be on disk, whatever cuts the power.
func (s *sim) said(e Say) {
	c := s.conns[e.Conn]
	if c == nil || c.lost {
		s.fault("said on connection %d, which is not open", e.Conn)
		return
	}
	cursor, _ := strconv.ParseUint(string(s.synced[keyCursor]), 10, 64)
	switch b := e.Frame.GetBody().(type) {
	case *clientpb.ClientFrame_Send:
		found := false
		for k, v := range s.synced {
			if strings.HasPrefix(k, keyOut) && strings.Contains(string(v), b.Send.GetId()) {
				found = true
			}
		}
		if !found {
			s.fault("%s goes out, and is not synced", b.Send.GetId())
		}
	case *clientpb.ClientFrame_Ack:
		if b.Ack.GetSeq() > cursor {
			s.fault("ack %d, and %d is synced", b.Ack.GetSeq(), cursor)
		}
	case *clientpb.ClientFrame_Hello:
		if b.Hello.GetAcked() > cursor {
			s.fault("hello.acked %d, and %d is synced", b.Hello.GetAcked(), cursor)
		}
	}
	c.up = append(c.up, e.Frame)
}

// hand: the event before is taken with this.
func (s *sim) hand(e Event) {
	switch e := e.(type) {
	case *clientpb.Deliver:
		if s.shown[e.GetId()] && !s.allowed[e.GetId()] {
			s.fault("%s is shown again", e.GetId())
		}
		if n := len(s.notes); n > 0 && e.GetSeq() <= s.notes[n-1].seq {
			s.fault("seq %d is shown after %d", e.GetSeq(), s.notes[n-1].seq)
		}
		delete(s.allowed, e.GetId())
		s.shown[e.GetId()] = true
		s.handed = e.GetSeq()
		s.notes = append(s.notes, noted{e.GetSeq(), e.GetId()})
	case *Fate:
		s.decided(e)
		s.handed = 0
	default:
		s.handed = 0
	}
}

func (s *sim) decided(f *Fate) {
	what := "sent"
	if f.Refusal != nil {
		what = "refused"
	}
	if before, again := s.fates[f.ID]; again && before != what {
		s.fault("%s was %s, and is %s", f.ID, before, what)
	}
	if _, ok := s.server.accepted[f.ID]; ok != (what == "sent") {
		s.fault("%s is said to be %s; accepted: %v", f.ID, what, ok)
	}
	s.fates[f.ID] = what
}

// die: what was handed over and not noted may come again.
func (s *sim) die(power bool) {
	s.note("-- dies, power cut: %v", power)
	if power {
		s.disk = maps.Clone(s.synced)
	} else {
		s.synced = maps.Clone(s.disk)
	}
	cursor, _ := strconv.ParseUint(string(s.disk[keyCursor]), 10, 64)
	for len(s.notes) > 0 && s.notes[len(s.notes)-1].seq > cursor {
		last := s.notes[len(s.notes)-1]
		if !power && last.seq != s.handed {
			s.fault("a crash takes the note of %d, which was not the last handed over", last.seq)
		}
		s.allowed[last.id] = true
		s.notes = s.notes[:len(s.notes)-1]
	}
	for _, c := range s.all {
		c.lost = true
		if s.rng.IntN(2) == 0 {
			c.up = nil
		}
	}
	s.open()
}

// run so many steps of chance.
func (s *sim) run(steps int) {
	for range steps {
		if len(s.faults) > 0 {
			return
		}
		s.now = s.now.Add(time.Duration(s.rng.IntN(20)) * time.Millisecond)
		switch k := s.rng.IntN(100); {
		case k < 18:
			s.queue()
		case k < 34:
			s.fetch()
		case k < 64:
			s.network(false)
		case k < 72:
			s.arrive()
		case k < 80:
			s.tick()
		case k < 84:
			s.cut()
		case k < 85:
			s.die(s.rng.IntN(2) == 0)
		case k < 86 && s.m.state != stopped:
			s.step(Close{})
			s.die(false)
		case k < 88:
			s.abandon()
		default:
			s.network(true)
		}
	}
}

// settle without faults until nothing is missing.
func (s *sim) settle() {
	for range 5000 {
		if len(s.faults) > 0 || s.missing() == "" {
			break
		}
		s.now = s.now.Add(5 * time.Millisecond)
		s.fetch()
		s.network(false)
		s.tick()
	}
	if text := s.missing(); text != "" {
		s.fault("in the end: %s", text)
	}
}

func (s *sim) missing() string {
	for _, id := range s.made {
		if s.fates[id] == "" {
			return id + " has no fate"
		}
	}
	for _, n := range s.server.mailbox {
		if !s.shown[n.id] {
			return n.id + " was not shown"
		}
	}
	if s.server.acked < s.server.seq {
		return fmt.Sprintf("acked %d of %d", s.server.acked, s.server.seq)
	}
	return ""
}

func (s *sim) queue() {
	if s.m.state == stopped || s.m.outbox.undecided > 150 {
		return
	}
	for range 1 + s.rng.IntN(6) {
		id := fmt.Sprintf("m%d", len(s.made))
		to := []string{"bob", "carol", "nobody"}[min(2, s.rng.IntN(20)/9)]
		s.made = append(s.made, id)
		s.lane[id] = to
		in := Queue{Send: &clientpb.Send{Id: id, To: user(to)}}
		if s.rng.IntN(3) == 0 {
			s.call++
			in.Call = s.call
			s.calls[s.call] = id
		}
		s.step(in)
	}
}

func (s *sim) abandon() {
	for call := range s.calls {
		s.step(Abandon{Call: call})
		return
	}
}

func (s *sim) fetch() {
	switch {
	case s.waiting && s.rng.IntN(4) == 0:
		s.waiting = false
		s.step(Unfetch{})
	case s.waiting:
	case s.rng.IntN(6) == 0:
		s.step(Take{})
	case s.handed != 0 && s.rng.IntN(12) == 0: // its handler failed
		last := s.notes[len(s.notes)-1]
		if last.seq == s.handed && s.m.inbox.handed != nil {
			s.notes = s.notes[:len(s.notes)-1]
			s.allowed[last.id] = true
		}
		s.handed = 0
		s.step(Return{})
	default:
		s.waiting = true
		s.step(Fetch{})
	}
}

func (s *sim) tick() {
	if next := s.m.Next(); !next.IsZero() {
		if s.rng.IntN(3) == 0 || !next.After(s.now.Add(2*time.Second)) {
			s.now = later(s.now, next)
			s.step(Tick{})
		}
	}
}

// cut the newest connection. What is on its way up may arrive all the same.
func (s *sim) cut() {
	c := s.conns[s.m.conn]
	if c == nil || c.lost {
		return
	}
	s.note("-- cut %d", c.id)
	c.lost = true
	if s.rng.IntN(2) == 0 {
		c.up = c.up[:s.rng.IntN(len(c.up)+1)]
	}
	s.dialling = 0
	s.step(Lost{Conn: c.id, Err: fmt.Errorf("cut")})
}

// network moves something: the newest connection, or an older one's last words.
func (s *sim) network(old bool) {
	c := s.conns[s.m.conn]
	if old {
		c = s.all[s.rng.IntN(len(s.all))]
	}
	if c == nil {
		return
	}
	if s.dialling == c.id && !c.lost {
		s.dialling = 0
		s.step(Dialled{Conn: c.id})
		return
	}
	for range 1 + s.rng.IntN(4) {
		if len(c.up) > 0 {
			f := c.up[0]
			c.up = c.up[1:]
			s.serve(c, f)
		}
	}
	s.push(c)
	if c.lost || len(c.down) == 0 {
		if !c.lost && c.closed != 0 {
			c.lost = true
			s.step(Lost{Conn: c.id, Code: c.closed, Err: fmt.Errorf("closed %d", c.closed)})
		}
		return
	}
	n := 1 + s.rng.IntN(len(c.down))
	frames := c.down[:n]
	c.down = c.down[n:]
	s.step(Frames{Conn: c.id, Frames: frames})
}

// arrive: somebody writes to this device's user.
func (s *sim) arrive() {
	for range 1 + s.rng.IntN(3) {
		s.server.seq += uint64(1 + s.rng.IntN(2))
		s.server.mailbox = append(s.server.mailbox, noted{s.server.seq, fmt.Sprintf("in%d", s.server.seq)})
	}
	s.server.seq = s.server.mailbox[len(s.server.mailbox)-1].seq
}

// push what the connection was not given yet.
func (s *sim) push(c *simConn) {
	if !c.live || c.closed != 0 {
		return
	}
	most := s.rng.IntN(4) // a page
	for _, n := range s.server.mailbox {
		if n.seq > c.written && most > 0 {
			most--
			c.written = n.seq
			c.down = append(c.down, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Deliver{Deliver: &clientpb.Deliver{
				Seq: n.seq, Id: n.id, From: &clientpb.Device{User: "bob", Device: 1}, Conversation: user("bob"),
			}}})
		}
	}
}
