package chat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rookery-im/rookery/client"
	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// door is the way into an account: it asks for what is missing.
type door struct {
	console  *console
	state    state
	given    options
	password string // given, or asked for
	invite   string
}

// patience is how long a server may take for one answer.
const patience = 20 * time.Second

// errNoPassword is for those whom nobody can ask.
var errNoPassword = errors.New("a password is needed: set ROOKERY_PASSWORD or give --password-file")

// enter opens the account's client, and registers or logs in where needed. An
// account that is open in another terminal is no reason not to use a second one.
func (d *door) enter(ctx context.Context) (account, *client.Client, error) {
	a, err := d.choose(ctx)
	for {
		if err != nil {
			return a, nil, err
		}
		sdk, opening := d.openKnown(ctx, a)
		if opening == nil {
			return a, sdk, nil
		}
		if !errors.Is(opening, client.ErrStoreLocked) || d.given.user != "" || !d.console.asks() {
			return a, nil, opening
		}
		d.say("%s is open in another terminal already. Here you can be somebody else.\n", a.User)
		d.password = d.given.password
		a, err = d.welcome(ctx, a.Server)
	}
}

// openKnown opens the client and makes the account a known one.
func (d *door) openKnown(ctx context.Context, a account) (*client.Client, error) {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the account's directory: %w", err)
	}
	sdk, err := d.open(ctx, a)
	if err != nil {
		return nil, err
	}
	if err := d.state.remember(a); err != nil {
		return nil, errors.Join(err, sdk.Close())
	}
	return sdk, nil
}

// choose finds server and user, from what was given, what was last, and what
// the person says.
func (d *door) choose(ctx context.Context) (account, error) {
	last, err := d.state.last()
	if err != nil {
		return account{}, err
	}
	server := d.given.server
	if server == "" {
		server = last.Server
	}
	if server == "" {
		server = defaultServer
	}
	if server, err = serverURL(server); err != nil {
		return account{}, err
	}
	user := d.given.user
	if user == "" && server == last.Server && !d.given.register {
		user = last.User
	}
	if user != "" {
		if err := talk.CheckUser(user); err != nil {
			return account{}, err
		}
		a := d.state.account(server, user)
		if a.known() || d.password != "" || d.given.tokenFile != "" || !d.console.asks() {
			return a, d.registerQuietly(ctx, a)
		}
		return a, d.introduce(ctx, a)
	}
	if !d.console.asks() {
		return account{}, errors.New("who are you? give --user NAME")
	}
	return d.welcome(ctx, server)
}

// registerQuietly registers where --register asks for it and nobody can be
// asked. A name that is there already is one to log in with.
func (d *door) registerQuietly(ctx context.Context, a account) error {
	if !d.given.register || a.known() {
		return nil
	}
	if d.password == "" {
		return errNoPassword
	}
	err := d.register(ctx, a, a.User)
	if errors.Is(err, client.ErrAlreadyExists) {
		return nil
	}
	return err
}

// welcome is the very first time.
func (d *door) welcome(ctx context.Context, server string) (account, error) {
	d.say("Rookery chat, on %s\n\nNew here? Pick a name, such as alice or +4915112345678.\nBeen here before? Give yours.", server)
	for {
		name, err := d.console.ask(ctx, "Name", "")
		if err != nil {
			return account{}, err
		}
		name = strings.TrimPrefix(name, "@")
		if err := talk.CheckUser(name); err != nil {
			d.say("That does not work: %v.", err)
			continue
		}
		a := d.state.account(server, name)
		if a.known() {
			return a, nil
		}
		err = d.introduce(ctx, a)
		if errors.Is(err, client.ErrAlreadyExists) {
			d.say("The name %s is taken. Pick another.\nOr, if it is yours, give it again and say that it is not new.", name)
			continue
		}
		return a, err
	}
}

// introduce registers a name, if it is new.
func (d *door) introduce(ctx context.Context, a account) error {
	isNew := d.given.register
	if !isNew {
		var err error
		if isNew, err = d.console.yes(ctx, "Is "+a.User+" new on this server?"); err != nil {
			return err
		}
	}
	if !isNew {
		return nil
	}
	shown, err := d.console.ask(ctx, "What should others call you?", a.User)
	if err != nil {
		return err
	}
	if d.password == "" {
		if d.password, err = d.newPassword(ctx); err != nil {
			return err
		}
	}
	err = d.register(ctx, a, shown)
	var server *client.Error
	for errors.As(err, &server) && server.Reason == client.ReasonInviteRequired {
		d.say("%s", map[bool]string{true: "This server takes new people by invitation.", false: "That code does not work."}[d.invite == ""])
		if d.invite, err = d.console.ask(ctx, "Invitation code", ""); err != nil {
			return err
		}
		if d.invite == "" {
			return errors.New("without an invitation there is no account here: ask whoever runs the server")
		}
		err = d.register(ctx, a, shown)
	}
	if err == nil {
		d.say("Welcome, %s.", plain.Name(shown))
	} else if errors.Is(err, client.ErrAlreadyExists) {
		d.password = d.given.password
	}
	return err
}

