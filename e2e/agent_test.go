//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// agent is a process that lends somebody else's WebSocket library to the test.
type agent struct {
	t     *testing.T
	name  string
	stdin io.WriteCloser

	mu      sync.Mutex // guards what follows
	calls   int
	opened  int
	answers map[int]chan httpAnswer
	devices map[string]*device
}

type httpAnswer struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// The two libraries.

func nodeAgent(t *testing.T) *agent {
	if _, err := os.Stat("agents/node_modules/ws"); err != nil {
		t.Fatal("npm's ws is missing: run the tests by `make e2e`")
	}
	return startAgent(t, "ws (npm)", "node", "agents/ws.mjs")
}

func pythonAgent(t *testing.T) *agent {
	requireWebsockets(t)
	return startAgent(t, "websockets (Python)", systemPython, "agents/websockets_agent.py")
}

// Debian's packages belong to the system's Python, whatever else is in PATH.
const systemPython = "/usr/bin/python3"

func requireWebsockets(t *testing.T) {
	t.Helper()
	if err := exec.Command(systemPython, "-c", "import websockets").Run(); err != nil {
		t.Fatal("Python's websockets is missing: apt-get install python3-websockets")
	}
}

func startAgent(t *testing.T, name string, command ...string) *agent {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	a := &agent{t: t, name: name, stdin: stdin, answers: map[int]chan httpAnswer{}, devices: map[string]*device{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		a.listen(stdout)
	}()
	t.Cleanup(func() {
		stdin.Close() // both end with their input
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if text, _ := os.ReadFile(stderr.Name()); t.Failed() && len(text) > 0 {
			t.Logf("%s said:\n%s", name, text)
		}
		stderr.Close()
	})
	return a
}

// listen hands what the process says to whom it concerns.
func (a *agent) listen(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var said struct {
			Conn     string `json:"conn"`
			Event    string `json:"event"`
			Protocol string `json:"protocol"`
			Data     string `json:"data"`
			Binary   bool   `json:"binary"`
			Code     int    `json:"code"`
			Reason   string `json:"reason"`
			Call     int    `json:"call"`
			httpAnswer
		}
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
			a.t.Errorf("%s said %q: %v", a.name, lines.Text(), err)
			continue
		}
		a.mu.Lock()
		d, answer := a.devices[said.Conn], a.answers[said.Call]
		a.mu.Unlock()
		switch said.Event {
		case "open":
			d.opened(said.Conn, said.Protocol)
		case "message":
			d.heard(said.Conn, said.Data, said.Binary)
		case "close":
			d.closed(said.Conn, said.Code, said.Reason)
		default:
			answer <- said.httpAnswer
		}
	}
}

// tell gives the process a command.
func (a *agent) tell(command map[string]any) {
	a.t.Helper()
	line, err := json.Marshal(command)
	if err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.stdin.Write(append(line, '\n')); err != nil {
		a.t.Fatalf("%s: %v", a.name, err)
	}
}

// http lets the agent make a REST call and decodes the answer into out.
func (a *agent) http(wantStatus int, method, url, token string, body, out any) {
	a.t.Helper()
	text := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			a.t.Fatal(err)
		}
		text = string(b)
	}
	answer := make(chan httpAnswer, 1)
	a.mu.Lock()
	a.calls++
	call := a.calls
	a.answers[call] = answer
	a.mu.Unlock()
	a.tell(map[string]any{"do": "http", "call": call, "method": method, "url": url, "token": token, "body": text})
	select {
	case got := <-answer:
		if got.Status != wantStatus {
			a.t.Fatalf("%s: %s %s: status %d, want %d: %s", a.name, method, url, got.Status, wantStatus, got.Body)
		}
		if out != nil {
			if err := json.Unmarshal([]byte(got.Body), out); err != nil {
				a.t.Fatalf("%s: %s %s answered %q: %v", a.name, method, url, got.Body, err)
			}
		}
	case <-time.After(patience):
		a.t.Fatalf("%s: %s %s: no answer", a.name, method, url)
	}
}

// device is one device of a user, with at most one connection at a time.
type device struct {
	agent *agent
	user  string
	n     uint32
	token string

	mu       sync.Mutex // guards what follows
	changed  chan struct{}
	conn     string // the current connection, for the agent
	protocol string
	open     bool
	code     int
	reason   string
	inbox    []frame
	trace    []string
	ref      int
	stored   uint64 // what hello.acked says
	highest  uint64 // highest seq heard
}

func (d *device) String() string { return fmt.Sprintf("%s/%d", d.user, d.n) }

