//go:build unix && !linux

package hostile

import "syscall"

func yieldProcessor() error { return syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19) }
