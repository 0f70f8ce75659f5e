package events

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is Streams under net/http, over connections in memory whose buffers
// hold nothing, and a loop that a test runs by hand. All times are a bubble's.
type world struct {
	t      *testing.T
	s      *Streams
	server *http.Server
	accept chan net.Conn
	served sync.WaitGroup

	mu    sync.Mutex
	inbox []func()
	full  bool

	seats   int
	noSeat  error
	giveUp  []time.Duration
	trace   []string
	hellos  map[uint64]Hello
	answer  func(id uint64, h Hello) // what the sessions do with one opened
	expires time.Duration
}

func newWorld(t *testing.T, change func(*Config)) *world {
	w := &world{t: t, accept: make(chan net.Conn), hellos: map[uint64]Hello{}, expires: time.Hour}
	w.answer = func(id uint64, _ Hello) {
		w.s.Admit(id, 30*time.Second, time.Now().Add(w.expires))
		w.s.Send(id, []byte("event: welcome\n\n"))
	}
	cfg := Config{Sessions: w, Seats: w, Post: w.post}
	if change != nil {
		change(&cfg)
	}
	var err error
	if w.s, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	w.server = &http.Server{
		ReadTimeout: time.Second, // must not end a stream
		Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			from, _ := netip.ParseAddr(r.URL.Query().Get("from"))
			if f := w.s.Serve(out, r, from, Hello{User: "alice", Device: 1, After: 5}); f != nil {
				http.Error(out, f.GetCode()+" "+f.GetReason()+": "+f.GetMessage(), 400)
			}
		}),
	}
	w.served.Go(func() {
		if err := w.server.Serve(w); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
		w.served.Wait()
	})
	return w
}

// The listener.

func (w *world) Accept() (net.Conn, error) {
	if c, ok := <-w.accept; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (w *world) Close() error   { close(w.accept); return nil }
func (w *world) Addr() net.Addr { return &net.UnixAddr{} }

// The seats.

func (w *world) TakeSeat() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noSeat != nil {
		return w.noSeat
	}
	w.seats++
	return nil
}

func (w *world) GiveUpAfter(_ *http.Request, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.giveUp = append(w.giveUp, d)
}

func (w *world) GiveSeat() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seats--
}

// The loop.

func (w *world) post(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full {
		return false
	}
	w.inbox = append(w.inbox, f)
	return true
}

func (w *world) seated() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seats
}

func (w *world) setFull(is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full = is
}

// round of the loop, and of all that it set going.
func (w *world) round() {
	synctest.Wait()
	for {
		w.mu.Lock()
		inbox := w.inbox
		w.inbox = nil
		w.mu.Unlock()
		for _, f := range inbox {
			f()
		}
		w.s.Round()
		synctest.Wait()
		w.mu.Lock()
		quiet := len(w.inbox) == 0
		w.mu.Unlock()
		if quiet {
			return
		}
	}
}

// The sessions.

func (w *world) Opened(id uint64, h Hello) {
	w.trace = append(w.trace, fmt.Sprintf("opened %d", id))
	w.hellos[id] = h
	w.answer(id, h)
}
func (w *world) Drained(id uint64) { w.trace = append(w.trace, fmt.Sprintf("drained %d", id)) }
func (w *world) Closed(id uint64)  { w.trace = append(w.trace, fmt.Sprintf("closed %d", id)) }

func (w *world) expect(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.trace, want) {
		w.t.Errorf("the sessions heard %q, want %q", w.trace, want)
	}
	w.trace = nil
}

// client is the other end of a connection.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	res  *http.Response
}

// ask for a stream; the answer is read by begun.
func (w *world) ask(query string) *client {
	w.t.Helper()
	mine, theirs := net.Pipe()
	w.accept <- theirs
	w.t.Cleanup(func() { _ = mine.Close() })
	c := &client{conn: mine, in: bufio.NewReader(mine)}
	if _, err := io.WriteString(mine, "GET /"+query+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// begun runs the loop and reads the head of the answer.
func (w *world) begun(c *client) *http.Response {
	w.t.Helper()
	head := make(chan error, 1)
	go func() {
		var err error
		c.res, err = http.ReadResponse(c.in, nil)
		head <- err
	}()
	w.round()
	if err := <-head; err != nil {
		w.t.Fatal(err)
	}
	return c.res
}

// listen collects what comes until the end; the error is that of reading on.
func (c *client) listen() (text *strings.Builder, end chan error) {
	text, end = new(strings.Builder), make(chan error, 1)
	go func() {
		_, err := io.Copy(text, c.res.Body)
		end <- err
	}()
	return text, end
}

const first = 1

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.ask("")
		res := w.begun(c)
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if res.StatusCode != 200 || !slices.Equal(res.TransferEncoding, []string{"chunked"}) {
			t.Errorf("%s, %v", res.Status, res.TransferEncoding)
		}
		if h := w.hellos[first]; h.User != "alice" || h.After != 5 {
			t.Errorf("asked for %+v", h)
		}
		text, end := c.listen()
		time.Sleep(29 * time.Second)
		w.s.Send(first, []byte("event: a\n\n"))
		w.s.Send(first, []byte("event: b\n\n"))
		time.Sleep(61 * time.Second) // two comments after the last words
		w.s.Close(first, 4103, "unlinked")
		w.s.Send(first, []byte("event: c\n\n"))
		w.round()
		if err := <-end; err != nil {
			t.Error(err)
		}
		want := "event: welcome\n\nevent: a\n\nevent: b\n\n:\n\n:\n\nevent: close\ndata: {\"code\":4103,\"reason\":\"unlinked\"}\n\n"
		if text.String() != want {
			t.Errorf("got:\n%s\nwant:\n%s", text, want)
		}
		w.expect("opened 1", "closed 1")
		if w.seated() != 0 || w.s.open != 0 || len(w.s.from) != 0 || len(w.s.byID) != 0 {
			t.Errorf("left: %d seats, %d open, %d addresses, %d known", w.seated(), w.s.open, len(w.s.from), len(w.s.byID))
		}
		if want := []time.Duration{time.Minute, 0}; !slices.Equal(w.giveUp, want) {
			t.Errorf("the connection was to be given up after %v, want %v", w.giveUp, want)
		}
		// The connection serves on: the time to write was the stream's.
		time.Sleep(500 * time.Millisecond)
		if _, err := io.WriteString(c.conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if res := w.begun(c); res.StatusCode != 200 {
			t.Error(res.Status)
		}
	})
}

