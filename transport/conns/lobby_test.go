package conns

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// hall is a server behind a lobby.
type hall struct {
	t     *testing.T
	lobby *lobby
	addr  string
	serve chan func(http.ResponseWriter, *http.Request) // the next request's handler
}

func newHall(t *testing.T, most, ofAddress, bodies int) *hall {
	h := &hall{t: t, serve: make(chan func(http.ResponseWriter, *http.Request), 16)}
	h.lobby = newLobby(most, ofAddress, bodies, prometheus.NewCounter(prometheus.CounterOpts{}))
	srv := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case f := <-h.serve:
			f(w, r)
		default:
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%d bytes, %v", n, err)
		}
	})}
	(&Conns{lobby: h.lobby, guests: newGuests(DefaultConfig().withDefaults())}).Guard(srv)
	h.listen(srv)
	return h
}

// listen serves until the test ends.
func (h *hall) listen(srv *http.Server) {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.addr = l.Addr().String()
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(l) })
	h.t.Cleanup(func() { _ = srv.Close(); running.Wait() })
}

// from dials from 127.0.0.n, and writes.
func (h *hall) from(n byte, text string) net.Conn {
	h.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, n)}}
	c, err := d.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		h.t.Fatal(err)
	}
	return c
}

func (h *hall) eventually(what string, cond func() bool) {
	h.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !cond(); {
		select {
		case <-tick.C:
		case <-end:
			h.t.Fatal("not so: " + what)
		}
	}
}

// standing are in the queue, and hold so many bytes of bodies.
func (h *hall) standing() (n, held int) {
	h.lobby.mu.Lock()
	defer h.lobby.mu.Unlock()
	return h.lobby.queue.Len(), h.lobby.held
}

// known are all connections.
func (h *hall) known() int {
	h.lobby.mu.Lock()
	defer h.lobby.mu.Unlock()
	return len(h.lobby.all)
}

// gone waits for the connection to be closed by the server, without a word.
func (h *hall) gone(c net.Conn) {
	h.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		h.t.Fatal(err)
	}
	var timeout net.Error
	if b, err := io.ReadAll(c); len(b) > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		h.t.Errorf("%q, %v", b, err)
	}
}

func (h *hall) answer(c net.Conn, want string) {
	h.t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if string(b) != want || err != nil {
		h.t.Errorf("%q, %v, want %q", b, err, want)
	}
}

const (
	half  = "GET / HTTP/1.1\r\nHost: here\r\n"
	whole = half + "\r\n"
)

func post(n int) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n", n)
}

// When the lobby is full those leave who have stood there longest: not who is
// being served, and not who comes with a whole request.
func TestLobby(t *testing.T) {
	h := newHall(t, 3, 100, 1<<20)
	entered, leave := make(chan struct{}), make(chan struct{})
	h.serve <- func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		fmt.Fprint(w, "served")
	}
	served := h.from(1, whole)
	<-entered
	var slow []net.Conn
	for i := range byte(3) {
		slow = append(slow, h.from(2+i, half))
		h.eventually("it stands", func() bool { n, _ := h.standing(); return n == int(i)+1 })
	}
	idle := h.from(9, whole)
	h.answer(idle, "0 bytes, <nil>")
	h.gone(slow[0])
	h.answer(h.from(10, whole), "0 bytes, <nil>")
	h.gone(slow[1])
	close(leave)
	h.answer(served, "served")
	h.gone(slow[2])
}

// Few may stand there when WebSockets and requests have the descriptors.
func TestLobbyLeavesDescriptors(t *testing.T) {
	l := newLobby(1000, 1000, 1<<20, prometheus.NewCounter(prometheus.CounterOpts{}))
	left := 500
	l.room = func() int { return left }
	ends := make([]net.Conn, 0, 800)
	t.Cleanup(func() {
		for _, c := range ends {
			_ = c.Close()
		}
	})
	visit := func() *visitor {
		a, b := net.Pipe()
		ends = append(ends, a, b)
		return l.enter(a)
	}
	for range 100 {
		if v := visit(); !l.serve(v) {
			t.Fatal("gone at once")
		}
	}
	for range 600 {
		visit()
	}
	if n := l.queue.Len(); n != 400 {
		t.Errorf("%d stand, of 500 less 100 that are served", n)
	}
	left = 0
	visit()
	if n := l.queue.Len(); n != lobbyMin {
		t.Errorf("%d stand where nothing is left", n)
	}
}

