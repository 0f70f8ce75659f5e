package faultfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount serves the disk at the folder until unmount is called, which fails
// while a process has a file open there. It needs /dev/fuse and the right to
// mount.
func (d *Disk) Mount(dir string) (unmount func() error, err error) {
	d.mu.Lock()
	root := &node{disk: d, inode: d.root, mount: d.mounts}
	d.mu.Unlock()
	long := time.Hour // nobody else changes anything
	server, err := fs.Mount(dir, root, &fs.Options{
		EntryTimeout: &long, AttrTimeout: &long,
		RootStableAttr: &fs.StableAttr{Ino: root.inode.id},
		MountOptions: fuse.MountOptions{
			DirectMountStrict: true, FsName: "faultfs", Name: "faultfs",
			MaxWrite: 1 << 20, ExplicitDataCacheControl: true, DisableReadDirPlus: true,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("faultfs: mount %s: %w", dir, err)
	}
	closeOnExec()
	return func() error {
		if err := server.Unmount(); err != nil {
			return fmt.Errorf("faultfs: unmount %s: %w", dir, err)
		}
		server.Wait()
		return nil
	}, nil
}

// closeOnExec keeps /dev/fuse to this process. With a child that has it open the
// mount outlives its server, and who uses it then waits for ever, kill -9 or not.
func closeOnExec() {
	const descriptors = "/proc/self/fd"
	entries, _ := os.ReadDir(descriptors)
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(descriptors, e.Name())); err != nil || to != "/dev/fuse" {
			continue
		}
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			syscall.CloseOnExec(fd)
		}
	}
}

// node is an inode as one mount sees it.
type node struct {
	fs.Inode
	disk  *Disk
	inode *inode
	mount int
	name  string // within its folder, for faults
}

var _ interface {
	fs.NodeLookuper
	fs.NodeReaddirer
	fs.NodeCreater
	fs.NodeMkdirer
	fs.NodeUnlinker
	fs.NodeRmdirer
	fs.NodeRenamer
	fs.NodeGetattrer
	fs.NodeStatxer
	fs.NodeSetattrer
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeFsyncer
	fs.NodeAllocater
	fs.NodeStatfser
} = (*node)(nil)

// enter begins an operation: it asks the fault, and locks the disk where it
// returns 0. After a power cut nothing works.
func (n *node) enter(op Op, name string) syscall.Errno {
	if op != "" {
		if errno := n.disk.check(op, name); errno != 0 {
			return errno
		}
	}
	n.disk.mu.Lock()
	if n.mount != n.disk.mounts {
		n.disk.mu.Unlock()
		return syscall.EIO
	}
	return 0
}

func (n *node) leave() { n.disk.mu.Unlock() }

func (n *node) child(ctx context.Context, i *inode, name string, out *fuse.EntryOut) *fs.Inode {
	attr(i, &out.Attr)
	return n.NewInode(ctx, &node{disk: n.disk, inode: i, mount: n.mount, name: name}, fs.StableAttr{Mode: mode(i) &^ 0o7777, Ino: i.id})
}

func mode(i *inode) uint32 {
	if i.folder() {
		return syscall.S_IFDIR | 0o700
	}
	return syscall.S_IFREG | 0o600
}

func attr(i *inode, out *fuse.Attr) {
	out.Ino, out.Mode, out.Size, out.Nlink = i.id, mode(i), uint64(i.size), 1
	out.Blocks, out.Blksize = uint64(i.size+511)/512, pageSize
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.enter("", name); errno != 0 {
		return nil, errno
	}
	defer n.leave()
	i := n.inode.names[name]
	if i == nil {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, i, name, out), 0
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	if errno := n.enter("", ""); errno != 0 {
		return nil, errno
	}
	defer n.leave()
	var list []fuse.DirEntry
	for name, i := range n.inode.names {
		list = append(list, fuse.DirEntry{Name: name, Ino: i.id, Mode: mode(i)})
	}
	slices.SortFunc(list, func(a, b fuse.DirEntry) int { return int(a.Ino) - int(b.Ino) })
	return fs.NewListDirStream(list), 0
}