func TestStreamThatCannotBegin(t *testing.T) {
	closing := func(code uint16) func(w *world) {
		return func(w *world) { w.answer = func(id uint64, _ Hello) { w.s.Close(id, code, "because") } }
	}
	for name, test := range map[string]struct {
		when  func(w *world)
		want  string
		heard []string
	}{
		"malformed":     {closing(4100), "invalid_argument : because", []string{"opened 1", "closed 1"}},
		"expired":       {closing(4101), "unauthenticated : because", []string{"opened 1", "closed 1"}},
		"unlinked":      {closing(4103), "unauthenticated device_unlinked: because", []string{"opened 1", "closed 1"}},
		"no leader":     {closing(1013), "unavailable : because", []string{"opened 1", "closed 1"}},
		"loop is full":  {func(w *world) { w.setFull(true) }, "unavailable : the node takes no more at the moment", nil},
		"node is full":  {func(w *world) { w.noSeat = errors.New("no seat") }, "unavailable : no seat", nil},
		"nothing comes": {func(w *world) { w.answer = func(uint64, Hello) {} }, "unavailable : no answer in time", []string{"opened 1", "closed 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				test.when(w)
				c := w.ask("")
				w.round()
				time.Sleep(6 * time.Second)
				res := w.begun(c)
				body, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != 400 || strings.TrimSpace(string(body)) != test.want {
					t.Errorf("%s %q, %v; want %q", res.Status, body, err, test.want)
				}
				w.setFull(false)
				w.round()
				w.expect(test.heard...)
				if w.seated() != 0 || w.s.open != 0 {
					t.Errorf("%d seats, %d open", w.seated(), w.s.open)
				}
			})
		})
	}
}

// A request that has gone before the loop came to it opens nothing.
func TestStreamThatIsOverBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.ask("")
		synctest.Wait()
		if err := c.conn.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.round()
		w.expect()
		if len(w.s.byID) != 0 || w.seated() != 0 {
			t.Errorf("%d known, %d seats", len(w.s.byID), w.seated())
		}
	})
}

func TestStreamEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.expires = 45 * time.Second
		c := w.ask("")
		w.begun(c)
		text, end := c.listen()
		start := time.Now()
		time.Sleep(44 * time.Second)
		w.round()
		if len(w.s.byID) == 0 {
			t.Error("ended early")
		}
		time.Sleep(time.Second)
		w.round()
		if err := <-end; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 45*time.Second || !strings.HasSuffix(text.String(), "event: close\ndata: {\"code\":4101,\"reason\":\"the token has expired\"}\n\n") {
			t.Errorf("after %v: %s", took, text)
		}
		w.expect("opened 1", "closed 1")
	})
}

func TestClientThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.ask("")
		w.begun(c)
		if err := c.conn.Close(); err != nil {
			t.Fatal(err)
		}
		w.round()
		w.expect("opened 1", "closed 1")
		w.s.Send(first, []byte("event: late\n\n"))
		w.s.Close(first, 1012, "late")
		w.round()
		w.expect()
		if w.seated() != 0 {
			t.Error("the seat is taken still")
		}
	})
}

// Who takes nothing of what is written is cut; what waited is let go.
func TestClientThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.ask("")
		w.begun(c)
		w.expect("opened 1")
		for range 40 {
			w.s.Send(first, make([]byte, 10<<10))
		}
		if got := w.s.Pending(first); got < 390<<10 || got > 410<<10 {
			t.Errorf("%d bytes wait", got)
		}
		start := time.Now()
		time.Sleep(9 * time.Second)
		w.round()
		w.expect()
		time.Sleep(2 * time.Second)
		w.round()
		w.expect("closed 1")
		if took := time.Since(start); took > 11*time.Second || w.s.Pending(first) != 0 || w.seated() != 0 {
			t.Errorf("after %v: %d wait, %d seats", took, w.s.Pending(first), w.seated())
		}
	})
}

