package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

func protodelimMarshal(w io.Writer, f *clientpb.ServerFrame) (int, error) {
	return protodelim.MarshalTo(w, f)
}

func parseClient(t *testing.T, b []byte) []*clientpb.ClientFrame {
	t.Helper()
	var list []*clientpb.ClientFrame
	r := strings.NewReader(string(b))
	for r.Len() > 0 {
		f := &clientpb.ClientFrame{}
		if err := protodelim.UnmarshalFrom(r, f); err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

// nextOf waits for an event of a type.
func nextOf[E Event](t *testing.T, c *Client) E {
	t.Helper()
	for {
		e, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := e.(E); ok {
			return e
		}
	}
}

// A Send whose context ends leaves its message in the queue; whoever waited is
// told by an event instead, and exactly one of the two.
func TestSendGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := connectTo(t, s, Config{})
		defer c.Close()
		conn := s.greet()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Send(ctx, Text("bob", "hello"))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stays queued") {
			t.Fatal(err)
		}
		if n := len(c.Unsent()); n != 1 {
			t.Fatalf("%d unsent", n)
		}
		id := conn.hear().GetSend().GetId()
		conn.say(sentFrame(id))
		if e := nextOf[*Settled](t, c); e.ID != id || e.Err != nil || e.Sent.Order != 1 {
			t.Errorf("%+v", e)
		}
		if n := len(c.Unsent()); n != 0 {
			t.Errorf("%d unsent", n)
		}
	})
}

// An event that comes in the moment in which Next is given up is not lost.
func TestNextGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := connectTo(t, s, Config{})
		defer c.Close()
		conn := s.greet()
		nextOf[*Drained](t, c)
		want := uint64(1)
		for seq := uint64(1); seq <= 200; seq++ {
			ctx, cancel := context.WithCancel(t.Context())
			var both sync.WaitGroup
			both.Go(func() { conn.say(deliverFrame(seq, fmt.Sprint(seq))) })
			both.Go(cancel)
			if e, err := c.Next(ctx); err == nil {
				if m := e.(*Message); m.Seq != want {
					t.Fatalf("seq %d, want %d", m.Seq, want)
				}
				want++
			}
			both.Wait()
		}
		for ; want <= 200; want++ {
			if m := nextOf[*Message](t, c); m.Seq != want {
				t.Fatalf("seq %d, want %d", m.Seq, want)
			}
		}
	})
}

// What a handler failed at is handed over again, and not acked.
func TestHandlerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := connectTo(t, s, Config{})
		defer c.Close()
		conn := s.greet()
		conn.say(deliverFrame(1, "one"), deliverFrame(2, "two"))
		errDisk := errors.New("disk full")
		var got []string
		fail := true
		handle := func(_ context.Context, e Event) error {
			if m, ok := e.(*Message); ok {
				got = append(got, m.ID)
				if m.ID == "two" && fail {
					fail = false
					return errDisk
				}
				if m.ID == "two" {
					return io.EOF
				}
			}
			return nil
		}
		if err := c.Receive(t.Context(), handle); err != errDisk {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if ack := conn.hear().GetAck().GetSeq(); ack != 1 {
			t.Errorf("acked %d", ack)
		}
		conn.quiet()
		if err := c.Receive(t.Context(), handle); err != io.EOF {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != "[one two two]" {
			t.Error(got)
		}
	})
}

func TestOneReceiverAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := connectTo(t, s, Config{})
		s.greet()
		done := make(chan error, 1)
		go func() { done <- c.Receive(t.Context(), func(context.Context, Event) error { return nil }) }()
		synctest.Wait()
		if _, err := c.Next(t.Context()); !errors.Is(err, ErrReceiving) {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// failing is a store whose disk is full from some moment on.
type failing struct {
	*MemoryStore
	fail bool
}

var errDiskFull = errors.New("no space left on device")

func (f *failing) Apply(ctx context.Context, r []Record) error {
	if f.fail {
		return errDiskFull
	}
	return f.MemoryStore.Apply(ctx, r)
}

// Nothing goes out that is not written, and nothing is handed over after what
// could not be noted as taken.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		store := &failing{MemoryStore: linked(t)}
		c := connectTo(t, s, Config{Store: store})
		defer c.Close()
		conn := s.greet()
		conn.say(deliverFrame(1, "one"), deliverFrame(2, "two"))
		nextOf[*Message](t, c)
		synctest.Wait()
		store.fail = true
		_, err := c.Queue(t.Context(), Text("bob", "hello"))
		if !errors.Is(err, ErrStore) || !errors.Is(err, errDiskFull) {
			t.Error(err)
		}
		for {
			e, err := c.Next(t.Context())
			if err != nil {
				if !errors.Is(err, ErrStore) {
					t.Error(err)
				}
				break
			}
			if m, ok := e.(*Message); ok {
				t.Errorf("handed over after the store failed: %v", m)
			}
		}
		if st := c.Status(); st.State != StateStopped || !errors.Is(st.Err, ErrStore) {
			t.Errorf("%+v", st)
		}
		conn.quiet()
	})
}

