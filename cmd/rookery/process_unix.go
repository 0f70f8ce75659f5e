//go:build unix

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// keepPrivate has every file that the process makes be its owner's alone: keys
// and messages are among them.
func keepPrivate() { unix.Umask(0o077) }

// raiseDescriptorLimit raises the soft limit of descriptors to the hard one,
// and says what is then allowed.
func raiseDescriptorLimit() (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("read the descriptor limit: %w", err)
	}
	if l.Cur == l.Max {
		return l.Cur, nil
	}
	was := l.Cur
	l.Cur = l.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return was, fmt.Errorf("raise the descriptor limit: %w", err)
	}
	return l.Cur, nil
}
