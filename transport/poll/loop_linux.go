package poll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Supported says whether Attach works on this system.
const Supported = true

// vectorMax bounds the pieces of one writev; with chunks of 64 KiB they are
// more than a socket's buffer takes.
const vectorMax = 8

// fair bounds the writes for one connection in a row.
const fair = 4

// share is how many bytes are read of one connection at a time; what it has
// sent beyond that stays in the kernel until its turn comes again.
const share = 16 << 10

// turnCost is what a turn takes of a round, beside the bytes that are read.
const turnCost = 1 << 10

// glance is for how long the busy are read before it is looked whether somebody
// quiet has said something. A round of theirs may last twenty times as long, and
// would be what everybody else feels of them.
const glance = 500 * time.Microsecond

// What is read of a connection is counted against it until it would have come
// at a modest pace, that of a person who talks a lot: until then it is busy, after that quiet
// again. What a quiet one sends comes first, see Loop.serve. It is not told by
// the time since its last word: in a node that is behind nobody says much.
const (
	paceTick  = 16 * time.Millisecond
	paceBytes = 64  // a tick: 4 KiB a second
	paceMax   = 256 // ticks that count at most: four seconds
	pacedNew  = 64  // ticks; who has just come is not quiet
)

// isQuiet says whether all that was read would have come by now.
func (s *slot) isQuiet(now uint16) bool { return s.paced-now-1 >= paceMax }

// pace counts what was read.
func (s *slot) pace(now uint16, bytes int) {
	behind := 0
	if !s.isQuiet(now) {
		behind = int(s.paced - now)
	}
	s.paced = now + uint16(min(behind+1+bytes/paceBytes, paceMax))
}

// wakeIndex marks the loop's own descriptor among the events.
const wakeIndex = -1

// slot is one connection. It holds no pointer.
type slot struct {
	fd    int32
	out   uint32 // into queues, plus one; 0 where nothing waits
	flags slotFlags
	paced uint16 // until when it is busy, in ticks that wrap around, see isQuiet
}

type slotFlags uint16

const (
	paused   slotFlags = 1 << iota // not read
	blocked                        // the kernel takes no more; EPOLLOUT is awaited
	dirty                          // listed to be flushed
	finished                       // the handler has heard Gone
	listed                         // is among those that have something to read
	ended                          // the peer's stream ends behind what is to be read
)

// Loop is an epoll descriptor with its connections.
type Loop struct {
	// Immutable.
	epfd, wakefd int
	handler      Handler
	round        time.Duration
	roundBytes   int
	clock        func() time.Time
	start        time.Time

	// Owned by the loop's goroutine.
	slots  Slots
	conns  Pages[slot]
	queues []queue
	spare  []uint32 // unused elements of queues
	dirty  []uint32
	read   []byte
	events []unix.EpollEvent
	calm   turns // connections to be read that were quiet
	busy   turns // the others
	left   int   // of roundBytes
	vector [][]byte
	bufs   *Buffers
	queued int // bytes in queues
	stats  Stats
	trunk  *trunk // nil where nothing is carried by one

	// Atomic.
	woken atomic.Bool
}

// New makes a loop that reports to h.
func New(cfg Config, h Handler) (*Loop, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("poll: epoll_create1: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("poll: eventfd: %w", err), unix.Close(epfd))
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeIndex}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wakefd, &ev); err != nil {
		return nil, errors.Join(fmt.Errorf("poll: epoll_ctl: %w", err), unix.Close(wakefd), unix.Close(epfd))
	}
	return &Loop{
		epfd:    epfd,
		wakefd:  wakefd,
		handler: h,
		round:   cfg.Round, roundBytes: cfg.RoundBytes,
		clock:  cfg.Clock,
		start:  cfg.Clock(),
		read:   make([]byte, cfg.ReadBuffer),
		events: make([]unix.EpollEvent, cfg.Events),
		vector: make([][]byte, 0, vectorMax),
		bufs:   &Buffers{Keep: cfg.KeepBytes},
	}, nil
}

