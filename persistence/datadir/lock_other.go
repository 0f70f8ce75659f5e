//go:build !unix

package datadir

import "os"

// lockFile keeps the file open; where there is no flock nothing stops a second
// process.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}
