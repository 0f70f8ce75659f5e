package hostile

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// schedIdle is SCHED_IDLE of sched(7): whoever else wants the processor has it
// at once. A thread that is only nice keeps it until its slice is over, which is
// milliseconds, and those would be counted as the node's.
const schedIdle = 5

// yieldProcessor has every thread of the process run where no other wants to.
// To the kernel each has a policy of its own. Those that come later have that of
// the thread which makes them, so it goes on until it meets none that is another.
func yieldProcessor() error {
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
			now, err := unix.SchedGetAttr(id, 0)
			if err == nil && now.Policy != schedIdle {
				err, changed = unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedIdle}, 0), true
			}
			if err != nil && !errors.Is(err, unix.ESRCH) { // it ended meanwhile
				return fmt.Errorf("hostile: yield the processor: %w", err)
			}
		}
	}
	return nil
}