// What Close could not write down it says.
func TestCloseReportsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		store := &failing{MemoryStore: linked(t)}
		c := connectTo(t, s, Config{Store: store})
		conn := s.greet()
		conn.say(deliverFrame(1, "one"))
		nextOf[*Message](t, c)
		synctest.Wait()
		store.fail = true
		if err := c.Ack(t.Context()); !errors.Is(err, ErrStore) {
			t.Error(err)
		}
		if err := c.Close(); !errors.Is(err, ErrStore) || !errors.Is(err, errDiskFull) {
			t.Error(err)
		}
	})
}

func TestCloseIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := connectTo(t, s, Config{})
		s.greet()
		waiting := make(chan error, 1)
		go func() {
			_, err := c.Send(t.Context(), Text("bob", "hello"))
			waiting <- err
		}()
		synctest.Wait()
		for range 2 {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Error("a Send that waited:", err)
		}
		_, sendErr := c.Send(t.Context(), Text("bob", "hello"))
		_, queueErr := c.Queue(t.Context(), Text("bob", "hello"))
		_, nextErr := c.Next(t.Context())
		_, restErr := c.Devices(t.Context())
		for name, err := range map[string]error{
			"Send": sendErr, "Queue": queueErr, "Next": nextErr, "Devices": restErr, "Ack": c.Ack(t.Context()),
			"Read": c.Read(t.Context(), With("bob"), 1), "Typing": c.Typing(t.Context(), With("bob"), true),
			"Watch": c.Watch(t.Context(), "bob"), "Signal": c.Signal(t.Context(), With("bob"), nil),
			"Receive": c.Receive(t.Context(), func(context.Context, Event) error { return nil }),
		} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
		c.Wake()
		if c.Unsent() != nil {
			t.Error("Unsent after Close")
		}
		if st := c.Status(); st.State != StateStopped || !errors.Is(st.Err, ErrClosed) {
			t.Errorf("%+v", st)
		}
	})
}

// Close says goodbye, and does not wait for a server that does not answer.
func TestCloseTakesNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		s.setDown(true)
		c := connectTo(t, s, Config{})
		synctest.Wait()
		begin := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d > closeTimeout {
			t.Errorf("closing took %v", d)
		}
	})
}

// Each close code that ends a client has an error of its own.
func TestStops(t *testing.T) {
	for code, want := range map[int]error{4100: ErrProtocol, 4199: ErrProtocol, 4101: ErrUnauthenticated, 4102: ErrDisplaced, 4103: ErrUnlinked} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				c := connectTo(t, s, Config{})
				defer c.Close()
				s.greet().closeBy(code, "because")
				for {
					_, err := c.Next(t.Context())
					if err == nil {
						continue
					}
					if !errors.Is(err, want) || errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "because") {
						t.Error(err)
					}
					break
				}
				if _, err := c.Queue(t.Context(), Text("bob", "hello")); !errors.Is(err, want) {
					t.Error(err)
				}
				time.Sleep(time.Hour)
				if len(s.dials) > 0 {
					t.Error("it connected again")
				}
			})
		})
	}
}

// While the server is away the client tries again, more and more seldom, and
// at once when it is told that the network is back.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		s.setDown(true)
		c := connectTo(t, s, Config{})
		defer c.Close()
		time.Sleep(10 * time.Minute)
		s.mu.Lock()
		tries := len(s.urls)
		s.mu.Unlock()
		// 15 s apart on average, once the doubling has come to 30 s.
		if tries < 25 || tries > 80 {
			t.Errorf("%d attempts in 10 minutes", tries)
		}
		if st := c.Status(); st.Err == nil || st.State == StateOnline {
			t.Errorf("%+v", st)
		}
		s.setDown(false)
		begin := time.Now()
		c.Wake()
		s.greet()
		if d := time.Since(begin); d > 0 {
			t.Errorf("woken, it waited for %v", d)
		}
	})
}

