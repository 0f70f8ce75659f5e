package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// seenName is a file with a time of day, as text.
const seenName = "clock"

// Seen is the time of day that SetSeen kept last; zero where it never did.
func (d *Dir) Seen() (time.Time, error) {
	path := filepath.Join(d.path, seenName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("datadir: %w", err)
	}
	seen, err := time.Parse(time.RFC3339, strings.TrimSpace(string(data)))
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %s holds no time", ErrDamaged, path)
	}
	return seen, nil
}

// SetSeen keeps a time of day, to the second, for the next start. It waits for
// the disk; any goroutine may call it, one at a time, until Close.
func (d *Dir) SetSeen(t time.Time) error {
	return replace(d.path, seenName, []byte(t.UTC().Format(time.RFC3339)+"\n"))
}
