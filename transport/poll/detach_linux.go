package poll

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Detach takes a connection's socket out of Go's runtime: the descriptor it
// returns is a duplicate, not blocking, without TCP keep-alive, and the
// caller's; c is closed. On an error c is untouched. Go's keep-alive of 15 s
// cuts connections when a machine is busy, and the protocol has a heartbeat.
func Detach(c net.Conn) (int, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("poll: %T has no descriptor", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("poll: descriptor: %w", err)
	}
	fd := -1
	var dupErr error
	err = raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, dupErr); err != nil {
		return -1, fmt.Errorf("poll: duplicate: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return -1, errors.Join(fmt.Errorf("poll: non-blocking: %w", err), unix.Close(fd))
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0) // not every socket is TCP
	_ = c.Close()                                                     // the duplicate lives on
	return fd, nil
}

// LastWords writes what the kernel takes of b at once to a descriptor that
// Detach returned and nobody wants, and closes it.
func LastWords(fd int, b []byte) {
	_, _ = unix.Write(fd, b)
	_ = unix.Close(fd)
}