// Buffers is the loop's pool.
func (l *Loop) Buffers() *Buffers { return l.bufs }

// Stats of everything so far.
func (l *Loop) Stats() Stats { return l.stats }

// Queued is how many bytes wait to be written, to all connections.
func (l *Loop) Queued() int { return l.queued }

// Len is the number of connections.
func (l *Loop) Len() int { return l.slots.Taken() }

// Attach takes a connected, non-blocking descriptor (see [Detach]), whatever
// it returns.
func (l *Loop) Attach(fd int) (ID, error) {
	id, ok := l.slots.Take()
	if !ok {
		return 0, errors.Join(errors.New("poll: the connection table is full"), unix.Close(fd))
	}
	*l.conns.Reach(id.Index()) = slot{fd: int32(fd), paced: l.tick(l.clock()) + pacedNew}
	if err := l.control(unix.EPOLL_CTL_ADD, id, fd, reading); err != nil {
		l.slots.Give(id)
		return 0, errors.Join(fmt.Errorf("poll: epoll_ctl: %w", err), unix.Close(fd))
	}
	return id, nil
}

// reading is what is asked of the kernel about a connection that is read. Each
// change is told once (EPOLLET): who has more to read than its share is listed
// here, and need not be told of again in every round.
const reading = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET

func (l *Loop) control(op int, id ID, fd int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(id.Index()), Pad: int32(id.Generation())}
	return unix.EpollCtl(l.epfd, op, fd, &ev)
}

// watch tells the kernel what the slot's flags want.
func (l *Loop) watch(id ID, s *slot) {
	if s.isStandIn() {
		l.watchStandIn(id, s)
		return
	}
	var events uint32 = unix.EPOLLET
	if s.flags&(paused|finished) == 0 {
		events |= reading
	}
	if s.flags&blocked != 0 {
		events |= unix.EPOLLOUT
	}
	if err := l.control(unix.EPOLL_CTL_MOD, id, int(s.fd), events); err != nil {
		l.gone(id, s, fmt.Errorf("poll: epoll_ctl: %w", err))
	}
}

func (l *Loop) get(id ID) *slot {
	if !l.slots.Holds(id) {
		return nil
	}
	return l.conns.At(id.Index())
}

// Wait waits for events, at most for the timeout (for ever where it is
// negative), and reads for at most Config.Round what has come. It returns early
// when woken, or when something is left to be flushed or to be read.
func (l *Loop) Wait(timeout time.Duration) error {
	if err := l.hear(timeout); err != nil {
		return err
	}
	if l.trunk != nil {
		l.unhold()
	}
	return l.serve()
}

// hear waits for events, and lists who has something to read.
func (l *Loop) hear(timeout time.Duration) error {
	n, err := l.wait(timeout)
	if err != nil {
		return err
	}
	for i := range n {
		ev := &l.events[i]
		if ev.Fd == wakeIndex {
			if err := l.awake(); err != nil {
				return err
			}
			continue
		}
		if ev.Fd == trunkIndex {
			l.ready(ev.Events)
			continue
		}
		// The generation refuses events of connections that were closed after
		// the kernel reported them.
		id := MakeID(uint32(ev.Fd), uint32(ev.Pad))
		if s := l.get(id); s != nil {
			l.event(id, s, ev.Events)
		}
	}
	return nil
}

