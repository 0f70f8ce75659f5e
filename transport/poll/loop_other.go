//go:build !linux

package poll

import (
	"errors"
	"net"
	"time"
)

// Supported says whether Attach works on this system.
const Supported = false

// ErrUnsupported is what Attach and Detach say where there is no epoll.
var ErrUnsupported = errors.New("poll: only Linux has epoll")

// Loop only waits and wakes here.
type Loop struct {
	bufs *Buffers
	wake chan struct{}
}

// New makes a loop without connections.
func New(cfg Config, _ Handler) (*Loop, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Loop{bufs: &Buffers{Keep: cfg.withDefaults().KeepBytes}, wake: make(chan struct{}, 1)}, nil
}

// Wait waits until it is woken or the timeout is over; for ever where it is negative.
func (l *Loop) Wait(timeout time.Duration) error {
	if timeout < 0 {
		<-l.wake
		return nil
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-l.wake:
	case <-timer.C:
	}
	return nil
}

// Wake makes the present or the next Wait return.
func (l *Loop) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Buffers is the loop's pool.
func (l *Loop) Buffers() *Buffers { return l.bufs }

// Detach is not supported.
func Detach(net.Conn) (int, error) { return -1, ErrUnsupported }

// LastWords has nobody to speak to.
func LastWords(int, []byte) {}

// The rest never has a connection to act on.

func (l *Loop) Attach(int) (ID, error)       { return 0, ErrUnsupported }
func (l *Loop) Carry(int, func(ID)) error    { return ErrUnsupported }
func (l *Loop) StandIn() (ID, error)         { return 0, ErrUnsupported }
func (l *Loop) Stats() Stats                 { return Stats{} }
func (l *Loop) Len() int                     { return 0 }
func (l *Loop) Queued() int                  { return 0 }
func (l *Loop) Write(ID, []byte, []byte) int { return 0 }
func (l *Loop) Pending(ID) int               { return 0 }
func (l *Loop) Discard(ID)                   {}
func (l *Loop) Flush()                       {}
func (l *Loop) Pause(ID)                     {}
func (l *Loop) Resume(ID)                    {}
func (l *Loop) Shutdown(ID)                  {}
func (l *Loop) Close(ID)                     {}
func (l *Loop) Stop() error                  { return nil }
