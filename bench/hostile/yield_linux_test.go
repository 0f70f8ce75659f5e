package hostile

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// An attacker that yields with one thread only takes the processor from those
// whose slowness is measured. The test itself is not to yield, so a process of
// its own is asked.
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
		if a, err := unix.SchedGetAttr(id, 0); err != nil || a.Policy != schedIdle {
			t.Errorf("thread %d: %+v, %v", id, a, err)
		}
	}
}
