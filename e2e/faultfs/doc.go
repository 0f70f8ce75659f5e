// Package faultfs is a file system for tests, mounted by FUSE, that forgets,
// fails and fills up. The program under test is any process: it opens, maps and
// syncs files as on a disk, and a power cut leaves of what was not synced
// whatever the seed says.
//
// What is durable: a file's pages and its size after fsync or msync of the file;
// all names after fsync of a folder. Of the rest a cut keeps each page, or each
// sector of a torn one, by itself; and of what was done to names and sizes, in all
// folders, a beginning. So the sync of a file says nothing of names, not even of
// those that were given before; btrfs is like that. ext4 and XFS are kinder: there
// the sync of any file makes durable what was done to names before it.
//
// [Disk] is the state, and outlives mounts; [Disk.Mount] serves it. The process
// that mounts it must not touch the files itself.
package faultfs
