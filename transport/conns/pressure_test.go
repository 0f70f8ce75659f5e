package conns

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/transport/ws"
)

// A paused connection is not read, loses nothing, keeps its order, and is not
// taken for silent however long it takes.
func TestPause(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		s := &scribe{}
		cfg.Heartbeat = time.Second
		n := start(t, cfg, s)
		c, id := n.open()
		n.on(func() {
			s.onMessage = func(id ID, data []byte) {
				if strings.HasPrefix(string(data), "pause") {
					n.conns.Pause(id)
				}
			}
		})
		// The second pause comes from bytes that were held back by the first.
		c.raw(append(append(frame(ws.Text, "pause 1"), frame(ws.Text, "pause 2")...), frame(ws.Text, "rest")[:5]...))
		n.next("message")
		c.raw(frame(ws.Text, "rest")[5:])
		c.send("more")
		for range 10 {
			n.pass(time.Second)
		}
		n.silent()
		n.on(func() { n.conns.Resume(id) })
		if got := n.next("message"); got.data != "pause 2" {
			t.Errorf("%+v", got)
		}
		n.pass(time.Minute)
		n.silent()
		n.on(func() { n.conns.Resume(id); n.conns.Resume(id) })
		for _, want := range []string{"rest", "more"} {
			if got := n.next("message"); got.data != want {
				t.Errorf("%+v, want %s", got, want)
			}
		}
		// Silence counts from the resumption on.
		n.pass(1900 * time.Millisecond)
		n.silent()
		n.pass(200 * time.Millisecond)
		if got := n.next("closed"); got.code != ws.CloseSilent || !errors.Is(got.err, ErrSilent) {
			t.Errorf("%+v", got)
		}
	})
}

// Silence counts from the resumption on even where nothing had come.
func TestPauseIsNotSilence(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Heartbeat = time.Second
		n := start(t, cfg, &scribe{})
		_, id := n.open()
		n.on(func() { n.conns.Pause(id) })
		for range 5 {
			n.pass(time.Second)
		}
		n.on(func() { n.conns.Resume(id) })
		n.pass(0) // it is read again from the next round on
		n.pass(1900 * time.Millisecond)
		n.silent()
		n.pass(200 * time.Millisecond)
		n.next("closed")
	})
}

// A message that came in fragments is let go of although reading pauses with it.
func TestPauseHoldsNoMoreThanWhatFollows(t *testing.T) {
	s := &scribe{}
	n := start(t, Config{}, s)
	c, id := n.open()
	n.on(func() { s.onMessage = func(id ID, _ []byte) { n.conns.Pause(id) } })
	first := frame(ws.Text, "in two ")
	first[0] &^= 0x80
	c.raw(append(first, frame(ws.Continuation, "fragments")...))
	if got := n.next("message"); got.data != "in two fragments" {
		t.Errorf("%+v", got)
	}
	n.on(func() {
		if r := n.conns.find(id); r.input != 0 || r.partial != never {
			t.Errorf("input %d is held, partial since %d", r.input, r.partial)
		}
	})
}

func TestPauseWithinOpened(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		s := &scribe{}
		n := start(t, cfg, s)
		n.on(func() { s.onOpened = func(id ID) { n.conns.Pause(id) } })
		c := n.dial(Path, frame(ws.Text, "with the handshake"))
		id := n.next("opened").id
		c.send("after")
		n.silent()
		n.on(func() { n.conns.Resume(id) })
		for _, want := range []string{"with the handshake", "after"} {
			if got := n.next("message"); got.data != want {
				t.Errorf("%+v, want %s", got, want)
			}
		}
	})
}

// The peer of a paused connection vanishes: nobody may spin, and the node hears
// of it at the latest when it resumes.
func TestPausedPeerGoesAway(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		n.on(func() { n.conns.Pause(id) })
		_ = c.conn.Close()
		n.on(func() { n.conns.Resume(id) })
		if got := n.next("closed"); got.id != id || got.code != 1006 {
			t.Errorf("%+v", got)
		}
	})
}

