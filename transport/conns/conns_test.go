package conns

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/rookery-im/rookery/transport/ws"
)

func TestExchange(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		c := n.dial(Path, nil, "Authorization: Bearer tok", "Sec-WebSocket-Protocol: rookery.v1.protobuf")
		opened := n.next("opened")
		if i := opened.info; i.Token != "tok" || i.Subprotocol != ws.Protobuf || i.Remote.String() != c.conn.LocalAddr().String() {
			t.Errorf("%+v", i)
		}
		c.raw(frame(ws.Binary, "hello"))
		if got := n.next("message"); got.id != opened.id || got.op != ws.Binary || got.data != "hello" {
			t.Errorf("%+v", got)
		}
		n.on(func() {
			n.conns.Send(opened.id, []byte("one"))
			n.conns.Send(opened.id, []byte(text(65_000)))
		})
		c.expect(ws.Binary, "one")
		c.expect(ws.Binary, text(65_000))
		c.raw(frame(ws.Ping, "mark"))
		c.expect(ws.Pong, "mark")
		c.raw(frame(ws.Close, "\x03\xe8bye"))
		c.expectClose(1000)
		if got := n.next("closed"); got.id != opened.id || got.code != 1000 || got.err != nil {
			t.Errorf("%+v", got)
		}
		n.silent()
	})
}

// Frames that came with the handshake raise no event of their own.
func TestBytesBehindTheHandshake(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		whole := frame(ws.Text, "first")
		c := n.dial(Path, append(whole, frame(ws.Text, "second")[:4]...))
		n.next("opened")
		if got := n.next("message"); got.data != "first" {
			t.Errorf("%+v", got)
		}
		c.raw(frame(ws.Text, "second")[4:])
		if got := n.next("message"); got.data != "second" {
			t.Errorf("%+v", got)
		}
	})
}

func TestMessagesCutByTheNetwork(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		c, _ := n.open()
		var sent []byte
		for i := range 50 {
			sent = append(sent, frame(ws.Text, fmt.Sprintf("%d:%s", i, text(i*40)))...)
		}
		for len(sent) > 0 {
			k := min(97, len(sent))
			c.raw(sent[:k])
			sent = sent[k:]
		}
		for i := range 50 {
			if got := n.next("message"); got.data != fmt.Sprintf("%d:%s", i, text(i*40)) {
				t.Fatalf("message %d is %.40q", i, got.data)
			}
		}
		n.on(func() {
			if got := len(n.conns.inputs) - len(n.conns.spareInputs); got != 0 {
				t.Errorf("%d inputs are held by an idle connection", got)
			}
		})
	})
}

func TestCloseByTheNode(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		n.on(func() {
			n.conns.Send(id, []byte("last"))
			n.conns.Close(id, 4102, "connected elsewhere")
			n.conns.Close(id, 4100, "never said")
			n.conns.Send(id, []byte("never sent"))
		})
		c.send("never heard")
		c.expect(ws.Text, "last")
		c.expectClose(4102)
		if got := n.next("closed"); got.id != id || got.code != 4102 {
			t.Errorf("%+v", got)
		}
		n.silent()
	})
}

// A peer that has sent what we have not read must see the code all the same,
// not a reset.
func TestCloseCodeIsNotOvertakenByAReset(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		c := n.dial(Path, nil)
		n.next("opened")
		c.raw([]byte{0xc1, 0x80, 0, 0, 0, 0}) // a reserved bit
		for range 100 {
			if _, err := c.conn.Write(frame(ws.Text, text(1000))); err != nil {
				t.Fatal(err)
			}
		}
		c.expectClose(1002)
		if got := n.next("closed"); got.code != 1002 || !errors.Is(got.err, ws.ErrReserved) {
			t.Errorf("%+v", got)
		}
	})
}

func TestPeerThatNeverAnswersTheClose(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		n.on(func() { n.conns.Close(id, 4103, "") })
		c.expect(ws.Close, "\x10\x07")
		n.next("closed")
		n.pass(4 * time.Second)
		if n.conns.Len() != 1 {
			t.Error("not waited for")
		}
		n.pass(2 * time.Second)
		n.eventually("the connection is forgotten", func() bool { return n.conns.Len() == 0 })
		c.expectEnd()
	})
}

func TestLostConnection(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		_ = c.conn.Close()
		if got := n.next("closed"); got.id != id || got.code != 1006 || !errors.Is(got.err, ErrLost) {
			t.Errorf("%+v", got)
		}
		if n.conns.Len() != 0 {
			t.Error("it still counts")
		}
	})
}

