package node

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func start(t *testing.T, change func(*Config)) *Node {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Admin, cfg.Shards = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0", 2
	if change != nil {
		change(&cfg)
	}
	n, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// One that sends half a request neither holds up an orderly end nor makes it a
// failed one.
func TestDrainCutsHalfARequest(t *testing.T) {
	defer goleak.VerifyNone(t)
	const timeout = 2 * time.Second
	n := start(t, func(c *Config) { c.DrainTimeout = timeout })
	c, err := net.Dial("tcp", n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	// The answer to Expect shows that the handler reads the body.
	if _, err := c.Write([]byte("POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	begin := time.Now()
	if err := n.Drain(); err != nil {
		t.Errorf("drain: %v", err)
	}
	if took := time.Since(begin); took > timeout+time.Second {
		t.Errorf("drain took %v", took)
	}
}

// A peer that takes its close frame holds up nothing, whatever it was there for.
func TestDrainEndsTheEcho(t *testing.T) {
	defer goleak.VerifyNone(t)
	const timeout = 10 * time.Second
	n := start(t, func(c *Config) { c.DrainTimeout, c.Echo = timeout, true })
	c, err := net.Dial("tcp", n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("GET /v1/ws/echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	// An echo shows that the loop has it.
	if _, err := c.Write([]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	head := make(chan byte, 1)
	go func() {
		b, _ := r.ReadByte() // the first byte of the close frame, or the end
		head <- b
		_ = c.Close()
	}()
	begin := time.Now()
	if err := n.Drain(); err != nil {
		t.Errorf("drain: %v", err)
	}
	if took := time.Since(begin); took > timeout/2 {
		t.Errorf("drain took %v", took)
	}
	if b := <-head; b != 0x88 {
		t.Errorf("the peer got %#x, not a close frame", b)
	}
}

func TestWrongMethodOnWebSocketPath(t *testing.T) {
	n := start(t, nil)
	defer func() {
		if err := n.Drain(); err != nil {
			t.Error(err)
		}
	}()
	r, err := http.Post("http://"+n.Addr()+"/v1/ws", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") == "" || r.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %s, headers %v", r.Status, r.Header)
	}
}
