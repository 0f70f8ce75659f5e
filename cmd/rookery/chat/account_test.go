package chat

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-im/rookery/client"
	"github.com/rookery-im/rookery/cmd/rookery/chat/screen"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

func TestServerURL(t *testing.T) {
	cases := map[string]string{
		"127.0.0.1:8080":           "http://127.0.0.1:8080",
		"localhost":                "http://localhost",
		"[::1]:8080":               "http://[::1]:8080",
		"chat.example.org":         "https://chat.example.org",
		"chat.example.org:8443/":   "https://chat.example.org:8443",
		"http://10.0.0.1":          "http://10.0.0.1",
		"wss://chat.example.org/x": "https://chat.example.org/x",
		"ws://localhost:1":         "http://localhost:1",
		"ftp://x":                  "neither http nor https",
		"https://":                 "want a host",
		"https://me:pw@x":          "want a host",
		"https://x/?a=b":           "want a host",
	}
	for in, want := range cases {
		got, err := serverURL(in)
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// No user id leaves its directory or meets another there.
func TestAccountDirectories(t *testing.T) {
	st := state{t.TempDir()}
	seen := map[string]string{}
	for _, id := range []string{"alice", "Alice", "ALICE", "..", ".", "...", "a.b", ".a", "a@b.org", "+49151", "%41", "A", "-", "con"} {
		dir := st.account("http://127.0.0.1:8080", id).dir
		if other, twice := seen[strings.ToLower(dir)]; twice {
			t.Errorf("%q and %q share %s", id, other, dir)
		}
		seen[strings.ToLower(dir)] = id
		if rel, err := filepath.Rel(st.dir, dir); err != nil || len(strings.Split(rel, string(filepath.Separator))) != 2 || strings.HasPrefix(rel, ".") {
			t.Errorf("%q is kept in %s", id, dir)
		}
	}
	if a, b := st.account("http://x", "u").dir, st.account("https://x", "u").dir; a == b {
		t.Error("two servers share a directory")
	}
}

func TestState(t *testing.T) {
	home := t.TempDir()
	st, err := openState("", func(name string) string { return map[string]string{"XDG_STATE_HOME": home}[name] })
	if err != nil {
		t.Fatal(err)
	}
	if st.dir != filepath.Join(home, "rookery", "chat") {
		t.Errorf("it is in %s", st.dir)
	}
	if last, err := st.last(); err != nil || last.User != "" {
		t.Errorf("the last of none: %+v, %v", last, err)
	}
	a := st.account("http://127.0.0.1:8080", "alice")
	if a.known() {
		t.Error("known before it was used")
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := st.remember(a); err != nil {
		t.Fatal(err)
	}
	if last, err := st.last(); err != nil || last.User != "alice" || last.Server != a.Server || !a.known() {
		t.Errorf("%+v, %v", last, err)
	}
}

// Words for a person, from whatever the SDK wraps; and never what a terminal obeys.
func TestExplain(t *testing.T) {
	cases := []struct {
		err  error
		want string
	}{
		{nil, ""},
		{fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), "nobody listens there"},
		{fmt.Errorf("read: %w", io.EOF), "the connection broke"},
		{fmt.Errorf("lookup: %w", &net.DNSError{Name: "no.such\x1b[2J", IsNotFound: true}), "there is no host called no.such"},
		{fmt.Errorf("x: %w", client.ErrUnlinked), "this device was unlinked"},
		{fmt.Errorf("send: %w", &client.Error{Code: client.ErrMailboxFull, Message: "full"}), "too many messages wait there already, or for a device of yours"},
		{fmt.Errorf("send: %w", &client.Error{Code: client.ErrInvalidArgument, Message: "send.to:\n\x1b]0;x\abad"}), "send.to: / bad"},
		{errors.New("odd \x1b[31mthing"), "odd thing"},
	}
	for _, c := range cases {
		if got := explain(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

// What strangers send is made safe where it comes in.
func TestTranslate(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	message := func(kind client.Kind, payload string) talk.Body {
		e := translate(&client.Message{ID: "1", From: client.Device{User: "bob", Device: 1}, Conversation: client.With("bob"), Kind: kind, Payload: []byte(payload)}, now)
		return e.(talk.Arrived).Body
	}
	for _, c := range []struct {
		kind          client.Kind
		payload, want string
	}{
		{client.KindText, "hi\x1b[2J\u202e there", "hi there"},
		{client.KindText, "\xff\xfe\x1b[2J", "[text that is not UTF-8, 6 bytes]"},
		{client.KindImage, strings.Repeat("\x1b", 12<<10), "[image, 12 KB]"},
		{client.KindEncrypted, "x", "[encrypted message, 1 bytes]"},
		{client.Kind(99), "\x1b[2J", "[message of a newer kind, 4 bytes]"},
	} {
		if got := message(c.kind, c.payload).Says(); string(got) != c.want {
			t.Errorf("%v %q: %q, want %q", c.kind, c.payload, got, c.want)
		}
	}
	if e := translate(&client.StateChanged{Status: client.Status{State: client.StateStopped}}, now); e != nil {
		t.Errorf("the end, without its reason: %v", e)
	}
	if link := over(fmt.Errorf("receive: %w", client.ErrUnlinked)).Link; link.State != talk.Refused || link.Why != "this device was unlinked" || link.Advice == "" {
		t.Errorf("%+v", link)
	}
	settled := translate(&client.Settled{ID: "1", To: client.With("bob"), Err: &client.Error{Code: client.ErrInvalidArgument, Message: "\x1b[2Jno"}}, now).(talk.Settled)
	if settled.Refusal != "no" {
		t.Errorf("%q", settled.Refusal)
	}
	if e := translate(&client.Signal{}, now); e != nil {
		t.Errorf("a signal became %v", e)
	}
}

func TestSigns(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want screen.Signs
	}{
		{nil, screen.Ticks()},
		{map[string]string{"LANG": "de_DE.UTF-8"}, screen.Ticks()},
		{map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, screen.ASCII()},
		{map[string]string{"LANG": "C.UTF-8", "TERM": "linux"}, screen.ASCII()},
	} {
		if got := signsFor(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %+v", c.env, got)
		}
	}
}

func TestFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("correct horse\nsomething else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string { return map[string]string{"ROOKERY_PASSWORD": "of the environment"}[name] }
	if o, err := parse([]string{"--password-file", file}, env, io.Discard); err != nil || o.password != "correct horse" {
		t.Errorf("%q, %v", o.password, err)
	}
	if o, err := parse(nil, env, io.Discard); err != nil || o.password != "of the environment" {
		t.Errorf("%q, %v", o.password, err)
	}
	for _, args := range [][]string{{"--frob"}, {"bob"}} {
		if _, err := parse(args, env, io.Discard); !errors.Is(err, ErrUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
