// Package datadir is the directory in which a node keeps everything: who it
// is, its log and its store. One process holds it at a time.
//
//	LOCK    locked while a process runs; holds its id
//	node    the node's identity and the format's version; unsettled until log
//	        and store exist, which from then on must be there
//	log/    persistence/raftlog
//	store/  persistence/store
package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// Format is the version of the layout that this build writes, and the newest
// that it reads.
const Format = 1

// identity is the file "node".
type identity struct {
	Format  int    `json:"format"`
	Node    string `json:"node"`
	Settled bool   `json:"settled"`
}

// Dir is an open data directory.
type Dir struct {
	path string
	lock *os.File
	id   identity
	made bool
}

// Open locks the directory, and makes it where there is none.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("datadir: %w", err)
	}
	lock, err := lockFile(filepath.Join(path, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("datadir: %s: %w", path, err)
	}
	d := &Dir{path: path, lock: lock}
	if err := d.identify(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Node is the node's id, Log and Store its folders. New says that Open made
// the identity: Settle is to follow once log and store exist.
func (d *Dir) Node() string  { return d.id.Node }
func (d *Dir) Log() string   { return filepath.Join(d.path, "log") }
func (d *Dir) Store() string { return filepath.Join(d.path, "store") }
func (d *Dir) New() bool     { return d.made }

func (d *Dir) identify() error {
	data, err := os.ReadFile(filepath.Join(d.path, "node"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.beginEmpty()
	case err != nil:
		return fmt.Errorf("datadir: %w", err)
	}
	if err := json.Unmarshal(data, &d.id); err != nil || uuid.Validate(d.id.Node) != nil {
		return fmt.Errorf("datadir: %s is damaged; restore the directory from a backup", filepath.Join(d.path, "node"))
	}
	if d.id.Format > Format {
		return fmt.Errorf("datadir: %s has format %d, this version of Rookery reads up to %d; run a newer one", d.path, d.id.Format, Format)
	}
	if !d.id.Settled {
		return d.begin()
	}
	for _, dir := range d.parts() {
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("datadir: %s belongs to node %s but %s is missing; restore it from a backup: "+
				"what was acknowledged is in there", d.path, d.id.Node, dir)
		}
	}
	return nil
}

func (d *Dir) parts() []string { return []string{d.Log(), d.Store()} }

// beginEmpty refuses a directory that holds data and has lost its identity.
func (d *Dir) beginEmpty() error {
	for _, dir := range d.parts() {
		if _, err := os.Lstat(dir); err == nil {
			return fmt.Errorf("datadir: %s exists, but the file that says whose it is, %s, is missing; "+
				"restore it from a backup, or move the old data away", dir, filepath.Join(d.path, "node"))
		}
	}
	return d.begin()
}

// begin makes the identity, unsettled. Log and store may be left of an attempt
// that was cut short before Settle: it acknowledged nothing, they are removed.
func (d *Dir) begin() error {
	d.made = true
	d.id = identity{Format: Format, Node: uuid.NewString()}
	if err := d.write(); err != nil {
		return err
	}
	for _, dir := range d.parts() {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("datadir: %w", err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("datadir: %w", err)
		}
	}
	return nil
}

// Settle says durably that log and store exist. Nothing may be acknowledged before.
func (d *Dir) Settle() error {
	if d.id.Settled {
		return nil
	}
	d.id.Settled = true
	return d.write()
}

func (d *Dir) write() error {
	data, err := json.Marshal(d.id)
	if err != nil {
		return fmt.Errorf("datadir: %w", err)
	}
	if err := writeDurably(filepath.Join(d.path, "node"), append(data, '\n')); err != nil {
		return fmt.Errorf("datadir: %w", err)
	}
	return nil
}

// writeDurably replaces a file, whole or not at all.
func writeDurably(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }
