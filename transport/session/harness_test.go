package session

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

// scene is a gateway between a client that a test plays and actors that it
// plays as well. Everything that happens is a line of the trace.
type scene struct {
	t       *testing.T
	g       *Gateway
	now     time.Time
	pending int
	deaf    bool // no actor takes anything
	steps   int  // of the test; see nap
	trace   []string
	told    []proto.Message
	users   []string
}

func newScene(t *testing.T, change func(*Config)) *scene {
	t.Helper()
	s := &scene{t: t, now: time.UnixMilli(1_700_000_000_000)}
	cfg := DefaultConfig().Named("n1")
	if change != nil {
		change(&cfg)
	}
	g, err := New(cfg, s, s, s, func() time.Time { return s.now }, slog.New(slog.DiscardHandler), NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	s.g = g
	return s
}

func (s *scene) note(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

// The connections.

func (s *scene) Send(_ uint64, data []byte) {
	for _, line := range strings.Split(string(data), "\n") {
		s.note("< %s", line)
	}
}
func (s *scene) Pending(uint64) int { return s.pending }
func (s *scene) Read(_ uint64, r Reading) {
	s.note("%s", map[Reading]string{Pause: "pause", Resume: "resume"}[r])
}
func (s *scene) Admit(_ uint64, heartbeat time.Duration, _ time.Time) { s.note("admit %v", heartbeat) }
func (s *scene) Close(_ uint64, code uint16, reason string)           { s.note("close %d %s", code, reason) }

// The actors.

func (s *scene) Tell(user string, msg any) error {
	if s.deaf {
		return errors.New("no leader")
	}
	m := msg.(proto.Message)
	s.told, s.users = append(s.told, m), append(s.users, user)
	s.note("%s: %s", user, brief(m))
	return nil
}

// brief shows what a test is about.
func brief(m proto.Message) string {
	switch m := m.(type) {
	case *nodepb.Send:
		return fmt.Sprintf("send %d after %d id %x others %v", m.GetNumber(), m.GetPrevious(), m.GetId()[15], m.GetOthers())
	case *nodepb.Pull:
		return fmt.Sprintf("pull after %d", m.GetAfter())
	case *nodepb.Ack:
		return fmt.Sprintf("ack %d", m.GetSeq())
	case *nodepb.Read:
		return fmt.Sprintf("read %d of %s", m.GetOrder(), m.GetPeer())
	case *nodepb.Attach:
		if r := m.GetResumes(); r != 0 {
			return fmt.Sprintf("attach %d acked %d resumes %d", m.GetOrigin().GetDevice(), m.GetAcked(), r)
		}
		return fmt.Sprintf("attach %d acked %d", m.GetOrigin().GetDevice(), m.GetAcked())
	case *nodepb.DevicesSeen:
		return fmt.Sprintf("devices seen %d", m.GetEpoch())
	}
	return strings.ToLower(string(m.ProtoReflect().Descriptor().Name()))
}

// The tokens.

func (s *scene) Identify(token string) (Identity, error) {
	switch token {
	case "good":
	case "undecided":
		return Identity{}, ErrUndecided
	default:
		return Identity{}, errors.New("the token is not valid")
	}
	return Identity{User: "alice", Device: 1, Expires: s.now.Add(time.Hour)}, nil
}

// What a test does.

func (s *scene) open() { s.g.Opened(7, frames.JSON, "") }

// openWith is a connection whose upgrade brought a token.
func (s *scene) openWith(bearer string) {
	s.g.Opened(7, frames.JSON, bearer)
	s.g.Flush()
	s.nap()
}

// say is the client's: JSON frames.
func (s *scene) say(lines ...string) {
	s.g.Message(7, frames.JSON, []byte(strings.Join(lines, "\n")))
	s.g.Flush()
	s.nap()
}

// reply is an actor's.
func (s *scene) reply(m proto.Message) {
	s.g.Deliver(7, m)
	s.g.Flush()
	s.nap()
}

// nap has the session sleep after two of three steps, if it may: nobody is to
// notice.
func (s *scene) nap() {
	if s.steps++; s.steps%3 != 0 {
		s.g.sweeps += drowsy
		s.g.lull()
	}
}

// attach goes through hello to live, with the trace cleared.
func (s *scene) attach() {
	s.open()
	s.say(`{"ref":1,"hello":{"token":"good"}}`)
	s.reply(&nodepb.Attached{Session: 5})
	s.reply(&nodepb.Page{Session: 5, End: true})
	s.trace, s.told, s.users = nil, nil, nil
}

// expect compares the trace since the last time with what a person would write
// down; a line that ends in … is a prefix.
func (s *scene) expect(want ...string) {
	s.t.Helper()
	got := s.trace
	s.trace = nil
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		prefix, cut := strings.CutSuffix(want[i], "…")
		ok = got[i] == want[i] || cut && strings.HasPrefix(got[i], prefix)
	}
	if !ok {
		s.t.Errorf("trace:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// lastTag of a send that was told.
func (s *scene) tagOf(id byte) uint32 {
	s.t.Helper()
	for i := len(s.told) - 1; i >= 0; i-- {
		if m, ok := s.told[i].(*nodepb.Send); ok && m.GetId()[15] == id {
			return m.GetTag()
		}
	}
	s.t.Fatalf("no send of id %x was told", id)
	return 0
}

func uuidOf(id byte) string { return fmt.Sprintf("01935b3e-0000-7000-8000-0000000000%02x", id) }

func sendLine(id byte) string {
	return fmt.Sprintf(`{"ref":%d,"send":{"id":"%s","to":{"user":"bob"},"payload":"aGk="}}`, id, uuidOf(id))
}

func entry(t *testing.T, text string, m proto.Message) {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
}
