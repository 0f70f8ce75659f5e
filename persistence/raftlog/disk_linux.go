package raftlog

import (
	"errors"
	"os"
	"syscall"
)

func reserve(f *os.File, size int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case err == nil, errors.Is(err, syscall.EOPNOTSUPP):
			return nil // writing the zeros reserves as well
		case !errors.Is(err, syscall.EINTR):
			return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
	}
}

// syncData repeats only what a signal interrupted. Any other failure may have
// dropped the dirty pages, so that a second call would succeed over lost data.
func syncData(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EINTR):
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// lockFile is released by the kernel when the process ends.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
