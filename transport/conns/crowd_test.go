package conns

import (
	"errors"
	"testing"
	"time"

	"github.com/rookery-im/rookery/transport/ws"
)

// Whoever has not said hello may not send much at once; hello raises that.
func TestGreetingIsShort(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Greeting = 1000
		n := start(t, cfg, &scribe{})
		c, id := n.open()
		c.send(text(1000))
		n.next("message")
		c.raw(frame(ws.Text, text(1001)))
		if got := n.next("closed"); got.code != ws.CloseTooBig {
			t.Errorf("%+v", got)
		}
		c.expectClose(ws.CloseTooBig)

		c, id = n.open()
		n.on(func() { n.conns.Authenticated(id) })
		c.send(text(50_000))
		if got := n.next("message"); len(got.data) != 50_000 {
			t.Errorf("%+v", got.what)
		}
	})
}

// The beginnings of messages are bounded for all connections together, and
// those lose that began longest ago: not who comes later and goes on.
func TestUnfinishedIsBounded(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Unfinished = 300_000
		n := start(t, cfg, &scribe{})
		var slow []*client
		for range 4 {
			c, id := n.open()
			n.on(func() { n.conns.Authenticated(id) })
			c.raw(frame(ws.Binary, text(64_000))[:60_000])
			held := func() bool {
				r := n.conns.find(id)
				return r != nil && r.input != 0 && len(n.conns.inputOf(r).assembly) > 59_000
			}
			n.eventually("it is held", held)
			slow = append(slow, c)
		}
		n.silent() // four times 64 KiB
		late, id := n.open()
		n.on(func() { n.conns.Authenticated(id) })
		whole := frame(ws.Binary, text(64_000))
		late.raw(whole[:60_000])
		if got := n.next("closed"); got.code != ws.CloseTryLater || !errors.Is(got.err, ErrCrowded) {
			t.Errorf("%+v", got)
		}
		slow[0].expectClose(ws.CloseTryLater)
		late.raw(whole[60_000:])
		if got := n.next("message"); len(got.data) != 64_000 {
			t.Errorf("%+v", got.what)
		}
		n.silent()
		n.stop()
		if n.conns.unfinished != 0 {
			t.Errorf("%d bytes are still counted", n.conns.unfinished)
		}
	})
}

// What waits to be written is bounded for all connections together, and those
// are cut for which it has waited longest.
func TestUnreadIsBounded(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		const million = 1 << 20
		cfg.PendingLow, cfg.PendingHigh, cfg.PendingMax, cfg.Unread = 8<<20, 16<<20, 32<<20, 20<<20
		n := start(t, cfg, &scribe{})
		_, first := n.open()
		_, second := n.open()
		quick, third := n.open()
		send := func(id ID, count int) {
			n.on(func() {
				for range count {
					n.conns.Send(id, []byte(text(million)))
				}
				n.conns.Flush()
			})
		}
		send(first, 14)
		send(third, 1)
		quick.expect(ws.Text, text(million)) // it waited before the second, and does no more
		send(second, 14)
		if got := n.next("closed"); got.id != first || got.code != ws.CloseSlow {
			t.Errorf("%+v, not %v", got, first)
		}
		if !cfg.Portable { // a writer keeps what it was given
			send(third, 2)
			n.silent()
		}
		n.pass(time.Minute) // the linger of those that are cut, and the slowness of the rest
		n.stop()
		if left := n.conns.loop.Queued(); left != 0 { // a writer's last report may be lost
			t.Errorf("%d bytes are still counted", left)
		}
	})
}

// A crowd forgets places that do not count, however often they are taken.
func TestCrowdIsTidied(t *testing.T) {
	var q crowd
	last := map[ID]uint64{}
	counts := func(p place) bool { return last[p.id] == p.serial }
	for i := range 100_000 {
		id := ID(i % 10)
		last[id] = q.add(id)
		q.tidy(len(last), counts)
		if len(q.places) > 1100 {
			t.Fatalf("%d places of 10", len(q.places))
		}
	}
	for want := range ID(10) {
		if got, some := q.pop(counts); !some || got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	if _, some := q.pop(counts); some {
		t.Error("one more")
	}
}
