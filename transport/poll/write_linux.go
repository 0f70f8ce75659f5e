package poll

import (
	"os"

	"golang.org/x/sys/unix"
)

// Write queues head and body, together one unit, and returns how many bytes
// wait then; 0 where the connection has gone. Both are copied.
func (l *Loop) Write(id ID, head, body []byte) int {
	s := l.get(id)
	if s == nil || s.flags&finished != 0 {
		return 0
	}
	if s.out == 0 {
		s.out = l.acquire()
	}
	q := &l.queues[s.out-1]
	q.add(l.bufs, head, body)
	l.queued += len(head) + len(body)
	l.soil(id, s)
	return q.bytes
}

// Pending is how many bytes wait to be written.
func (l *Loop) Pending(id ID) int {
	if s := l.get(id); s != nil && s.out != 0 {
		return l.queues[s.out-1].bytes
	}
	return 0
}

// Discard drops every queued unit of which nothing was written yet.
func (l *Loop) Discard(id ID) {
	if s := l.get(id); s != nil && s.out != 0 {
		if q := &l.queues[s.out-1]; q.bytes > 0 {
			l.queued -= q.bytes
			q.discard(l.bufs)
			l.queued += q.bytes
		}
	}
}

// soil lists the connection for the next Flush. One that the kernel has
// refused waits for EPOLLOUT instead.
func (l *Loop) soil(id ID, s *slot) {
	if s.flags&(dirty|blocked) == 0 {
		s.flags |= dirty
		l.dirty = append(l.dirty, id.Index())
	}
}

// Flush writes what was queued, one system call for each connection. What is
// queued meanwhile, by handlers, is left to the next Flush.
func (l *Loop) Flush() {
	n := len(l.dirty)
	for k := range n {
		i := l.dirty[k]
		// A slot that changed hands since has no such flag, or is listed again.
		if id, held := l.slots.At(i); held {
			if s := l.conns.At(i); s.flags&dirty != 0 {
				s.flags &^= dirty
				l.flush(id, s)
			}
		}
	}
	l.dirty = l.dirty[:copy(l.dirty, l.dirty[n:])]
	if l.trunk != nil {
		l.flushTrunk()
	}
}

func (l *Loop) flush(id ID, s *slot) {
	if s.out == 0 || s.flags&finished != 0 {
		return
	}
	q := &l.queues[s.out-1]
	full := q.bytes == 0
	for range fair {
		if q.bytes == 0 || full {
			break
		}
		var total int
		l.vector, total = q.vector(l.vector)
		n, err := l.send(int(s.fd), l.vector)
		l.stats.Writes++
		if err == unix.EINTR {
			continue
		}
		if err != nil && err != unix.EAGAIN {
			l.gone(id, s, os.NewSyscallError("write", err))
			return
		}
		n = max(n, 0)
		l.stats.Written += uint64(n)
		if full = n < total; full {
			l.stats.ShortOut++
		}
		q.wrote(l.bufs, n)
		l.queued -= n
	}
	clear(l.vector)
	left, awaited := q.bytes, slotFlags(0)
	switch {
	case left == 0:
		l.release(s)
	case full:
		awaited = blocked
	}
	if s.flags&blocked != awaited {
		s.flags ^= blocked
		l.watch(id, s)
	}
	if left > 0 && !full && l.get(id) == s && s.flags&finished == 0 {
		l.soil(id, s) // the kernel takes more, and will not say so again
	}
	if s := l.get(id); s != nil && s.flags&finished == 0 {
		l.handler.Wrote(id, left)
	}
}

func (l *Loop) send(fd int, pieces [][]byte) (int, error) {
	if fd < 0 {
		return l.trunk.take(uint32(^fd), pieces), nil
	}
	if len(pieces) == 1 {
		return unix.Write(fd, pieces[0])
	}
	return unix.Writev(fd, pieces)
}

func (l *Loop) acquire() uint32 {
	if n := len(l.spare); n > 0 {
		i := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return i + 1
	}
	l.queues = append(l.queues, queue{})
	return uint32(len(l.queues))
}

func (l *Loop) release(s *slot) {
	l.queued -= l.queues[s.out-1].bytes
	l.queues[s.out-1].reset(l.bufs)
	l.spare = append(l.spare, s.out-1)
	s.out = 0
}
