package user

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

var rewrite = flag.Bool("rewrite", false, "write what testdata/*.txt say anew, for a person to read")

// TestScenarios plays testdata/*.txt. A line that is indented is output: what
// the commands before it wrote (user| row), relayed (user ~> user) and said
// (user/device <- ...). Everything else is a command or, with #, a comment.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, file, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("%s reads otherwise now (go test -rewrite, and look at the diff):\n%s", file, firstDifference(string(text), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	from := max(0, i-5)
	return fmt.Sprintf("want:\n%s\ngot:\n%s", strings.Join(w[from:min(len(w), i+6)], "\n"), strings.Join(g[from:min(len(g), i+6)], "\n"))
}

// play runs a scenario and returns it with the output that it gives now.
func play(t *testing.T, file, text string) string {
	var out strings.Builder
	at := ""
	w := newWorld(func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%s: %s: %s", file, at, fmt.Sprintf(format, args...))
	})
	w.trace = func(format string, args ...any) { fmt.Fprintf(&out, "    "+format+"\n", args...) }
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, " ") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		at = fmt.Sprintf("line %d: %s", n+1, line)
		s := script{w: w, fields: strings.Fields(line)}
		s.run()
		w.done()
	}
	return out.String()
}

// parkedConn is past every conn of a session.
const parkedConn = 1 << 32

// script is one command being read: words, and options of the form key=value.
type script struct {
	w      *world
	fields []string
}

func (s *script) word(i int) string {
	if i >= len(s.fields) {
		s.w.fail("word %d is missing", i)
		return ""
	}
	return s.fields[i]
}

func (s *script) number(i int) uint64 { return s.parse(s.word(i)) }

func (s *script) parse(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		s.w.fail("not a number: %q", text)
	}
	return n
}

func (s *script) option(key string) (string, bool) {
	for _, f := range s.fields[1:] {
		if v, ok := strings.CutPrefix(f, key+"="); ok {
			return v, true
		}
	}
	return "", false
}

func (s *script) optNumber(key string) uint64 {
	if v, ok := s.option(key); ok {
		return s.parse(v)
	}
	return 0
}

func (s *script) has(word string) bool {
	for _, f := range s.fields[1:] {
		if f == word {
			return true
		}
	}
	return false
}

// device reads user/number.
func (s *script) device(i int) (user string, device uint32) {
	user, n, ok := strings.Cut(s.word(i), "/")
	if !ok {
		s.w.fail("not a device: %q", s.word(i))
	}
	return user, uint32(s.parse(n))
}

func (s *script) conn(i int) *conn {
	c := s.w.current[s.word(i)]
	if c == nil {
		s.w.fail("%s is not connected", s.word(i))
	}
	return c
}

func (s *script) run() {
	w := s.w
	switch s.fields[0] {
	case "attach":
		user, device := s.device(1)
		w.attach(user, device, s.optNumber("acked"), s.optNumber("after"))
	case "reattach": // the same connection once more
		c := s.conn(1)
		w.step(c.user, &nodepb.Attach{Origin: c.origin(), Tag: 1})
	case "detach":
		w.detach(s.conn(1))
	case "send":
		s.send()
	case "ack":
		w.ack(s.conn(1), s.number(2))
	case "read":
		c := s.conn(1)
		w.step(c.user, &nodepb.Read{Origin: c.origin(), Ref: 9, Peer: s.word(2), Order: s.number(3), Written: c.written})
	case "seen":
		c := s.conn(1)
		seen := c.epoch
		if n := s.optNumber("epoch"); n != 0 {
			seen = n
		}
		w.step(c.user, &nodepb.DevicesSeen{Origin: c.origin(), Epoch: seen})
	case "watch":
		w.step(s.word(2), &nodepb.Watch{Origin: s.conn(1).origin()})
	case "unwatch":
		w.step(s.word(2), &nodepb.Unwatch{Origin: s.conn(1).origin()})
	case "typing":
		w.step(s.word(2), &nodepb.Typing{Origin: s.conn(1).origin(), On: true})
	case "signal":
		w.step(s.word(2), &nodepb.Signal{Origin: s.conn(1).origin(), Bytes: []byte(s.word(3))})
	case "unpark":
		user, device := s.device(1)
		w.step(user, &nodepb.Unpark{Origin: &nodepb.Origin{Conn: parkedConn + s.number(2), User: user, Device: device}})
	case "hold", "commit", "drop", "restart", "hibernate", "clock", "outbox", "quiet", "fill":
		s.circumstance()
	default:
		s.ask()
	}
}