func (n *node) Create(ctx context.Context, name string, flags, _ uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.enter(Create, name); errno != 0 {
		return nil, nil, 0, errno
	}
	defer n.leave()
	i := n.inode.names[name]
	switch {
	case i == nil:
		i = n.disk.newFile()
		n.disk.changeLocked(metadata{of: n.inode, add: name, what: i})
	case flags&syscall.O_EXCL != 0:
		return nil, nil, 0, syscall.EEXIST
	case flags&syscall.O_TRUNC != 0:
		n.disk.resizeLocked(i, 0)
	}
	return n.child(ctx, i, name, out), nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.enter(Create, name); errno != 0 {
		return nil, errno
	}
	defer n.leave()
	if n.inode.names[name] != nil {
		return nil, syscall.EEXIST
	}
	i := n.disk.newFolder()
	n.disk.changeLocked(metadata{of: n.inode, add: name, what: i})
	return n.child(ctx, i, name, out), 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	if errno := n.enter(Remove, name); errno != 0 {
		return errno
	}
	defer n.leave()
	if n.inode.names[name] == nil {
		return syscall.ENOENT
	}
	n.disk.changeLocked(metadata{of: n.inode, remove: name})
	return 0
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	full := n.inode.names[name] != nil && len(n.inode.names[name].names) > 0
	n.disk.mu.Unlock()
	if full {
		return syscall.ENOTEMPTY
	}
	return n.Unlink(ctx, name)
}

// Rename stays within its folder; nobody here needs more.
func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if to, ok := parent.(*node); !ok || to.inode != n.inode || flags != 0 {
		return syscall.EXDEV
	}
	if errno := n.enter(Rename, name); errno != 0 {
		return errno
	}
	defer n.leave()
	i := n.inode.names[name]
	if i == nil {
		return syscall.ENOENT
	}
	n.disk.changeLocked(metadata{of: n.inode, remove: name, add: newName, what: i})
	return 0
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if errno := n.enter("", ""); errno != 0 {
		return errno
	}
	defer n.leave()
	attr(n.inode, &out.Attr)
	return 0
}

// Statx adds the time of birth.
func (n *node) Statx(_ context.Context, _ fs.FileHandle, _, _ uint32, out *fuse.StatxOut) syscall.Errno {
	if errno := n.enter("", ""); errno != 0 {
		return errno
	}
	defer n.leave()
	const basic, birth = 0x7ff, 0x800
	i := n.inode
	out.Mask, out.Nlink, out.Mode = basic|birth, 1, uint16(mode(i))
	out.Ino, out.Size, out.Blocks, out.Blksize = i.id, uint64(i.size), uint64(i.size+511)/512, pageSize
	out.Btime.Sec = uint64(i.born.Unix())
	return 0
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	size, resize := in.GetSize()
	op := Op("")
	if resize {
		op = Write
	}
	if errno := n.enter(op, n.name); errno != 0 {
		return errno
	}
	defer n.leave()
	if resize {
		n.disk.resizeLocked(n.inode, int64(size))
	}
	attr(n.inode, &out.Attr)
	return 0
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.enter("", n.name); errno != 0 {
		return nil, 0, errno
	}
	defer n.leave()
	if flags&syscall.O_TRUNC != 0 {
		n.disk.resizeLocked(n.inode, 0)
	}
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := n.enter(Read, n.name); errno != 0 {
		return nil, errno
	}
	defer n.leave()
	return fuse.ReadResultData(dest[:n.inode.read(dest, off)]), 0
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := n.enter(Write, n.name); errno != 0 {
		return 0, errno
	}
	defer n.leave()
	done, ok := n.disk.writeLocked(n.inode, data, off)
	if !ok && done == 0 {
		return 0, syscall.ENOSPC
	}
	return uint32(done), 0
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	op := Sync
	if n.inode.folder() {
		op = SyncDir
	}
	failed := n.disk.check(op, n.name)
	if errno := n.enter("", n.name); errno != 0 {
		return errno
	}
	defer n.leave()
	if failed != 0 {
		n.disk.failedSyncLocked(n.inode)
		return failed
	}
	n.disk.syncLocked(n.inode)
	return 0
}

func (n *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if mode != 0 {
		return syscall.EOPNOTSUPP
	}
	if errno := n.enter(Allocate, n.name); errno != 0 {
		return errno
	}
	defer n.leave()
	i, end := n.inode, int64(off+size)
	if more := end - max(i.reserved, int64(len(i.pages))*pageSize); more > 0 && !n.disk.roomLocked(more) {
		return syscall.ENOSPC
	}
	i.reserved = max(i.reserved, end)
	if end > i.size {
		n.disk.resizeLocked(i, end)
	}
	return 0
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	if errno := n.enter("", ""); errno != 0 {
		return errno
	}
	defer n.leave()
	total := n.disk.capacity
	if total == 0 {
		total = 1 << 40
	}
	free := uint64(max(0, total-n.disk.root.used())) / pageSize
	out.Bsize, out.Frsize, out.NameLen = pageSize, pageSize, 255
	out.Blocks, out.Bfree, out.Bavail = uint64(total)/pageSize, free, free
	return 0
}
