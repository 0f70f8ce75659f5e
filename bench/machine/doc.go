// Package machine says on what a run was made: processors, kernel, file system,
// what a process has used, and how long the disk takes to make 4 KiB durable.
package machine