// What the kernel does not take at once is written later, whole and in order.
func TestShortWrites(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.PendingMax = unbounded
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		const count, size = 300, 100_000
		n.on(func() {
			for i := range count {
				n.conns.Send(id, fmt.Appendf(nil, "%06d%s", i, text(size)))
			}
			n.conns.Flush()
			if n.conns.Pending(id) == 0 {
				t.Error("the kernel took everything: nothing is tested")
			}
		})
		for i := range count {
			c.expect(ws.Text, fmt.Sprintf("%06d%s", i, text(size)))
		}
		n.next("drained")
		n.on(func() {
			if got := n.conns.Pending(id); got != 0 {
				t.Errorf("%d bytes are left", got)
			}
		})
	})
}

// unbounded lets a test have more waiting than the kernel's buffers on both ends
// may ever take (some 10 MiB), so that it does wait.
const unbounded = 1 << 30

// fill sends that much.
func (n *node) fill(id ID) {
	n.t.Helper()
	n.on(func() {
		for range 32 {
			n.conns.Send(id, []byte(text(1<<20)))
		}
		n.conns.Flush()
	})
	n.silent()
}

// Above the high-water mark a connection is not read, and says when it has
// drained; that time is not silence.
func TestPressure(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Heartbeat = time.Second
		cfg.PendingMax = unbounded
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		n.fill(id)
		c.send("unread")
		for range 9 {
			n.pass(time.Second)
		}
		n.silent()
		frames := 0
		for {
			op, _, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			if frames++; op == ws.Ping {
				break
			}
		}
		n.next("drained")
		if got := n.next("message"); got.data != "unread" {
			t.Errorf("%+v", got)
		}
		if frames < 3 {
			t.Error("nothing was waiting")
		}
	})
}

// Whoever stays above the mark is cut, with the code ahead of what was waiting.
func TestSlowConsumerIsCut(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Heartbeat = time.Hour
		cfg.PendingMax = unbounded
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		n.fill(id)
		n.pass(9 * time.Second)
		n.silent()
		n.pass(2 * time.Second)
		if got := n.next("closed"); got.id != id || got.code != ws.CloseSlow || !errors.Is(got.err, ErrSlow) {
			t.Errorf("%+v", got)
		}
		whole := 0
		for {
			op, b, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			if op == ws.Close {
				if string(b[:2]) != "\x0f\xa1" {
					t.Errorf("close %q", b)
				}
				break
			}
			whole++
		}
		if !cfg.Portable && whole > 25 {
			t.Errorf("the code came after %d MiB of 32", whole)
		}
	})
}

// Between the marks a connection goes on being read, and says when it has drained.
func TestDrainedBelowTheHighMark(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		n.on(func() { n.conns.Send(id, []byte(text(100_000))) })
		c.expect(ws.Text, text(100_000))
		n.next("drained")
		n.silent()
	})
}

func TestPendingIsBounded(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.PendingMax = 1 << 20
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		most := 0
		n.on(func() {
			for range 500 {
				n.conns.Send(id, []byte(text(50_000)))
				n.conns.Flush()
				most = max(most, n.conns.Pending(id))
			}
		})
		if most > 1<<20+100 || most < 1<<19 {
			t.Errorf("%d bytes were waiting", most)
		}
		if got := n.next("closed"); got.code != ws.CloseSlow {
			t.Errorf("%+v", got)
		}
		c.expectClose(ws.CloseSlow)
		// One message that is larger by itself is sent all the same.
		c, id = n.open()
		n.on(func() { n.conns.Send(id, []byte(text(3<<20))) })
		c.expect(ws.Text, text(3<<20))
	})
}

// A peer that pings and does not read is answered until much is waiting, and
// then no more.
func TestPingFlood(t *testing.T) {
	n := start(t, Config{PendingMax: unbounded}, &scribe{})
	c, id := n.open()
	n.fill(id)
	n.on(func() { n.conns.loop.Resume(id) }) // as if its pings had been read just before
	before := 0
	n.on(func() { before = n.conns.Pending(id) })
	c.raw(frame(ws.Ping, "late"))
	n.eventually("the ping is read", func() bool { return n.conns.Pending(id) <= before })
}

