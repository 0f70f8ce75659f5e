package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/types/known/durationpb"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// fakeServer is the other side of the sockets of one test. The real one is in
// the tests that build it; this one says what a test wants it to say, and when.
type fakeServer struct {
	t     *testing.T
	dials chan *fakeConn // each connection, as it is opened

	mu   sync.Mutex
	down bool
	urls []string
}

func newFakeServer(t *testing.T) *fakeServer {
	return &fakeServer{t: t, dials: make(chan *fakeConn, 100)}
}

func (s *fakeServer) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *fakeServer) dial(_ context.Context, url string, heard func()) (socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.urls = append(s.urls, url)
	if s.down {
		return nil, errors.New("connection refused")
	}
	c := &fakeConn{t: s.t, heard: heard, toClient: make(chan []byte, 2048), toServer: make(chan []byte, 2048), closed: make(chan struct{})}
	s.dials <- c
	return c, nil
}

// fakeConn is one connection.
type fakeConn struct {
	t                  *testing.T
	heard              func()
	toClient, toServer chan []byte
	once               sync.Once
	closed             chan struct{}
	err                error
	rest               []*clientpb.ClientFrame
}

func (c *fakeConn) Read(ctx context.Context) ([]byte, error) {
	select { // what was said before the end is heard before it
	case b := <-c.toClient:
		return b, nil
	default:
	}
	select {
	case b := <-c.toClient:
		return b, nil
	case <-c.closed:
		return nil, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *fakeConn) Write(ctx context.Context, b []byte) error {
	select {
	case c.toServer <- append([]byte{}, b...):
		return nil
	case <-c.closed:
		return errConnClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errConnClosed = errors.New("use of closed connection")

func (c *fakeConn) Close(string) { c.end(io.EOF) }
func (c *fakeConn) CloseNow()    { c.end(io.EOF) }

func (c *fakeConn) end(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.closed)
	})
}

// closeBy the server, with a code.
func (c *fakeConn) closeBy(code int, reason string) {
	c.end(websocket.CloseError{Code: websocket.StatusCode(code), Reason: reason})
}

func (c *fakeConn) say(frames ...*clientpb.ServerFrame) {
	c.t.Helper()
	var b strings.Builder
	for _, f := range frames {
		if _, err := protodelimMarshal(&b, f); err != nil {
			c.t.Fatal(err)
		}
	}
	c.toClient <- []byte(b.String())
}

// hear waits for the next frame.
func (c *fakeConn) hear() *clientpb.ClientFrame {
	c.t.Helper()
	for len(c.rest) == 0 {
		select {
		case b := <-c.toServer:
			c.rest = parseClient(c.t, b)
		case <-time.After(time.Hour):
			c.t.Fatal("the client says nothing")
		}
	}
	f := c.rest[0]
	c.rest = c.rest[1:]
	return f
}

// quiet says that the client has said nothing more.
func (c *fakeConn) quiet() {
	c.t.Helper()
	synctest.Wait()
	if len(c.rest) > 0 {
		c.t.Fatalf("unexpected: %v", c.rest[0])
	}
	select {
	case b := <-c.toServer:
		c.t.Fatalf("unexpected: %v", parseClient(c.t, b))
	default:
	}
}

// greet takes hello and welcomes.
func (s *fakeServer) greet() *fakeConn {
	s.t.Helper()
	select {
	case c := <-s.dials:
		if c.hear().GetHello() == nil {
			s.t.Fatal("the first frame is not hello")
		}
		c.say(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Welcome{Welcome: &clientpb.Welcome{
			User: "alice", Device: 1, Heartbeat: durationpb.New(30 * time.Second), Node: "n1",
			Limits: &clientpb.Limits{Payload: 64 << 10, Message: 512 << 10, DevicePayloads: 256 << 10, InFlight: 256, InFlightPerConversation: 64, Sends: &clientpb.Rate{PerSecond: 1000, Burst: 1000}},
		}}}, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Drained{Drained: &clientpb.Drained{}}})
		return c
	case <-time.After(time.Hour):
		s.t.Fatal("the client does not connect")
		return nil
	}
}

func deliverFrame(seq uint64, text string) *clientpb.ServerFrame {
	return &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Deliver{Deliver: &clientpb.Deliver{
		Seq: seq, Id: text, From: &clientpb.Device{User: "bob", Device: 1}, Conversation: With("bob").proto(), Order: seq, Payload: []byte(text),
	}}}
}

func sentFrame(id string) *clientpb.ServerFrame {
	return &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Sent{Sent: &clientpb.Sent{Id: id, Conversation: With("bob").proto(), Order: 1, Time: 1 << 16}}}
}

// fakeREST answers calls by method and path.
type fakeREST map[string]func(body string) (int, string)

func (f fakeREST) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	answer := f[r.Method+" "+r.URL.Path]
	if answer == nil {
		return nil, errors.New("connection refused")
	}
	status, text := answer(body)
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}},
		Body: io.NopCloser(strings.NewReader(text)), Request: r,
	}, nil
}

// linked is a store that holds a device.
func linked(t *testing.T) *MemoryStore {
	t.Helper()
	s := NewMemoryStore()
	if err := s.Apply(t.Context(), []Record{{Key: "device", Value: []byte(`{"user":"alice","device":1,"token":"t"}`)}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// connectTo starts a client on a fake server; close it before the bubble ends.
func connectTo(t *testing.T, s *fakeServer, cfg Config) *Client {
	t.Helper()
	c, err := tryConnect(t, s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryConnect(t *testing.T, s *fakeServer, cfg Config) (*Client, error) {
	t.Helper()
	cfg.URL, cfg.User = "https://chat.example.org", "alice"
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = &http.Client{Transport: fakeREST{}}
	}
	if cfg.Store == nil {
		cfg.Store = linked(t)
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	c.dial = s.dial
	if err := c.start(t.Context()); err != nil {
		return nil, err
	}
	return c, nil
}
