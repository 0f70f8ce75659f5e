package poll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// A trunk carries stand-ins: connections that have no descriptor of their own.
// What the kernel does for a descriptor, the trunk does by frames over the one
// that it has: a stream's number, a length, so many bytes; no bytes end the
// stream. All else of a stand-in, its ID, its slot, its queue, is as with any
// connection, so that what a million of them cost can be weighed where no
// process may open so many descriptors. The end that called Carry without
// opened opens them. Numbers are not used twice.
type trunk struct {
	// Immutable.
	fd     int
	opened func(ID) // nil: the other end opens none

	peers   Pages[ID] // by number
	next    uint32    // of the next that is opened here
	in      []byte    // a frame that is not whole
	out     []byte
	writing bool // EPOLLOUT is awaited
	lost    bool
	blocked []ID          // refused while out was full
	held    map[ID][]byte // came while the stand-in was not read
	resumed []ID          // is read again, and has something held
}

// The bounds of a trunk, in bytes.
const (
	trunkHead  = 8
	trunkShare = 128 << 10 // read at a time
	trunkFrame = 1 << 20   // one frame's
	trunkFull  = 1 << 20   // out, past which a stand-in's write takes nothing
	trunkHeld  = 1 << 18   // of one stand-in; past it the stand-in is lost
)

// trunkIndex marks the trunk's descriptor among the events.
const trunkIndex = -2

// endedPeer is a number that was used. It is no ID: its generation is free.
const endedPeer ID = 1

// Errors of trunks.
var (
	ErrTrunk     = errors.New("poll: there is a trunk already")
	errNoTrunk   = errors.New("poll: there is no trunk")
	errTrunk     = errors.New("poll: not a frame of a trunk")
	errTrunkHeld = errors.New("poll: a stand-in that is not read was sent too much")
)

// Carry makes a connected, non-blocking descriptor the loop's trunk; it is taken
// whatever is returned. A loop has one. Where the peer opens a stand-in, opened
// is called before anything of it is reported.
func (l *Loop) Carry(fd int, opened func(ID)) error {
	if l.trunk != nil {
		return errors.Join(ErrTrunk, unix.Close(fd))
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: trunkIndex}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return errors.Join(fmt.Errorf("poll: epoll_ctl: %w", err), unix.Close(fd))
	}
	l.trunk = &trunk{fd: fd, opened: opened, held: map[ID][]byte{}}
	return nil
}

// StandIn opens a stand-in. The peer hears of it with the first bytes.
func (l *Loop) StandIn() (ID, error) {
	t := l.trunk
	switch {
	case t == nil:
		return 0, errNoTrunk
	case t.lost:
		return 0, fmt.Errorf("poll: trunk: %w", io.EOF)
	case t.opened != nil || t.next > math.MaxInt32:
		return 0, errors.New("poll: no stand-in can be opened at this end")
	}
	id, err := l.standIn(t.next)
	if err == nil {
		t.next++
	}
	return id, err
}

func (l *Loop) standIn(number uint32) (ID, error) {
	id, ok := l.slots.Take()
	if !ok {
		return 0, errors.New("poll: the connection table is full")
	}
	*l.conns.Reach(id.Index()) = slot{fd: ^int32(number)}
	*l.trunk.peers.Reach(number) = id
	return id, nil
}

// isStandIn says whether a slot's descriptor stands for a trunk's stream, whose
// number is its complement.
func (s *slot) isStandIn() bool { return s.fd < 0 }

// ready takes an event of the trunk's.
func (l *Loop) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		l.flushTrunk()
	}
	if events&^unix.EPOLLOUT != 0 && !l.trunk.lost {
		l.readTrunk()
	}
}

func (l *Loop) readTrunk() {
	t := l.trunk
	for left := trunkShare; left > 0 && !t.lost; {
		n, err := unix.Read(t.fd, l.read)
		l.stats.Reads++
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return
		case err != nil:
			l.loseTrunk(os.NewSyscallError("read", err))
			return
		case n == 0:
			l.loseTrunk(io.EOF)
			return
		}
		l.stats.Read += uint64(n)
		left -= n
		b := l.read[:n]
		if len(t.in) > 0 {
			t.in = append(t.in, b...)
			b = t.in
		}
		for len(b) >= trunkHead && !t.lost {
			number, size := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint32(b[4:]))
			if number > math.MaxInt32 || size > trunkFrame {
				l.loseTrunk(errTrunk)
				return
			}
			if len(b) < trunkHead+size {
				break
			}
			l.unload(number, b[trunkHead:trunkHead+size])
			b = b[trunkHead+size:]
		}
		t.in = append(t.in[:0], b...)
	}
}

