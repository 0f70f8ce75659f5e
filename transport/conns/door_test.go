package conns

import (
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

// A node without anybody who talks takes newcomers as fast as it can, however
// many; where somebody talks, at a pace, however fast they come.
func TestDoorPacesNewcomersWhilePeopleTalk(t *testing.T) {
	const perSecond, during = 500, 10 * time.Second
	var c clock
	cfg := Config{Newcomers: perSecond, Clock: c.now}.withDefaults()
	for _, on := range []bool{false, true} {
		d := newDoor(cfg)
		d.talk.on.Store(on)
		taken, each := 0, time.Millisecond
		for range during / each {
			for range 10 {
				if d.wait() == 0 {
					taken++
				}
			}
			c.advance(each)
		}
		least, most := 100_000, 100_000
		if on {
			least = int(perSecond * during.Seconds())
			most = least + perSecond/newcomersBurst + 1
		}
		if taken < least || taken > most {
			t.Errorf("talk %v: %d came in, of ten a millisecond; want %d to %d", on, taken, least, most)
		}
	}
}

// A crowd that came in fast while nobody talked is no debt.
func TestDoorBearsNoGrudge(t *testing.T) {
	var c clock
	d := newDoor(Config{Clock: c.now}.withDefaults())
	for range 100_000 {
		d.wait()
	}
	d.talk.on.Store(true)
	if wait := d.wait(); wait == 0 || wait > 10*time.Millisecond {
		t.Errorf("the next waits for %v", wait)
	}
}

// A crowd that comes back to people who talk, with tokens, is in within seconds;
// one that comes with a token again and again is not let in faster than strangers.
func TestDoorOpensForThoseWhoStay(t *testing.T) {
	const now = tick(10_000)
	const each, greeting = time.Millisecond, 100 // greeting: milliseconds until one has said who it is
	for _, stays := range []bool{true, false} {
		var c clock
		d := newDoor(Config{Clock: c.now}.withDefaults())
		d.talk.on.Store(true)
		total := 0
		var taken []int // in each millisecond
		for ms := range 5000 {
			n := 0
			for n < 20 && d.wait() == 0 { // what a node can take
				n++
			}
			total += n
			taken = append(taken, n)
			if ms >= greeting {
				for range taken[ms-greeting] {
					d.known()
					if !stays {
						d.left(&record{flags: isKnown, pinged: now}, now)
					}
				}
			}
			c.advance(each)
		}
		if stays && total < 50_000 || !stays && total > 5*limits.Newcomers+limits.Newcomers {
			t.Errorf("stay %v: %d came in within 5 s", stays, total)
		}
	}
}

// What was earned is not kept for later: strangers would have it.
func TestDoorForgetsWhatIsEarned(t *testing.T) {
	var c clock
	d := newDoor(Config{Clock: c.now}.withDefaults())
	d.talk.on.Store(true)
	for range 10_000 {
		d.known()
	}
	c.advance((doorCredit + 1) * time.Second)
	came := 0
	for d.wait() == 0 {
		came++
	}
	if came > limits.Newcomers/newcomersBurst+1 {
		t.Errorf("%d come in at once", came)
	}
}

// Whoever has just come does not talk yet: else a crowd that comes back after a
// restart would slow itself.
func TestTalkIsOfThoseWhoAreHere(t *testing.T) {
	const now = tick(10_000)
	fresh, long := now, now-ticks(talkHere)
	for _, c := range []struct {
		name string
		r    record
		n    int
		want bool
	}{
		{"people", record{flags: isKnown, pinged: long}, talkEnough, true},
		{"few words", record{flags: isKnown, pinged: long}, talkEnough - 1, false},
		{"newcomers", record{flags: isKnown, pinged: fresh}, 1000, false},
		{"strangers", record{pinged: long}, 1000, false},
	} {
		talk := talk{since: now}
		for range c.n {
			talk.said(&c.r, now)
		}
		if talk.judge(now); talk.goesOn() {
			t.Errorf("%s: judged too soon", c.name)
		}
		later := now.after(talkLook)
		if talk.judge(later); talk.goesOn() != c.want {
			t.Errorf("%s: talk %v", c.name, !c.want)
		}
		if talk.judge(later.after(talkLook)); talk.goesOn() {
			t.Errorf("%s: it goes on for ever", c.name)
		}
	}
}

// Who is not let in waits in the kernel's queue, and comes in when it is time.
func TestDoorKeepsThemWaiting(t *testing.T) {
	n := start(t, Config{Newcomers: newcomersBurst}, &scribe{}) // a burst of one
	n.conns.door.talk.on.Store(true)                            // for as long as the clock stands still
	n.open()
	c := n.dialRaw()
	c.raw([]byte(request(Path)))
	_ = c.conn.SetReadDeadline(time.Now().Add(4 * doorLook))
	if b, err := c.in.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it came in: %q, %v", b, err)
	}
	n.clock.advance(time.Second / newcomersBurst)
	if res := c.response(); res.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("%v", res.Status)
	}
	// The answer goes out before the connection is handed to the loop, which may
	// have ended by then.
	n.next("opened")
}
