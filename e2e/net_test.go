//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// network is hosts of the test's own, each a network namespace, all joined by a
// router in another, which can be told to drop what one says to another. It
// needs root and iproute2, and touches nothing outside of its namespaces.
type network struct {
	t    *testing.T
	name string
	cuts map[string]bool // rules of the router
}

// newNetwork makes hosts 1 to n.
func newNetwork(t *testing.T, n int) *network {
	t.Helper()
	w := &network{t: t, name: fmt.Sprintf("rk%d", os.Getpid()), cuts: map[string]bool{}}
	w.ip("netns", "add", w.router())
	t.Cleanup(func() { w.quietly("netns", "del", w.router()) })
	w.ip("-n", w.router(), "link", "set", "lo", "up")
	w.ip("netns", "exec", w.router(), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	for i := 1; i <= n; i++ {
		host, port := w.host(i), fmt.Sprintf("h%d", i)
		w.ip("netns", "add", host)
		t.Cleanup(func() { w.quietly("netns", "del", host) })
		w.ip("-n", host, "link", "set", "lo", "up")
		w.ip("link", "add", port, "netns", w.router(), "type", "veth", "peer", "name", "eth0", "netns", host)
		w.ip("-n", w.router(), "addr", "add", fmt.Sprintf("10.99.%d.1/24", i), "dev", port)
		w.ip("-n", w.router(), "link", "set", port, "up")
		w.ip("-n", host, "addr", "add", w.address(i)+"/24", "dev", "eth0")
		w.ip("-n", host, "link", "set", "eth0", "up")
		w.ip("-n", host, "route", "add", "default", "via", fmt.Sprintf("10.99.%d.1", i))
	}
	return w
}

func (w *network) router() string       { return w.name + "-r" }
func (w *network) host(i int) string    { return fmt.Sprintf("%s-%d", w.name, i) }
func (w *network) address(i int) string { return fmt.Sprintf("10.99.%d.2", i) }

func (w *network) ip(args ...string) {
	w.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		w.t.Fatalf("ip %s: %v: %s (this test needs root and iproute2)", strings.Join(args, " "), err, out)
	}
}

func (w *network) quietly(args ...string) { _ = exec.Command("ip", args...).Run() }

// mute drops what one host says to another: a cut of one direction.
func (w *network) mute(from, to int) {
	w.t.Helper()
	rule := fmt.Sprintf("from %s to %s blackhole", w.address(from), w.address(to))
	if !w.cuts[rule] {
		w.cuts[rule] = true
		w.ip(append([]string{"-n", w.router(), "rule", "add"}, strings.Fields(rule)...)...)
	}
}

// cut two hosts off from each other.
func (w *network) cut(a, b int) {
	w.t.Helper()
	w.mute(a, b)
	w.mute(b, a)
}

// heal ends every cut.
func (w *network) heal() {
	w.t.Helper()
	for rule := range w.cuts {
		w.ip(append([]string{"-n", w.router(), "rule", "del"}, strings.Fields(rule)...)...)
	}
	clear(w.cuts)
}

// live has a server run on a host. Its clients' address stays one of the
// machine's loopback: what connects there comes out at the same address on the
// host, so that clients reach a node whatever it is cut off from.
func (w *network) live(s *server, i int) {
	w.t.Helper()
	begin := s.begin
	s.begin = func(cmd *exec.Cmd) error {
		return w.within(i, func() error { return begin(cmd) })
	}
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		w.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.forward(conn, i, s.address) })
		}
	})
	w.t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
}

// forward a connection to an address of a host's own loopback.
func (w *network) forward(front net.Conn, i int, address string) {
	defer front.Close()
	back, err := w.dial(i, address)
	if err != nil {
		return // as if nobody listened
	}
	defer back.Close()
	var half sync.WaitGroup
	half.Go(func() { _, _ = io.Copy(back, front); back.Close(); front.Close() })
	_, _ = io.Copy(front, back)
	front.Close()
	back.Close()
	half.Wait()
}

// dial from within a host.
func (w *network) dial(i int, address string) (conn net.Conn, err error) {
	err = w.within(i, func() error {
		conn, err = net.Dial("tcp4", address)
		return err
	})
	return conn, err
}

// within has f called on a host: what it opens and starts is there.
func (w *network) within(i int, f func() error) error {
	ns, err := os.Open("/var/run/netns/" + w.host(i))
	if err != nil {
		return err
	}
	defer ns.Close()
	// The thread has to live on: servers die with the thread that started them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // this thread may not run anything else
	}
	return err
}
