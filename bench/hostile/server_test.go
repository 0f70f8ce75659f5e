//go:build e2e

package hostile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

// server is the real binary with a data directory of its own.
type server struct {
	t       *testing.T
	address string
	admin   *http.Client
	process *exec.Cmd
	log     *os.File
}

func startServer(t *testing.T, more ...string) *server {
	t.Helper()
	binary := os.Getenv("ROOKERY_BIN")
	if binary == "" {
		var err error
		if binary, err = filepath.Abs("../../bin/rookery"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatal("bin/rookery is missing: run `make build`, or the tests by `make e2e`")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, address: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "admin.sock")
	s.admin = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	if s.log, err = os.Create(filepath.Join(dir, "server.log")); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"serve", "--data", filepath.Join(dir, "data"), "--listen", s.address, "--admin", socket}, more...)
	s.process = exec.Command(binary, args...)
	s.process.Stdout, s.process.Stderr = s.log, s.log
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	s.eventually("the server is ready", func() error {
		res, err := s.admin.Get("http://admin/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", res.Status)
		}
		return nil
	})
	return s
}

// end is an orderly one: a server that an attack has broken cannot.
func (s *server) end() {
	s.admin.CloseIdleConnections()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Error("the server had ended:", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.process.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			s.t.Error("the server ended with", err)
		}
	case <-time.After(30 * time.Second):
		s.t.Error("the server did not end within 30 s of SIGTERM")
		s.t.Log("killed:", errors.Join(s.process.Process.Kill(), <-ended))
	}
	if text, err := os.ReadFile(s.log.Name()); s.t.Failed() && err == nil {
		s.t.Logf("server log:\n%s", bytes.TrimSpace(text[max(0, len(text)-8<<10):]))
	}
	_ = s.log.Close()
}

// eventually tries until it gets nil, or patience ends.
func (s *server) eventually(what string, try func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return
		}
		breathe(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			s.t.Fatalf("not so in time: %s: %v", what, err)
		}
	}
}

// users makes n users with devices each, past every rate.
func (s *server) users(prefix string, n, devices int) (all []User) {
	s.t.Helper()
	for from := 0; from < n; from += limits.BulkUsers {
		all = append(all, s.bulk(prefix, from, min(n-from, limits.BulkUsers), devices)...)
	}
	return all
}

func (s *server) bulk(prefix string, from, n, devices int) []User {
	s.t.Helper()
	type user struct {
		User     string `json:"user"`
		Name     string `json:"name"`
		Devices  int    `json:"devices"`
		Password string `json:"password,omitempty"`
	}
	var in struct {
		Users []user `json:"users"`
	}
	for i := range n {
		in.Users = append(in.Users, user{User: fmt.Sprintf("%s%d", prefix, from+i), Name: "x", Devices: devices})
	}
	body, err := json.Marshal(in)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := s.admin.Post("http://admin/v1/users:bulk", "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var out struct {
		Users []struct {
			User    string
			Devices []struct{ Token string }
			Error   *struct{ Message string }
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || len(out.Users) != n {
		s.t.Fatalf("%d users made: %v", len(out.Users), err)
	}
	var all []User
	for _, u := range out.Users {
		if u.Error != nil {
			s.t.Fatal(u.Error.Message)
		}
		one := User{Name: u.User}
		for _, d := range u.Devices {
			one.Tokens = append(one.Tokens, d.Token)
		}
		all = append(all, one)
	}
	return all
}

// descriptors that the process has open.
func (s *server) descriptors() int {
	s.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.process.Process.Pid))
	if err != nil {
		s.t.Error(err) // not Fatal: another goroutine samples
	}
	return len(list)
}

// metric adds up a metric over its labels.
func (s *server) metrics() map[string]float64 {
	s.t.Helper()
	res, err := s.admin.Get("http://admin/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	all := map[string]float64{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		plain, _, _ := strings.Cut(name, "{")
		all[plain] += v
		if plain != name {
			all[name] = v
		}
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return all
}

// memory of the process in MB, resident now and at most since resetPeak.
func (s *server) memory() (now, most float64) {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	read := func(key string) float64 {
		_, rest, _ := strings.Cut(string(text), key)
		var kb float64
		if _, err := fmt.Sscan(rest, &kb); err != nil {
			s.t.Fatalf("%s of /proc/PID/status: %v", key, err)
		}
		return kb / 1024
	}
	return read("VmRSS:"), read("VmHWM:")
}

// resetPeak forgets the peak so far.
func (s *server) resetPeak() {
	s.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.process.Process.Pid), []byte("5"), 0); err != nil {
		s.t.Fatal(err)
	}
}
