package poll

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// witness is a handler that keeps what it hears.
type witness struct {
	got     map[ID]string
	left    map[ID]int
	gone    map[ID]error
	onData  func(id ID)
	onWrote func(id ID, left int)
}

func (w *witness) Data(id ID, b []byte) {
	w.got[id] += string(b)
	if w.onData != nil {
		w.onData(id)
	}
}

func (w *witness) Wrote(id ID, left int) {
	w.left[id] = left
	if w.onWrote != nil {
		w.onWrote(id, left)
	}
}

func (w *witness) Gone(id ID, err error) {
	if w.gone[id] != nil {
		panic("heard twice")
	}
	w.gone[id] = err
}

func newLoop(t testing.TB, cfg Config) (*Loop, *witness) {
	t.Helper()
	w := &witness{got: map[ID]string{}, left: map[ID]int{}, gone: map[ID]error{}}
	l, err := New(cfg, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	return l, w
}

// pair attaches one end of a connected pair, and returns the other.
func pair(t testing.TB, l *Loop) (ID, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	id, err := l.Attach(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fds[1]) })
	return id, fds[1]
}

func say(t testing.TB, fd int, s string) {
	t.Helper()
	if n, err := unix.Write(fd, []byte(s)); n != len(s) || err != nil {
		t.Fatal(n, err)
	}
}

func wait(t testing.TB, l *Loop) {
	t.Helper()
	if err := l.Wait(0); err != nil {
		t.Fatal(err)
	}
}

func TestReadAndWrite(t *testing.T) {
	l, w := newLoop(t, Config{})
	id, peer := pair(t, l)
	say(t, peer, "hello")
	wait(t, l)
	if w.got[id] != "hello" {
		t.Errorf("read %q", w.got[id])
	}
	if got := l.Write(id, []byte("he"), []byte("ad")); got != 4 {
		t.Errorf("%d bytes wait", got)
	}
	var b [10]byte
	if _, err := unix.Read(peer, b[:]); err != unix.EAGAIN {
		t.Errorf("written before Flush: %v", err)
	}
	l.Write(id, nil, []byte("er"))
	before := l.Stats().Writes
	l.Flush()
	if n, err := unix.Read(peer, b[:]); err != nil || string(b[:n]) != "header" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if left, told := w.left[id]; !told || left != 0 || l.Pending(id) != 0 || l.Stats().Writes != before+1 {
		t.Errorf("%d are left, %d writes", left, l.Stats().Writes-before)
	}
	if len(l.spare) != len(l.queues) {
		t.Error("an idle connection holds a queue")
	}
}

// An event that the kernel reported for a connection closed since, in the same
// round, must not reach the one that has its descriptor and slot now.
func TestEventsOfTheDead(t *testing.T) {
	l, w := newLoop(t, Config{})
	a, peerA := pair(t, l)
	b, peerB := pair(t, l)
	for _, fd := range []int{peerA, peerB} {
		say(t, fd, "the end")
		if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
	}
	var second ID
	var secondPeer int
	w.onData = func(id ID) { // closes the other one, whose event is in the same batch
		if second != 0 {
			return
		}
		victim := a
		if id == a {
			victim = b
		}
		fd := l.get(victim).fd
		l.Close(victim)
		second, secondPeer = pair(t, l)
		if l.get(second).fd != fd || second.Index() != victim.Index() {
			t.Fatal("neither slot nor descriptor were used again: nothing is tested")
		}
		l.Pause(second) // so that the end of the victim's stream would be the end of it
	}
	wait(t, l)
	if len(w.got) != 1 || w.gone[second] != nil {
		t.Errorf("%v %v", w.got, w.gone)
	}
	l.Resume(second)
	say(t, secondPeer, "to the second")
	wait(t, l)
	if w.got[second] != "to the second" {
		t.Errorf("%v", w.got)
	}
}

