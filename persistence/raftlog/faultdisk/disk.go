// Package faultdisk simulates a directory on a disk that fails: by power cuts
// that forget any part of what was not synced, by errors, by a full disk, by
// bits that flip. It is for tests, and deterministic as long as its user is.
//
// The model is that of a file system with ordered metadata and none for data:
// sectors of 512 bytes are atomic and independent of each other until the file
// is synced, names until the directory is, and a file's size until either.
package faultdisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"github.com/rookery-im/rookery/persistence/raftlog"
)

const sector = 512

// ErrPowerCut is returned by everything that was opened before a power cut.
var ErrPowerCut = errors.New("faultdisk: the power was cut")

// Op is what a fault can befall.
type Op string

// The operations of a disk and its files.
const (
	List    Op = "list"
	Create  Op = "create"
	Open    Op = "open"
	Remove  Op = "remove"
	Rename  Op = "rename"
	SyncDir Op = "syncdir"
	Read    Op = "read"
	Write   Op = "write"
	Sync    Op = "sync"
)

// Fault is asked before each operation; an error it returns befalls it. A
// write that fails has stored a random part of its beginning.
type Fault func(op Op, name string) error

// Disk is the simulated directory.
type Disk struct {
	mu       sync.Mutex
	random   *rand.Rand
	files    map[string]*content // as a program sees it
	durable  map[string]*content // names that a power cut leaves
	fault    Fault
	capacity int64 // 0: unlimited
	epoch    int   // counts power cuts
}

// content is what is in a file.
type content struct {
	current, durable []byte
	dirty            map[int]struct{} // sectors of current that durable lacks
}

var _ raftlog.Disk = (*Disk)(nil)

// New returns an empty disk whose choices come from the seed.
func New(seed uint64) *Disk {
	return &Disk{
		random:  rand.New(rand.NewPCG(seed, seed)),
		files:   make(map[string]*content),
		durable: make(map[string]*content),
	}
}

// SetFault makes operations fail; nil stops that.
func (d *Disk) SetFault(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// SetCapacity limits the bytes of all files together: Create beyond it fails
// with ENOSPC.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// Keep says what a power cut leaves of what was not synced.
type Keep int

// Some keeps each sector and each name by the toss of a coin, Pages the same
// by pages of 4096 bytes.
const (
	Nothing Keep = iota
	Some
	Pages
	Everything
)

// PowerCut forgets part of what was not synced. What was open fails from now
// on; the disk can be opened again at once.
func (d *Disk) PowerCut(keep Keep) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoch++
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		d.files[name].settle(keep, d.random)
	}
	names := make(map[string]*content)
	all := maps.Clone(d.files)
	maps.Copy(all, d.durable)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		from := d.durable
		if d.keeps(keep) {
			from = d.files
		}
		if c := from[name]; c != nil {
			names[name] = c
			c.settle(keep, d.random)
		}
	}
	d.files, d.durable = names, maps.Clone(names)
}

func (d *Disk) keeps(keep Keep) bool {
	return keep == Everything || keep != Nothing && d.random.IntN(2) == 0
}

// settle decides on each dirty sector.
func (c *content) settle(keep Keep, random *rand.Rand) {
	if len(c.durable) != len(c.current) { // the size was never synced
		if keep == Nothing || keep != Everything && random.IntN(2) == 0 {
			c.current = slices.Clone(c.durable)
			clear(c.dirty)
			return
		}
		c.durable = append(c.durable, make([]byte, len(c.current)-len(c.durable))...)
	}
	const sectorsPerPage = 8
	kept := make(map[int]bool)
	for _, s := range slices.Sorted(maps.Keys(c.dirty)) {
		unit := s
		if keep == Pages {
			unit = s / sectorsPerPage
		}
		if _, ok := kept[unit]; !ok {
			kept[unit] = keep == Everything || keep != Nothing && random.IntN(2) == 0
		}
		if kept[unit] {
			c.store(s)
		}
	}
	c.current = slices.Clone(c.durable)
	clear(c.dirty)
}

func (c *content) store(s int) {
	end := min((s+1)*sector, len(c.current))
	copy(c.durable[s*sector:end], c.current[s*sector:end])
}

// Kill ends the process that uses the disk: it forgets nothing.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoch++
}

