package poll

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slowLoop is a loop in which every piece of data takes a millisecond; order
// is who was read, in turn.
func slowLoop(t *testing.T) (l *Loop, w *witness, order *[]ID, sleep func(time.Duration)) {
	now := time.Unix(1_700_000_000, 0)
	l, w = newLoop(t, Config{Round: 4 * time.Millisecond, Clock: func() time.Time { return now }})
	order = &[]ID{}
	w.onData = func(id ID) {
		*order = append(*order, id)
		now = now.Add(time.Millisecond)
	}
	return l, w, order, func(d time.Duration) { now = now.Add(d) }
}

// A round reads for as long as it may, however many have something to say, and
// the next goes on where it stopped.
func TestRoundsAreBounded(t *testing.T) {
	l, _, order, _ := slowLoop(t)
	const conns = 40
	var ids []ID
	for range conns {
		id, peer := pair(t, l)
		ids = append(ids, id)
		say(t, peer, "hello")
	}
	begin := time.Now()
	for round := 0; len(*order) < conns; round++ {
		before := len(*order)
		if err := l.Wait(time.Second); err != nil { // nothing is to be waited for
			t.Fatal(err)
		}
		if n := len(*order) - before; n < 1 || n > 5 {
			t.Fatalf("round %d has read %d connections", round, n)
		}
	}
	if !slices.Equal(*order, ids) {
		t.Errorf("read in the order %v, not %v", *order, ids)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it has waited with something to read: %v", took)
	}
	before := time.Now()
	if err := l.Wait(time.Second); err != nil || time.Since(before) < time.Second {
		t.Errorf("it does not wait when all is read, %v", err)
	}
}

// The same by bytes: time that others took of the processor is no reason to
// read less.
func TestRoundsAreBoundedInBytes(t *testing.T) {
	l, w := newLoop(t, Config{RoundBytes: 10 * turnCost, Round: time.Second})
	for range 40 {
		_, peer := pair(t, l)
		say(t, peer, strings.Repeat("x", turnCost))
	}
	for round := range 8 {
		before := len(w.got)
		wait(t, l)
		if n := len(w.got) - before; n != 5 {
			t.Errorf("round %d has read %d connections, not 5", round, n)
		}
	}
}

// Who sends more than a share waits for the others.
func TestShareOfEach(t *testing.T) {
	l, w, order, _ := slowLoop(t)
	greedy, peer := pair(t, l)
	say(t, peer, strings.Repeat("x", 5*share))
	var modest []ID
	for range 3 {
		id, peer := pair(t, l)
		modest = append(modest, id)
		say(t, peer, "hello")
	}
	for range 10 {
		wait(t, l)
	}
	want := slices.Concat([]ID{greedy}, modest, []ID{greedy, greedy, greedy, greedy})
	if !slices.Equal(*order, want) || len(w.got[greedy]) != 5*share {
		t.Errorf("read in the order %v, not %v; %d bytes", *order, want, len(w.got[greedy]))
	}
}

// What somebody says now and then does not wait for all the busy ones, even
// where the node is so far behind that each of those has its turn once a second.
func TestQuietComeFirst(t *testing.T) {
	l, _, order, sleep := slowLoop(t)
	quiet, quietPeer := pair(t, l)
	var busy []int
	for range 40 {
		_, peer := pair(t, l)
		busy = append(busy, peer)
	}
	ping := func(round int) {
		t.Helper()
		sleep(time.Second)
		say(t, quietPeer, "ping")
		*order = nil
		wait(t, l)
		if len(*order) == 0 || (*order)[0] != quiet {
			t.Errorf("round %d: read were %v, not first %v", round, *order, quiet)
		}
	}
	sleep(10 * time.Second)
	for _, peer := range busy {
		say(t, peer, strings.Repeat("x", 8<<10))
	}
	for range 20 {
		wait(t, l)
	}
	for round := range 5 {
		for _, peer := range busy {
			say(t, peer, strings.Repeat("x", 8<<10))
		}
		ping(round)
		for range 20 {
			wait(t, l)
		}
	}
}

// The pace of one connection: bytes and pauses, and whether it is quiet then.
func TestPace(t *testing.T) {
	second := uint16(time.Second / paceTick)
	for name, c := range map[string]struct {
		bytes int
		after uint16
		quiet bool
	}{
		"at once":                    {1, 0, false},
		"a ping, a moment later":     {40, 7, true},
		"a message, half a second":   {3200, second / 2, false},
		"a message, a second":        {3200, second, true},
		"a megabyte, four seconds":   {1 << 20, paceMax, true},
		"a megabyte, nearly":         {1 << 20, paceMax - 1, false},
		"half of the ticks later":    {1 << 20, 1 << 15, true},
		"nothing read, nothing owed": {0, 1, true},
	} {
		for _, now := range []uint16{0, 1000, 1<<16 - 10} {
			s := slot{paced: now}
			if !s.isQuiet(now) {
				t.Fatal("it begins as busy")
			}
			if s.pace(now, c.bytes); s.isQuiet(now+c.after) != c.quiet {
				t.Errorf("%s, at %d: quiet is %v", name, now, !c.quiet)
			}
		}
	}
}

