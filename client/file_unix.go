//go:build unix

package client

import (
	"errors"
	"os"
	"syscall"

	"github.com/google/renameio/v2"
)

// lockFile takes the lock of a store, or says ErrStoreLocked. It ends with the
// file, so also with the process.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrStoreLocked
		}
		return nil, err
	}
	return f, nil
}

// unlockFile gives the lock back. Closing alone would leave it with a process
// that is just being started, until that has closed what it inherited.
func unlockFile(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// replaceFile puts data, synced, in the place of a file.
func replaceFile(path string, data []byte) error {
	return renameio.WriteFile(path, data, 0o600, renameio.IgnoreUmask())
}
