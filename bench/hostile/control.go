package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Control is the attack that is none: its process takes as much of the
// processors as an attack's did, for sockets and the kernel, and does nothing to
// the node. What others are slower by with an attack than with this is the
// node's doing; what they are slower by with this is the machine's, which is the
// attacker's as well and would not be where attackers are elsewhere.
const Control = "control"

// controlStep is short, so that a control disturbs less than the attack did,
// rather than more: else it would hide what the node does.
const controlStep = time.Millisecond

// control keeps a process at so many cores.
func control(cores float64) Attack {
	return Attack{Name: Control, Run: func(ctx context.Context, f *Field, s *Score) error {
		near, far, err := f.pipe(ctx)
		if err != nil {
			return fmt.Errorf("hostile: control: %w", err)
		}
		echoed := make(chan error, 1)
		go func() {
			_, err := io.Copy(far, far)
			echoed <- err
		}()
		err = spend(ctx, cores, func() error { return bounce(near, s) })
		err = errors.Join(err, near.Close(), ignoreClosed(<-echoed), far.Close())
		return err
	}}
}

// pipe is a connection over loopback, both ends of it.
func (f *Field) pipe(ctx context.Context) (near, far net.Conn, err error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, f.Subnet, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var d net.Dialer
	if near, err = d.DialContext(ctx, "tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if far, err = l.Accept(); err != nil {
		return nil, nil, errors.Join(err, near.Close())
	}
	return near, far, nil
}

// bounce sends a few bytes there and back.
func bounce(c net.Conn, s *Score) error {
	var b [256]byte
	if _, err := c.Write(b[:]); err != nil {
		return err
	}
	s.Frames.Add(1)
	s.Sent.Add(int64(len(b)))
	_, err := io.ReadFull(c, b[:])
	return err
}

// spend works until the context ends, for as long as the process has had less
// of the processors than so many cores.
func spend(ctx context.Context, cores float64, work func() error) error {
	begin, cpu := time.Now(), processorTime()
	for ctx.Err() == nil {
		for float64(processorTime()-cpu) < cores*float64(time.Since(begin)) && ctx.Err() == nil {
			if err := work(); err != nil {
				return err
			}
		}
		breathe(ctx, controlStep)
	}
	return nil
}