// login links a new device of an existing user.
func (a *agent) login(s *server, user, password, name string) *device {
	a.t.Helper()
	var answer struct {
		User      string `json:"user"`
		Device    uint32 `json:"device"`
		Token     string `json:"token"`
		ExpiresAt string `json:"expiresAt"`
	}
	a.http(201, "POST", s.url("/v1/devices"), "", map[string]any{"user": user, "password": password, "deviceName": name}, &answer)
	if answer.User != user || answer.Device == 0 || answer.Token == "" {
		a.t.Fatalf("login of %s answered %+v", user, answer)
	}
	if _, err := time.Parse(time.RFC3339Nano, answer.ExpiresAt); err != nil {
		a.t.Fatalf("login: expiresAt: %v", err)
	}
	d := &device{agent: a, user: user, n: answer.Device, token: answer.Token, changed: make(chan struct{})}
	return d
}

// twin is the same device a second time, as a copied token makes it.
func (d *device) twin() *device {
	return &device{agent: d.agent, user: d.user, n: d.n, token: d.token, changed: make(chan struct{})}
}

// notifyLocked wakes whoever waits for a change.
func (d *device) notifyLocked() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *device) note(format string, args ...any) {
	d.trace = append(d.trace, fmt.Sprintf(format, args...))
}

// opened, heard and closed take what the agent says of a connection; what it
// says of an earlier one no longer matters.

func (d *device) opened(conn, protocol string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if conn != d.conn {
		return
	}
	d.open, d.protocol = true, protocol
	d.note("open %s", protocol)
	d.notifyLocked()
}

func (d *device) heard(conn, message string, binary bool) {
	frames, err := parseFrames(message)
	d.mu.Lock()
	defer d.mu.Unlock()
	if conn != d.conn {
		return
	}
	if err != nil || binary {
		d.agent.t.Errorf("%s got %q (binary %v): %v", d, message, binary, err)
	}
	for _, f := range frames {
		d.note("< %s", f.text)
		d.highest = max(d.highest, f.seq())
	}
	d.inbox = append(d.inbox, frames...)
	d.notifyLocked()
}

func (d *device) closed(conn string, code int, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if conn != d.conn {
		return
	}
	d.open, d.code, d.reason = false, code, reason
	d.note("closed %d %s", code, reason)
	d.notifyLocked()
}

// until waits until ready, called with mu held, is satisfied.
func (d *device) until(what string, ready func() bool) {
	d.agent.t.Helper()
	deadline := time.After(patience)
	d.mu.Lock()
	for !ready() {
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			d.fail("waited in vain for %s", what)
		}
		d.mu.Lock()
	}
	d.mu.Unlock()
}

// fail ends the test and shows what this device said and heard.
func (d *device) fail(format string, args ...any) {
	d.agent.t.Helper()
	d.mu.Lock()
	trace := d.trace
	if len(trace) > 40 {
		trace = trace[len(trace)-40:]
	}
	text := strings.Join(trace, "\n  ")
	d.mu.Unlock()
	d.agent.t.Fatalf("%s by %s: %s\n  %s", d, d.agent.name, fmt.Sprintf(format, args...), text)
}

// dial opens a connection and does not say hello.
func (d *device) dial(s *server, protocols ...string) {
	d.agent.t.Helper()
	d.agent.mu.Lock()
	d.agent.opened++
	name := fmt.Sprintf("%s#%d", d, d.agent.opened)
	d.agent.devices[name] = d
	d.agent.mu.Unlock()
	d.mu.Lock()
	d.conn, d.open, d.code, d.inbox = name, false, 0, nil
	d.mu.Unlock()
	d.agent.tell(map[string]any{"do": "open", "conn": name, "url": s.ws(), "protocols": protocols})
	d.until("the connection to open", func() bool { return d.open || d.code != 0 })
}

// connect opens a connection, says hello and returns the welcome.
func (d *device) connect(s *server) *welcomeFrame {
	d.agent.t.Helper()
	d.dial(s, "rookery.v1.json")
	d.say(helloText(d.token, d.stored))
	f := d.expect("welcome", func(f *frame) bool { return f.Welcome != nil })
	if w := f.Welcome; w.User != d.user || w.Device != d.n || f.Ref != 1 {
		d.fail("welcome is not for this device: %s", f.text)
	}
	return f.Welcome
}

// say writes one text message.
func (d *device) say(text string) {
	d.mu.Lock()
	d.note("> %s", text)
	name := d.conn
	d.mu.Unlock()
	d.agent.tell(map[string]any{"do": "text", "conn": name, "data": text})
}

