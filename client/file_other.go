//go:build !unix

package client

import (
	"errors"
	"os"
)

// OpenFileStore's file needs a lock that ends with its process and a rename
// that replaces; both are there on Unix only so far.
var errNoFileStore = errors.New("there is no file store on this system yet; use a Store of your own")

func lockFile(string) (*os.File, error) { return nil, errNoFileStore }

func unlockFile(f *os.File) error { return f.Close() }

func replaceFile(string, []byte) error { return errNoFileStore }
