package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/google/uuid"
)

var (
	// ErrInUse: another process holds the lock.
	ErrInUse = errors.New("datadir: in use")
	// ErrMissing: a part that must be there is not.
	ErrMissing = errors.New("datadir: missing")
	// ErrNewer: the folder was written by a newer version.
	ErrNewer = errors.New("datadir: the format is newer than this version of Rookery")
	// ErrOlder: the folder was written by a version before this format.
	ErrOlder = errors.New("datadir: the format is older than this version of Rookery")
	// ErrOrigin: the folder was prepared for something else.
	ErrOrigin = errors.New("datadir: prepared for something else")
	// ErrDamaged: the identity cannot be read.
	ErrDamaged = errors.New("datadir: damaged")
)

const (
	lockName  = "LOCK"
	logName   = "log"
	storeName = "store"

	private = 0o700
)

// Dir is an open data directory. One goroutine changes it; any may ask who the
// node is.
type Dir struct {
	path string
	lock *os.File
	id   atomic.Pointer[identity] // what it points to is never changed
}

// Open locks the folder, creates what a new one needs, and refuses one from
// which something was lost.
func Open(path string) (*Dir, error) {
	if path == "" {
		return nil, errors.New("datadir: no folder is named")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("datadir: %w", err)
	}
	if err := makeAll(path); err != nil {
		return nil, fmt.Errorf("datadir: create: %w", err)
	}
	lock, err := acquire(filepath.Join(path, lockName))
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, lock: lock}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Dir) load() error {
	id, err := readIdentity(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.create()
	case err != nil:
		return err
	}
	d.id.Store(&id)
	if d.New() {
		return d.makeParts()
	}
	return errors.Join(
		d.require(logName, "it holds what was acknowledged and is not in the store yet"),
		d.require(storeName, "it holds the mailboxes and accounts"))
}

// create begins a folder, unless parts of an older one are there.
func (d *Dir) create() error {
	for _, part := range []string{logName, storeName} {
		if _, err := os.Lstat(d.part(part)); err == nil {
			return fmt.Errorf("%w: %s has a folder %s/ but no %s. Put the file back from where the folder came from, or name an empty folder",
				ErrMissing, d.path, part, identityName)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("datadir: %w", err)
		}
	}
	d.id.Store(&identity{Format: Format, Node: uuid.NewString(), State: stateNew})
	// First the identity: a start cut short after it finds a new folder.
	if err := writeIdentity(d.path, *d.id.Load()); err != nil {
		return err
	}
	return d.makeParts()
}

func (d *Dir) makeParts() error {
	for _, part := range []string{logName, storeName} {
		if err := os.Mkdir(d.part(part), private); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("datadir: create: %w", err)
		}
	}
	return syncDir(d.path)
}

// require refuses a part that is not there or has nothing in it.
func (d *Dir) require(part, why string) error {
	entries, err := os.ReadDir(d.part(part))
	if err == nil && len(entries) > 0 {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("datadir: %w", err)
	}
	return fmt.Errorf("%w: the %s is missing from %s: %s. Starting without it would lose that silently. Restore the folder %s/, or begin a new node in an empty folder",
		ErrMissing, part, d.path, why, part)
}

// Established says that log and store have been opened for the first time.
// From here on they must be there. Call it before anything is acknowledged.
func (d *Dir) Established() error {
	if !d.New() {
		return nil
	}
	return d.change(func(id *identity) { id.State = stateInUse })
}

func (d *Dir) change(change func(*identity)) error {
	id := *d.id.Load()
	change(&id)
	if err := writeIdentity(d.path, id); err != nil {
		return err
	}
	d.id.Store(&id)
	return nil
}

// New is true until Established: log and store may have to be created.
func (d *Dir) New() bool { return d.id.Load().State == stateNew }

// Node is the id of the node, a UUID.
func (d *Dir) Node() string { return d.id.Load().Node }

// Path is the folder, absolute.
func (d *Dir) Path() string { return d.path }

// Log is the folder of the Raft log.
func (d *Dir) Log() string { return d.part(logName) }

// Store is the folder of Badger.
func (d *Dir) Store() string { return d.part(storeName) }

func (d *Dir) part(name string) string { return filepath.Join(d.path, name) }

// Close gives the lock back.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	err := release(d.lock)
	d.lock = nil
	if err != nil {
		return fmt.Errorf("datadir: unlock: %w", err)
	}
	return nil
}

// makeAll creates path, private, and makes every folder that it had to create
// durable in its parent.
func makeAll(path string) error {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a folder", path)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := makeAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, private); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("datadir: sync: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("datadir: sync %s: %w", path, err)
	}
	return nil
}

// Resident is the node that is at home in a folder, as can be seen from outside.
type Resident struct {
	Node    string // UUID; empty where the folder is not there or belongs to nobody
	Cluster string // UUID; empty until it is known
	// Begun says that the node has been in use, or in a cluster.
	Begun bool
}

// Look who is at home in a folder, without a lock, and without making anything.
func Look(path string) (Resident, error) {
	id, err := readIdentity(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Resident{}, nil
	}
	if err != nil {
		return Resident{}, err
	}
	return Resident{Node: id.Node, Cluster: id.Cluster, Begun: id.State != stateNew || id.Number != 0}, nil
}
