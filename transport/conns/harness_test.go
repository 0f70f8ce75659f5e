package conns

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-im/rookery/transport/ws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long tests wait for what must happen.
const patience = 10 * time.Second

// event is a call of the handler.
type event struct {
	what string // opened, message, drained, closed
	id   ID
	info Info
	op   Opcode
	data string
	code uint16
	err  error
}

// scribe is a handler that writes down what it hears, and does what a test
// wants on top.
type scribe struct {
	events    chan event
	onOpened  func(id ID)
	onMessage func(id ID, data []byte)
	onClosed  func(id ID)
}

func (s *scribe) Opened(id ID, info Info) {
	s.events <- event{what: "opened", id: id, info: info}
	if s.onOpened != nil {
		s.onOpened(id)
	}
}

func (s *scribe) Message(id ID, op Opcode, data []byte) {
	s.events <- event{what: "message", id: id, op: op, data: string(data)}
	if s.onMessage != nil {
		s.onMessage(id, data)
	}
}

func (s *scribe) Drained(id ID) { s.events <- event{what: "drained", id: id} }

func (s *scribe) Closed(id ID, code uint16, err error) {
	s.events <- event{what: "closed", id: id, code: code, err: err}
	if s.onClosed != nil {
		s.onClosed(id)
	}
}

// clock is the test's.
type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_700_000_000, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// node is connections with their loop and an HTTP server.
type node struct {
	t      testing.TB
	conns  *Conns
	scribe *scribe
	clock  *clock
	addr   string
	round  func() // called before each Flush, on the loop
	stop   func() // ends everything, once
}

// start runs a node until the test ends. With a manual clock the loop turns
// every few milliseconds of real time, and time passes by advance.
func start(t testing.TB, cfg Config, s *scribe) *node {
	t.Helper()
	n := &node{t: t, scribe: s, clock: &clock{}}
	if s.events == nil {
		s.events = make(chan event, 10_000)
	}
	cfg.Clock = n.clock.now
	if cfg.Sweep == 0 {
		cfg.Sweep = tickLength
	}
	c, err := New(cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	n.conns = c
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = tcp.Addr().String()
	mux := http.NewServeMux()
	c.Register(mux)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(c.Listen(tcp)) })
	quit := make(chan struct{})
	running.Go(func() { n.loop(quit) })
	n.stop = sync.OnceFunc(func() {
		_ = srv.Shutdown(context.Background())
		close(quit)
		running.Wait()
		if got := c.Len(); got != 0 {
			t.Errorf("%d connections are left after the end", got)
		}
	})
	t.Cleanup(n.stop)
	return n
}

func (n *node) loop(quit chan struct{}) {
	for {
		if err := n.conns.Poll(2 * time.Millisecond); err != nil {
			n.t.Error(err)
			return
		}
		if n.round != nil {
			n.round()
		}
		n.conns.Flush()
		select {
		case <-quit:
			if err := n.conns.Stop(); err != nil {
				n.t.Error(err)
			}
			return
		default:
		}
	}
}

// on runs f on the loop and waits for it.
func (n *node) on(f func()) {
	n.t.Helper()
	done := make(chan struct{})
	if !n.conns.Post(func() { f(); close(done) }) {
		n.t.Fatal("the inbox is full")
	}
	<-done
}

// pass lets time pass, and the loop see it.
func (n *node) pass(d time.Duration) {
	n.clock.advance(d)
	for range 3 {
		n.on(func() {})
	}
}

// next waits for the handler to hear of something.
func (n *node) next(what string) event {
	n.t.Helper()
	select {
	case ev := <-n.scribe.events:
		if ev.what != what {
			n.t.Fatalf("heard %+v, not %s", ev, what)
		}
		return ev
	case <-time.After(patience):
		n.t.Fatalf("%s was not heard", what)
		return event{}
	}
}

