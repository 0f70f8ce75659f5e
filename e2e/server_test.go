//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// server is the real binary with a data directory of its own. It keeps its
// port across restarts.
type server struct {
	t       *testing.T
	address string
	front   string // where REST goes through the witness of docs/openapi.yaml
	args    []string
	extra   []string // flags of the next start alone
	begin   func(*exec.Cmd) error
	log     *os.File
	process *exec.Cmd
	ended   chan struct{} // closed when process has ended
}

// newServer prepares a server without starting it; more are flags of `serve`.
func newServer(t *testing.T, more ...string) *server {
	t.Helper()
	return newServerIn(t, filepath.Join(t.TempDir(), "data"), more...)
}

// newServerIn does so with a data directory that is the caller's.
func newServerIn(t *testing.T, data string, more ...string) *server {
	t.Helper()
	if _, err := os.Stat(binary(t)); err != nil {
		t.Fatal("bin/rookery is missing: run `make build`, or the tests by `make e2e`")
	}
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, address: freeAddress(t), begin: (*exec.Cmd).Start, log: log}
	s.front = witnessed(t, s.address)
	s.args = append([]string{"serve", "--data", data, "--listen", s.address, "--admin", filepath.Join(dir, "admin.sock")}, more...)
	t.Cleanup(func() {
		if s.alive() {
			s.kill()
		}
		if t.Failed() {
			s.showLog()
		}
		log.Close()
	})
	return s
}

// startServer starts one and waits until it is ready.
func startServer(t *testing.T, more ...string) *server {
	t.Helper()
	s := newServer(t, more...)
	s.start()
	s.waitReady()
	return s
}

func binary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("ROOKERY_BIN"); path != "" {
		return path
	}
	path, err := filepath.Abs("../bin/rookery")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// url is for whoever speaks REST: what is said there is held to docs/openapi.yaml.
func (s *server) url(path string) string { return s.front + path }
func (s *server) ws() string             { return "ws://" + s.address + "/v1/ws" }

// start starts the process and does not wait for it to be ready.
func (s *server) start() {
	s.t.Helper()
	args := slices.Concat(s.args, s.extra)
	fmt.Fprintf(s.log, "\n==== start %s\n", strings.Join(args, " "))
	cmd := exec.Command(binary(s.t), args...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	// The server dies with the test, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.begin(cmd); err != nil {
		s.t.Fatalf("start the server: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		err := cmd.Wait()
		fmt.Fprintf(s.log, "==== ended: %v\n", err)
		close(ended)
	}()
	s.process, s.ended = cmd, ended
}

func (s *server) alive() bool {
	if s.process == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// waitReady waits for /readyz. A server that does not come to it leaves its
// goroutines in the log.
func (s *server) waitReady() {
	s.t.Helper()
	ready := false
	defer func() {
		if !ready && s.alive() && s.process.Process.Signal(syscall.SIGQUIT) == nil {
			select {
			case <-s.ended:
			case <-time.After(5 * time.Second):
			}
		}
	}()
	eventually(s.t, "the server is ready", func() error {
		if !s.alive() {
			s.t.Fatal("the server ended instead of getting ready")
		}
		resp, err := http.Get("http://" + s.address + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(resp.Body)
			return fmt.Errorf("readyz: %s %s", resp.Status, body)
		}
		return nil
	})
	ready = true
}

// kill -9, as a crash.
func (s *server) kill() {
	s.t.Helper()
	if !s.alive() {
		s.t.Error("the server had ended before it was killed")
		return
	}
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
	<-s.ended
}

// stop by SIGTERM, as an operator does.
func (s *server) stop() {
	s.t.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		s.t.Fatal("the server did not end within 20 s of SIGTERM")
	}
}

// restart starts it again and waits until it is ready.
func (s *server) restart() {
	s.t.Helper()
	s.start()
	s.waitReady()
}

// logged is what the server has said so far.
func (s *server) logged() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func (s *server) showLog() {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		s.t.Log(err)
		return
	}
	const most = 16 << 10
	if len(text) > most {
		text = append([]byte("...\n"), text[len(text)-most:]...)
	}
	s.t.Logf("server log:\n%s", bytes.TrimSpace(text))
	// A whole copy outlives the temporary directory where CI wants it.
	if dir := os.Getenv("E2E_LOGS"); dir != "" {
		if whole, err := os.ReadFile(s.log.Name()); err == nil {
			_ = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(s.t.Name(), "/", "-")+".log"), whole, 0o600)
		}
	}
}

// eventually tries until it gets nil, or the patience ends.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	within(t, patience, what, try)
}

// within tries until it gets nil, or that time is over.
func within(t *testing.T, most time.Duration, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
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
			t.Fatalf("not so within %v: %s: %v", most, what, err)
		case <-tick.C:
		}
	}
}
