//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// terminals is a tmux server of the test's own, whose panes are terminals of
// 80 by 24 unless resized.
type terminals struct {
	t      *testing.T
	socket string
	env    []string
}

// startTmux starts one. It dies with the test, and its panes are hung up on.
func startTmux(t *testing.T) *terminals {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatal("tmux is missing: the terminal chat is tested through it")
	}
	dir, err := os.MkdirTemp("", "rookery-tmux") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	settings := "set -g exit-empty off\nset -g status off\nset -g default-terminal screen-256color\nset -g focus-events off\nset -s escape-time 10\n"
	if err := os.WriteFile(conf, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	x := &terminals{t: t, socket: filepath.Join(dir, "s")}
	for _, e := range os.Environ() {
		// Neither a tmux around the tests nor the developer's own settings matter.
		if name, _, _ := strings.Cut(e, "="); name != "TMUX" && name != "TMUX_PANE" && name != "NO_COLOR" && name != "LANG" && !strings.HasPrefix(name, "LC_") && !strings.HasPrefix(name, "ROOKERY_") {
			x.env = append(x.env, e)
		}
	}
	x.env = append(x.env, "LC_ALL=C.UTF-8", "TZ=UTC")
	cmd := exec.Command("tmux", "-D", "-u", "-S", x.socket, "-f", conf)
	cmd.Env, cmd.SysProcAttr = x.env, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := x.try("kill-server"); err != nil {
			t.Errorf("tmux kill-server: %v: %s", err, out)
		}
		_ = cmd.Wait() // killed: its error says no more
		os.RemoveAll(dir)
	})
	eventually(t, "tmux answers", func() error {
		_, err := x.try("show-options", "-g")
		return err
	})
	return x
}

func (x *terminals) try(args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-u", "-S", x.socket}, args...)...)
	cmd.Env = x.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (x *terminals) tmux(args ...string) string {
	x.t.Helper()
	out, err := x.try(args...)
	if err != nil {
		x.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return out
}

// pane is one terminal.
type pane struct {
	*terminals
	name string
}

// open runs a shell command in a new terminal; env are settings such as A=b.
func (x *terminals) open(name, command string, env ...string) *pane {
	x.t.Helper()
	args := []string{"new-session", "-d", "-x", "80", "-y", "24", "-s", name}
	for _, e := range env {
		args = append(args, "-e", e)
	}
	x.tmux(append(args, command)...)
	p := &pane{x, name}
	x.t.Cleanup(func() {
		if x.t.Failed() {
			x.t.Logf("the screen of %s at the end:\n%s", name, p.screen())
		}
	})
	return p
}

// again runs another command in the same terminal, whose own has ended.
func (p *pane) again(command string, env ...string) {
	p.t.Helper()
	args := []string{"respawn-pane", "-k", "-t", p.name}
	for _, e := range env {
		args = append(args, "-e", e)
	}
	p.tmux(append(args, command)...)
}

// typed are keys as from a keyboard, literally.
func (p *pane) typed(text string) {
	p.t.Helper()
	p.tmux("send-keys", "-t", p.name, "-l", text)
}

// key is a key by tmux's name for it.
func (p *pane) key(names ...string) {
	p.t.Helper()
	p.tmux(append([]string{"send-keys", "-t", p.name}, names...)...)
}

// paste as from a clipboard: in brackets, where the program asked for them.
func (p *pane) paste(text string) {
	p.t.Helper()
	p.tmux("set-buffer", "-b", "clip", text)
	p.tmux("paste-buffer", "-p", "-b", "clip", "-t", p.name)
}

func (p *pane) resize(width, height int) {
	p.t.Helper()
	p.tmux("resize-window", "-t", p.name, "-x", fmt.Sprint(width), "-y", fmt.Sprint(height))
}

// screen is what is on it, a row a line, without blanks at the ends.
func (p *pane) screen() string {
	rows := strings.Split(p.tmux("capture-pane", "-p", "-t", p.name), "\n")
	for i := range rows {
		rows[i] = strings.TrimRight(rows[i], " ")
	}
	return strings.TrimRight(strings.Join(rows, "\n"), "\n") + "\n"
}

// shows waits until the screen matches all of these.
func (p *pane) shows(patterns ...string) {
	p.t.Helper()
	var compiled []*regexp.Regexp
	for _, s := range patterns {
		compiled = append(compiled, regexp.MustCompile("(?m)"+s))
	}
	eventually(p.t, fmt.Sprintf("%s shows %q", p.name, patterns), func() error {
		now := p.screen()
		for _, r := range compiled {
			if !r.MatchString(now) {
				return fmt.Errorf("no %q in\n%s", r, now)
			}
		}
		return nil
	})
}

// hides waits until the screen matches none of these.
func (p *pane) hides(pattern string) {
	p.t.Helper()
	r := regexp.MustCompile("(?m)" + pattern)
	eventually(p.t, fmt.Sprintf("%s no longer shows %q", p.name, pattern), func() error {
		if now := p.screen(); r.MatchString(now) {
			return fmt.Errorf("%q in\n%s", r, now)
		}
		return nil
	})
}

// is gives a format of tmux's, such as #{pane_pid}.
func (p *pane) is(format string) string {
	p.t.Helper()
	return strings.TrimSpace(p.tmux("display-message", "-p", "-t", p.name, format))
}

var errNotYet = errors.New("not yet")
