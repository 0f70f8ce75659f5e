package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-im/rookery/client"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(buildDir())
		os.Exit(code)
	}))
}

// binary builds the server, once for all tests of the process. ROOKERY_BIN
// names one that is built already.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("ROOKERY_BIN"); path != "" {
		return path, nil
	}
	path := filepath.Join(buildDir(), "rookery")
	out, err := exec.Command("go", "build", "-o", path, "../cmd/rookery").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return path, nil
})

func buildDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("rookery-client-test-%d", os.Getpid()))
}

// node is a real server with a data directory of its own. It keeps its port.
type node struct {
	t       testing.TB
	path    string
	address string
	dir     string
	args    []string
	process *exec.Cmd
	ended   chan struct{}
}

func newNode(t testing.TB, more ...string) *node {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, path: path, address: freeAddress(t), dir: t.TempDir()}
	n.args = append([]string{"serve", "--data", filepath.Join(n.dir, "data"), "--listen", n.address, "--admin", filepath.Join(n.dir, "admin.sock")}, more...)
	n.start()
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			if text, err := os.ReadFile(filepath.Join(n.dir, "log")); err == nil {
				t.Logf("server log:\n%s", text[max(0, len(text)-2<<10):])
			}
		}
	})
	return n
}

// freeAddress is one that stays free while the node is down: on an address of
// its own where the system has them, so that no connection of this machine can
// be given the port, least of all one that tries to reach the node.
func freeAddress(t testing.TB) string {
	t.Helper()
	own := fmt.Sprintf("127.%d.%d.%d:0", 2+rand.IntN(250), rand.IntN(256), 1+rand.IntN(250))
	l, err := net.Listen("tcp", own)
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (n *node) url() string { return "http://" + n.address }

// start starts the process and waits until it serves.
func (n *node) start() {
	n.t.Helper()
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(n.path, n.args...)
	cmd.Stdout, cmd.Stderr = log, log
	// The variables of these tests are no settings of the server's.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "ROOKERY_") })
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	n.process, n.ended = cmd, ended
	eventually(n.t, "the server is ready", func() error {
		select {
		case <-ended:
			n.t.Fatal("the server ended")
		default:
		}
		resp, err := http.Get(n.url() + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
	http.DefaultClient.CloseIdleConnections()
}

// kill -9.
func (n *node) kill() {
	_ = n.process.Process.Kill()
	<-n.ended
}

// stop by SIGTERM: the node sends its clients away first.
func (n *node) stop() {
	n.t.Helper()
	if err := n.process.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	select {
	case <-n.ended:
	case <-time.After(patience):
		n.t.Fatal("the server did not end when it was told to")
	}
}

func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not so within %v: %s: %v", patience, what, err)
		case <-tick.C:
		}
	}
}

// person is a registered user's Config.
func (n *node) person(user string) client.Config {
	n.t.Helper()
	cfg := client.Config{URL: n.url(), User: user, Password: "correct horse", DeviceName: "test"}
	if err := client.Register(n.t.Context(), cfg, user); err != nil {
		n.t.Fatal(err)
	}
	return cfg
}

func open(t testing.TB, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// next waits for an event of a type, and passes over the others.
func next[E client.Event](t testing.TB, c *client.Client) E {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		e, err := c.Next(ctx)
		if err != nil {
			var want E
			t.Fatalf("waiting for %T: %v", want, err)
		}
		if e, ok := e.(E); ok {
			return e
		}
	}
}
