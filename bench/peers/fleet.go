package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/load/pace"
	"github.com/rookery-im/rookery/transport/poll"
)

// Bounds of a fleet.
const (
	tick        = 10 * time.Millisecond
	problemsMax = 12
	takesMax    = 4096 // of a schedule, before sockets are looked at again
	perSource   = 200  // connections of one source address
	keepBuffer  = 4 << 10
)

// conn is one user's connection.
type conn struct {
	id    poll.ID
	step  stepOf
	up    bool // there is a descriptor
	want  bool
	dirty bool
	retry uint8
	in    []byte
}

// fleet is all clients on one loop. Everything is called on one goroutine,
// which runs the loop in until.
type fleet struct {
	// Immutable.
	protocol protocol
	target   string
	partner  []int32 // to whom a user sends
	filler   []byte
	tag      byte
	atOnce   int
	start    time.Time
	loop     *poll.Loop
	rng      *rand.Rand

	book  *account
	conns []conn
	owner []int32 // of the loop's slots, into conns
	dirty []int32 // conns whose round is to be ended
	queue []int32 // conns to be dialled
	later []redial

	handshakes, live, wanted  int
	lost, retries             int
	firstDial, lastReady      int64
	lastAccepted, lastArrived int64
	event                     int64

	drive    *drive
	schedule *pace.Schedule
	made     []int // messages of each user, by this drive

	mark      int64
	latencies latencies
	helloAt   []int64
	waitFrom  int64
	idle      int64
	problems  []string
	losses    []string
}

type redial struct {
	at   int64
	conn int32
}

type latencies struct{ sent, deliver, receipt, late, hello *latency.Histogram }

func newLatencies() latencies {
	return latencies{latency.New(), latency.New(), latency.New(), latency.New(), latency.New()}
}

// newFleet makes clients of users who are not connected yet.
func newFleet(p protocol, target string, partner []int32, senders, payload, atOnce int, seed uint64) (*fleet, error) {
	f := &fleet{
		protocol: p, target: target, partner: partner, filler: make([]byte, payload), atOnce: atOnce, start: time.Now(),
		rng: rand.New(rand.NewPCG(seed, 0)), book: newAccount(senders, p.answers()), conns: make([]conn, len(partner)), helloAt: make([]int64, len(partner)),
		made: make([]int, senders), latencies: newLatencies(),
	}
	f.tag = byte(f.start.UnixNano())
	const letters = "abcdefghijklmnopqrstuvwxyz"
	for i := range f.filler {
		f.filler[i] = letters[f.rng.IntN(len(letters))]
	}
	var err error
	if f.loop, err = poll.New(poll.Config{}, f); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	return f, nil
}

func (f *fleet) close() error { return f.loop.Stop() }

// now never goes back.
func (f *fleet) now() int64 { return f.start.UnixNano() + int64(time.Since(f.start)) }

func (f *fleet) problem(format string, args ...any) {
	if len(f.problems) < problemsMax {
		f.problems = append(f.problems, fmt.Sprintf(format, args...))
	}
}

func (f *fleet) maskKey() (k [4]byte) {
	binary.BigEndian.PutUint32(k[:], f.rng.Uint32())
	return k
}

// appendPayload is a message's text: its key, and filler up to its size.
func (f *fleet) appendPayload(dst []byte, chat int, number uint64) []byte {
	return append(appendKey(dst, f.tag, chat, number), f.filler[keySize:]...)
}

// turn runs the loop once.
func (f *fleet) turn(patience time.Duration) error {
	f.waitFrom = f.now()
	if err := f.loop.Wait(max(patience, 0)); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	f.awake()
	f.dialDue()
	f.take()
	for k := 0; k < len(f.dirty); k++ {
		i := int(f.dirty[k])
		f.conns[i].dirty = false
		if f.conns[i].step == live {
			f.protocol.round(f, i)
		}
	}
	f.dirty = f.dirty[:0]
	f.loop.Flush()
	return nil
}

// until runs the loop until it is so, or time is up; it says which.
func (f *fleet) until(ctx context.Context, patience time.Duration, so func() bool) (bool, error) {
	end := f.now() + int64(patience)
	for {
		if so() {
			return true, nil
		}
		now := f.now()
		if now >= end {
			return false, nil
		}
		wait := min(tick, time.Duration(end-now))
		if f.schedule != nil {
			wait = min(wait, time.Duration(f.drive.began-now)+f.schedule.Next())
		}
		if err := errors.Join(ctx.Err(), f.turn(wait)); err != nil {
			return false, err
		}
	}
}

// rest runs the loop for a time.
func (f *fleet) rest(ctx context.Context, d time.Duration) error {
	_, err := f.until(ctx, d, func() bool { return false })
	return err
}

// awake ends the time that counts as idle: at the first event, or with none.
func (f *fleet) awake() int64 {
	now := f.now()
	if f.waitFrom != 0 {
		f.idle += now - f.waitFrom
		f.waitFrom = 0
	}
	return now
}

