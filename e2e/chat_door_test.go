//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// invite asks the node's administration for an invitation.
func invite(t *testing.T, s *server) string {
	t.Helper()
	var socket string
	for i, a := range s.args {
		if a == "--admin" {
			socket = s.args[i+1]
		}
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Post("http://admin/v1/invites", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var made struct{ Code string }
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil || made.Code == "" {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return made.Code
}

// answers waits until a question stands last on the screen, and answers it.
func (p *pane) answers(question, answer string) {
	p.t.Helper()
	p.shows(question + `[^\n]*: *\n*\z`)
	p.typed(answer)
	p.key("Enter")
}

// The ways in, and those that are shut: each says what to do.
func TestChatDoors(t *testing.T) {
	s := startServer(t, "--registration", "invite")
	x := startTmux(t)
	dir := t.TempDir()
	state := filepath.Join(dir, "a")

	// By invitation.
	a := x.open("a", chatCommand(t, s, state))
	a.answers(`^Name`, "alice")
	a.answers(`new on this server`, "")
	a.answers(`call you`, "")
	a.answers(`Choose a password`, "correct horse")
	a.answers(`Once more`, "wrong horse!")
	a.shows(`two different ones`)
	a.answers(`Choose a password`, "correct horse")
	a.answers(`Once more`, "correct horse")
	a.shows(`by invitation`)
	a.answers(`Invitation code`, "no-such-code")
	a.shows(`That code does not work`)
	a.answers(`Invitation code`, invite(t, s))
	a.shows(`online$`)

	// One account is open once; a second terminal is for somebody else.
	b := x.open("b", chatCommand(t, s, state, "--user", "alice"))
	b.shows(`alice is open in another rookery chat`, `left with 1`)
	b.again(chatCommand(t, s, state))
	b.answers(`alice is open in another terminal(.*\n)*Name`, "alice")
	b.answers(`alice is open in another terminal(.*\n)*alice is open in another terminal(.*\n)*Name`, "bob")
	b.answers(`new on this server`, "")
	b.key("C-c")
	b.shows(`left with 0, icanon echo`)

	// A device that is unlinked elsewhere says so, and is linked anew by the password.
	token := linkDevice(t, s, "alice", "correct horse")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.url("/v1/devices/1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatalf("unlink: %v, %v", resp, err)
	}
	a.shows(`refused: this device was unlinked`, `start rookery chat again`)
	a.typed("not lost")
	a.key("Enter")
	a.shows(`> not lost$`, `to whom\?`)
	a.key("C-c")
	a.shows(`left with 0`)
	a.again(chatCommand(t, s, state))
	a.shows(`this device was unlinked`)
	a.answers(`Password of alice`, "wrong horse!")
	a.shows(`no such name with that password`)
	a.answers(`Password of alice`, "correct horse")
	a.shows(`online$`)

	// The terminal goes away: ssh, or a window that was closed. The draft stays.
	a.shows(`> not lost$`)
	a.typed(" at all")
	a.shows(`> not lost at all$`)
	kill(t, a, syscall.SIGHUP)
	a.shows(`left with 0`)
	a.again(chatCommand(t, s, state))
	a.shows(`> not lost at all$`)

	// Nobody listens, and no such name.
	c := x.open("c", chatCommand(t, &server{t: t, address: "127.0.0.1:1"}, filepath.Join(dir, "c"), "--user", "carol"), "ROOKERY_PASSWORD=1234567890")
	c.shows(`nobody listens there`, `rookery serve`, `left with 1`)
	c = x.open("c2", chatCommand(t, s, filepath.Join(dir, "c"), "--user", "carol"))
	c.answers(`new on this server`, "n")
	c.answers(`Password of carol`, "1234567890")
	c.shows(`no such name with that password`)
	c.key("C-c")
	c.shows(`left with 0, icanon echo`) // the echo is back

	// Shut.
	shut := startServer(t, "--registration", "closed")
	d := x.open("d", chatCommand(t, shut, filepath.Join(dir, "d"), "--user", "dave", "--register"))
	d.answers(`call you`, "")
	d.answers(`Choose a password`, "1234567890")
	d.answers(`Once more`, "1234567890")
	d.shows(`takes no new accounts`, `left with 1`)
}

// A name that is taken costs a try, not the way in.
func TestChatNameTaken(t *testing.T) {
	s := startServer(t)
	register(t, s, "alice", "correct horse")
	x := startTmux(t)
	a := x.open("a", chatCommand(t, s, filepath.Join(t.TempDir(), "a")))
	a.answers(`^Name`, "alice")
	a.answers(`new on this server`, "y")
	a.answers(`call you`, "")
	a.answers(`Choose a password`, "battery staple")
	a.answers(`Once more`, "battery staple")
	a.shows(`alice is taken`)
	a.answers(`Name`, "alice")
	a.answers(`new on this server`, "n")
	a.answers(`Password of alice`, "correct horse")
	a.shows(`alice on .* online$`)
}

// Who stays away longer than a token lasts is asked for the password, and is
// the same device as before.
func TestChatTokenRunsOut(t *testing.T) {
	s := startServer(t, "--token-life", "2s")
	x := startTmux(t)
	state := filepath.Join(t.TempDir(), "a")
	if _, errs, code := chatLines(t, s, state, "alice", "correct horse", "@alice a note to myself\n", "--register"); code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	eventually(t, "the token runs out", func() error {
		if _, errs, code := chatLines(t, s, state, "alice", "", "", "--wait", "0s"); code == 0 || !strings.Contains(errs, "login has run out") {
			return fmt.Errorf("exit %d: %s", code, errs)
		}
		return nil
	})
	a := x.open("a", chatCommand(t, s, state))
	a.shows(`login has run out`)
	a.answers(`Password of alice`, "correct horse")
	a.shows(`online$`, `you +a note to myself$`)
	token := linkDevice(t, s, "alice", "correct horse")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/v1/devices"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct{ Devices []struct{ Device int } }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || len(list.Devices) != 2 {
		t.Errorf("devices %+v, %v; want the chat's and the one that asks", list, err)
	}
}
