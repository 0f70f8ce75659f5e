package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// account is where one user's state of one server is kept.
type account struct {
	Server string `json:"server"`
	User   string `json:"user"`

	dir string
}

// store is the SDK's file: token, place in the mailbox, what is not sent.
func (a account) store() string { return filepath.Join(a.dir, "device") }

// history is the scrollback.
func (a account) history() string { return filepath.Join(a.dir, "history") }

// known says whether this account was logged in here before.
func (a account) known() bool {
	_, err := os.Stat(filepath.Join(a.dir, "account"))
	return err == nil
}

// state is the directory of all accounts.
type state struct{ dir string }

// openState makes the directory where there is none. An empty dir is the
// place for state that the XDG base directory specification gives.
func openState(dir string, getenv func(string) string) (state, error) {
	if dir == "" {
		base := getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(base) { // "relative paths are to be ignored"
			home, err := os.UserHomeDir()
			if err != nil {
				return state{}, fmt.Errorf("find a place for state, which --state gives too: %w", err)
			}
			base = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(base, "rookery", "chat")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return state{}, fmt.Errorf("make the state directory: %w", err)
	}
	return state{dir}, nil
}

// last is the account that was used last; zero where there is none.
func (s state) last() (account, error) {
	var a account
	b, err := os.ReadFile(filepath.Join(s.dir, "last"))
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return account{}, nil // it only saves typing
	}
	return a, nil
}

// account gives the account of a user at a server.
func (s state) account(server, user string) account {
	return account{Server: server, User: user, dir: filepath.Join(s.dir, fileName(strings.TrimPrefix(server, "http://")), fileName(user))}
}

// remember makes the account a known one, and the last used.
func (s state) remember(a account) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	for _, path := range []string{filepath.Join(a.dir, "account"), filepath.Join(s.dir, "last")} {
		if err := renameio.WriteFile(path, b, 0o600, renameio.IgnoreUmask()); err != nil {
			return fmt.Errorf("remember the account: %w", err)
		}
	}
	return nil
}

// fileName is a name for a file that no other id shares, and that means
// nothing to a file system: "..", "a/b" and what differs only in case do.
func fileName(id string) string {
	var b strings.Builder
	for i := range len(id) {
		c := id[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '+' || c == '@' || c == '.' && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// defaultServer is where `rookery serve` listens.
const defaultServer = "http://127.0.0.1:8080"

// serverURL reads an address as people give it: with or without a scheme.
// Without one it is TLS, except to this machine.
func serverURL(given string) (string, error) {
	given = strings.TrimSpace(given)
	if !strings.Contains(given, "://") {
		host, _, _ := strings.Cut(given, "/")
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		scheme := "https"
		if ip := net.ParseIP(strings.Trim(host, "[]")); host == "localhost" || ip != nil && ip.IsLoopback() {
			scheme = "http"
		}
		given = scheme + "://" + given
	}
	u, err := url.Parse(given)
	switch {
	case err != nil:
		return "", fmt.Errorf("the server's address %q: %w", given, err)
	case u.Scheme == "ws":
		u.Scheme = "http"
	case u.Scheme == "wss":
		u.Scheme = "https"
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("the server's address %q begins with neither http nor https", given)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("the server's address %q: want a host and perhaps a port, as in https://chat.example.org", given)
	}
	return u.String(), nil
}
