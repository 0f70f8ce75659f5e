//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// session is a recorded one: the screens at named moments, volatile parts
// masked, compared with testdata/chat-session.txt. E2E_UPDATE=1 records anew.
type session struct {
	t        *testing.T
	want     map[string]string
	names    []string
	recorded bytes.Buffer
	update   bool
}

const sessionFile = "testdata/chat-session.txt"

func openSession(t *testing.T) *session {
	t.Helper()
	r := &session{t: t, want: map[string]string{}, update: os.Getenv("E2E_UPDATE") != ""}
	if r.update {
		return r
	}
	text, err := os.ReadFile(sessionFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "==== ")[1:] {
		name, screen, _ := strings.Cut(part, "\n")
		r.want[name] = screen
	}
	return r
}

var volatile = []struct {
	pattern *regexp.Regexp
	mask    string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d{5}`), "127.0.0.1:PPPPP"},
	{regexp.MustCompile(`\b\d\d:\d\d\b`), "hh:mm"},
	{regexp.MustCompile(`offline, (again in \w+|trying again)`), "offline, again"},
	// How long it is until the next attempt, and whether one is under way.
	{regexp.MustCompile(`(?m)^ (\w+) on 1[^ ]* .*(offline|connecting).*$`), " $1 ... offline or connecting"},
}

func masked(screen string) string {
	for _, v := range volatile {
		screen = v.pattern.ReplaceAllString(screen, v.mask)
	}
	return screen
}

// moment waits until the screen is the recorded one.
func (r *session) moment(name string, p *pane) {
	r.t.Helper()
	r.names = append(r.names, name)
	if r.update {
		var last string
		same := 0
		eventually(r.t, name+" stands still", func() error {
			if now := masked(p.screen()); now != last {
				last, same = now, 0
			}
			if same++; same < 10 {
				return errNotYet
			}
			return nil
		})
		fmt.Fprintf(&r.recorded, "==== %s\n%s", name, last)
		return
	}
	eventually(r.t, fmt.Sprintf("%q is as recorded in %s", name, sessionFile), func() error {
		if now := masked(p.screen()); now != r.want[name] {
			return fmt.Errorf("got\n%s\nwant\n%s", now, r.want[name])
		}
		return nil
	})
}

func (r *session) close() {
	r.t.Helper()
	if r.update {
		if err := os.WriteFile(sessionFile, r.recorded.Bytes(), 0o600); err != nil {
			r.t.Fatal(err)
		}
	} else if len(r.want) != len(r.names) {
		r.t.Errorf("%s holds %d moments, and there were %d", sessionFile, len(r.want), len(r.names))
	}
}

// register makes an account without a device.
func register(t *testing.T, s *server, user, password string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"user": user, "name": strings.ToUpper(user[:1]) + user[1:], "password": password})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(s.url("/v1/users"), "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("register %s: %s", user, resp.Status)
	}
}

// postJSON posts a body and reads the answer.
func postJSON(t *testing.T, s *server, path, token string, body, answer any) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url(path), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		t.Fatalf("POST %s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		t.Fatal(err)
	}
}

// linkDevice links another device and gives its token.
func linkDevice(t *testing.T, s *server, user, password string) string {
	t.Helper()
	var made struct{ Token string }
	postJSON(t, s, "/v1/devices", "", map[string]string{"user": user, "password": password, "deviceName": "curl"}, &made)
	return made.Token
}

// sendAs sends a text by REST, with whatever bytes.
func sendAs(t *testing.T, s *server, token, to, text string) {
	t.Helper()
	postJSON(t, s, "/v1/messages", token, map[string]any{
		"id": "01935b3e-7c1a-7000-8000-5a3f1c9d2e41", "to": map[string]string{"user": to}, "payload": []byte(text),
	}, &struct{}{})
}

// quote for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// chatCommand is a shell command that ends as a shell would see it: with the
// exit code, and the terminal's modes as the chat left them.
func chatCommand(t *testing.T, s *server, state string, more ...string) string {
	args := append([]string{binary(t), "chat", "--server", s.address, "--state", state}, more...)
	for i := range args {
		args[i] = quote(args[i])
	}
	return strings.Join(args, " ") + `; code=$?; echo; echo "left with $code," $(stty -a | grep -o -e '-\?icanon' -e '-\?echo '); exec cat`
}

// Two people meet in two terminals, and a recording of what they see is held
// against the screens. Every step waits for what a person would wait for.
func TestChat(t *testing.T) {
	s := startServer(t)
	x := startTmux(t)
	r := openSession(t)
	register(t, s, "bob", "battery staple")
	dir := t.TempDir()
	aliceState, bobState := filepath.Join(dir, "alice"), filepath.Join(dir, "bob")

	// The very first time: a name, a password, and in.
	alice := x.open("alice", chatCommand(t, s, aliceState))
	alice.shows(`^Name: $|^Name:$`)
	alice.typed("al ice")
	alice.key("Enter")
	alice.shows(`That does not work`)
	alice.typed("alice")
	alice.key("Enter")
	alice.shows(`new on this server`)
	alice.key("Enter")
	alice.shows(`call you`)
	alice.typed("Alice in W.")
	alice.key("Enter")
	for _, prompt := range []string{`Choose a password`, `Once more`} {
		alice.shows(prompt)
		alice.typed("correct horse")
		r.moment("asking: "+prompt, alice) // nothing typed shows
		alice.key("Enter")
	}
	alice.shows(`online$`, `Nobody to talk with yet`)
	r.moment("a new account", alice)

	// One tick while Bob has no device, two when he has it, then read.
	alice.typed("/to bob")
	alice.key("Enter")
	alice.shows(`│bob`)
	alice.typed("hello bob")
	alice.key("Enter")
	alice.shows(`✓   you hello bob$`)
	r.moment("one tick", alice)
	bob := x.open("bob", chatCommand(t, s, bobState, "--user", "bob"), "ROOKERY_PASSWORD=battery staple")
	alice.shows(`✓✓  you hello bob$`, `│bob · Bob · online`)
	r.moment("two ticks", alice)
	bob.shows(`alice +1 │`)
	r.moment("unread", bob)
	bob.key("Tab")
	bob.shows(`alice hello bob$`)
	alice.shows(`✓✓◉ you hello bob$`)
	r.moment("read", alice)

	// Typing shows while it goes on, and ends with the line.
	bob.typed("hi, ")
	alice.shows(`│bob · Bob · typing…`)
	r.moment("typing", alice)
	bob.paste("two\nlines")
	bob.key("M-Enter")
	bob.typed("and a third")
	bob.shows(`> hi, two$`, `  lines$`, `  and a third$`)
	r.moment("several lines", bob)
	bob.key("Enter")
	alice.shows(`bob hi, two$`)
	alice.hides(`typing`)
	r.moment("answered", alice)
	bob.shows(`✓✓◉ you +hi, two$`)

	// A stranger's escape sequences do nothing here.
	register(t, s, "mallory", "1234567890")
	sendAs(t, s, linkDevice(t, s, "mallory", "1234567890"), "bob", "\x1b[2J\x1b[H\x1b]0;pwned\a\x1b[31mevil\x1b[0m \u202etxt.exe\u202c \u009b2J\x07 日本語 👩‍👩‍👧 e\u0301\r\nfake: line")
	bob.shows(`mallory +1 │`)
	bob.typed("/to mallory")
	bob.key("Enter")
	bob.shows(`mallory evil`)
	r.moment("hostile", bob)
	bob.key("Tab")
	bob.shows(`✓✓◉ you +hi, two$`)

	// The node dies. It shows, and what is typed waits.
	s.kill()
	alice.shows(`offline`)
	bob.shows(`offline`)
	alice.typed("while you were out")
	alice.key("Enter")
	alice.shows(`◷   you while you were out$`, `◷1 not sent`)
	r.moment("offline", alice)

	// Even the chat dies, and comes back without the node.
	alice.typed("half a sen")
	eventually(t, "the draft is kept", func() error { return fileHolds(t, aliceState, "half a sen") })
	kill(t, alice, syscall.SIGKILL)
	alice.shows(`left with`)
	alice.again(chatCommand(t, s, aliceState))
	alice.shows(`offline`, `◷   you while you were out$`, `> half a sen$`, `✓✓◉ you hello bob$`)
	r.moment("restarted without the node", alice)

	s.restart()
	bob.shows(`alice while you were out$`)
	alice.shows(`✓✓◉ you while you were out$`)
	r.moment("delivered after all", alice)
	if n := strings.Count(bob.screen(), "while you were out"); n != 1 {
		t.Errorf("Bob has it %d times:\n%s", n, bob.screen())
	}

	// Leaving gives the terminal back; so does being told to.
	alice.key("C-c")
	alice.shows(`left with 0, icanon echo`)
	restored(t, alice)
	kill(t, bob, syscall.SIGTERM)
	bob.shows(`left with 0, icanon echo`)
	restored(t, bob)

	// Small and large screens.
	alice.again(chatCommand(t, s, aliceState))
	alice.shows(`✓✓◉ you while you were out$`, `online$`)
	alice.resize(40, 10)
	alice.shows(`^bob · Bob`)
	r.moment("40x10", alice)
	alice.resize(120, 30)
	alice.shows(`F1 help`)
	r.moment("120x30", alice)
	alice.resize(80, 24)
	alice.key("F1")
	alice.shows(`Alt-Enter, Ctrl-J +a new line`)
	r.moment("help", alice)
	alice.key("Escape")
	alice.shows(`> half a sen$`)
	r.close()
}

// kill sends a signal to the chat in a pane, not to the shell around it.
func kill(t *testing.T, p *pane, sig syscall.Signal) {
	t.Helper()
	shell := p.is("#{pane_pid}")
	children, err := os.ReadFile(filepath.Join("/proc", shell, "task", shell, "children"))
	if err != nil {
		t.Fatalf("find the chat in %s: %v", p.name, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// restored checks what a program could leave behind in a terminal.
func restored(t *testing.T, p *pane) {
	t.Helper()
	if got := p.is("#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{keypad_cursor_flag}"); got != "0 1 0 0" {
		t.Errorf("%s was left with %s", p.name, got)
	}
}

// fileHolds says whether any file below dir has the text in it.
func fileHolds(t *testing.T, dir, text string) error {
	t.Helper()
	found := errNotYet
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			found = nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// chatLines runs a chat by lines on these lines of input, and gives what it
// printed, times masked, and its exit code.
func chatLines(t *testing.T, s *server, state, user, password, input string, more ...string) (string, string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), append([]string{"chat", "--server", s.address, "--state", state, "--user", user}, more...)...)
	cmd.Env = append(os.Environ(), "ROOKERY_PASSWORD="+password, "LC_ALL=C.UTF-8", "TZ=UTC")
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return masked(stdout.String()), masked(stderr.String()), cmd.ProcessState.ExitCode()
}

// The same by lines through pipes, as a script would.
func TestChatByLines(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	run := func(user, password, input, want, complaint string, code int, more ...string) {
		t.Helper()
		out, errs, got := chatLines(t, s, filepath.Join(dir, user), user, password, input, more...)
		if out != want || !strings.Contains(errs, complaint) || complaint == "" && errs != "" || got != code {
			t.Errorf("%s typed %q\nexit %d, want %d\ngot\n%swant\n%sand on stderr %q, want %q", user, input, got, code, out, want, errs, complaint)
		}
	}
	// arrives looks again and again, as receipts take their time, until all of
	// these were printed; each may be but once.
	arrives := func(user string, want ...string) {
		t.Helper()
		var seen []string
		eventually(t, user+" gets everything", func() error {
			out, errs, code := chatLines(t, s, filepath.Join(dir, user), user, "", "")
			if code != 0 {
				t.Fatalf("exit %d: %s", code, errs)
			}
			for line := range strings.Lines(out) {
				if !strings.HasPrefix(line, "* ") && !strings.Contains(line, "delivered") || slices.Contains(want, strings.TrimSpace(line)) {
					seen = append(seen, strings.TrimSpace(line))
				}
			}
			if len(seen) < len(want) {
				return fmt.Errorf("so far %q", seen)
			}
			return nil
		})
		slices.Sort(seen)
		if slices.Sort(want); !slices.Equal(seen, want) {
			t.Errorf("%s got %q, want %q", user, seen, want)
		}
	}
	hello := func(user string) string { return "* " + user + " on http://127.0.0.1:PPPPP\n" }

	run("bob", "battery staple", "", "", "no such name with that password", 1)
	run("bob", "", "", "", "ROOKERY_PASSWORD", 1)
	run("bob", "battery staple", "", hello("bob")+"* online\n", "", 0, "--register")
	run("alice", "correct horse", "@bob hello\n/to bob\nhow are you?\n@nobody hi\n/frobnicate\n//slash\n\x1b[31mred\n",
		hello("alice")+"* online\nhh:mm > bob: hello [✓ sent]\n* talking with bob\nhh:mm > bob: how are you? [✓ sent]\n"+
			"hh:mm > nobody: hi [✗ refused: nobody has that name]\n"+
			"! there is no command /frobnicate; /help lists them, and a line that begins with // is sent as it is\n"+
			"hh:mm > bob: /slash [✓ sent]\nhh:mm > bob: red [✓ sent]\n", "refused: 1", 1, "--register")
	run("bob", "", "/read alice\n@alice fine\n/history alice\n",
		hello("bob")+"hh:mm alice: hello\nhh:mm alice: how are you?\nhh:mm alice: /slash\nhh:mm alice: red\n* online\nhh:mm > alice: fine [✓ sent]\n"+
			"* today hh:mm alice: hello\n* today hh:mm alice: how are you?\n* today hh:mm alice: /slash\n* today hh:mm alice: red\n* today hh:mm > alice: fine [✓ sent]\n", "", 0)
	arrives("alice", "hh:mm > bob: hello [✓✓◉ read]", "hh:mm > bob: how are you? [✓✓◉ read]", "hh:mm > bob: /slash [✓✓◉ read]", "hh:mm > bob: red [✓✓◉ read]", "hh:mm bob: fine")
	arrives("bob", "hh:mm > alice: fine [✓✓ delivered]")
	// By a token alone, as where an outside issuer makes them: another device, with a place of its own.
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(linkDevice(t, s, "alice", "correct horse")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tablet := func(input, want, complaint string, code int, more ...string) {
		t.Helper()
		out, errs, got := chatLines(t, s, filepath.Join(dir, "tablet"), "alice", "", input, append(more, "--token-file", token)...)
		if want != "" && out != want || !strings.Contains(errs, complaint) || got != code {
			t.Errorf("by a token: exit %d\ngot\n%swant\n%sand on stderr %q", got, out, want, errs)
		}
	}
	tablet("@bob by token\n", hello("alice")+"* online\nhh:mm > bob: by token [✓ sent]\n", "", 0)
	if err := os.WriteFile(token, []byte("no.such.token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tablet("@bob again\n", "", "the login is not valid", 1)
	arrives("bob", "hh:mm alice: by token")
	arrives("alice", "hh:mm > bob: by token [✓ sent]", "hh:mm > bob: by token [✓✓ delivered]")
	s.kill()
	run("alice", "", "@bob later\n", hello("alice")+"* offline, again: nobody listens there\nhh:mm > bob: later [◷ queued]\n", "not everything was sent", 1, "--wait", "1s")
	s.restart()
	run("alice", "", "", hello("alice")+"* online\nhh:mm > bob: later [✓ sent]\n", "", 0)
	arrives("bob", "hh:mm alice: later")
	arrives("alice", "hh:mm > bob: later [✓✓ delivered]")
}