// Past the bound a client is cut with 4001: what waits is dropped, but for the
// block that is being written, so that the last event stands by itself.
func TestClientWhoIsTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.PendingLow, c.PendingMax = 16<<10, 64<<10 })
		c := w.ask("")
		w.begun(c)
		block := []byte("data: " + strings.Repeat("x", 20<<10) + "\n\n")
		for range 5 {
			w.s.Send(first, block)
			synctest.Wait()
		}
		if len(w.s.byID) != 0 {
			t.Fatal("not cut")
		}
		text, end := c.listen()
		w.round()
		if err := <-end; err != nil {
			t.Error(err)
		}
		want := "event: welcome\n\n" + string(block) + "event: close\ndata: {\"code\":4001,\"reason\":\"slow consumer\"}\n\n"
		if text.String() != want {
			t.Errorf("got %d bytes that end in %q, want %d", text.Len(), text.String()[max(0, text.Len()-100):], len(want))
		}
		w.expect("opened 1", "closed 1")
	})
}

// A slow reader takes its time, as long as it takes a piece in it; the sessions
// hear when there is room again, and not before.
func TestSlowButSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.PendingLow = 16 << 10 })
		c := w.ask("")
		w.begun(c)
		w.expect("opened 1")
		const blocks, size = 20, 16 << 10
		for range blocks {
			w.s.Send(first, make([]byte, size))
		}
		buf := make([]byte, 4<<10)
		left := blocks*size + len("event: welcome\n\n")
		for left > 0 {
			time.Sleep(3 * time.Second / 2)
			n, err := io.ReadFull(c.res.Body, buf[:min(left, len(buf))])
			if err != nil {
				t.Fatal(err)
			}
			left -= n
			w.round()
			if len(w.trace) > 0 && w.s.Pending(first) > 16<<10 {
				t.Fatalf("drained with %d bytes waiting", w.s.Pending(first))
			}
		}
		w.expect("drained 1")
	})
}

// Nor does one wait for a client that reads, but slowly: what is said of it is
// to hold soon.
func TestLingeringOfASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.ask("")
		w.begun(c)
		for range 40 {
			w.s.Send(first, make([]byte, 10<<10))
		}
		start := time.Now()
		w.s.CloseAll(4103, "unlinked")
		w.round()
		w.expect("opened 1", "closed 1")
		for err := error(nil); err == nil; {
			time.Sleep(time.Second)
			_, err = io.ReadFull(c.res.Body, make([]byte, 4<<10))
		}
		synctest.Wait()
		if took := time.Since(start); took > 11*time.Second || w.seated() != 0 {
			t.Errorf("it went on for %v", took)
		}
	})
}

// A close does not wait for ever either.
func TestLingering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.ask("")
		w.begun(c)
		w.s.Close(first, 1012, "restarting")
		start := time.Now()
		w.round()
		w.expect("opened 1", "closed 1")
		for w.seated() > 0 {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if took := time.Since(start); took > 11*time.Second {
			t.Errorf("it lingered for %v", took)
		}
	})
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Streams, c.PerAddress = 3, 2 })
		for _, from := range []string{"2001:db8::1", "2001:db8::2"} { // one household
			w.begun(w.ask("?from=" + from))
		}
		refused := func(from, want string) {
			t.Helper()
			res := w.begun(w.ask("?from=" + from))
			body, err := io.ReadAll(res.Body)
			if err != nil || !strings.HasPrefix(string(body), want) {
				t.Errorf("from %s: %s %q %v, want %s", from, res.Status, body, err, want)
			}
		}
		refused("2001:db8::3", "rate_limited")
		c := w.ask("?from=192.0.2.1")
		w.begun(c)
		refused("192.0.2.2", "unavailable")
		if w.seated() != 3 {
			t.Errorf("%d seats", w.seated())
		}
		if err := c.conn.Close(); err != nil {
			t.Fatal(err)
		}
		w.round()
		w.begun(w.ask("?from=::ffff:192.0.2.2"))
	})
}

func TestConfig(t *testing.T) {
	_, err := New(Config{Streams: -1, PendingLow: 9, PendingMax: 3, Slow: -1})
	for _, want := range []string{"Sessions are missing", "Seats are missing", "Post is missing", "Streams is -1", "PendingLow, PendingMax (9, 3)", "Slow is -1ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// The loop is never held up by a client, nor a client by the loop's end.
func TestLoopThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.expires = 5 * time.Second
		c := w.ask("")
		w.begun(c)
		_, end := c.listen()
		w.setFull(true) // nobody takes anything any more
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-end; err == nil {
			t.Error("the stream ended as if it were whole")
		}
		synctest.Wait()
		if w.seated() != 0 {
			t.Error("the stream goes on")
		}
	})
}
