package chat

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/chat/screen"
)

// ErrUsage is a fault in how the command was called.
var ErrUsage = errors.New("rookery chat --help lists the flags")

// options are the flags, and what the environment says in their stead.
type options struct {
	server, user, state string
	passwordFile        string
	tokenFile           string
	password, invite    string
	register            bool
	line, stay          bool
	wait                time.Duration
}

// Run is `rookery chat` with these arguments. It ends with ctx, or when the
// person leaves.
func Run(ctx context.Context, args []string, in io.Reader, out, diagnose io.Writer) error {
	o, err := parse(args, os.Getenv, diagnose)
	if err != nil {
		return err
	}
	// A terminal that goes away, as ssh's do, is a reason to leave in order.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	st, err := openState(o.state, os.Getenv)
	if err != nil {
		return err
	}
	c := newConsole(in, out, diagnose)
	d := &door{console: c, state: st, given: o, password: o.password, invite: o.invite}
	a, sdk, err := d.enter(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // the person changed their mind
		}
		return err
	}
	k, err := openDesk(ctx, a, sdk)
	if err != nil {
		return errors.Join(err, sdk.Close())
	}
	signs := signsFor(os.Getenv)
	if o.line || !c.screen() || os.Getenv("TERM") == "dumb" {
		l := &lineMode{desk: k, console: c, signs: signs, stay: o.stay, wait: o.wait, server: a.Server}
		return l.run(ctx)
	}
	f, err := newFullScreen(k, c, a.Server, signs)
	if err != nil {
		return errors.Join(err, k.close())
	}
	err = f.run(ctx)
	if n := k.model.Unsent(); n > 0 {
		fmt.Fprintf(diagnose, "Not sent yet: %d. It is kept, and goes out when rookery chat runs again.\n", n)
	}
	return err
}

func parse(args []string, getenv func(string) string, diagnose io.Writer) (options, error) {
	o := options{password: getenv("ROOKERY_PASSWORD"), invite: getenv("ROOKERY_INVITE")}
	fs := flag.NewFlagSet("rookery chat", flag.ContinueOnError)
	fs.SetOutput(diagnose)
	fs.Usage = func() {
		fmt.Fprint(diagnose, "Usage: rookery chat [flags]\n\nA chat in the terminal: full screen, or by lines in a pipe. docs/chat.md explains it.\n\n")
		fs.PrintDefaults()
		fmt.Fprint(diagnose, "\nROOKERY_PASSWORD gives the password, ROOKERY_INVITE an invitation code.\n")
	}
	fs.StringVar(&o.server, "server", "", "address of the server (default: the last one, or "+defaultServer+")")
	fs.StringVar(&o.user, "user", "", "name of the account (default: the last one)")
	fs.BoolVar(&o.register, "register", false, "make the account first, where it is not there")
	fs.StringVar(&o.state, "state", "", "directory for logins and scrollback (default: $XDG_STATE_HOME/rookery/chat)")
	fs.StringVar(&o.passwordFile, "password-file", "", "file whose first line is the password")
	fs.StringVar(&o.tokenFile, "token-file", "", "file whose first line is the token, for servers whose tokens come from an outside issuer")
	fs.BoolVar(&o.line, "line", false, "chat by lines, as in a pipe")
	fs.BoolVar(&o.stay, "stay", false, "by lines: go on when the input has ended")
	fs.DurationVar(&o.wait, "wait", 30*time.Second, "by lines: how long to wait, when the input has ended, for what is not sent")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", err, ErrUsage)
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: %w", fs.Arg(0), ErrUsage)
	}
	if o.passwordFile != "" {
		p, err := readSecret(o.passwordFile)
		if err != nil {
			return o, err
		}
		o.password = p
	}
	return o, nil
}

// signsFor chooses the ticks: ASCII where the locale says that there is
// nothing else, or the terminal's font has none.
func signsFor(getenv func(string) string) screen.Signs {
	locale := ""
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale = getenv(name); locale != "" {
			break
		}
	}
	l := strings.ToLower(locale)
	if getenv("TERM") == "linux" || l != "" && !strings.Contains(l, "utf-8") && !strings.Contains(l, "utf8") {
		return screen.ASCII()
	}
	return screen.Ticks()
}