// What was queued for one that is closed before Flush is not written to its
// successor.
func TestDirtyAndDead(t *testing.T) {
	l, _ := newLoop(t, Config{})
	first, _ := pair(t, l)
	l.Write(first, nil, []byte("for the dead"))
	l.Close(first)
	second, peer := pair(t, l)
	if second.Index() != first.Index() {
		t.Fatal("nothing is tested")
	}
	l.Write(first, nil, []byte("for the dead"))
	l.Flush()
	l.Write(second, nil, []byte("ok"))
	l.Flush()
	var b [100]byte
	if n, err := unix.Read(peer, b[:]); err != nil || string(b[:n]) != "ok" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

func TestShortWritesAndDiscard(t *testing.T) {
	l, w := newLoop(t, Config{})
	id, peer := pair(t, l)
	unit := make([]byte, 100_000)
	for i := range byte(50) {
		unit[0] = i
		l.Write(id, nil, unit)
	}
	l.Flush()
	pending := l.Pending(id)
	if pending == 0 || w.left[id] != pending || l.Stats().ShortOut != 1 {
		t.Fatalf("%d bytes wait, %d were told, %+v", pending, w.left[id], l.Stats())
	}
	calls := l.Stats().Writes
	l.Write(id, nil, []byte("x"))
	l.Flush()
	wait(t, l)
	if l.Stats().Writes != calls {
		t.Error("written to although the kernel takes no more")
	}
	l.Discard(id)
	rest := l.Pending(id)
	if rest == 0 || rest >= len(unit) {
		t.Errorf("%d bytes are left of the unit that has begun", rest)
	}
	l.Write(id, nil, []byte("the end"))
	got := 0
	b := make([]byte, 1<<20)
	for l.Pending(id) > 0 {
		n, err := unix.Read(peer, b)
		if err != nil {
			t.Fatal(err)
		}
		got += n
		wait(t, l)
	}
	for {
		n, err := unix.Read(peer, b)
		if err != nil {
			break
		}
		got += n
		if n >= 7 && string(b[n-7:n]) == "the end" && (got-7)%len(unit) != 0 {
			t.Errorf("a unit was cut: %d bytes", got)
		}
	}
	if l.get(id).flags&blocked != 0 || len(l.spare) != len(l.queues) {
		t.Error("it still waits to write")
	}
}

func TestPauseStopsReading(t *testing.T) {
	l, w := newLoop(t, Config{})
	id, peer := pair(t, l)
	l.Pause(id)
	say(t, peer, "later")
	wait(t, l)
	if w.got[id] != "" {
		t.Errorf("read %q", w.got[id])
	}
	l.Resume(id)
	wait(t, l)
	if w.got[id] != "later" {
		t.Errorf("read %q", w.got[id])
	}
}

// With more to read than fits, a pause from within Data holds at once.
func TestPauseWithinData(t *testing.T) {
	l, w := newLoop(t, Config{ReadBuffer: 16})
	id, peer := pair(t, l)
	say(t, peer, "0123456789abcdef0123456789abcdef")
	w.onData = func(id ID) { l.Pause(id) }
	wait(t, l)
	wait(t, l)
	if w.got[id] != "0123456789abcdef" {
		t.Errorf("read %q", w.got[id])
	}
}

func TestGone(t *testing.T) {
	l, w := newLoop(t, Config{})
	id, peer := pair(t, l)
	say(t, peer, "last words")
	if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wait(t, l)
	}
	if w.got[id] != "last words" || !errors.Is(w.gone[id], io.EOF) {
		t.Errorf("%q, %v", w.got[id], w.gone[id])
	}
	if n, err := l.wait(0); n != 0 || err != nil {
		t.Errorf("the kernel goes on reporting: %d events", n)
	}
	if l.Len() != 1 {
		t.Error("closed behind the handler's back")
	}
	l.Close(id)
	if l.Len() != 0 {
		t.Error("still there")
	}
}

