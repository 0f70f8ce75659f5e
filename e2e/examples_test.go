//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// What stands in examples/, started as its README says: Alice in a terminal
// with Python, Bob in a browser, and a crash of the server between them.
func TestExamples(t *testing.T) {
	requireWebsockets(t)
	pages := httptest.NewServer(http.FileServer(http.Dir("../examples/browser")))
	defer pages.Close()
	s := startServer(t, "--cors-origin", pages.URL)

	alice := startTerminal(t, systemPython, "../examples/python/chat.py", s.url(""), "alice", password, "bob")
	alice.shows("connected as device 1")
	query := url.Values{"server": {s.url("")}, "user": {"bob"}, "password": {password}}
	bob := &tab{page: openPage(t, pages.URL+"/index.html?"+query.Encode())}
	bob.shows("connected as device 1")

	alice.types("hello from Python, ünïcödé included")
	bob.shows("alice: hello from Python, ünïcödé included")
	alice.shows("sent as 1")
	alice.shows("bob: delivered 1, read 0")
	bob.sends("alice", "hello from the browser, ünïcödé included")
	alice.shows("bob: hello from the browser, ünïcödé included")
	bob.shows("sent as 1")
	bob.shows("alice: delivered 1, read 0")

	s.kill()
	for i := range 3 {
		alice.types(fmt.Sprintf("are you there %d", i))
		bob.sends("alice", fmt.Sprintf("where is everybody %d", i))
	}
	s.restart()
	for i := range 3 {
		bob.shows(fmt.Sprintf("alice: are you there %d", i))
		alice.shows(fmt.Sprintf("bob: where is everybody %d", i))
	}
	alice.shows("bob: delivered 4, read 0")
	bob.shows("alice: delivered 4, read 0")
	for who, lines := range map[string][]string{"alice": alice.lines(), "bob": bob.lines()} {
		if n := strings.Count(strings.Join(lines, "\n"), ": hello from"); n != 1 {
			t.Errorf("%s was shown the first message %d times:\n%s", who, n, strings.Join(lines, "\n"))
		}
		inOrder(t, who, lines)
	}
}

// inOrder checks that the numbered messages came in order, each once.
func inOrder(t *testing.T, who string, lines []string) {
	t.Helper()
	next := 0
	for _, line := range lines {
		if !strings.Contains(line, ": are you there") && !strings.Contains(line, ": where is everybody") {
			continue
		}
		if !strings.HasSuffix(line, fmt.Sprint(" ", next)) {
			t.Errorf("%s: %q is not number %d:\n%s", who, line, next, strings.Join(lines, "\n"))
		}
		next++
	}
}

// terminal is a program that reads and prints lines.
type terminal struct {
	t     *testing.T
	stdin io.Writer
	mu    sync.Mutex
	out   []string
}

func startTerminal(t *testing.T, command ...string) *terminal {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, stdin: stdin}
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			term.mu.Lock()
			term.out = append(term.out, lines.Text())
			term.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		in.Close()
		<-read
		if t.Failed() {
			t.Logf("the terminal shows:\n%s", strings.Join(term.lines(), "\n"))
		}
	})
	return term
}

func (term *terminal) types(line string) {
	if _, err := fmt.Fprintln(term.stdin, line); err != nil {
		term.t.Fatal(err)
	}
}

func (term *terminal) lines() []string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return append([]string(nil), term.out...)
}

func (term *terminal) shows(line string) {
	term.t.Helper()
	showsLine(term.t, "the terminal", term.lines, line)
}

// tab is the example page.
type tab struct{ page *page }

func (b *tab) sends(to, text string) {
	b.page.t.Helper()
	b.page.eval(fmt.Sprintf(`{
		const form = document.querySelector('#send')
		form.to.value = %q
		form.text.value = %q
		form.requestSubmit()
		''
	}`, to, text))
}

func (b *tab) lines() []string {
	return strings.Split(b.page.eval(`[...document.querySelectorAll('#log li')].map((li) => li.textContent).join('\n')`), "\n")
}

func (b *tab) shows(line string) {
	b.page.t.Helper()
	showsLine(b.page.t, "the page", b.lines, line)
}

// showsLine waits until the line is shown, and shown once.
func showsLine(t *testing.T, where string, lines func() []string, line string) {
	t.Helper()
	eventually(t, where+" shows "+line, func() error {
		got := lines()
		n := 0
		for _, l := range got {
			if l == line {
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("%d times among:\n%s", n, strings.Join(got, "\n"))
		}
		return nil
	})
}