// What somebody quiet says while the busy are read, or in the same round, does
// not wait until these have had all of it.
func TestQuietEndTheRoundOfTheBusy(t *testing.T) {
	l, w, order, sleep := slowLoop(t) // of 4 ms, in which each read takes one
	quiet, quietPeer := pair(t, l)
	busy := map[ID]bool{}
	var peers []int
	for range 8 {
		id, peer := pair(t, l)
		busy[id] = true
		peers = append(peers, peer)
	}
	sleep(10 * time.Second)
	for _, peer := range peers {
		say(t, peer, strings.Repeat("x", 4*share))
	}
	for range 4 { // none of them is quiet any more
		wait(t, l)
	}
	read := w.onData
	w.onData = func(id ID) {
		if read(id); len(*order) == 1 {
			say(t, quietPeer, "ping")
		}
	}
	*order = nil
	wait(t, l)
	if len(*order) != 1 || !busy[(*order)[0]] {
		t.Errorf("read were %v, before the quiet %v", *order, quiet)
	}
	wait(t, l)
	if len(*order) != 3 || (*order)[1] != quiet || !busy[(*order)[2]] {
		t.Errorf("then %v: not the quiet %v and one busy", (*order)[1:], quiet)
	}
}

// However many quiet ones there are, the busy go on.
func TestBusyGoOn(t *testing.T) {
	l, _, order, sleep := slowLoop(t)
	busy, busyPeer := pair(t, l)
	var crowd []int
	for range 50 {
		_, peer := pair(t, l)
		crowd = append(crowd, peer)
	}
	sleep(10 * time.Second)
	say(t, busyPeer, strings.Repeat("x", 1<<10))
	wait(t, l)
	for _, peer := range crowd {
		say(t, peer, "ping")
	}
	say(t, busyPeer, "y")
	*order = nil
	wait(t, l)
	if !slices.Contains(*order, busy) || len(*order) < 3 {
		t.Errorf("read were %v, of which none is %v", *order, busy)
	}
}

// The kernel tells of the end of a stream once, together with what came before
// it: neither is to be missed, at whatever time it comes.
func TestEndBehindData(t *testing.T) {
	for name, when := range map[string]func(l *Loop, id ID, end func()){
		"with the data":  func(l *Loop, _ ID, end func()) { end(); _ = l.Wait(0) },
		"after the data": func(l *Loop, _ ID, end func()) { _ = l.Wait(0); end(); _ = l.Wait(0) },
		"while it is read": func(l *Loop, _ ID, end func()) {
			l.handler.(*witness).onData = func(ID) { end() }
			_ = l.Wait(0)
			_ = l.Wait(0)
		},
		"while paused": func(l *Loop, id ID, end func()) {
			l.Pause(id)
			end()
			_ = l.Wait(0)
			l.Resume(id)
			_ = l.Wait(0)
		},
		"paused while listed": func(l *Loop, id ID, end func()) {
			end()
			s := l.get(id)
			l.list(id, s)
			l.Pause(id)
			_ = l.Wait(0)
			l.Resume(id)
			_ = l.Wait(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, w := newLoop(t, Config{})
			id, peer := pair(t, l)
			say(t, peer, "the last words")
			when(l, id, func() { _ = unix.Shutdown(peer, unix.SHUT_WR) })
			if w.got[id] != "the last words" || w.gone[id] != io.EOF {
				t.Errorf("%q, %v", w.got[id], w.gone[id])
			}
		})
	}
}

// More than the kernel is given at once reaches a peer that reads all the time.
func TestLongWritesGoOn(t *testing.T) {
	l, _ := newLoop(t, Config{})
	id, peer := pair(t, l)
	fd := int(l.get(id).fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 64<<20); err != nil {
		t.Skip("the kernel's buffer cannot be made larger than what is written at once:", err)
	}
	const size = 3 * fair * vectorMax * chunkMax
	unit := make([]byte, chunkMax)
	for range size / len(unit) {
		l.Write(id, nil, unit)
	}
	l.Flush()
	if left := l.Pending(id); left == 0 || l.get(id).flags&blocked != 0 {
		t.Fatalf("%d bytes are left, flags %b: nothing is tested", left, l.get(id).flags)
	}
	got := 0
	buf := make([]byte, 1<<20)
	for got < size {
		if err := l.Wait(time.Second); err != nil {
			t.Fatal(err)
		}
		l.Flush()
		before := got
		for {
			n, err := unix.Read(peer, buf)
			if err != nil {
				break
			}
			got += n
		}
		if got == before {
			t.Fatalf("%d of %d bytes arrived", got, size)
		}
	}
}
