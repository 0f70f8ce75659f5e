package hostile

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
)

// An attacker that yields with one thread only takes the processor from those
// whose slowness is measured. The niceness of a thread cannot be taken back, so
// a process of its own is asked.
func TestAttackerYieldsWithAllThreads(t *testing.T) {
	const inside = "ROOKERY_TEST_YIELD"
	if os.Getenv(inside) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$") //nolint:gosec // this program
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	end := make(chan struct{})
	defer close(end)
	ready := make(chan struct{})
	for range 4 {
		go func() {
			runtime.LockOSThread()
			ready <- struct{}{}
			<-end
		}()
		<-ready
	}
	if err := yieldProcessor(); err != nil {
		t.Fatal(err)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) < 5 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		id, _ := strconv.Atoi(task.Name())
		if kernel, err := syscall.Getpriority(syscall.PRIO_PROCESS, id); err != nil || kernel != 1 {
			t.Errorf("thread %d is nice by %d, %v", id, 20-kernel, err)
		}
	}
}
