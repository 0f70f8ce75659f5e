package hostile

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// yieldProcessor makes every thread of the process as nice as can be: to the
// kernel each has a niceness of its own, and PRIO_PROCESS means one thread.
// Those that come later have that of the thread which makes them, so it goes
// on until it meets no thread that is not nice.
func yieldProcessor() error {
	const nicest = 19
	for changed := true; changed; {
		changed = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("hostile: threads: %w", err)
		}
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			if err != nil {
				return fmt.Errorf("hostile: thread: %w", err)
			}
			kernel, err := syscall.Getpriority(syscall.PRIO_PROCESS, id)
			if err == nil && 20-kernel != nicest { // the system call has it the other way round
				err, changed = syscall.Setpriority(syscall.PRIO_PROCESS, id, nicest), true
			}
			if err != nil && !errors.Is(err, syscall.ESRCH) { // it ended meanwhile
				return fmt.Errorf("hostile: yield the processor: %w", err)
			}
		}
	}
	return nil
}
