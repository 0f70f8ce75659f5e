package raftlog

// Disk is the directory that holds a log. The implementation for the operating
// system is used unless Config brings another; package faultdisk simulates one
// that fails.
type Disk interface {
	// List names the files in the directory.
	List() ([]string, error)
	// Create makes a file of size zero bytes with its blocks written, for
	// reading and writing. It fails where the name exists. Neither file nor
	// name is durable yet.
	Create(name string, size int64) (File, error)
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
	Remove(name string) error
	// Rename gives a file another name, which no file has.
	Rename(from, to string) error
	// Sync makes what Create, Remove and Rename did durable.
	Sync() error
}

// File is one open file of a Disk. ReadAt and WriteAt follow io's contracts.
type File interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	// Sync makes what was written, and the size, durable.
	Sync() error
	Size() (int64, error)
	Close() error
}
