package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/rookery-im/rookery/transport/frames"
)

// What a device may do, as gaps between its arrivals.
func TestArrivals(t *testing.T) {
	type step struct {
		after time.Duration // since the step before
		times int
		taken int
	}
	for name, steps := range map[string][]step{
		"a burst, then one for each second":                         {{0, 30, 20}, {999 * time.Millisecond, 5, 0}, {time.Millisecond, 5, 1}, {10 * time.Second, 15, 10}},
		"a device that comes back now and then is never refused":    {{0, 10, 10}, {time.Second, 10, 10}, {time.Hour, 20, 20}},
		"whole again after the burst's time, and no more than that": {{0, 20, 20}, {20 * time.Second, 40, 20}, {20 * time.Second, 40, 20}},
		"refusals cost nothing":                                     {{0, 1000, 20}, {time.Second, 1, 1}},
		"counted across the generations":                            {{0, 1, 1}, {19 * time.Second, 20, 20}, {2 * time.Second, 20, 2}, {20 * time.Second, 40, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			a, now := newArrivals(Rate{1, 20}), int64(1)
			for i, s := range steps {
				now += s.after.Microseconds()
				taken := 0
				for range s.times {
					if a.take(owner{"alice", 1}, now) == 0 {
						taken++
					}
				}
				if taken != s.taken {
					t.Errorf("step %d: %d of %d are taken, want %d", i, taken, s.times, s.taken)
				}
			}
		})
	}
}

// A storm of all devices at once is none of anybody's fault, and costs no
// memory once it is over.
func TestArrivalsOfAStorm(t *testing.T) {
	a, now := newArrivals(Rate{1, 20}), int64(1)
	for i := range 19_000 {
		if wait := a.take(owner{fmt.Sprint("u", i), 1}, now); wait != 0 {
			t.Fatalf("device %d has to wait %v", i, wait)
		}
	}
	for range 2 {
		now += a.depth
		a.forget(now)
	}
	if n := len(a.young) + len(a.old); n != 0 {
		t.Errorf("%d devices are remembered after %v", n, time.Duration(2*a.depth)*time.Microsecond)
	}
}

// A hello that comes too soon costs no actor anything, is answered clearly, and
// ends its connection only when another might be taken.
func TestHelloThatComesTooSoon(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.Hellos = Rate{0.5, 2} })
	for range 2 {
		s.attach()
		s.g.Closed(7)
	}
	s.trace = nil
	s.open()
	s.say(`{"ref":3,"hello":{"token":"good"}}`, `{"ping":{}}`)
	s.expect("pause", `< {"ref":3,"error":{"code":"rate_limited","message":"hello: this device connected too often, more than 0.5 times a second","retryable":true,"retryAfterMs":2001}}`)
	s.say(`{"ref":4,"hello":{"token":"good"}}`, `{"ping":{}}`)
	s.now = s.now.Add(1900 * time.Millisecond)
	s.g.Sweep()
	s.expect()
	s.now = s.now.Add(200 * time.Millisecond)
	s.g.Sweep()
	s.expect("close 1013 this device connected too often; back off")
	s.g.Closed(7)
	s.expect() // nobody was told of it
	s.open()
	s.say(`{"ref":5,"hello":{"token":"good"}}`)
	s.expect("admit 30s", "alice: attach 1 acked 0")
}

// A client that goes while it waits leaves nothing behind; nor does a node that
// goes away.
func TestTurnedAwayAndGone(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.Hellos = Rate{1, 1} })
	s.attach()
	for conn := uint64(8); conn < 10; conn++ {
		s.g.Opened(conn, frames.JSON, "")
		s.g.Message(conn, frames.JSON, []byte(`{"hello":{"token":"good"}}`))
	}
	s.g.Flush()
	s.g.Closed(8)
	s.trace = nil
	s.g.GoAway(9, time.Second, nil)
	s.expect(`< {"goAway":{"reason":"the node is restarting","reconnectAfterMs":1000}}`, "close 1012 the node is restarting")
	s.now = s.now.Add(time.Minute)
	s.g.Sweep()
	if len(s.g.partings) != 0 {
		t.Errorf("%d sessions are to be closed that are closed", len(s.g.partings))
	}
}
