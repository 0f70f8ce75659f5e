package target

import (
	"os/exec"
	"syscall"
)

// dieWithUs ends the process when this one does, however that comes. The kernel
// looks at the end of the thread that started it; Go ends none that no goroutine
// has locked.
func dieWithUs(cmd *exec.Cmd) {
	// A group of its own: a Ctrl-C at the terminal is for the bench, which then
	// ends the node in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