// Only what the server allows is followed: in clear, nothing but home.
func TestAlternates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := connectTo(t, s, Config{})
		defer c.Close()
		for _, alternate := range []string{"wss://n2.example.org/v1/ws", "ws://n3.example.org/v1/ws"} {
			conn := s.greet()
			conn.say(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_GoAway{GoAway: &clientpb.GoAway{ReconnectAfterMs: 10, Alternates: []string{alternate}}}})
			synctest.Wait()
			conn.closeBy(1012, "restart")
		}
		s.greet()
		s.mu.Lock()
		defer s.mu.Unlock()
		want := "[wss://chat.example.org/v1/ws wss://n2.example.org/v1/ws wss://chat.example.org/v1/ws]"
		if got := fmt.Sprint(s.urls); got != want {
			t.Errorf("dialled %s, want %s", got, want)
		}
	})
}

// A node that is cut off sends its clients away: to one that it named itself, while
// it could, and that may be followed.
func TestOtherNodesAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		asked := 0
		c := connectTo(t, s, Config{HTTPClient: &http.Client{Transport: fakeREST{
			"GET /v1/nodes": func(string) (int, string) {
				asked++
				return http.StatusOK, `{"nodes":[{"node":"n3","url":"ws://n3.example.org/v1/ws"},{"node":"n2","url":"wss://n2.example.org/v1/ws"}]}`
			},
		}}})
		defer c.Close()
		conn := s.greet()
		synctest.Wait()
		conn.closeBy(1013, "cut off from the majority")
		conn = s.greet()
		synctest.Wait()
		conn.closeBy(1012, "restart")
		s.greet()
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		want := "[wss://chat.example.org/v1/ws wss://n2.example.org/v1/ws wss://chat.example.org/v1/ws]"
		if got := fmt.Sprint(s.urls); got != want || asked != 1 {
			t.Errorf("dialled %s, want %s; asked %d times", got, want, asked)
		}
	})
}

// A token is renewed in its time, and kept.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		n := 0
		issue := func(string) (int, string) {
			n++
			return http.StatusCreated, fmt.Sprintf(`{"user":"alice","device":1,"token":"t%d","expiresAt":%q}`, n, time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339))
		}
		store := NewMemoryStore()
		c := connectTo(t, s, Config{Store: store, Password: "correct horse", HTTPClient: &http.Client{Transport: fakeREST{
			"POST /v1/devices": issue, "POST /v1/tokens": issue,
		}}})
		defer c.Close()
		conn := s.greet()
		for range 40 * 120 { // 40 hours of a server that pings
			time.Sleep(30 * time.Second)
			conn.heard()
		}
		if n < 2 || n > 4 {
			t.Errorf("%d tokens in 40 hours", n)
		}
		records, err := store.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprintf("%s", records); !strings.Contains(text, fmt.Sprintf(`"t%d"`, n)) {
			t.Errorf("the store holds %s", text)
		}
	})
}

// A slow application does not keep answers from those who send.
func TestSlowApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := connectTo(t, s, Config{})
		defer c.Close()
		conn := s.greet()
		const total = 1500
		for seq := uint64(1); seq <= total; seq++ {
			conn.say(deliverFrame(seq, fmt.Sprint(seq)))
		}
		go func() {
			id := conn.hear().GetSend().GetId()
			conn.say(sentFrame(id))
		}()
		begin := time.Now()
		if _, err := c.Send(t.Context(), Text("bob", "hello")); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d > 4*time.Second {
			t.Errorf("the answer took %v", d)
		}
		// And then every message comes, once, in order: the rest by a new connection.
		go func() {
			again := s.greet()
			for seq := uint64(1); seq <= total; seq++ {
				again.say(deliverFrame(seq, fmt.Sprint(seq)))
			}
		}()
		for seq := uint64(1); seq <= total; seq++ {
			if m := nextOf[*Message](t, c); m.Seq != seq {
				t.Fatalf("seq %d, want %d", m.Seq, seq)
			}
		}
	})
}
