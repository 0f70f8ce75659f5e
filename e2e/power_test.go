//go:build e2e && linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/rookery-im/rookery/e2e/faultfs"
)

// The power is cut again and again while devices talk: of what the node wrote
// and did not sync, pages, sizes and names are lost at random, in its log, in
// Badger's mapped files, everywhere. What was acknowledged is there all the same.
// E2E_CUTS makes it longer, E2E_SEED replays the choices.
func TestPowerCuts(t *testing.T) {
	cuts := envInt(t, "E2E_CUTS", 200)
	d, disk := onFaultDisk(t)
	stop := d.action()
	for round := range cuts {
		d.life(round)
		d.server.kill()
		disk.cut([]faultfs.Keep{faultfs.Nothing, faultfs.Some, faultfs.Some, faultfs.Some}[d.rng.IntN(4)])
		d.server.restart()
		d.judge(fmt.Sprintf("cut %d", round))
	}
	d.settle()
	stop()
	d.judgeAtRest()
	if d.report(cuts); d.checkpoints == 0 && cuts >= 20 {
		t.Error("no life is known to have written a checkpoint: nothing was proved of Badger's files")
	}
}

// faultDisk is a mounted faultfs with the server's data.
type faultDisk struct {
	*faultfs.Disk
	t       *testing.T
	dir     string
	unmount func() error
}

func (f *faultDisk) mount() {
	f.t.Helper()
	unmount, err := f.Mount(f.dir)
	if err != nil {
		f.t.Fatalf("%v (this test needs root and /dev/fuse)", err)
	}
	f.unmount = unmount
}

// cut is a power cut under a process that has ended.
func (f *faultDisk) cut(keep faultfs.Keep) {
	f.t.Helper()
	f.PowerCut(keep)
	if err := f.unmount(); err != nil {
		f.t.Fatal(err)
	}
	f.mount()
}

// onFaultDisk is a cast of devices and a server that keeps its data on a disk
// that does as it is told.
func onFaultDisk(t *testing.T) (*director, *faultDisk) {
	t.Helper()
	seed := envSeed(t)
	f := &faultDisk{Disk: faultfs.New(seed), t: t, dir: t.TempDir()}
	f.mount()
	t.Cleanup(func() { // after the server's, which came later
		f.SetFault(nil)
		if err := f.unmount(); err != nil {
			t.Error(err)
		}
	})
	s := newServerIn(t, filepath.Join(f.dir, "data"))
	s.start()
	s.waitReady()
	d := &director{t: t, server: s, rng: rand.New(rand.NewPCG(seed, 0))}
	d.cast(6, 2)
	return d, f
}

// life is what goes on between two faults: everybody has something to say, and
// the fault comes at a moment of the seed's choice.
func (d *director) life(int) {
	d.t.Helper()
	writes := d.writesCheckpoints()
	d.server.extra = []string{"--checkpoint-every", []string{"50ms", "400ms", "10m"}[d.rng.IntN(3)]}
	if d.rng.IntN(3) == 0 { // some lives refuse sends for a while
		d.server.extra = append(d.server.extra, "--rate-sends", "30/5")
	}
	total, sents := 0, d.count.sents.Load()
	for _, p := range d.phones {
		n := 2 + d.rng.IntN(16)
		total += n
		p.more(n)
	}
	d.await("sents", &d.count.sents, sents+1+d.rng.Int64N(int64(total*3/4)))
	if writes && d.rng.IntN(2) == 0 {
		d.awaitCheckpoint() // what it wrote has to be there, and no log any more
	}
	moment := time.NewTimer(time.Duration(d.rng.IntN(60)) * time.Millisecond)
	<-moment.C
}
