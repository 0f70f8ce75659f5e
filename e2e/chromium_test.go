//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// page is a page in a headless Chromium, driven by its debugging protocol.
type page struct {
	t     *testing.T
	conn  *websocket.Conn
	calls int
}

// openPage starts a Chromium of its own and opens the address in it.
func openPage(t *testing.T, address string) *page {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: apt-get install chromium")
	}
	profile := t.TempDir()
	cmd := exec.Command(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+profile, "--remote-debugging-port=0", address)
	log, err := os.Create(filepath.Join(t.TempDir(), "chromium.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it starts many; they end together
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("chromium said:\n%s", text)
		}
		log.Close()
		// Its last processes may still write while the folder is removed.
		eventually(t, "the browser's profile is gone", func() error { return os.RemoveAll(profile) })
	})
	p := &page{t: t}
	eventually(t, "the browser shows the page", func() error {
		port, err := os.ReadFile(filepath.Join(profile, "DevToolsActivePort"))
		if err != nil {
			return err
		}
		return p.attach(strings.Fields(string(port))[0], address)
	})
	t.Cleanup(func() { p.conn.CloseNow() })
	return p
}

// attach finds the page among what the browser shows.
func (p *page) attach(port, address string) error {
	response, err := http.Get("http://127.0.0.1:" + port + "/json/list")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var targets []struct {
		Type, URL            string
		WebSocketDebuggerURL string
	}
	if err := json.NewDecoder(response.Body).Decode(&targets); err != nil {
		return err
	}
	for _, target := range targets {
		if target.Type == "page" && strings.HasPrefix(target.URL, address) {
			p.conn, _, err = websocket.Dial(p.t.Context(), target.WebSocketDebuggerURL, nil)
			return err
		}
	}
	return fmt.Errorf("no such page among %+v", targets)
}

// eval evaluates an expression that is a string.
func (p *page) eval(expression string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	p.calls++
	call := map[string]any{"id": p.calls, "method": "Runtime.evaluate", "params": map[string]any{"expression": expression}}
	if err := p.conn.Write(ctx, websocket.MessageText, []byte(compact(call))); err != nil {
		p.t.Fatal(err)
	}
	for {
		_, data, err := p.conn.Read(ctx)
		if err != nil {
			p.t.Fatal(err)
		}
		var answer struct {
			ID     int
			Result struct {
				Result           struct{ Value any }
				ExceptionDetails json.RawMessage
			}
		}
		if err := json.Unmarshal(data, &answer); err != nil {
			p.t.Fatal(err)
		}
		if answer.ID != p.calls {
			continue
		}
		if len(answer.Result.ExceptionDetails) > 0 {
			p.t.Fatalf("%s: %s", expression, answer.Result.ExceptionDetails)
		}
		return fmt.Sprint(answer.Result.Result.Value)
	}
}
