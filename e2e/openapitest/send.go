package openapitest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Line sends requests as they stand, byte for byte, on a connection that it
// keeps while it can. It is for one goroutine.
type Line struct {
	Address  string
	Patience time.Duration // for an answer, from the last byte of the request

	conn   net.Conn
	reader *bufio.Reader
}

// Close ends the connection, if there is one.
func (l *Line) Close() {
	if l.conn != nil {
		_ = l.conn.Close() // what was wanted of it is here
		l.conn = nil
	}
}

func (l *Line) dial() error {
	if l.conn != nil {
		return nil
	}
	c, err := net.Dial("tcp", l.Address)
	if err != nil {
		return err
	}
	l.conn, l.reader = c, bufio.NewReader(c)
	return nil
}

// Text is the request with the token, where it has none of its own.
func (l *Line) Text(r *Request, token string) []byte {
	text, _ := l.write(r, token)
	return text
}

func (l *Line) write(r *Request, token string) ([]byte, *Exchange) {
	x := &Exchange{Method: r.Method, Target: r.Target(), Header: http.Header{}}
	if r.Body != nil {
		x.Body = []byte(r.Body.String())
		if r.Text != "" {
			x.Body = []byte(r.Text)
		}
	}
	header := slices.Clone(r.Header)
	if len(x.Body) > 0 && !has(header, "Content-Type") {
		header = append(header, [2]string{"Content-Type", "application/json"})
	}
	if token != "" && !has(header, "Authorization") {
		header = append(header, [2]string{"Authorization", "Bearer " + token})
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", x.Method, x.Target, l.Address)
	for _, h := range header {
		if h[1] != dropped {
			fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
			x.Header.Add(h[0], strings.TrimSpace(h[1]))
		}
	}
	if r.Body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(x.Body))
	}
	b.WriteString("\r\n")
	b.Write(x.Body)
	return b.Bytes(), x
}

// Exchange sends a request and reads its answer.
func (l *Line) Exchange(r *Request, token string) (*Exchange, error) {
	text, x := l.write(r, token)
	for again := l.conn != nil; ; again = false {
		err := l.exchange(text, x)
		// A connection that had been kept may have been closed meanwhile.
		if err == nil || !again || errors.Is(err, ErrSilent) {
			return x, err
		}
	}
}

func has(header [][2]string, name string) bool {
	return slices.ContainsFunc(header, func(h [2]string) bool { return h[0] == name })
}

// Raw sends bytes on a connection of their own, and takes them for a request
// of that method when it reads the answer.
func (l *Line) Raw(text []byte, method string, then After) (*Exchange, error) {
	l.Close()
	defer l.Close()
	if err := l.dial(); err != nil {
		return nil, err
	}
	x := &Exchange{Method: method}
	written := make(chan error, 1)
	go func() {
		_, err := l.conn.Write(text)
		if tcp, ok := l.conn.(*net.TCPConn); ok && then == HangUp {
			err = errors.Join(err, tcp.CloseWrite())
		}
		written <- err
	}()
	err := l.read(x)
	l.conn.Close()
	// Writing may have failed: who answers early need not read the rest.
	if wrote := <-written; wrote != nil && x.Status == 0 && err == nil {
		err = wrote
	}
	return x, err
}

// After is what follows the last byte.
type After uint8

// The ways to go on.
const (
	Wait After = iota
	HangUp
)

// ErrSilent says that Patience has ended.
var ErrSilent = errors.New("no answer in time")

func (l *Line) exchange(text []byte, x *Exchange) error {
	if err := l.dial(); err != nil {
		return err
	}
	written := make(chan error, 1)
	go func() {
		_, err := l.conn.Write(text)
		written <- err
	}()
	err := l.read(x)
	if err != nil {
		l.conn.Close()
	}
	// A server that refuses a long body early closes the connection.
	if wrote := <-written; wrote != nil || err != nil || x.AnswerHeader.Get("Connection") == "close" || x.open() {
		l.Close()
	}
	return err
}

// open says that the answer has no end to wait for.
func (x *Exchange) open() bool {
	return x.Status == http.StatusSwitchingProtocols || x.AnswerHeader.Get("Content-Type") == stream
}

func (l *Line) read(x *Exchange) error {
	if err := l.conn.SetReadDeadline(time.Now().Add(l.Patience)); err != nil {
		return err
	}
	for {
		r, err := http.ReadResponse(l.reader, &http.Request{Method: x.Method})
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return fmt.Errorf("closed without an answer: %w", err)
		}
		if err != nil {
			return l.silent(err)
		}
		if r.StatusCode == http.StatusContinue {
			continue
		}
		x.Status, x.AnswerHeader = r.StatusCode, r.Header
		if r.Close {
			x.AnswerHeader.Set("Connection", "close")
		}
		if x.open() {
			return nil
		}
		x.Answer, err = io.ReadAll(r.Body)
		return l.silent(errors.Join(err, r.Body.Close()))
	}
}

func (l *Line) silent(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return err
}
