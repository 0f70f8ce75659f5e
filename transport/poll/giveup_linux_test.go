package poll

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestGiveUpAfter(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []time.Duration{20 * time.Second, 0} {
			if err := GiveUpAfter(c, want); err != nil {
				t.Errorf("%s: %v", network, err)
			}
			tcp, ok := c.(*net.TCPConn)
			if !ok {
				continue
			}
			raw, err := tcp.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			err = raw.Control(func(fd uintptr) {
				if ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || ms != int(want.Milliseconds()) {
					t.Errorf("%d ms, %v; want %v", ms, err, want)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, x := range []interface{ Close() error }{c, l} {
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	a, b := net.Pipe()
	if err := GiveUpAfter(a, time.Second); err != nil {
		t.Error(err)
	}
	for _, x := range []net.Conn{a, b} {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}
