package raftlog

import (
	"fmt"
	"os"
	"path/filepath"
)

// Zeros are written in small slices, because Linux makes of one large write
// one large folio, and counts all of it as dirty when a record is written into
// it. They are synced often, because the log that is in use syncs meanwhile,
// and waits behind everything that is queued: 64 MiB at once held it up by 20 ms.
const (
	zeroSlice     = 4 << 10
	zerosUnsynced = 1 << 20
)

// osDisk is a directory of the operating system, held by one process.
type osDisk struct {
	path string
	dir  *os.File
}

func openDir(path string) (*osDisk, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("raftlog: make directory: %w", err)
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("raftlog: open directory: %w", err)
	}
	if err := lockFile(dir); err != nil {
		dir.Close()
		return nil, fmt.Errorf("raftlog: lock %s (is another node using it?): %w", path, err)
	}
	// The directory itself has to survive, or the log in it does not.
	if err := syncParent(path); err != nil {
		dir.Close()
		return nil, err
	}
	return &osDisk{path: path, dir: dir}, nil
}

func syncParent(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("raftlog: resolve %s: %w", path, err)
	}
	parent, err := os.Open(filepath.Dir(abs))
	if err != nil {
		return fmt.Errorf("raftlog: open parent directory: %w", err)
	}
	defer parent.Close()
	if err := parent.Sync(); err != nil {
		return fmt.Errorf("raftlog: sync parent directory: %w", err)
	}
	return nil
}

func (d *osDisk) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (d *osDisk) Create(name string, size int64) (File, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := fill(f, size); err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f}, nil
}

// fill reserves first, so that a full disk is noticed before any block is
// written and the blocks lie together.
func fill(f *os.File, size int64) error {
	if err := reserve(f, size); err != nil {
		return err
	}
	zeros := make([]byte, min(size, zeroSlice))
	for off := int64(0); off < size; off += zeroSlice {
		if _, err := f.WriteAt(zeros[:min(size-off, zeroSlice)], off); err != nil {
			return err
		}
		if (off+zeroSlice)%zerosUnsynced == 0 {
			if err := syncData(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *osDisk) Open(name string) (File, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d *osDisk) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }
func (d *osDisk) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}
func (d *osDisk) Sync() error  { return d.dir.Sync() }
func (d *osDisk) Close() error { return d.dir.Close() }

type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
