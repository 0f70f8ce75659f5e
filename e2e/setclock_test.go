//go:build e2e && linux && amd64

package e2e

import (
	"bytes"
	"debug/elf"
	endian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wallClock is the time of day of one process, which a test sets; the machine's,
// and the process's monotonic clock, go on. A static binary asks the kernel's
// vDSO, a page of code in its own memory: there clock_gettime is written over,
// before the first instruction of the process runs, by one that adds an offset.
type wallClock struct {
	t      *testing.T
	offset time.Duration
	memory string // /proc/PID/mem
	at     int64  // of the offset, in seconds, there
}

// gettime is what takes the place of clock_gettime(edi clock, rsi *timespec).
var gettime = []byte{
	0xb8, 228, 0, 0, 0, //                mov eax, SYS_clock_gettime
	0x0f, 0x05, //                        syscall
	0x85, 0xff, //                        test edi, edi
	0x75, 0x0a, //                        jne done; it is not CLOCK_REALTIME
	0x48, 0x8b, 0x0d, 0x06, 0, 0, 0, //   mov rcx, [offset]
	0x48, 0x01, 0x0e, //                  add [rsi], rcx
	0xc3,       //                  done: ret
	0x90, 0x90, // offset follows, 8 bytes
}

// start begins a process that has this clock.
func (w *wallClock) start(cmd *exec.Cmd) error {
	runtime.LockOSThread() // a process is traced by a thread
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || !status.Stopped() {
		return fmt.Errorf("the process did not stop at its start: %v %#x", err, status)
	}
	return errors.Join(w.take(pid), syscall.PtraceDetach(pid))
}

// take writes over the clock of a process that is stopped.
func (w *wallClock) take(pid int) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	var from, to int64
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
				return err
			}
		}
	}
	w.memory = fmt.Sprintf("/proc/%d/mem", pid)
	memory, err := os.OpenFile(w.memory, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	vdso := make([]byte, to-from)
	if _, err := io.ReadFull(io.NewSectionReader(memory, from, to-from), vdso); err != nil {
		return fmt.Errorf("read the vDSO: %w", err)
	}
	image, err := elf.NewFile(bytes.NewReader(vdso))
	if err != nil {
		return err
	}
	symbols, err := image.DynamicSymbols()
	if err != nil {
		return err
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" && s.Size >= uint64(len(gettime)+8) {
			w.at = from + int64(s.Value) + int64(len(gettime))                                          //nolint:gosec // an address of user space
			_, err := memory.WriteAt(append(bytes.Clone(gettime), w.seconds()...), from+int64(s.Value)) //nolint:gosec // the same
			return err
		}
	}
	return errors.New("the vDSO has no clock_gettime, or a shorter one")
}

func (w *wallClock) seconds() []byte {
	return endian.LittleEndian.AppendUint64(nil, uint64(w.offset/time.Second)) //nolint:gosec // negative is meant
}

// set the clock so far from the machine's, now and over restarts.
func (w *wallClock) set(offset time.Duration) {
	w.t.Helper()
	w.offset = offset
	memory, err := os.OpenFile(w.memory, os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer memory.Close()
	if _, err := memory.WriteAt(w.seconds(), w.at); err != nil {
		w.t.Fatal(err)
	}
}
