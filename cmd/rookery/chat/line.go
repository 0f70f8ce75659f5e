package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/chat/screen"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// lineMode is the chat by lines: one printed line per event, one command or
// message per line read. It works in a pipe.
type lineMode struct {
	*desk
	console *console
	signs   screen.Signs
	stay    bool // go on when the input ends
	server  string
	wait    time.Duration // otherwise, how long for what is not sent
	refused int           // lines of this run
	drained bool          // what waited at the server is here
	told    talk.Link
}

// errUnsent is why a pipe's end is not a success.
var errUnsent = errors.New("not everything was sent; it is kept, and goes out when rookery chat runs again")

// run talks until the input and what it asked for have ended, or ctx has.
func (l *lineMode) run(ctx context.Context) error {
	inbox := make(chan news)
	l.deliver = func(ctx context.Context, n news) {
		select {
		case inbox <- n:
		case <-ctx.Done():
		}
	}
	l.tell = func(s string) { l.print("* " + s) }
	l.tell(fmt.Sprintf("%s on %s", l.model.Me, l.server))
	if l.greeting != "" {
		l.tell(l.greeting)
	}
	if l.console.asks() {
		// Who sits in front of it reads what is printed; a pipe says /read.
		if _, err := l.step(talk.Looked{Sight: talk.AtNewest}); err != nil {
			return err
		}
	}
	l.receive()
	err := l.loop(ctx, inbox, l.lines())
	return errors.Join(err, l.close())
}

// lines reads the input in a goroutine. It ends with the input; a read that
// never returns is given up with the process.
func (l *lineMode) lines() <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for {
			s, err := l.console.line(l.ctx)
			if err != nil {
				return
			}
			select {
			case lines <- s:
			case <-l.ctx.Done():
				return
			}
		}
	}()
	return lines
}

func (l *lineMode) loop(ctx context.Context, inbox <-chan news, lines <-chan string) error {
	var patience <-chan time.Time // set once the input has ended
	for {
		if lines == nil && !l.stay && l.settled() {
			return l.outcome()
		}
		open := lines
		if !l.turn() {
			open = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case n := <-inbox:
			if err := l.react(n); err != nil {
				return err
			}
		case s, more := <-open:
			if !more {
				lines, patience = nil, time.After(l.wait)
				continue
			}
			quit, err := l.typed(s, time.Now())
			if err != nil {
				l.print("! " + explain(err))
			}
			if quit {
				return nil
			}
		case <-patience:
			if l.stay {
				continue
			}
			return l.outcome()
		}
	}
}

// turn says whether it is the input's. A script finds what waited for it
// printed, and each line's answer before the next; a person need not wait.
func (l *lineMode) turn() bool {
	switch {
	case l.console.asks() || l.model.Link.State == talk.Offline:
		return true
	default:
		return l.drained && l.model.InFlight() == 0
	}
}

// outcome is what a script learns: whether everything went.
func (l *lineMode) outcome() error {
	switch {
	case l.model.Unsent() > 0:
		return errUnsent
	case l.refused > 0:
		return fmt.Errorf("refused: %d", l.refused)
	default:
		return nil
	}
}

// settled says whether everything typed has its fate, and everything that
// waited was printed.
func (l *lineMode) settled() bool {
	return l.drained && l.model.Unsent() == 0
}

// react prints what news changed.
func (l *lineMode) react(n news) error {
	for _, f := range l.take(n) {
		l.show(f)
	}
	switch e := n.event.(type) {
	case talk.Drained:
		l.drained = true
		l.link()
	case talk.LinkChanged:
		l.link()
		if e.Link.State == talk.Refused {
			return fmt.Errorf("%s: %s", e.Link.Why, e.Link.Advice)
		}
	case talk.Typing:
		if e.On && l.model.Conversation(e.Conversation) != nil && l.console.asks() {
			l.print("* " + e.From + " is typing")
		}
	case talk.Presence:
		if s := screen.Presence(l.model, e.User, time.Now()); s != "" && l.console.asks() {
			l.print("* " + e.User + " is " + strings.Replace(s, "last seen", "away, last seen", 1))
		}
	}
	return nil
}

// link prints how the connection stands, where that is news.
func (l *lineMode) link() {
	now := l.model.Link
	if now.State == talk.CatchingUp || now.State == talk.Connecting || now.State == l.told.State && now.Why == l.told.Why {
		return
	}
	l.told = now
	l.print("* " + screen.Link(now, time.Now()))
}

func (l *lineMode) show(f talk.Effect) {
	switch f := f.(type) {
	case talk.Moved:
		switch {
		case f.State == talk.WaitsHere && l.model.Link.State != talk.Offline:
			return // sent, or not, in a moment
		case f.State == talk.Failed:
			l.refused++
		}
		l.print(screen.LineOf(l.model, f.Conversation, f.Line, l.signs, time.Now()))
	case talk.Restore:
		l.print("* taken back: " + strings.ReplaceAll(f.Text, "\n", " / "))
	}
}

// typed does what a line says.
func (l *lineMode) typed(s string, now time.Time) (quit bool, err error) {
	if strings.TrimSpace(s) == "" {
		return false, nil
	}
	c, err := talk.ParseAddressed(s)
	if err != nil {
		return false, err
	}
	var shown []talk.Effect
	switch c.Name {
	case "":
		to := c.To
		if to == "" {
			to = l.model.Open
		}
		if to == "" {
			return false, errors.New("to whom? @bob hello, or /to bob and then the line")
		}
		shown, err = l.say(to, c.Text, now)
	case "quit":
		return true, nil
	case "help":
		l.print("* a line is sent to whom /to named, and @NAME LINE to NAME")
		for _, h := range talk.Help() {
			l.print("* " + h)
		}
	case "history":
		l.history(c.To, now)
	default:
		if shown, err = l.command(c, now); err == nil && c.Name == "to" {
			l.print("* talking with " + c.To)
		}
	}
	for _, f := range shown {
		l.show(f)
	}
	return false, err
}

// history prints the last lines of a conversation.
func (l *lineMode) history(peer string, now time.Time) {
	const most = 20
	if peer == "" {
		peer = l.model.Open
	}
	c := l.model.Conversation(peer)
	if c == nil {
		l.print("* nothing yet")
		return
	}
	lines := append(append([]*talk.Line{}, c.Lines[max(0, len(c.Lines)-most):]...), c.Pending...)
	for _, one := range lines {
		l.print("* " + screen.Day(one.Wall(), now) + " " + screen.LineOf(l.model, c, one, l.signs, now))
	}
}

// print writes one line.
func (l *lineMode) print(s string) {
	// A reader that went away shows as an end of the input or a signal, too.
	_, _ = io.WriteString(l.console.out, s+"\n")
}