// circumstance is what happens to the world rather than in it.
func (s *script) circumstance() {
	w := s.w
	switch s.fields[0] {
	case "hold": // until commit or drop, batches stay open
		w.holding = true
	case "commit":
		w.holding = false
	case "drop": // the open batch is lost, and what was computed on it
		w.holding = false
		w.restart()
	case "restart":
		w.restart()
	case "hibernate":
		w.reload(s.word(1), w.state(s.word(1)).Attachments())
	case "clock":
		d, err := time.ParseDuration(strings.TrimPrefix(s.word(1), "+"))
		if err != nil {
			w.fail("%v", err)
		}
		w.clock(d)
	case "outbox":
		w.outboxFull = s.word(1) == "full"
	case "quiet": // run another command without its output
		trace := w.trace
		w.trace = func(string, ...any) {}
		inner := script{w: w, fields: s.fields[1:]}
		inner.run()
		w.done()
		w.trace = trace
	case "fill": // fill alice/1 bob 100: so many sends
		c, to := s.conn(1), s.word(2)
		trace := w.trace
		w.trace, w.unchecked = func(string, ...any) {}, true
		for n := range s.number(3) {
			w.send(c, &nodepb.Send{To: to, Id: messageID(fmt.Sprintf("f%s%d", c.user, n))})
			w.settle()
		}
		w.trace, w.unchecked = trace, false
	}
}

// send alice/1 bob A [text] [rest] [copy] [n= prev= session=] [ttl=] [others=] [for=bob/1,...]
func (s *script) send() {
	m := &nodepb.Send{To: s.word(2), Id: messageID(s.word(3)), Kind: 1, Copy: s.has("copy")}
	if t, ok := s.option("text"); ok {
		m.Payload = []byte(t)
	}
	if t, ok := s.option("ttl"); ok {
		d, err := time.ParseDuration(t)
		if err != nil {
			s.w.fail("%v", err)
		}
		m.Ttl = uint64(d.Milliseconds())
	}
	if list, ok := s.option("others"); ok {
		for _, n := range strings.Split(list, ",") {
			m.Others = append(m.Others, uint32(s.parse(n)))
		}
	}
	if list, ok := s.option("for"); ok {
		for _, d := range strings.Split(list, ",") {
			user, n, _ := strings.Cut(d, "/")
			m.Payloads = append(m.Payloads, &nodepb.TargetPayload{User: user, Device: uint32(s.parse(n)), Payload: []byte("to " + d)})
		}
	}
	user, device := s.device(1)
	if s.has("rest") {
		m.Origin, m.Copy = &nodepb.Origin{User: user, Device: device}, true
		s.w.ask(&nodepb.Ask{User: m.GetTo(), Asker: user, Device: device, Body: &nodepb.Ask_Send{Send: m}})
		return
	}
	c := s.conn(1)
	m.Number, m.Previous = s.optNumber("n"), s.optNumber("prev")
	if v := s.optNumber("session"); v != 0 { // of a gateway that was left behind
		m.Origin = c.origin()
		m.Origin.Session = v
	}
	s.w.send(c, m)
}

// ask is a command of the REST API.
func (s *script) ask() {
	a := &nodepb.Ask{}
	if strings.Contains(s.word(1), "/") {
		a.Asker, a.Device = s.device(1)
		a.User = a.GetAsker()
	} else {
		a.User = s.word(1)
	}
	switch s.fields[0] {
	case "register":
		a.Body = &nodepb.Ask_Register{Register: &nodepb.Register{Name: s.word(1), Password: "pw"}}
	case "link":
		a.Body = &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: s.word(2), Password: "pw"}}
	case "unlink":
		a.Body = &nodepb.Ask_UnlinkDevice{UnlinkDevice: &nodepb.UnlinkDevice{Device: uint32(s.number(2))}}
	case "devices":
		a.Body = &nodepb.Ask_GetDevices{GetDevices: &nodepb.GetDevices{}}
	case "delete":
		a.Body = &nodepb.Ask_DeleteAccount{DeleteAccount: &nodepb.DeleteAccount{Password: "pw"}}
	case "block", "unblock":
		a.Body = &nodepb.Ask_SetBlock{SetBlock: &nodepb.SetBlock{User: s.word(2), Blocked: s.fields[0] == "block"}}
	case "privacy":
		p := storepb.Profile_Privacy(storepb.Profile_Privacy_value[strings.ToUpper(s.word(2))])
		a.Body = &nodepb.Ask_PatchProfile{PatchProfile: &nodepb.PatchProfile{LastSeen: &p}}
	case "profile": // profile alice/1 bob: what alice sees of bob
		a.User = s.word(2)
		a.Body = &nodepb.Ask_GetProfile{GetProfile: &nodepb.GetProfile{}}
	case "list":
		peer, _ := s.option("peer")
		l := &nodepb.List{After: s.optNumber("after"), Limit: uint32(max(1, s.optNumber("limit"))), Peer: peer}
		if n := s.optNumber("park"); n != 0 { // under a number of its own
			l.Park = &nodepb.Park{Conn: parkedConn + n}
		}
		if id, ok := s.option("id"); ok {
			l.Id = messageID(id)
		}
		a.Body = &nodepb.Ask_List{List: l}
	case "restack":
		a.Body = &nodepb.Ask_AckUpTo{AckUpTo: &nodepb.AckUpTo{Seq: s.number(2)}}
	default:
		s.w.fail("no such command")
	}
	s.w.ask(a)
}
