package chat

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// console is where the person is.
type console struct {
	in       *bufio.Reader
	file     *os.File // of in, where that is a terminal; otherwise nil
	out      io.Writer
	diagnose io.Writer // what is not output: questions, errors
}

func newConsole(in io.Reader, out, diagnose io.Writer) *console {
	c := &console{in: bufio.NewReader(in), out: out, diagnose: diagnose}
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) { //nolint:gosec // a descriptor
		c.file = f
	}
	return c
}

// asks says whether there is somebody to ask.
func (c *console) asks() bool { return c.file != nil }

// screen says whether there is a screen to fill.
func (c *console) screen() bool {
	f, ok := c.out.(*os.File)
	return c.file != nil && ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a descriptor
}

// line reads a line, until ctx ends. The reading itself cannot be ended: after
// that the process is on its way out.
func (c *console) line(ctx context.Context) (string, error) {
	return await(ctx, func() (string, error) {
		s, err := c.in.ReadString('\n')
		if errors.Is(err, io.EOF) && s != "" {
			err = nil
		}
		return strings.TrimRight(s, "\r\n"), err
	})
}

// ask asks a question; an empty answer is the one offered, where one is.
func (c *console) ask(ctx context.Context, question, offered string) (string, error) {
	if offered != "" {
		question += " [" + offered + "]"
	}
	fmt.Fprint(c.diagnose, question+": ")
	s, err := c.line(ctx)
	if err != nil {
		return "", fmt.Errorf("no answer to %q: %w", question, err)
	}
	if s = strings.TrimSpace(s); s == "" {
		s = offered
	}
	return s, nil
}

// yes asks a question that an empty answer agrees to.
func (c *console) yes(ctx context.Context, question string) (bool, error) {
	s, err := c.ask(ctx, question+" [Y/n]", "")
	return s == "" || strings.HasPrefix(strings.ToLower(s), "y"), err
}

// secret asks without an echo.
func (c *console) secret(ctx context.Context, question string) (string, error) {
	fd := int(c.file.Fd()) //nolint:gosec // a descriptor
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("ask for a password: %w", err)
	}
	fmt.Fprint(c.diagnose, question+": ")
	s, err := await(ctx, func() (string, error) {
		b, err := term.ReadPassword(fd)
		return string(b), err
	})
	fmt.Fprintln(c.diagnose)
	if err != nil {
		// Where ctx ended the read goes on, and so does the missing echo.
		return "", errors.Join(fmt.Errorf("no password: %w", err), term.Restore(fd, before))
	}
	return s, nil
}

// await waits for f or for the end of ctx.
func await(ctx context.Context, f func() (string, error)) (string, error) {
	type answer struct {
		s   string
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		s, err := f()
		answers <- answer{s, err}
	}()
	select {
	case a := <-answers:
		return a.s, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