// Clone returns a copy with another seed.
func (d *Disk) Clone(seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := New(seed)
	copies := make(map[*content]*content)
	dup := func(from *content) *content {
		if copies[from] == nil {
			copies[from] = &content{slices.Clone(from.current), slices.Clone(from.durable), maps.Clone(from.dirty)}
		}
		return copies[from]
	}
	for name, f := range d.files {
		c.files[name] = dup(f)
	}
	for name, f := range d.durable {
		c.durable[name] = dup(f)
	}
	return c
}

// Names returns the files, sorted.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.files))
}

// Bytes returns a file as it is read; changes to it change the file. It is nil
// where there is none.
func (d *Disk) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name]; f != nil {
		return f.current
	}
	return nil
}

// Put replaces a file's content.
func (d *Disk) Put(name string, b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &content{slices.Clone(b), slices.Clone(b), make(map[int]struct{})}
	d.files[name], d.durable[name] = c, c
}

// check returns the error that befalls the operation.
func (d *Disk) check(op Op, name string) error {
	if d.fault == nil {
		return nil
	}
	if err := d.fault(op, name); err != nil {
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	return nil
}

// List names the files.
func (d *Disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(List, ""); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(d.files)), nil
}

// Create makes a file of zeros.
func (d *Disk) Create(name string, size int64) (raftlog.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	c := &content{dirty: make(map[int]struct{})}
	d.files[name] = c // a failed creation leaves an empty file
	if err := d.check(Create, name); err != nil {
		return nil, err
	}
	used := size
	for _, f := range d.files {
		used += int64(len(f.current))
	}
	if d.capacity > 0 && used > d.capacity {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	c.current = make([]byte, size)
	return &file{disk: d, name: name, content: c, epoch: d.epoch}, nil
}

// Open opens a file.
func (d *Disk) Open(name string) (raftlog.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(Open, name); err != nil {
		return nil, err
	}
	c := d.files[name]
	if c == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{disk: d, name: name, content: c, epoch: d.epoch}, nil
}

// Remove removes a file's name.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(Remove, name); err != nil {
		return err
	}
	if d.files[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(d.files, name)
	return nil
}

// Rename gives a file another name. A power cut may leave either name, both, or
// none, until the directory is synced: that is more than journals do.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(Rename, from); err != nil {
		return err
	}
	switch {
	case d.files[from] == nil:
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	case d.files[to] != nil:
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

// Sync makes the names durable.
func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(SyncDir, ""); err != nil {
		return err
	}
	d.durable = maps.Clone(d.files)
	return nil
}

// file is an open file.
type file struct {
	disk    *Disk
	name    string
	content *content
	epoch   int
	closed  bool
}

func (f *file) check(op Op) error {
	switch {
	case f.epoch != f.disk.epoch:
		return ErrPowerCut
	case f.closed:
		return &fs.PathError{Op: string(op), Path: f.name, Err: fs.ErrClosed}
	}
	return f.disk.check(op, f.name)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.check(Read); err != nil {
		return 0, err
	}
	if off >= int64(len(f.content.current)) {
		return 0, io.EOF
	}
	n := copy(p, f.content.current[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.check(Write)
	if errors.Is(err, ErrPowerCut) || errors.Is(err, fs.ErrClosed) {
		return 0, err
	}
	if err != nil {
		const word = 8 // the least that is copied at once
		p = p[:f.disk.random.IntN(len(p)/word+1)*word]
	}
	if off+int64(len(p)) > int64(len(f.content.current)) {
		return 0, fmt.Errorf("faultdisk: write past the end of %s, which changes metadata", f.name)
	}
	copy(f.content.current[off:], p)
	for s := int(off) / sector; s*sector < int(off)+len(p); s++ {
		f.content.dirty[s] = struct{}{}
	}
	return len(p), err
}

// Sync that fails has made a random part durable and forgets the rest, as
// Linux does: it is not written by the next one either.
func (f *file) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.check(Sync)
	if errors.Is(err, ErrPowerCut) || errors.Is(err, fs.ErrClosed) {
		return err
	}
	c := f.content
	if err == nil && len(c.durable) < len(c.current) {
		c.durable = append(c.durable, make([]byte, len(c.current)-len(c.durable))...)
	}
	for _, s := range slices.Sorted(maps.Keys(c.dirty)) {
		if err == nil || (s+1)*sector <= len(c.durable) && f.disk.random.IntN(2) == 0 {
			c.store(s)
		}
	}
	clear(c.dirty)
	return err
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.check(Read); err != nil {
		return 0, err
	}
	return int64(len(f.content.current)), nil
}

// Close always succeeds, so that what a power cut left open can be closed.
func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.closed = true
	return nil
}
