package conns

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/rookery-im/rookery/transport/poll"
	"github.com/rookery-im/rookery/transport/ws"
)

// What one idle connection may take of the heap, all of this folder included.
const idleBudget = 160 // bytes

func TestRecordSize(t *testing.T) {
	if got := unsafe.Sizeof(record{}); got > 88 {
		t.Errorf("a record takes %d bytes", got)
	}
}

// dialBare connects without Go's runtime, so that the heap holds the server's
// side only.
func dialBare(t testing.TB, addr *net.TCPAddr, req []byte) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	to := &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	if err := syscall.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Write(fd, req); err != nil {
		t.Fatal(err)
	}
	var b [512]byte
	if n, err := syscall.Read(fd, b[:]); err != nil || !bytes.HasPrefix(b[:n], []byte("HTTP/1.1 101 ")) {
		t.Fatalf("%q, %v", b[:n], err)
	}
	return fd
}

func heap() int {
	for range 3 { // what pools keep goes in the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestIdleConnectionBudget(t *testing.T) {
	const warm, count = 100, 3000
	n := start(t, Config{Unauthenticated: 2 * count}, &scribe{})
	addr, err := net.ResolveTCPAddr("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	req := append([]byte(request(Path)), frame(ws.Text, "used once, idle now")...)
	fds := make([]int, 0, warm+count)
	t.Cleanup(func() {
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
	})
	open := func(k int) {
		for range k {
			fds = append(fds, dialBare(t, addr, req))
			n.next("opened")
			n.next("message")
		}
	}
	open(warm)
	before := heap()
	open(count)
	each := (heap() - before) / count
	t.Logf("%d bytes of heap for an idle connection", each)
	if each > idleBudget {
		t.Errorf("an idle connection takes %d bytes of heap, the budget is %d", each, idleBudget)
	}
}

// rig is connections without a server: socket pairs, and the loop turned by hand.
type rig struct {
	conns *Conns
	ids   []ID
	peers []int
}

// answering answers every message with another.
type answering struct {
	conns    *Conns
	messages int
	answer   []byte
}

func (a *answering) Opened(ID, Info)          {}
func (a *answering) Drained(ID)               {}
func (a *answering) Closed(ID, uint16, error) {}
func (a *answering) Message(id ID, _ Opcode, _ []byte) {
	a.messages++
	a.conns.Send(id, a.answer)
}

func newRig(t testing.TB, connections int, h *answering) *rig {
	t.Helper()
	c, err := New(Config{Poll: poll.Config{Round: time.Second}}, h) // all is read in one round
	if err != nil {
		t.Fatal(err)
	}
	h.conns = c
	r := &rig{conns: c}
	for range connections {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.total.Add(1)
		id, err := c.loop.Attach(fds[0])
		if err != nil {
			t.Fatal(err)
		}
		c.enter(id, newcomer{})
		r.ids, r.peers = append(r.ids, id), append(r.peers, fds[1])
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		for _, fd := range r.peers {
			_ = syscall.Close(fd)
		}
	})
	return r
}

// turn has every peer send b, and read what comes back.
func (r *rig) turn(t testing.TB, b, in []byte) {
	for _, fd := range r.peers {
		if _, err := syscall.Write(fd, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.conns.Poll(0); err != nil {
		t.Fatal(err)
	}
	r.conns.Flush()
	for _, fd := range r.peers {
		if _, err := syscall.Read(fd, in); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMessagesDoNotAllocate(t *testing.T) {
	fragments := append(frame(ws.Text, "a whole one"), frame(ws.Text, text(300))...)
	fragments[0] &^= 0x80
	last := frame(ws.Continuation, text(200))
	for name, sent := range map[string][]byte{
		"whole":      append(frame(ws.Text, "one"), frame(ws.Text, text(500))...),
		"fragmented": append(append(append([]byte{}, fragments[:17]...), last...), frame(ws.Ping, "p")...),
	} {
		h := &answering{answer: []byte(text(100))}
		r := newRig(t, 4, h)
		in := make([]byte, 64<<10)
		r.turn(t, sent, in)
		if got := testing.AllocsPerRun(200, func() { r.turn(t, sent, in) }); got != 0 {
			t.Errorf("%s: %v allocations in a round", name, got)
		}
		if h.messages == 0 {
			t.Errorf("%s: nothing was heard", name)
		}
		if r.conns.counts.open != 4 {
			t.Errorf("%s: %d connections are open", name, r.conns.counts.open)
		}
	}
}

// Each operation is one message in and one out, on 16 connections.
func BenchmarkExchange(b *testing.B) {
	for _, batch := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d a read", batch), func(b *testing.B) {
			h := &answering{answer: []byte(text(150))}
			r := newRig(b, 16, h)
			sent := bytes.Repeat(frame(ws.Text, text(120)), batch)
			in := make([]byte, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				r.turn(b, sent, in)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(h.messages), "ns/exchange")
		})
	}
}

// A sweep over many idle connections must not be felt.
func BenchmarkSweep(b *testing.B) {
	c, err := New(Config{}, &answering{})
	if err != nil {
		b.Fatal(err)
	}
	const n = 1 << 20
	side := &c.bySide[0]
	side.records.Reach(n - 1)
	side.due.Reach(n - 1)
	side.used = n
	for i := range uint32(n) {
		*side.due.At(i) = tick(1 << 20)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.nextSweep = c.start
		c.sweep(c.start)
	}
	side.used = 0
	if err := c.Stop(); err != nil {
		b.Fatal(err)
	}
}
