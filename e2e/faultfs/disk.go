package faultfs

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	pageSize = 4096
	sector   = 512
)

// Op is what a fault can befall.
type Op string

// The operations. SyncDir is the sync of a folder; Allocate is fallocate.
const (
	Create   Op = "create"
	Remove   Op = "remove"
	Rename   Op = "rename"
	Read     Op = "read"
	Write    Op = "write"
	Sync     Op = "sync"
	SyncDir  Op = "syncdir"
	Allocate Op = "allocate"
)

// Fault is asked before each operation, with the name of the file within its
// folder. It may block, as a slow disk does; an error befalls the operation. It
// is called on many goroutines.
type Fault func(op Op, name string) syscall.Errno

// Keep says what a power cut leaves of what was not synced.
type Keep int

// Nothing, some of it, or everything, as a kill of the process does.
const (
	Nothing Keep = iota
	Some
	Everything
)

// Disk is the state of the file system.
type Disk struct {
	mu       sync.Mutex
	random   *rand.Rand
	root     *inode
	journal  []metadata // what was done to names and sizes and is not durable, in order
	last     uint64     // inode number
	mounts   int        // what was mounted before the last cut answers EIO
	fault    Fault
	capacity int64 // bytes; 0 is none
}

type page [pageSize]byte

// inode is a file or a folder. A page that is not dirty may be in both tables
// and is not written to.
type inode struct {
	id   uint64
	born time.Time

	// a file
	pages, synced    map[int64]*page
	dirty            map[int64]bool
	size, syncedSize int64
	reserved         int64

	// a folder
	names, syncedNames map[string]*inode
}

func (i *inode) folder() bool { return i.names != nil }

// metadata is one change of a folder's names or of a file's size.
type metadata struct {
	of          *inode
	remove, add string // "" for none
	what        *inode // added
	size        int64
}

func (m metadata) applyNames(names map[string]*inode) {
	delete(names, m.remove)
	if m.add != "" {
		names[m.add] = m.what
	}
}

// settle makes the change durable.
func (m metadata) settle() {
	if m.of.folder() {
		m.applyNames(m.of.syncedNames)
		return
	}
	m.of.shorten(m.of.synced, m.size)
	m.of.syncedSize = m.size
}

// New is an empty disk whose choices come from the seed.
func New(seed uint64) *Disk {
	d := &Disk{random: rand.New(rand.NewPCG(seed, 0xd15c))}
	d.root = d.newFolder()
	return d
}

func (d *Disk) newInode() *inode {
	d.last++
	return &inode{id: d.last, born: time.Unix(int64(d.last), 0)}
}

func (d *Disk) newFolder() *inode {
	i := d.newInode()
	i.names, i.syncedNames = map[string]*inode{}, map[string]*inode{}
	return i
}

func (d *Disk) newFile() *inode {
	i := d.newInode()
	i.pages, i.synced, i.dirty = map[int64]*page{}, map[int64]*page{}, map[int64]bool{}
	return i
}

// SetFault makes operations fail or wait; nil stops that.
func (d *Disk) SetFault(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// SetCapacity bounds the bytes of all files together; beyond it is ENOSPC. 0 is no bound.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// Used is what all files take.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.root.used()
}

func (i *inode) used() int64 {
	n := max(i.reserved, int64(len(i.pages))*pageSize)
	for _, child := range i.names {
		n += child.used()
	}
	return n
}

// roomLocked says whether more bytes fit.
func (d *Disk) roomLocked(more int64) bool {
	return d.capacity == 0 || d.root.used()+more <= d.capacity
}

// check asks the fault; mu is not held, so that one file's wait is not another's.
func (d *Disk) check(op Op, name string) syscall.Errno {
	d.mu.Lock()
	fault := d.fault
	d.mu.Unlock()
	if fault == nil {
		return 0
	}
	return fault(op, name)
}

// PowerCut forgets. Whatever is mounted answers EIO from then on.
func (d *Disk) PowerCut(keep Keep) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mounts++
	n := len(d.journal)
	switch keep {
	case Nothing:
		n = 0
	case Some:
		n = d.random.IntN(n + 1)
	}
	for _, m := range d.journal[:n] {
		m.settle()
	}
	d.journal = nil
	d.cut(d.root, keep)
}