// serve reads for a round, one share of each connection in turn. Those that
// were quiet come first, for half of the round: so what somebody says now and
// then does not wait behind everything that the busy ones have sent (the new
// and old flows of FQ-CoDel, RFC 8290, 4.1). Nor is it kept waiting once it was
// read, or when it comes while the busy are: they have a glance of the round
// then, and go on in the next.
func (l *Loop) serve() error {
	if l.calm.len()+l.busy.len() == 0 {
		return nil
	}
	begin := l.clock()
	end, quiet := begin.Add(l.round), l.calm.len() > 0
	l.left = l.roundBytes
	l.serveOf(&l.calm, l.left/2, begin.Add(l.round/2))
	for l.busy.len() > 0 && l.left > 0 {
		now := l.clock()
		l.serveOf(&l.busy, 0, sooner(now.Add(glance), end))
		if quiet || !l.clock().Before(end) {
			break
		}
		if l.busy.len() > 0 {
			if err := l.hear(0); err != nil {
				return err
			}
		}
		if l.calm.len() > 0 {
			return nil // the next round begins with them, at once
		}
	}
	if l.left > 0 && l.clock().Before(end) {
		l.serveOf(&l.calm, 0, end)
	}
	return nil
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// serveOf reads the connections of a list until it is empty, no more than so
// much is left of the round, or the time is over; one of them in any case, so
// that each list goes on.
func (l *Loop) serveOf(t *turns, leave int, until time.Time) {
	now := l.clock()
	for t.len() > 0 {
		id := t.pop()
		s := l.get(id)
		if s == nil || s.flags&listed == 0 {
			continue
		}
		s.flags &^= listed
		if s.flags&(paused|finished) != 0 {
			continue // the kernel tells of it again when it is resumed
		}
		read := l.stats.Read
		more := l.receive(id, s)
		bytes := int(l.stats.Read - read) //nolint:gosec // a share
		if s = l.get(id); s != nil {
			s.pace(l.tick(now), bytes)
		}
		if more {
			s.flags |= listed
			l.busy.push(id)
		}
		l.left -= turnCost + bytes
		if now = l.clock(); l.left <= leave || !now.Before(until) {
			return
		}
	}
}

// list has the connection read when its turn comes.
func (l *Loop) list(id ID, s *slot) {
	if s.flags&listed != 0 {
		return
	}
	s.flags |= listed
	if s.isQuiet(l.tick(l.clock())) {
		l.calm.push(id)
	} else {
		l.busy.push(id)
	}
}

func (l *Loop) tick(now time.Time) uint16 { return uint16(now.Sub(l.start) / paceTick) } //nolint:gosec // it wraps around

func (l *Loop) wait(timeout time.Duration) (int, error) {
	if len(l.dirty) > 0 || l.calm.len()+l.busy.len() > 0 || l.trunk != nil && len(l.trunk.resumed) > 0 {
		timeout = 0
	}
	ms := -1
	switch {
	case timeout == 0:
		ms = 0
	case timeout > 0 && timeout < time.Millisecond:
		// epoll_wait knows only milliseconds, pacing needs less.
		fds := [1]unix.PollFd{{Fd: int32(l.epfd), Events: unix.POLLIN}}
		ts := unix.NsecToTimespec(int64(timeout))
		if _, err := unix.Ppoll(fds[:], &ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, fmt.Errorf("poll: ppoll: %w", err)
		}
		ms = 0
	case timeout > 0:
		ms = int(min((timeout+time.Millisecond-1)/time.Millisecond, 1<<30))
	}
	n, err := unix.EpollWait(l.epfd, l.events, ms)
	if err != nil {
		if errors.Is(err, unix.EINTR) {
			return 0, nil
		}
		return 0, fmt.Errorf("poll: epoll_wait: %w", err)
	}
	return n, nil
}

func (l *Loop) awake() error {
	var b [8]byte
	if _, err := unix.Read(l.wakefd, b[:]); err != nil && err != unix.EAGAIN && err != unix.EINTR {
		return fmt.Errorf("poll: eventfd: %w", err)
	}
	// Before anybody looks for the reason of the call: one that comes after
	// the look must wake again.
	l.woken.Store(false)
	return nil
}

// Wake makes the present or the next Wait return. Any goroutine may call it,
// while the loop is not closed.
func (l *Loop) Wake() {
	if !l.woken.CompareAndSwap(false, true) {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	// It fails only with EAGAIN, when the counter is full: then it wakes anyway.
	_, _ = unix.Write(l.wakefd, one[:])
}

func (l *Loop) event(id ID, s *slot, events uint32) {
	if events&unix.EPOLLOUT != 0 {
		l.flush(id, s)
		if l.get(id) == nil {
			return
		}
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		s.flags |= ended
	}
	switch {
	case s.flags&finished != 0:
	case s.flags&paused == 0:
		if events&^unix.EPOLLOUT != 0 {
			l.list(id, s)
		}
	case events&(unix.EPOLLERR|unix.EPOLLHUP) != 0:
		// Not read any more, and never again writable: there is nothing to wait
		// for, and the kernel would go on reporting it.
		l.gone(id, s, io.ErrUnexpectedEOF)
	}
}

// receive reads a share, and says whether there may be more. A read that is
// not filled has taken all there was, save the end of the stream.
func (l *Loop) receive(id ID, s *slot) (more bool) {
	for left := share; left > 0; {
		b := l.read[:min(left, len(l.read))]
		n, err := unix.Read(int(s.fd), b)
		l.stats.Reads++
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false
		case err != nil:
			l.gone(id, s, os.NewSyscallError("read", err))
			return false
		case n == 0:
			l.gone(id, s, io.EOF)
			return false
		}
		l.stats.Read += uint64(n)
		l.handler.Data(id, b[:n])
		left -= n
		if l.get(id) == nil || s.flags&(paused|finished) != 0 || n < len(b) && s.flags&ended == 0 {
			return false
		}
	}
	return true
}

func (l *Loop) gone(id ID, s *slot, err error) {
	if s.flags&finished != 0 {
		return
	}
	s.flags |= finished
	s.flags &^= blocked
	l.handler.Gone(id, err)
	if s := l.get(id); s != nil && !s.isStandIn() {
		// The kernel reports an ended stream until it is closed.
		_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, int(s.fd), nil)
	}
}