func TestWriteToTheGone(t *testing.T) {
	l, w := newLoop(t, Config{})
	id, peer := pair(t, l)
	if err := unix.Shutdown(peer, unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	l.Write(id, nil, []byte("x"))
	l.Flush()
	if !errors.Is(w.gone[id], syscall.EPIPE) {
		t.Errorf("%v", w.gone[id])
	}
	if got := l.Write(id, nil, []byte("x")); got != 0 {
		t.Errorf("%d bytes wait for nobody", got)
	}
}

// A paused connection whose peer vanishes is reported, else the kernel would
// report it in every round.
func TestPausedAndGone(t *testing.T) {
	l, w := newLoop(t, Config{})
	id, peer := pair(t, l)
	l.Pause(id)
	if err := unix.Shutdown(peer, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	wait(t, l)
	if w.gone[id] == nil {
		t.Error("not reported")
	}
	if n, err := l.wait(0); n != 0 || err != nil {
		t.Errorf("the kernel goes on reporting: %d events", n)
	}
}

func TestSlotHoldsNoMoreThanItNeeds(t *testing.T) {
	if got := unsafe.Sizeof(slot{}); got > 12 {
		t.Errorf("a slot takes %d bytes", got)
	}
}

func TestWake(t *testing.T) {
	l, _ := newLoop(t, Config{})
	for range 3 {
		l.Wake()
		l.Wake()
		began := time.Now()
		if err := l.Wait(time.Minute); err != nil || time.Since(began) > 30*time.Second {
			t.Fatalf("not woken: %v", err)
		}
	}
	done := make(chan error)
	go func() { done <- l.Wait(-1) }()
	l.Wake()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := l.Wait(100 * time.Microsecond); err != nil {
		t.Error(err)
	}
}

func TestDetach(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := Detach(server)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the original is not closed: %v", err)
	}
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE); err != nil || on != 0 {
		t.Errorf("keep-alive is %d, %v", on, err)
	}
	l, w := newLoop(t, Config{})
	id, err := l.Attach(fd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(10 * time.Second); err != nil || w.got[id] != "hello" {
		t.Errorf("%q, %v", w.got[id], err)
	}
	if _, err := Detach(struct{ net.Conn }{}); err == nil {
		t.Error("detached what has no descriptor")
	}
}

func TestReadsAndWritesDoNotAllocate(t *testing.T) {
	l, w := newLoop(t, Config{})
	var peers []int
	var ids []ID
	for range 8 {
		id, peer := pair(t, l)
		ids, peers = append(ids, id), append(peers, peer)
	}
	h := &counter{}
	l.handler = h
	_ = w
	head, body, in := []byte("head"), make([]byte, 3000), make([]byte, 8192)
	round := func() {
		for _, fd := range peers {
			if _, err := unix.Write(fd, body[:200]); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Wait(0); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			l.Write(id, head, body)
			l.Write(id, head, body) // a second chunk: writev
		}
		l.Flush()
		for _, fd := range peers {
			if n, err := unix.Read(fd, in); n != 6008 || err != nil {
				t.Fatal(n, err)
			}
		}
	}
	round()
	if got := testing.AllocsPerRun(200, round); got != 0 {
		t.Errorf("%v allocations in a round of 8 reads and 16 writes", got)
	}
	if h.bytes == 0 {
		t.Error("nothing was read")
	}
}

type counter struct{ bytes int }

func (c *counter) Data(_ ID, b []byte) { c.bytes += len(b) }
func (c *counter) Wrote(ID, int)       {}
func (c *counter) Gone(ID, error)      {}

func BenchmarkFlush(b *testing.B) {
	for _, frames := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d frames a call", frames), func(b *testing.B) {
			l, _ := newLoop(b, Config{})
			l.handler = &counter{}
			id, peer := pair(b, l)
			body, in := make([]byte, 150), make([]byte, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				for range frames {
					l.Write(id, []byte("he"), body)
				}
				l.Flush()
				if _, err := unix.Read(peer, in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*frames), "ns/frame")
		})
	}
}
