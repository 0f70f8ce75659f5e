package machine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// userHz is the unit of times in /proc: 100 a second on every architecture
// that Go runs on (USER_HZ).
const userHz = 100

// Describe reads what the machine is.
func Describe() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version()}
	var u syscall.Utsname
	if syscall.Uname(&u) == nil {
		m.Kernel = text(u.Release[:])
	}
	m.CPU = field("/proc/cpuinfo", "model name")
	m.MemoryBytes = kilobytes("/proc/meminfo", "MemTotal")
	return m
}

func text(b []int8) string {
	var out []byte
	for _, c := range b {
		if c == 0 {
			break
		}
		out = append(out, byte(c))
	}
	return string(out)
}

// field is the value of the first line "name : value" of a file of /proc.
func field(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func kilobytes(path, name string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(field(path, name), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n * 1024
}

// ReadProcess reads what a process has used since it began.
func ReadProcess(pid int) (Process, error) {
	var p Process
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, fmt.Errorf("machine: process: %w", err)
	}
	// The name, in parentheses, may hold anything: fields count from behind it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return p, errors.New("machine: process: /proc/PID/stat is short")
	}
	for _, i := range []int{11, 12} { // utime, stime; see proc_pid_stat(5)
		ticks, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return p, fmt.Errorf("machine: process: %w", err)
		}
		p.CPU += time.Duration(ticks) * time.Second / userHz
	}
	status := fmt.Sprintf("/proc/%d/status", pid)
	p.Resident, p.Anonymous = kilobytes(status, "VmRSS"), kilobytes(status, "RssAnon")
	io := fmt.Sprintf("/proc/%d/io", pid)
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(field(io, name), 10, 64) // 0 where one may not look
		return n
	}
	p.BytesWritten, p.BytesRead = number("write_bytes"), number("read_bytes")
	p.Cancelled = number("cancelled_write_bytes")
	return p, nil
}

// ReadSystem reads what all processors have done since the start.
func ReadSystem() (System, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return System{}, fmt.Errorf("machine: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 {
		return System{}, errors.New("machine: /proc/stat is short")
	}
	var ticks [9]int64
	for i := 1; i < 9; i++ {
		if ticks[i], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
			return System{}, fmt.Errorf("machine: /proc/stat: %w", err)
		}
	}
	unit := func(n int64) time.Duration { return time.Duration(n) * time.Second / userHz }
	// user nice system idle iowait irq softirq steal
	return System{Busy: unit(ticks[1] + ticks[2] + ticks[3] + ticks[6] + ticks[7]), Steal: unit(ticks[8])}, nil
}

// KernelMemory is what the kernel holds for its own objects and for sockets.
func KernelMemory() int64 {
	n := kilobytes("/proc/meminfo", "SUnreclaim") + kilobytes("/proc/meminfo", "KernelStack") + kilobytes("/proc/meminfo", "PageTables")
	data, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return n
	}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		for i := 1; i+1 < len(words); i += 2 {
			if words[0] == "TCP:" && words[i] == "mem" {
				pages, err := strconv.ParseInt(words[i+1], 10, 64)
				if err == nil {
					n += pages * int64(os.Getpagesize())
				}
			}
		}
	}
	return n
}

// The magic numbers of file systems that are memory; see statfs(2).
const (
	tmpfsMagic = 0x01021994
	ramfsMagic = 0x858458f6
)

// ReadFileSystem says on what a folder lies.
func ReadFileSystem(dir string) (FileSystem, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return FileSystem{}, fmt.Errorf("machine: file system of %s: %w", dir, err)
	}
	fs := FileSystem{Memory: s.Type == tmpfsMagic || s.Type == ramfsMagic}
	path, err := filepath.EvalSymlinks(dir)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return fs, fmt.Errorf("machine: file system of %s: %w", dir, err)
	}
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return fs, fmt.Errorf("machine: %w", err)
	}
	defer mounts.Close()
	longest := -1
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 4 {
			continue
		}
		at := strings.TrimSuffix(words[1], "/")
		if (path == at || strings.HasPrefix(path, at+"/")) && len(at) >= longest {
			longest = len(at)
			fs.Device, fs.Name, fs.Options = words[0], words[2], words[3]
		}
	}
	return fs, nil
}

func dataSync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
