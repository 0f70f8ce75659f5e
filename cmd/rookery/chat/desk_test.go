package chat

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-im/rookery/client"
	"github.com/rookery-im/rookery/cmd/rookery/chat/history"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
	"github.com/rookery-im/rookery/cmd/rookery/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testPatience = 20 * time.Second

// startNode starts a node in this process; its address stays when it is
// started again.
func startNode(t *testing.T) (url string, stop func()) {
	t.Helper()
	cfg := node.DefaultConfig()
	dir, err := os.MkdirTemp("", "chat") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	cfg.Data, cfg.Listen, cfg.Admin, cfg.Shards = filepath.Join(dir, "d"), "127.0.0.1:0", filepath.Join(dir, "a"), 4
	n, err := node.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		if err := n.Drain(); err != nil {
			t.Error(err)
		}
		<-n.Done()
	}
	t.Cleanup(func() { stop(); os.RemoveAll(dir) })
	return "http://" + n.Addr(), stop
}

// person is somebody with a state directory.
type person struct {
	t     *testing.T
	o     options
	state state
}

func newPerson(t *testing.T, url, name string) *person {
	t.Helper()
	st, err := openState(t.TempDir(), os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	return &person{t, options{server: url, user: name, password: "correct horse", register: true}, st}
}

// enter logs in, as from a pipe.
func (p *person) enter() (account, *client.Client) {
	p.t.Helper()
	d := &door{console: newConsole(strings.NewReader(""), nil, nil), state: p.state, given: p.o, password: p.o.password}
	a, sdk, err := d.enter(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return a, sdk
}

// sits at a desk whose news it takes when told to.
type sitting struct {
	*desk
	t     *testing.T
	inbox chan news
	told  []string
}

func (p *person) sit() *sitting {
	p.t.Helper()
	a, sdk := p.enter()
	d, err := openDesk(p.t.Context(), a, sdk)
	if err != nil {
		p.t.Fatal(err)
	}
	s := &sitting{desk: d, t: p.t, inbox: make(chan news)}
	s.deliver = func(ctx context.Context, n news) {
		select {
		case s.inbox <- n:
		case <-ctx.Done():
		}
	}
	s.tell = func(line string) { s.told = append(s.told, line) }
	s.receive()
	return s
}

// until takes news until the condition holds.
func (s *sitting) until(what string, is func() bool) {
	s.t.Helper()
	deadline := time.After(testPatience)
	for !is() {
		select {
		case n := <-s.inbox:
			s.take(n)
		case <-deadline:
			s.t.Fatalf("not so: %s", what)
		}
	}
}

func (s *sitting) leave() {
	s.t.Helper()
	if err := s.close(); err != nil {
		s.t.Fatal(err)
	}
}

// has counts the lines of a conversation that say this.
func (s *sitting) has(peer, text string) int {
	n := 0
	if c := s.model.Conversation(peer); c != nil {
		for _, l := range append(c.Lines, c.Pending...) {
			if string(l.Body.Says()) == text {
				n++
			}
		}
	}
	return n
}

func (s *sitting) settled() bool { return s.model.Link.State == talk.Online && s.model.Unsent() == 0 }

// A crash between history and queue, in each place: the line is sent once.
func TestReconcile(t *testing.T) {
	url, _ := startNode(t)
	alice, bob := newPerson(t, url, "alice"), newPerson(t, url, "bob")
	b := bob.sit()
	b.until("bob is online", b.settled)

	// The history has it, the queue never got it.
	a, sdk := alice.enter()
	h, _, err := history.Open(a.history(), func(talk.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	keep := func(id, text string) {
		t.Helper()
		if err := h.Append(talk.Queued{Conversation: "bob", ID: id, Text: text, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	keep("01935b3e-7c1a-7000-8000-000000000001", "only in the history")
	// Both have it, and it was sent; but its fate was never fetched.
	keep("01935b3e-7c1a-7000-8000-000000000002", "fate unknown")
	if _, err := sdk.Queue(t.Context(), client.Draft{ID: "01935b3e-7c1a-7000-8000-000000000002", To: client.With("bob"), Payload: []byte("fate unknown")}); err != nil {
		t.Fatal(err)
	}
	b.until("it arrives", func() bool { return b.has("alice", "fate unknown") == 1 })
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(testPatience); sdk.Status().Unsent > 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it has no fate")
		}
	}
	// Only the queue has it: the history was deleted, say.
	if _, err := sdk.Queue(t.Context(), client.Text("bob", "only in the queue")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Close(), sdk.Close()); err != nil {
		t.Fatal(err)
	}

	s := alice.sit()
	s.until("everything is sent", s.settled)
	for _, text := range []string{"only in the history", "fate unknown"} {
		if n := s.has("bob", text); n != 1 {
			t.Errorf("alice sees %q %d times", text, n)
		}
		b.until("bob gets "+text, func() bool { return b.has("alice", text) > 0 })
	}
	b.until("bob gets the one of the queue", func() bool { return b.has("alice", "only in the queue") > 0 })
	if c := b.model.Conversation("alice"); len(c.Lines) != 3 {
		t.Errorf("bob has %d lines, want 3", len(c.Lines))
	}
	s.leave()
	b.leave()
}

// What cannot be written down is not acknowledged: it comes again when there
// is room.
func TestFullDisk(t *testing.T) {
	url, _ := startNode(t)
	alice, bob := newPerson(t, url, "alice"), newPerson(t, url, "bob")
	a, b := alice.sit(), bob.sit()
	a.until("alice is online", a.settled)
	b.until("bob is online", b.settled)
	if _, err := a.say("bob", "one", time.Now()); err != nil {
		t.Fatal(err)
	}
	a.until("it is sent", a.settled)

	if err := b.history.Close(); err != nil { // as good as a full disk
		t.Fatal(err)
	}
	if _, err := b.say("alice", "typed", time.Now()); err == nil || b.model.Unsent() != 0 || b.has("alice", "typed") != 0 {
		t.Errorf("a line that could not be kept: %v; %d unsent", err, b.model.Unsent())
	}
	b.until("bob is told", func() bool { return b.model.Link.State == talk.Refused })
	if _, err := b.say("alice", "typed", time.Now()); err == nil {
		t.Error("a line was taken that could not be kept")
	}
	if err := b.close(); err == nil {
		t.Error("closing hid that the history is not written")
	}

	b = bob.sit()
	b.until("bob gets it after all", func() bool { return b.has("alice", "one") == 1 })
	b.leave()
	a.leave()
}

// Lines that a server refuses say why, in words.
func TestRefusals(t *testing.T) {
	url, stop := startNode(t)
	alice := newPerson(t, url, "alice")
	a := alice.sit()
	a.until("alice is online", a.settled)
	if _, err := a.say("nobody", "hello?", time.Now()); err != nil {
		t.Fatal(err)
	}
	a.until("it is refused", func() bool { return a.model.Conversation("nobody").Failed() != nil })
	if why := a.model.Conversation("nobody").Failed().Why; why != "nobody has that name" {
		t.Errorf("it says %q", why)
	}
	if _, err := a.say("nobody", strings.Repeat("x", 1<<17), time.Now()); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a line of 128 KB: %v", err)
	}
	if _, err := a.say("nobody", " \n ", time.Now()); err == nil {
		t.Error("an empty line was sent")
	}
	// Without a node it waits, and a second desk finds it waiting.
	stop()
	a.until("alice is offline", func() bool { return a.model.Link.State == talk.Offline })
	if _, err := a.say("bob", "later", time.Now()); err != nil {
		t.Fatal(err)
	}
	a.leave()
	a = alice.sit()
	if a.model.Unsent() != 1 || a.has("bob", "later") != 1 {
		t.Errorf("%d unsent after a restart", a.model.Unsent())
	}
	a.leave()
	// A history that was deleted takes nothing with it that is still to go out.
	if err := os.Remove(alice.state.account(url, "alice").history()); err != nil {
		t.Fatal(err)
	}
	a = alice.sit()
	if a.has("bob", "later") != 1 || a.has("nobody", "hello?") != 0 {
		t.Error("after the history was deleted the queue does not show")
	}
	a.leave()
}