func (d *door) newPassword(ctx context.Context) (string, error) {
	for {
		first, err := d.console.secret(ctx, "Choose a password (8 characters or more)")
		if err != nil {
			return "", err
		}
		if len(first) < 8 {
			d.say("That is too short.")
			continue
		}
		second, err := d.console.secret(ctx, "Once more")
		if err != nil {
			return "", err
		}
		if first == second {
			return first, nil
		}
		d.say("Those were two different ones.")
	}
}

// register makes the account.
func (d *door) register(ctx context.Context, a account, shown string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := client.Register(ctx, client.Config{URL: a.Server, User: a.User, Password: d.password, Invite: d.invite}, shown)
	var server *client.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &server) && server.Reason == client.ReasonRegistrationClosed:
		return errors.New("this server takes no new accounts: ask whoever runs it")
	case errors.Is(err, client.ErrAlreadyExists):
		return fmt.Errorf("the name %s is taken: %w", a.User, err)
	case errors.As(err, &server):
		return fmt.Errorf("register %s: %w", a.User, err)
	default:
		return unreachable(a, err)
	}
}

// unreachable says which server, and what to do.
func unreachable(a account, err error) error {
	return &doorError{fmt.Sprintf("no word from %s: %s. Is the address right? --server gives another; `rookery serve` starts a node here", a.Server, explain(err)), err}
}

// doorError says in its own words what went wrong, and keeps the cause.
type doorError struct {
	says  string
	cause error
}

func (e *doorError) Error() string { return e.says }
func (e *doorError) Unwrap() error { return e.cause }

// open opens the client, and asks for the password where the device has none
// or a login that has run out.
func (d *door) open(ctx context.Context, a account) (*client.Client, error) {
	if d.password == "" && d.given.tokenFile == "" && !a.known() {
		if err := d.askPassword(ctx, a); err != nil {
			return nil, err
		}
	}
	for {
		sdk, err := d.openOnce(ctx, a)
		if err == nil {
			err = settle(ctx, sdk)
			if err == nil {
				return sdk, nil
			}
			if closing := sdk.Close(); closing != nil {
				return nil, errors.Join(err, closing)
			}
		}
		again := errors.Is(err, client.ErrUnauthenticated) || errors.Is(err, client.ErrUnlinked)
		var server *client.Error
		switch {
		case again && d.given.tokenFile != "":
			return nil, &doorError{"the token in " + d.given.tokenFile + " is not accepted, or not " + a.User + "'s", err}
		case again && d.console.asks() && d.given.password == "":
			d.say("%s", whyAgain(err, d.password != ""))
			if err := d.askPassword(ctx, a); err != nil {
				return nil, err
			}
		case again:
			return nil, &doorError{whyAgain(err, d.password != ""), err}
		case errors.Is(err, client.ErrStoreLocked):
			return nil, &doorError{a.User + " is open in another rookery chat here; close that one, or give another --state", err}
		case errors.As(err, &server), errors.Is(err, client.ErrStore), errors.Is(err, client.ErrStoreDamaged), errors.Is(err, client.ErrOtherUser), ctx.Err() != nil:
			return nil, fmt.Errorf("open %s: %w", a.User, err)
		default:
			return nil, unreachable(a, err)
		}
	}
}

func whyAgain(err error, tried bool) string {
	switch {
	case tried && !errors.Is(err, client.ErrUnlinked):
		return "There is no such name with that password."
	default:
		return "The login has run out, or this device was unlinked. The password mends both."
	}
}

func (d *door) askPassword(ctx context.Context, a account) (err error) {
	if !d.console.asks() {
		return errNoPassword
	}
	d.password, err = d.console.secret(ctx, "Password of "+a.User)
	return err
}

// openOnce opens the client as things stand.
func (d *door) openOnce(ctx context.Context, a account) (*client.Client, error) {
	store, err := client.OpenFileStore(a.store())
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "a terminal"
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cfg := client.Config{
		URL: a.Server, User: a.User, Password: d.password, DeviceName: "chat on " + host,
		Store: store, ClientName: "rookery-chat/1",
	}
	if path := d.given.tokenFile; path != "" {
		// Read anew each time: whoever puts tokens there replaces them before they run out.
		cfg.Password, cfg.TokenSource = "", func(context.Context) (string, error) { return readSecret(path) }
	}
	return client.Open(ctx, cfg)
}

// settle gives a new client a moment to find out whether its login is good, so
// that a person is asked before the screen is full. Offline is no reason to wait.
func settle(ctx context.Context, sdk *client.Client) error {
	const moment = 1500 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		switch s := sdk.Status(); s.State {
		case client.StateOnline, client.StateWaiting:
			return nil
		case client.StateStopped:
			return s.Err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// say tells the person something before there is a chat.
func (d *door) say(format string, args ...any) {
	fmt.Fprintf(d.console.diagnose, format+"\n", args...)
}

// readSecret reads the first line of --password-file or --token-file.
func readSecret(path string) (string, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return "", err
	}
	defer f.Close()
	s, err := firstLine(f)
	if err == nil && s == "" {
		err = errors.New("its first line is empty")
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}
