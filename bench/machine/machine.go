package machine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
)

// Machine is what a run was made on.
type Machine struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	MemoryBytes int64  `json:"memoryBytes"`
	OS          string `json:"os"`
	Arch        string `json:"arch"`
	Kernel      string `json:"kernel"`
	Go          string `json:"go"`
}

// String is one line.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.0f GiB, %s %s, %s", m.CPU, m.Cores, float64(m.MemoryBytes)/(1<<30), m.OS, m.Kernel, m.Go)
}

// Process is what a process has used. Bytes written are those that went to the
// block layer; Cancelled were written to pages that were dropped before that.
type Process struct {
	CPU                     time.Duration
	Resident, Anonymous     int64
	BytesWritten, BytesRead int64
	Cancelled               int64
}

// System is what all processors together have done, and what a hypervisor kept
// from them.
type System struct{ Busy, Steal time.Duration }

// FileSystem is what a folder lies on. Memory says that it forgets everything:
// syncs cost nothing there, so that no figure of it means anything.
type FileSystem struct {
	Name    string `json:"name"`
	Device  string `json:"device"`
	Options string `json:"options"`
	Memory  bool   `json:"memory"`
}

// probeFile is rewritten in place, as the log rewrites a prepared segment.
const (
	probeBlock = 4 << 10
	probeFile  = 4 << 20
)

// ProbeDisk writes 4 KiB and syncs it, again and again for a time, in a file of
// its own in the folder, and gives how long each took. It means something only
// while nothing else writes.
func ProbeDisk(ctx context.Context, dir string, during time.Duration) (_ *latency.Histogram, err error) {
	f, err := os.CreateTemp(dir, ".disk-probe-*")
	if err != nil {
		return nil, fmt.Errorf("machine: probe the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, probeBlock)
	if _, err := rand.Read(block); err != nil {
		return nil, fmt.Errorf("machine: probe the disk: %w", err)
	}
	for at := int64(0); at < probeFile; at += probeBlock {
		if _, err := f.WriteAt(block, at); err != nil {
			return nil, fmt.Errorf("machine: probe the disk: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("machine: probe the disk: %w", err)
	}
	h := latency.New()
	end := time.Now().Add(during)
	for at := int64(0); time.Now().Before(end) && ctx.Err() == nil; at = (at + probeBlock) % probeFile {
		begin := time.Now()
		if _, err := f.WriteAt(block, at); err != nil {
			return nil, fmt.Errorf("machine: probe the disk: %w", err)
		}
		if err := dataSync(f); err != nil {
			return nil, fmt.Errorf("machine: probe the disk: %w", err)
		}
		h.Record(time.Since(begin))
	}
	return h, ctx.Err()
}