// unload takes one frame.
func (l *Loop) unload(number uint32, b []byte) {
	t := l.trunk
	var id ID
	if int(number) < t.peers.Len() {
		id = *t.peers.At(number)
	}
	if id == 0 && t.opened != nil && len(b) > 0 {
		var err error
		if id, err = l.standIn(number); err != nil {
			t.load(number, nil)
			return
		}
		t.opened(id)
	}
	s := l.get(id)
	switch {
	case s == nil || s.flags&finished != 0:
	case len(b) == 0:
		l.gone(id, s, io.EOF)
	case s.flags&paused != 0 || t.held[id] != nil:
		if t.held[id] = append(t.held[id], b...); len(t.held[id]) > trunkHeld {
			l.gone(id, s, errTrunkHeld)
		}
	default:
		l.handler.Data(id, b)
	}
}

// watchStandIn is watch for a slot that the kernel does not know.
func (l *Loop) watchStandIn(id ID, s *slot) {
	t := l.trunk
	if s.flags&blocked != 0 {
		t.blocked = append(t.blocked, id)
	}
	if s.flags&(paused|finished) == 0 && t.held[id] != nil {
		t.resumed = append(t.resumed, id)
	}
}

// unhold reports what was held for stand-ins that are read again.
func (l *Loop) unhold() {
	t := l.trunk
	n := len(t.resumed)
	for _, id := range t.resumed[:n] {
		if s := l.get(id); s != nil && s.flags&(paused|finished) == 0 {
			b := t.held[id]
			delete(t.held, id)
			l.handler.Data(id, b)
		}
	}
	t.resumed = t.resumed[:copy(t.resumed, t.resumed[n:])]
}

// take is write for a stand-in: all of the pieces, or nothing.
func (t *trunk) take(number uint32, pieces [][]byte) int {
	if t.lost || len(t.out) >= trunkFull {
		return 0
	}
	return t.load(number, pieces)
}

// load queues one frame.
func (t *trunk) load(number uint32, pieces [][]byte) int {
	if t.lost {
		return 0
	}
	n := 0
	for _, p := range pieces {
		n += len(p)
	}
	t.out = binary.LittleEndian.AppendUint32(t.out, number)
	t.out = binary.LittleEndian.AppendUint32(t.out, uint32(n))
	for _, p := range pieces {
		t.out = append(t.out, p...)
	}
	return n
}

// flushTrunk writes what is queued, and has those go on that were refused.
func (l *Loop) flushTrunk() {
	t := l.trunk
	for !t.lost {
		n, err := 0, error(nil)
		if len(t.out) > 0 {
			n, err = unix.Write(t.fd, t.out)
			l.stats.Writes++
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil && err != unix.EAGAIN {
			l.loseTrunk(os.NewSyscallError("write", err))
			return
		}
		t.out = t.out[:copy(t.out, t.out[max(n, 0):])]
		if n > 0 {
			l.stats.Written += uint64(n)
		}
		if len(t.blocked) == 0 || len(t.out) >= trunkFull/2 {
			break
		}
		l.unblock()
	}
	if wants := len(t.out) > 0; !t.lost && wants != t.writing {
		t.writing = wants
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: trunkIndex}
		if wants {
			ev.Events |= unix.EPOLLOUT
		}
		if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_MOD, t.fd, &ev); err != nil {
			l.loseTrunk(fmt.Errorf("poll: epoll_ctl: %w", err))
		}
	}
}

// unblock has as many go on as there is room for. One that is left with some of
// what it has is the last: it stays blocked, and first in turn.
func (l *Loop) unblock() {
	t := l.trunk
	n := 0
	for n < len(t.blocked) && len(t.out) < trunkFull {
		id := t.blocked[n]
		if s := l.get(id); s != nil && s.flags&blocked != 0 {
			if l.flush(id, s); l.get(id) == s && s.flags&blocked != 0 {
				break
			}
		}
		n++
	}
	t.blocked = t.blocked[:copy(t.blocked, t.blocked[n:])]
}

// endStandIn tells the peer that a stand-in has ended.
func (l *Loop) endStandIn(s *slot) { l.trunk.load(^uint32(s.fd), nil) }

func (l *Loop) forgetStandIn(id ID, s *slot) {
	l.endStandIn(s)
	*l.trunk.peers.At(^uint32(s.fd)) = endedPeer
	delete(l.trunk.held, id)
}

// loseTrunk ends all stand-ins with the trunk.
func (l *Loop) loseTrunk(err error) {
	t := l.trunk
	if t.lost {
		return
	}
	t.lost = true
	_ = unix.Close(t.fd) // all that was promised of it is over
	for number := range uint32(t.peers.Len()) {
		id := *t.peers.At(number)
		if s := l.get(id); s != nil {
			l.gone(id, s, err)
		}
	}
}
