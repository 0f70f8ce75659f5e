//go:build e2e && linux

package faultfs

import (
	"os/exec"
	"strings"
	"testing"
)

// A mount ends with the process that serves it, whatever others it has started.
func TestNobodyInheritsTheMount(t *testing.T) {
	unmount, err := New(1).Mount(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil || strings.Contains(string(out), "/dev/fuse") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := unmount(); err != nil {
		t.Error(err)
	}
}

// What a process stored into a shared mapping is durable once any descriptor of
// the file was synced, and not before.
func TestMappedPagesAreSyncedByAnyDescriptor(t *testing.T) {
	d, dir := New(1), t.TempDir()
	unmount, err := d.Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	script := `
import mmap, os, sys
p = sys.argv[1] + "/f"
fd = os.open(p, os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 20)
m = mmap.mmap(fd, 1 << 20)
for r in range(4):
    for i in range(0, 100):
        m[i * 4096 + r * 700:i * 4096 + r * 700 + 700] = bytes([r + 1]) * 700
    g = os.open(p, os.O_RDONLY)
    os.fsync(g)
    os.close(g)
    d = os.open(sys.argv[1], os.O_RDONLY)
    os.fsync(d)
    os.close(d)
m[200 * 4096] = 9
os.kill(os.getpid(), 9)
`
	out, _ := exec.Command("/usr/bin/python3", "-c", script, dir).CombinedOutput()
	if len(out) > 0 {
		t.Fatalf("%s", out)
	}
	d.PowerCut(Nothing)
	if err := unmount(); err != nil {
		t.Error(err)
	}
	f := d.root.names["f"]
	bad := 0
	for i := range 100 {
		for r := range 4 {
			p := make([]byte, 700)
			f.read(p, int64(i*4096+r*700))
			for _, c := range p {
				if int(c) != r+1 {
					bad++
				}
			}
		}
	}
	p := make([]byte, 1)
	f.read(p, 200*4096)
	if bad > 0 || p[0] != 0 {
		t.Fatalf("%d bytes lost, unsynced %d", bad, p[0])
	}
}