// A loop that does nothing gives back the buffers of when it did.
func TestIdleLoopKeepsNoBuffers(t *testing.T) {
	n := start(t, Config{}, &scribe{})
	n.open() // or nothing is swept
	pool, before := n.conns.buffers, 0
	n.on(func() {
		before = pool.Kept()
		for range 100 {
			pool.Put(make([]byte, 0, 4096))
		}
	})
	for range 20 {
		n.pass(trimEvery)
	}
	n.on(func() {
		if kept := pool.Kept(); kept > before {
			t.Errorf("%d bytes are kept, %d before", kept, before)
		}
	})
}

func TestHeartbeat(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		n.on(func() { n.conns.SetHeartbeat(id, 10*time.Second) })
		n.pass(9 * time.Second)
		n.pass(time.Second)
		c.expect(ws.Ping, "")
		c.raw(frame(ws.Pong, "")) // counts as life
		n.eventually("the pong is read", func() bool { return n.conns.find(id).seen == n.conns.now })
		n.pass(19 * time.Second)
		c.expect(ws.Ping, "")
		n.silent()
		c.raw(frame(ws.Text, "not complete")[:9]) // does not count
		n.pass(2 * time.Second)
		if got := n.next("closed"); got.code != ws.CloseSilent {
			t.Errorf("%+v", got)
		}
		c.expectClose(ws.CloseSilent)
	})
}

// However slowly its bytes trickle, a message may take only so long, and pins
// no more than what has come of it.
func TestSlowLoris(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Heartbeat = time.Hour
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		whole := frame(ws.Binary, text(60_000))
		for i := range 60 {
			c.raw(whole[i : i+1])
			n.eventually("its first byte is read", func() bool { return n.conns.find(id).partial != never })
			n.pass(990 * time.Millisecond)
		}
		n.on(func() {
			if got := cap(n.conns.inputOf(n.conns.find(id)).assembly); got > 1024 {
				t.Errorf("%d bytes are pinned", got)
			}
		})
		n.silent()
		n.pass(time.Second)
		if got := n.next("closed"); got.code != ws.CloseMalformed || !errors.Is(got.err, ErrPartial) {
			t.Errorf("%+v", got)
		}
		c.expectClose(ws.CloseMalformed)
	})
}

// The bound is on one message: a peer whose reads always end within one may go
// on for ever.
func TestPartialStartsAnewWithEachMessage(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Heartbeat = time.Hour
		n := start(t, cfg, &scribe{})
		c, _ := n.open()
		whole := frame(ws.Binary, text(100))
		c.raw(whole[:50])
		for range 5 {
			n.pass(40 * time.Second)
			c.raw(append(append([]byte{}, whole[50:]...), whole[:50]...))
			n.next("message")
		}
		n.silent()
	})
}

func TestDeadline(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		other, spared := n.open()
		n.on(func() {
			n.conns.SetDeadline(id, n.clock.now().Add(5*time.Second), 4101)
			n.conns.SetDeadline(spared, n.clock.now().Add(5*time.Second), 4101)
			n.conns.SetDeadline(spared, n.clock.now().Add(1000*24*time.Hour), 4101)
			n.conns.SetDeadline(spared, time.Time{}, 0)
		})
		n.pass(4900 * time.Millisecond)
		n.silent()
		n.pass(200 * time.Millisecond)
		if got := n.next("closed"); got.id != id || got.code != 4101 || !errors.Is(got.err, ErrDeadline) {
			t.Errorf("%+v", got)
		}
		c.expectClose(4101)
		n.pass(time.Second)
		other.send("still here")
		n.next("message")
	})
}

func TestMessageLimit(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Message = 1000
		n := start(t, cfg, &scribe{})
		c, _ := n.open()
		c.send(text(1000))
		n.next("message")
		c.send(text(1001))
		c.expectClose(1009)
		n.next("closed")
	})
}
