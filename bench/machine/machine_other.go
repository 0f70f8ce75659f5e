//go:build !linux

package machine

import (
	"errors"
	"os"
	"runtime"
)

var errLinux = errors.New("machine: this is read from Linux's /proc")

// Describe reads what the machine is.
func Describe() Machine {
	return Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version()}
}

// ReadProcess needs /proc.
func ReadProcess(int) (Process, error) { return Process{}, errLinux }

// ReadSystem needs /proc.
func ReadSystem() (System, error) { return System{}, errLinux }

// KernelMemory needs /proc.
func KernelMemory() int64 { return 0 }

// ReadFileSystem needs /proc.
func ReadFileSystem(string) (FileSystem, error) { return FileSystem{}, errLinux }

func dataSync(f *os.File) error { return f.Sync() }