// close closes the connection from this side.
func (d *device) close() {
	d.agent.t.Helper()
	d.mu.Lock()
	name := d.conn
	d.mu.Unlock()
	d.agent.tell(map[string]any{"do": "close", "conn": name})
	d.until("the connection to close", func() bool { return !d.open })
}

// expectClose waits for the server to close with the code.
func (d *device) expectClose(code int) {
	d.agent.t.Helper()
	d.until(fmt.Sprintf("close %d", code), func() bool { return !d.open && d.code != 0 })
	if d.code != code {
		d.fail("closed with %d %s, want %d", d.code, d.reason, code)
	}
}

// expect takes the first frame that matches out of the inbox, waiting for it.
func (d *device) expect(what string, match func(*frame) bool) frame {
	d.agent.t.Helper()
	var found frame
	lost := false
	d.until(what, func() bool {
		for i := range d.inbox {
			if match(&d.inbox[i]) {
				found = d.inbox[i]
				d.inbox = append(d.inbox[:i:i], d.inbox[i+1:]...)
				return true
			}
		}
		lost = !d.open
		return lost
	})
	if lost {
		d.fail("the connection closed with %d %s before %s", d.code, d.reason, what)
	}
	return found
}

// next takes the first deliver out of the inbox.
func (d *device) next() *deliverFrame {
	d.agent.t.Helper()
	return d.expect("a deliver", func(f *frame) bool { return f.Deliver != nil }).Deliver
}

// nextRef is a ref that this device has not used.
func (d *device) nextRef() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ref++
	return d.ref + 1 // 1 is hello's
}

// answer waits for the frame with the ref.
func (d *device) answer(ref int) frame {
	d.agent.t.Helper()
	return d.expect(fmt.Sprintf("the answer to ref %d", ref), func(f *frame) bool { return int(f.Ref) == ref })
}

// send sends and waits for sent.
func (d *device) send(id, to, text string) *sentFrame {
	d.agent.t.Helper()
	ref := d.nextRef()
	d.say(sendText(ref, id, to, text))
	f := d.answer(ref)
	if f.Sent == nil || f.Sent.ID != id || f.Sent.Conversation.User != to || f.Sent.Order == 0 || f.Sent.Time == 0 {
		d.fail("send %s to %s was answered %s", id, to, f.text)
	}
	return f.Sent
}

// refused says something and waits for its error.
func (d *device) refused(ref int, text, code, reason string) *errorFrame {
	d.agent.t.Helper()
	d.say(text)
	f := d.answer(ref)
	if f.Error == nil || f.Error.Code != code || f.Error.Reason != reason || f.Error.Message == "" {
		d.fail("want error %s %s, got %s", code, reason, f.text)
	}
	return f.Error
}

// ack says that everything up to seq is stored here.
func (d *device) ack(seq uint64) {
	d.stored = seq
	d.say(ackText(0, seq))
}

// barrier waits for everything the server had to say before a pong.
func (d *device) barrier() {
	d.agent.t.Helper()
	ref := d.nextRef()
	d.say(fmt.Sprintf(`{"ref":%d,"ping":{}}`, ref))
	if f := d.answer(ref); f.Pong == nil {
		d.fail("ping was answered %s", f.text)
	}
}

// drained waits for drained and returns its seq.
func (d *device) drained() uint64 {
	d.agent.t.Helper()
	return d.expect("drained", func(f *frame) bool { return f.Drained != nil }).Drained.Seq
}

// catchUp takes everything that has come so far for seen, and acks it.
func (d *device) catchUp() {
	d.agent.t.Helper()
	d.barrier()
	d.mu.Lock()
	d.inbox = nil
	highest := d.highest
	d.mu.Unlock()
	if highest > d.stored {
		d.ack(highest)
	}
}

// nothing fails where the inbox holds, after a barrier, a frame that matches.
func (d *device) nothing(what string, match func(*frame) bool) {
	d.agent.t.Helper()
	d.barrier()
	d.mu.Lock()
	for i := range d.inbox {
		if match(&d.inbox[i]) {
			text := d.inbox[i].text
			d.mu.Unlock()
			d.fail("%s: got %s", what, text)
		}
	}
	d.mu.Unlock()
}

// receipt waits for a receipt at or past both marks.
func (d *device) receipt(peer string, delivered, read uint64) *receiptFrame {
	d.agent.t.Helper()
	what := fmt.Sprintf("a receipt of %s: delivered %d, read %d", peer, delivered, read)
	return d.expect(what, func(f *frame) bool {
		r := f.Receipt
		return r != nil && r.Conversation.User == peer && r.By == peer && r.DeliveredUpTo >= delivered && r.ReadUpTo >= read
	}).Receipt
}