// In a full lobby nobody is let in for a moment, so that a crowd that comes at
// once is served in its order.
func TestLobbyLetsNobodyInForAMoment(t *testing.T) {
	l := newLobby(2, 100, 1<<20, prometheus.NewCounter(prometheus.CounterOpts{}))
	now := time.Unix(1_700_000_000, 0)
	l.now = func() time.Time { return now }
	var first *visitor
	for i := range 2 {
		a, b := net.Pipe()
		t.Cleanup(func() { _, _ = a.Close(), b.Close() })
		if l.young() > 0 {
			t.Fatalf("nobody is let in behind %d", i)
		}
		v := l.enter(a)
		if i == 0 {
			first = v
		}
		now = now.Add(lobbyGrace / 4)
	}
	if got := l.young(); got != lobbyGrace/2 {
		t.Errorf("nobody is let in for %v", got)
	}
	closed := make(chan struct{})
	close(closed)
	l.admit(closed) // returns
	now = now.Add(lobbyGrace / 2)
	if l.young() > 0 {
		t.Error("the first has had its time")
	}
	now = now.Add(-lobbyGrace / 2)
	if l.serve(first); l.young() > 0 {
		t.Error("the first is served")
	}
}

// One address has a part of it, and drives out only its own.
func TestLobbyOfOneAddress(t *testing.T) {
	h := newHall(t, 100, 2, 1<<20)
	other := h.from(2, half)
	h.eventually("it stands", func() bool { n, _ := h.standing(); return n == 1 })
	var own []net.Conn
	for i := range 4 {
		own = append(own, h.from(1, half))
		h.eventually("it stands", func() bool { n, _ := h.standing(); return n == min(i+2, 3) && h.known() == n })
		if i >= 2 {
			h.gone(own[i-2])
		}
	}
	if _, err := io.WriteString(other, "\r\n"); err != nil {
		t.Fatal(err)
	}
	h.answer(other, "0 bytes, <nil>")
}

// No handler waits for a body, and bodies are bounded in all: the oldest that
// is not here yet loses.
func TestBodiesAreReadInTheLobby(t *testing.T) {
	h := newHall(t, 100, 100, 300<<10)
	h.serve <- func(http.ResponseWriter, *http.Request) { t.Error("a handler waits for a body") }
	first := h.from(1, post(200<<10)+strings.Repeat("x", 100<<10))
	h.eventually("it is held", func() bool { _, held := h.standing(); return held >= 100<<10 })
	second := h.from(2, post(200<<10)+strings.Repeat("x", 199<<10))
	h.gone(first)
	h.eventually("it is held", func() bool { _, held := h.standing(); return held >= 199<<10 && held <= 300<<10 })
	<-h.serve
	if _, err := io.WriteString(second, strings.Repeat("x", 1<<10)); err != nil {
		t.Fatal(err)
	}
	h.answer(second, "204800 bytes, <nil>")
	h.eventually("nothing is held", func() bool { _, held := h.standing(); return held == 0 })
}

// What a handler reads is what was sent, however long, and how it ended.
func TestBodiesArriveAsTheyAre(t *testing.T) {
	h := newHall(t, 100, 100, 64<<20)
	for _, n := range []int{0, 1, 4095, 4096, 512 << 10, 512<<10 + 1, 3 << 20} {
		body := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
		h.serve <- func(w http.ResponseWriter, r *http.Request) {
			got, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%v %v", bytes.Equal(got, body), err)
		}
		h.answer(h.from(1, post(n)+string(body)), "true <nil>")
	}
	h.serve <- func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a body that was cut: %v", err)
		}
	}
	c := h.from(1, post(100)+"x")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	h.eventually("the handler has run", func() bool { return len(h.serve) == 0 })
}