func (d *Disk) cut(i *inode, keep Keep) {
	if !i.folder() {
		d.cutFile(i, keep)
		return
	}
	i.names = maps.Clone(i.syncedNames)
	for _, name := range slices.Sorted(maps.Keys(i.names)) {
		d.cut(i.names[name], keep)
	}
}

func (d *Disk) keeps(keep Keep) bool {
	return keep == Everything || keep == Some && d.random.IntN(2) == 0
}

// cutFile decides on each page.
func (d *Disk) cutFile(i *inode, keep Keep) {
	for _, n := range slices.Sorted(maps.Keys(i.dirty)) {
		if !d.keeps(keep) {
			continue
		}
		var p page
		if was := i.synced[n]; was != nil {
			p = *was
		}
		torn := keep == Some && d.random.IntN(4) == 0
		for s := 0; s < pageSize; s += sector {
			if !torn || d.random.IntN(2) == 0 {
				copy(p[s:s+sector], i.pages[n][s:s+sector])
			}
		}
		i.synced[n] = &p
	}
	i.shorten(i.synced, i.syncedSize)
	i.size, i.pages = i.syncedSize, maps.Clone(i.synced)
	clear(i.dirty)
}

// shorten drops what lies beyond the size, so that it is zero when the file grows.
func (i *inode) shorten(pages map[int64]*page, size int64) {
	for n, p := range pages {
		switch from := size - n*pageSize; {
		case from <= 0:
			delete(pages, n)
		case from < pageSize:
			short := *p
			clear(short[from:])
			pages[n] = &short
		}
	}
}

func (i *inode) read(p []byte, off int64) int {
	if off >= i.size {
		return 0
	}
	p = p[:min(int64(len(p)), i.size-off)]
	for done := 0; done < len(p); {
		at := off + int64(done)
		from := int(at % pageSize)
		n := min(pageSize-from, len(p)-done)
		if pg := i.pages[at/pageSize]; pg != nil {
			copy(p[done:done+n], pg[from:])
		} else {
			clear(p[done : done+n])
		}
		done += n
	}
	return len(p)
}

// writeLocked returns false where there is no room; then a beginning is written.
func (d *Disk) writeLocked(i *inode, p []byte, off int64) (int, bool) {
	for done := 0; done < len(p); {
		at := off + int64(done)
		number, from := at/pageSize, int(at%pageSize)
		n := min(pageSize-from, len(p)-done)
		if i.pages[number] == nil && at >= i.reserved && !d.roomLocked(pageSize) {
			return done, false
		}
		copy(i.writable(number)[from:], p[done:done+n])
		done += n
		if end := at + int64(n); end > i.size {
			d.resizeLocked(i, end)
		}
	}
	return len(p), true
}

// writable is a page that is in no other table.
func (i *inode) writable(number int64) *page {
	p := i.pages[number]
	if p != nil && i.dirty[number] {
		return p
	}
	own := new(page)
	if p != nil {
		*own = *p
	}
	i.pages[number], i.dirty[number] = own, true
	return own
}

func (d *Disk) resizeLocked(i *inode, size int64) {
	if size == i.size {
		return
	}
	if size < i.size {
		i.shorten(i.pages, size)
		i.reserved = min(i.reserved, size)
		maps.DeleteFunc(i.dirty, func(n int64, _ bool) bool { return i.pages[n] == nil })
	}
	i.size = size
	d.journal = append(d.journal, metadata{of: i, size: size})
}

// syncLocked makes a file durable with its size, or everything that was done to
// names and sizes so far.
func (d *Disk) syncLocked(i *inode) {
	rest := d.journal[:0]
	for _, m := range d.journal {
		if i.folder() || m.of == i {
			m.settle()
		} else {
			rest = append(rest, m)
		}
	}
	clear(d.journal[len(rest):])
	d.journal = rest
	for n := range i.dirty {
		i.synced[n] = i.pages[n]
	}
	clear(i.dirty)
}