// want orders connections of users from (included) to (not).
func (f *fleet) want(from, to int) {
	f.firstDial, f.lastReady = 0, 0
	f.latencies.hello = latency.New()
	for i := from; i < to; i++ {
		if c := &f.conns[i]; !c.want {
			c.want, c.retry = true, 0
			f.wanted++
			f.queue = append(f.queue, int32(i))
		}
	}
}

// cut closes connections at once.
func (f *fleet) cut(from, to int) {
	for i := from; i < to; i++ {
		if c := &f.conns[i]; c.want {
			c.want = false
			f.wanted--
			f.drop(i)
		}
	}
}

func (f *fleet) drop(i int) {
	c := &f.conns[i]
	if !c.up {
		return
	}
	if c.step == live {
		f.live--
	} else {
		f.handshakes--
	}
	f.loop.Close(c.id)
	c.up, c.id, c.step, c.in = false, 0, 0, nil
	f.protocol.forget(i)
}

// lose is a connection that ended unasked: it is made anew. What was open on it
// is not sent again: what becomes of it shows in the account.
func (f *fleet) lose(i int, why error) {
	c := &f.conns[i]
	wasLive := c.up && c.step == live
	f.drop(i)
	if !c.want {
		return
	}
	if wasLive {
		f.lost++
	} else {
		f.retries++
	}
	if len(f.losses) < 3 {
		f.losses = append(f.losses, fmt.Sprintf("%s: %v", user(i), why))
	}
	wait := min(50*time.Millisecond<<min(c.retry, 8), time.Second)
	c.retry++
	f.later = append(f.later, redial{f.now() + int64(wait/2) + f.rng.Int64N(int64(wait)), int32(i)})
}

func (f *fleet) dialDue() {
	now := f.now()
	kept := f.later[:0]
	for _, r := range f.later {
		if r.at <= now {
			f.queue = append(f.queue, r.conn)
		} else {
			kept = append(kept, r)
		}
	}
	f.later = kept
	n := 0
	for n < len(f.queue) && f.handshakes < f.atOnce {
		i := int(f.queue[n])
		n++
		if c := &f.conns[i]; c.want && !c.up {
			f.dial(i)
		}
	}
	f.queue = f.queue[:copy(f.queue, f.queue[n:])]
}

func (f *fleet) dial(i int) {
	c := &f.conns[i]
	if f.firstDial == 0 {
		f.firstDial = f.now()
	}
	k := i / perSource
	fd, err := dial(f.target, [4]byte{127, 1, byte(k / 250), byte(k%250 + 1)})
	if err == nil {
		c.id, err = f.loop.Attach(fd)
	}
	c.up, c.step = true, 0
	f.handshakes++
	f.helloAt[i] = f.now()
	if err != nil {
		f.lose(i, err)
		return
	}
	slot := int(c.id.Index())
	for len(f.owner) <= slot {
		f.owner = append(f.owner, 0)
	}
	f.owner[slot] = int32(i)
	f.protocol.hello(f, i)
}

// bindNoPort has the kernel choose the source port when the other end is known
// (IP_BIND_ADDRESS_NO_PORT).
const bindNoPort = 24

// dial begins a connection from a source address and does not wait for it.
func dial(target string, source [4]byte) (int, error) {
	addr, err := netip.ParseAddrPort(target)
	if err != nil {
		return -1, fmt.Errorf("fleet: target: %w", err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = errors.Join(
		os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)),
		os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindNoPort, 1)),
		os.NewSyscallError("bind", syscall.Bind(fd, &syscall.SockaddrInet4{Addr: source})),
	)
	if err == nil {
		if err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); errors.Is(err, syscall.EINPROGRESS) {
			err = nil
		}
	}
	if err != nil {
		return -1, errors.Join(err, syscall.Close(fd))
	}
	return fd, nil
}

// write queues bytes; they are copied.
func (f *fleet) write(i int, b []byte) { f.loop.Write(f.conns[i].id, b, nil) }

// soil has the connection's round ended.
func (f *fleet) soil(i int) {
	if c := &f.conns[i]; !c.dirty {
		c.dirty = true
		f.dirty = append(f.dirty, int32(i))
	}
}

// Data is the loop's: bytes that were read.
func (f *fleet) Data(id poll.ID, b []byte) {
	f.event = f.awake()
	i := int(f.owner[id.Index()])
	c := &f.conns[i]
	if c.id != id {
		return
	}
	if len(c.in) > 0 {
		c.in = append(c.in, b...)
		b = c.in
	}
	n, err := f.protocol.consume(f, i, b)
	if err != nil {
		f.lose(i, err)
		return
	}
	if !c.up {
		return
	}
	switch rest := b[n:]; {
	case len(rest) > 0:
		c.in = append(c.in[:0], rest...)
	case cap(c.in) > keepBuffer:
		c.in = nil
	default:
		c.in = c.in[:0]
	}
}

// Wrote is the loop's.
func (f *fleet) Wrote(poll.ID, int) {}

// Gone is the loop's.
func (f *fleet) Gone(id poll.ID, err error) {
	f.awake()
	if i := int(f.owner[id.Index()]); f.conns[i].id == id {
		f.lose(i, err)
	}
}