// Pause stops reading the connection.
func (l *Loop) Pause(id ID) {
	if s := l.get(id); s != nil && s.flags&(paused|finished) == 0 {
		s.flags |= paused
		l.watch(id, s)
	}
}

// Resume reads the connection again.
func (l *Loop) Resume(id ID) {
	if s := l.get(id); s != nil && s.flags&paused != 0 {
		s.flags &^= paused
		if s.flags&finished == 0 {
			l.watch(id, s)
		}
	}
}

// Shutdown ends our half of the stream: what was flushed is still delivered.
func (l *Loop) Shutdown(id ID) {
	switch s := l.get(id); {
	case s == nil:
	case s.isStandIn():
		l.endStandIn(s)
	default:
		_ = unix.Shutdown(int(s.fd), unix.SHUT_WR) // fails where the peer has gone, which is reported
	}
}

// Close forgets the connection. Unread bytes in the kernel make it a reset,
// which overtakes what the peer has not read: Shutdown and read first where the
// last words matter.
func (l *Loop) Close(id ID) {
	s := l.get(id)
	if s == nil {
		return
	}
	if s.out != 0 {
		l.release(s)
	}
	if s.isStandIn() {
		l.forgetStandIn(id, s)
	} else {
		_ = unix.Close(int(s.fd)) // nothing that was promised depends on it
	}
	*s = slot{}
	l.slots.Give(id)
}

// Stop closes every connection and the loop. Nobody may call Wake any more.
func (l *Loop) Stop() error {
	for i := range l.slots.Fresh() {
		if id, held := l.slots.At(i); held {
			l.Close(id)
		}
	}
	var err error
	if l.trunk != nil && !l.trunk.lost {
		err = unix.Close(l.trunk.fd)
	}
	return errors.Join(err, unix.Close(l.wakefd), unix.Close(l.epfd))
}
