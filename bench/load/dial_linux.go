package load

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// bindNoPort has the kernel choose the source port at connect, when the other
// end is known, so that many connections share one (IP_BIND_ADDRESS_NO_PORT).
const bindNoPort = 24

// dial begins a connection from a source address and does not wait for it:
// what is written is taken once it stands. The source is used only where the
// target is a loopback address too.
func dial(target string, source [4]byte) (int, error) {
	addr, err := netip.ParseAddrPort(target)
	if err != nil {
		return -1, fmt.Errorf("load: target: %w", err)
	}
	if !addr.Addr().Unmap().Is4() {
		return -1, fmt.Errorf("load: target %s is no address of IPv4", target)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	fail := func(call string, err error) (int, error) {
		_ = syscall.Close(fd)
		return -1, os.NewSyscallError(call, err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return fail("setsockopt", err)
	}
	if addr.Addr().IsLoopback() {
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindNoPort, 1); err != nil {
			return fail("setsockopt", err)
		}
		if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: source}); err != nil {
			return fail("bind", err)
		}
	}
	err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().Unmap().As4()})
	if err != nil && err != syscall.EINPROGRESS { //nolint:errorlint // a bare number of a system call
		return fail("connect", err)
	}
	return fd, nil
}

// processCPU is what this process has used, user and system.
func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
