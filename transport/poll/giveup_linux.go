package poll

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// GiveUpAfter has the kernel end a TCP connection once what was sent on it is
// not acknowledged for so long, rather than after a quarter of an hour; 0 is the
// kernel's own time again. What has no descriptor, or is not TCP, stays as it is.
func GiveUpAfter(c net.Conn, d time.Duration) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return fmt.Errorf("poll: descriptor: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
	if errors.Is(set, unix.EOPNOTSUPP) || errors.Is(set, unix.ENOPROTOOPT) {
		set = nil
	}
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("poll: TCP_USER_TIMEOUT: %w", err)
	}
	return nil
}
