package hostile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// User is an account with a token for each of its devices.
type User struct {
	Name   string
	Tokens []string
}

// Field is where an attack takes place.
type Field struct {
	// Address of the node, host and port.
	Address string
	// Attackers have accounts of their own.
	Attackers []User
	// Victim is the name of somebody whom the attackers know of.
	Victim string
	// Subnet is the second byte of the source addresses, 127.Subnet.x.y.
	Subnet byte
	// Conns is how many connections an attack that only holds them holds.
	Conns int
}

// Attack is one way to do harm.
type Attack struct {
	Name string
	// Bound names what keeps it harmless.
	Bound string
	// Run goes on until the context ends, and leaves no goroutine behind. The
	// error is one of the attacker's own, not what the node did about it.
	Run func(ctx context.Context, f *Field, s *Score) error
}

// Score counts what came of an attack.
type Score struct {
	Opened  atomic.Int64 // connections
	Refused atomic.Int64 // connections that were not, or not to the end
	Ended   atomic.Int64 // connections that the node ended
	Sent    atomic.Int64 // bytes
	Frames  atomic.Int64 // frames or requests
	Errors  atomic.Int64 // error frames and problems in answer

	mu    sync.Mutex
	codes map[string]int
}

// Code counts a status or close code, or an error's code and reason.
func (s *Score) Code(format string, args ...any) {
	code := fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.codes == nil {
		s.codes = map[string]int{}
	}
	if _, known := s.codes[code]; known || len(s.codes) < 64 {
		s.codes[code]++
	}
}

// String is the score for people.
func (s *Score) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d opened, %d refused, %d ended, %d frames, %d MB, answers %v",
		s.Opened.Load(), s.Refused.Load(), s.Ended.Load(), s.Frames.Load(), s.Sent.Load()>>20, s.codes)
}

// source is the i-th of the field's addresses; all of them are one where the
// field is of one address.
func (f *Field) source(i int) net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, f.Subnet, byte(1+i/250), byte(1+i%250))}
}

// dial from the i-th address. The kernel's queue of a listener that pauses
// makes dialling slow, so it takes as long as the context.
func (f *Field) dial(ctx context.Context, i int, s *Score) (net.Conn, error) {
	d := net.Dialer{LocalAddr: f.source(i), KeepAlive: -1}
	c, err := d.DialContext(ctx, "tcp", f.Address)
	if err != nil {
		if ctx.Err() == nil {
			s.Refused.Add(1)
			s.Code("%s", dialFault(err))
		}
		return nil, err
	}
	s.Opened.Add(1)
	return c, nil
}

// dialFault is the kernel's word for why a connection could not be made.
func dialFault(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return "dial: " + errno.Error()
	}
	return "dial"
}

// hold runs n connections at once, each by work until the context ends; where
// the node ends one, another takes its place after a breath.
func (f *Field) hold(ctx context.Context, n int, s *Score, work func(ctx context.Context, i int) error) error {
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			for ctx.Err() == nil {
				if err := work(ctx, i); err != nil && ctx.Err() == nil {
					s.Ended.Add(1)
					breathe(ctx, 50*time.Millisecond)
				}
			}
		})
	}
	running.Wait()
	return nil
}

func breathe(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// raw runs f with a bare connection that is closed when the context ends.
func (f *Field) raw(ctx context.Context, i int, s *Score, use func(c net.Conn) error) error {
	c, err := f.dial(ctx, i, s)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	err = use(c)
	return errors.Join(err, ignoreClosed(c.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// drip writes text byte by byte.
func drip(ctx context.Context, c net.Conn, s *Score, text []byte, every time.Duration) error {
	for i := range text {
		if _, err := c.Write(text[i : i+1]); err != nil {
			return err
		}
		s.Sent.Add(1)
		breathe(ctx, every)
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// untilEnd reads and forgets until the node ends the connection.
func untilEnd(c net.Conn) error {
	b := make([]byte, 512)
	for {
		if _, err := c.Read(b); err != nil {
			return err
		}
	}
}

func number(n int) string { return strconv.Itoa(n) }
