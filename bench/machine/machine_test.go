package machine

import (
	"os"
	"runtime"
	"testing"
	"time"
)

func TestReading(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc here: nothing to read")
	}
	if m := Describe(); m.Cores == 0 || m.Kernel == "" || m.MemoryBytes == 0 {
		t.Errorf("got %+v", m)
	}
	before, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	total, err := ReadSystem()
	if err != nil {
		t.Fatal(err)
	}
	// The kernel counts in hundredths of a second; how long it takes to be given
	// one depends on who else runs.
	after, later := before, total
	for begin := time.Now(); (after.CPU <= before.CPU || later.Busy <= total.Busy) && time.Since(begin) < 20*time.Second; {
		if after, err = ReadProcess(os.Getpid()); err != nil {
			t.Fatal(err)
		}
		if later, err = ReadSystem(); err != nil {
			t.Fatal(err)
		}
	}
	if after.CPU <= before.CPU || after.Resident == 0 || after.Anonymous == 0 || later.Busy <= total.Busy {
		t.Errorf("%+v, then %+v; %v, then %v", before, after, total, later)
	}
	if KernelMemory() == 0 {
		t.Error("the kernel has no memory")
	}
}

func TestFileSystems(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc here: nothing to read")
	}
	dir := t.TempDir()
	fs, err := ReadFileSystem(dir)
	if err != nil || fs.Name == "" || fs.Device == "" {
		t.Errorf("%+v, %v", fs, err)
	}
	if fs.Memory != (fs.Name == "tmpfs" || fs.Name == "ramfs") {
		t.Errorf("%+v", fs)
	}
	if fs, err := ReadFileSystem("/dev/shm"); err == nil && fs.Name == "tmpfs" && !fs.Memory {
		t.Errorf("a tmpfs is not told: %+v", fs)
	}
	h, err := ProbeDisk(t.Context(), dir, 20*time.Millisecond)
	if err != nil || h.Count() == 0 {
		t.Errorf("probe: %v, %v", h, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the probe leaves %v, %v", left, err)
	}
}