// A slot and a descriptor are used again at once; what was meant for the first
// holder must not reach the second.
func TestStaleIDs(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		first, old := n.open()
		_ = first.conn.Close()
		n.next("closed")
		second, id := n.open()
		if old.Index() != id.Index() || old == id {
			t.Fatalf("%v is not in the slot of %v", id, old)
		}
		n.on(func() {
			n.conns.Send(old, []byte("for the dead"))
			n.conns.Pause(old)
			n.conns.SetTag(old, 7)
			n.conns.SetHeartbeat(old, tickLength)
			n.conns.SetDeadline(old, n.clock.now(), 4101)
			n.conns.Close(old, 4100, "for the dead")
			n.conns.Authenticated(old)
			if n.conns.Pending(old) != 0 || n.conns.Tag(old) != 0 || n.conns.Tag(id) != 0 {
				t.Error("the stale ID is known")
			}
			n.conns.Send(id, []byte("for the living"))
		})
		n.pass(time.Second)
		second.expect(ws.Text, "for the living")
		second.send("alive")
		n.next("message")
	})
}

func TestHandlerMayCloseFromAnywhere(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		s := &scribe{}
		n := start(t, cfg, s)
		n.on(func() {
			s.onOpened = func(id ID) { n.conns.Close(id, 4101, "from Opened") }
		})
		c := n.dial(Path, frame(ws.Text, "early"))
		n.next("opened")
		c.expectClose(4101)
		n.next("closed")
		n.on(func() {
			s.onOpened = nil
			s.onMessage = func(id ID, _ []byte) { n.conns.Close(id, 4100, "from Message") }
		})
		c, _ = n.open()
		c.raw(append(frame(ws.Text, "one"), frame(ws.Text, "two")...))
		n.next("message")
		c.expectClose(4100)
		n.next("closed")
		n.silent()
	})
}

func TestSubprotocolIsRefused(t *testing.T) {
	n := start(t, Config{}, &scribe{})
	c := n.dialRaw()
	c.raw([]byte(request(Path, "Sec-WebSocket-Protocol: mqtt")))
	if res := c.response(); res.StatusCode != http.StatusBadRequest || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%v %v", res.Status, res.Header)
	}
	if n.conns.Len() != 0 {
		t.Error("it counts as a connection")
	}
}

func TestEcho(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Echo = true
		n := start(t, cfg, &scribe{})
		c := n.dial(EchoPath, nil)
		c.raw(append(frame(ws.Binary, "\x00\xff"), frame(ws.Text, "é")...))
		c.expect(ws.Binary, "\x00\xff")
		c.expect(ws.Text, "é")
		big := text(3 << 20) // more than may wait: it is read to the end, then answered
		c.raw(frame(ws.Text, big))
		c.expect(ws.Text, big)
		c.raw(frame(ws.Text, "\xed\xa0\x80"))
		c.expectClose(1007)
		n.silent()
	})
}

func TestEchoIsOff(t *testing.T) {
	n := start(t, Config{}, &scribe{})
	c := n.dialRaw()
	c.raw([]byte(request(EchoPath)))
	if res := c.response(); res.StatusCode != http.StatusNotFound {
		t.Errorf("%v", res.Status)
	}
}

func TestDrain(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Echo = true
		n := start(t, cfg, &scribe{})
		clients := []*client{n.dial(EchoPath, nil)}
		for range 5 {
			c, _ := n.open()
			clients = append(clients, c)
		}
		// The echo endpoint tells nobody that it opened.
		n.eventually("all are open", func() bool { return n.conns.counts.open == len(clients) })
		waiting := n.dialRaw() // a connection that net/http has accepted
		waiting.raw([]byte("GET /nothing HTTP/1.1\r\nHost: here\r\n\r\n"))
		if _, err := io.Copy(io.Discard, waiting.response().Body); err != nil {
			t.Fatal(err)
		}
		if err := n.conns.StopAccepting(); err != nil {
			t.Fatal(err)
		}
		waiting.raw([]byte(request(Path)))
		if res := waiting.response(); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%v", res.Status)
		}
		for _, want := range []int{2, 0} {
			n.on(func() {
				if got := n.conns.CloseSome(4, 1012, "restarting"); got != want {
					t.Errorf("%d are open, want %d", got, want)
				}
			})
		}
		for _, c := range clients {
			c.expectClose(1012)
		}
		n.eventually("nobody is left", func() bool { return n.conns.Len() == 0 })
	})
}

func TestStop(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		s := &scribe{}
		n := start(t, cfg, s)
		_, id := n.open()
		n.stop()
		if got := n.next("closed"); got.id != id || got.code != ws.CloseGoingAway {
			t.Errorf("%+v", got)
		}
		if n.conns.Post(func() {}) {
			t.Error("a call was taken that nobody will run")
		}
	})
}

func TestPostIsBounded(t *testing.T) {
	c, err := New(Config{Inbox: 2}, &scribe{})
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for i, want := range []bool{true, true, false} {
		if got := c.Post(func() { ran++ }); got != want {
			t.Errorf("call %d: %v", i, got)
		}
	}
	if err := c.Poll(time.Hour); err != nil || ran != 2 {
		t.Errorf("%d calls ran, %v", ran, err)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	err := Config{Message: -1, Sweep: 48 * time.Hour, PendingLow: 10, PendingHigh: 5, Inbox: -3}.Validate()
	if err == nil {
		t.Fatal("valid")
	}
	var all interface{ Unwrap() []error }
	if !errors.As(err, &all) || len(all.Unwrap()) != 4 {
		t.Errorf("%v", err)
	}
}