// silent checks that the handler has heard nothing more.
func (n *node) silent() {
	n.t.Helper()
	n.on(func() {})
	select {
	case ev := <-n.scribe.events:
		n.t.Fatalf("heard %+v", ev)
	default:
	}
}

// eventually waits for a condition that the loop brings about.
func (n *node) eventually(what string, cond func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		var ok bool
		n.on(func() { ok = cond() })
		if ok {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("not so: %s", what)
		}
	}
}

// client is a peer, as simple as can be.
type client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

const keyHeaders = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func request(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: here\r\n" + keyHeaders + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

func (n *node) dialRaw() *client {
	n.t.Helper()
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = conn.Close() })
	return &client{n.t, conn, bufio.NewReader(conn)}
}

// dial connects; early is sent in the packet of the handshake.
func (n *node) dial(path string, early []byte, headers ...string) *client {
	n.t.Helper()
	c := n.dialRaw()
	c.raw(append([]byte(request(path, headers...)), early...))
	if res := c.response(); res.StatusCode != http.StatusSwitchingProtocols {
		n.t.Fatalf("%s", res.Status)
	}
	return c
}

// open connects to the clients' endpoint, and returns the ID, too.
func (n *node) open() (*client, ID) {
	n.t.Helper()
	c := n.dial(Path, nil)
	return c, n.next("opened").id
}

func (c *client) response() *http.Response {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

func (c *client) raw(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func frame(op Opcode, payload string) []byte {
	return ws.AppendMasked(nil, op, []byte(payload), [4]byte{1, 2, 3, 4})
}

func (c *client) send(payload string) {
	c.t.Helper()
	c.raw(frame(ws.Text, payload))
}

// read returns the next frame of the server's, or what ended the stream.
func (c *client) read() (Opcode, []byte, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0xf0 != 0x80 || head[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("a server's frame begins with %x", head)
	}
	length := uint64(head[1])
	if long := map[byte]int{126: 2, 127: 8}[head[1]]; long > 0 {
		var b [8]byte
		if _, err := io.ReadFull(c.in, b[8-long:]); err != nil {
			return 0, nil, err
		}
		length = binary.BigEndian.Uint64(b[:])
	}
	payload := make([]byte, length)
	_, err := io.ReadFull(c.in, payload)
	return Opcode(head[0] & 0xf), payload, err
}

func (c *client) expect(op Opcode, payload string) {
	c.t.Helper()
	got, b, err := c.read()
	if err != nil || got != op || string(b) != payload {
		c.t.Fatalf("%v %.60q, %v; want %v %.60q", got, b, err, op, payload)
	}
}

// expectClose waits for a close frame with the code, answers it, and waits for
// the end of the stream.
func (c *client) expectClose(code uint16) {
	c.t.Helper()
	for {
		op, b, err := c.read()
		if err != nil {
			c.t.Fatalf("no close frame: %v", err)
		}
		if op != ws.Close {
			continue
		}
		if code == ws.CloseNoCode {
			if len(b) != 0 {
				c.t.Fatalf("close %x, want an empty one", b)
			}
		} else if len(b) < 2 || binary.BigEndian.Uint16(b) != code {
			c.t.Fatalf("close %x, want %d", b, code)
		}
		break
	}
	_, _ = c.conn.Write(frame(ws.Close, string([]byte{byte(code >> 8), byte(code)})))
	c.expectEnd()
}

// expectEnd waits for an orderly end of the stream, not a reset.
func (c *client) expectEnd() {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	if rest, err := io.ReadAll(c.in); err != nil || len(rest) != 0 {
		c.t.Fatalf("the stream ends with %.60q, %v", rest, err)
	}
	_ = c.conn.Close()
}

// carriers runs a test on each.
func carriers(t *testing.T, test func(t *testing.T, cfg Config)) {
	for name, cfg := range map[string]Config{"epoll": {}, "goroutines": {Portable: true}} {
		t.Run(name, func(t *testing.T) { test(t, cfg) })
	}
}

func text(n int) string { return string(bytes.Repeat([]byte("x"), n)) }