// failedSyncLocked makes a random part durable, and forgets that the rest is not:
// the next sync does not write it either, as on Linux.
func (d *Disk) failedSyncLocked(i *inode) {
	if i.folder() {
		return
	}
	for _, n := range slices.Sorted(maps.Keys(i.dirty)) {
		if d.random.IntN(2) == 0 {
			i.synced[n] = i.pages[n]
		}
	}
	clear(i.dirty)
}

// changeLocked applies and notes a change of a folder's names.
func (d *Disk) changeLocked(m metadata) {
	m.applyNames(m.of.names)
	d.journal = append(d.journal, m)
}

// Clone is a copy with another seed, without faults. Nothing may be mounted.
func (d *Disk) Clone(seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := New(seed)
	c.capacity, c.last = d.capacity, d.last
	copies := map[*inode]*inode{}
	c.root = d.root.clone(copies)
	for _, m := range d.journal {
		m.of, m.what = m.of.clone(copies), m.what.clone(copies)
		c.journal = append(c.journal, m)
	}
	return c
}

func (i *inode) clone(copies map[*inode]*inode) *inode {
	if i == nil || copies[i] != nil {
		return copies[i]
	}
	c := *i
	copies[i] = &c
	c.pages, c.synced, c.dirty = maps.Clone(i.pages), maps.Clone(i.synced), maps.Clone(i.dirty)
	for n := range i.dirty { // written to in place
		own := *i.pages[n]
		c.pages[n] = &own
	}
	c.names, c.syncedNames = cloneNames(i.names, copies), cloneNames(i.syncedNames, copies)
	return &c
}

func cloneNames(names map[string]*inode, copies map[*inode]*inode) map[string]*inode {
	if names == nil {
		return nil
	}
	out := map[string]*inode{}
	for name, i := range names {
		out[name] = i.clone(copies)
	}
	return out
}

// Flip changes one bit of a file, durably, and says where: path is of folders
// and file, from the root. It returns false where the file is empty or missing.
func (d *Disk) Flip(path []string, at int64, bit uint) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.findLocked(path)
	if i == nil || i.folder() || at >= i.size {
		return false
	}
	i.writable(at / pageSize)[at%pageSize] ^= 1 << (bit % 8)
	d.syncLocked(i)
	return true
}

// Cut shortens a file, durably.
func (d *Disk) Cut(path []string, size int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.findLocked(path)
	if i == nil || i.folder() || size >= i.size {
		return false
	}
	d.resizeLocked(i, size)
	d.syncLocked(i)
	return true
}

// Delete removes a file, durably.
func (d *Disk) Delete(path []string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	folder := d.findLocked(path[:len(path)-1])
	if i := d.findLocked(path); i == nil || i.folder() {
		return false
	}
	d.changeLocked(metadata{of: folder, remove: path[len(path)-1]})
	d.syncLocked(folder)
	return true
}

// InUse lists where the file's sectors begin that hold anything but zeros.
func (d *Disk) InUse(path []string) []int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.findLocked(path)
	if i == nil || i.folder() {
		return nil
	}
	var used []int64
	var zeros [sector]byte
	for _, number := range slices.Sorted(maps.Keys(i.pages)) {
		for from := 0; from < pageSize; from += sector {
			if at := number*pageSize + int64(from); at < i.size && [sector]byte(i.pages[number][from:from+sector]) != zeros {
				used = append(used, at)
			}
		}
	}
	return used
}

func (d *Disk) findLocked(path []string) *inode {
	i := d.root
	for _, name := range path {
		if i == nil || !i.folder() {
			return nil
		}
		i = i.names[name]
	}
	return i
}

// File is one file of the disk.
type File struct {
	Path []string // folders and name, from the root
	Size int64
}

// Files lists the files, sorted by path.
func (d *Disk) Files() []File {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []File
	var walk func(i *inode, path []string)
	walk = func(i *inode, path []string) {
		if !i.folder() {
			out = append(out, File{slices.Clone(path), i.size})
			return
		}
		for _, name := range slices.Sorted(maps.Keys(i.names)) {
			walk(i.names[name], append(path, name))
		}
	}
	walk(d.root, nil)
	return out
}
