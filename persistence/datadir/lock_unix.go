//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package datadir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// acquire takes the lock, which ends with the process however that ends. What
// the file says is only for the message to who comes second.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("datadir: lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s is held by %s", ErrInUse, path, holder(f))
	} else if err == nil {
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt(fmt.Appendf(nil, "process %d since %s\n", os.Getpid(), time.Now().UTC().Format(time.RFC3339)), 0)
		}
	}
	if err != nil {
		f.Close()
		if errors.Is(err, ErrInUse) {
			return nil, err
		}
		return nil, fmt.Errorf("datadir: lock %s: %w", path, err)
	}
	return f, nil
}

func holder(f *os.File) string {
	said, err := io.ReadAll(io.NewSectionReader(f, 0, 256))
	if who := strings.TrimSpace(string(said)); err == nil && who != "" {
		return who
	}
	return "another process"
}

// release leaves the file: removing it would let two hold a lock of that name.
func release(f *os.File) error { return f.Close() }
