//go:build e2e && linux && amd64

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-im/rookery/e2e/faultfs"
)

// campaign is a cluster that faults of every kind are done to, under devices
// that talk: each node on a host and a disk of its own, with a clock of its own.
type campaign struct {
	*director
	network *network
	cluster *cluster
	hosts   []*host // all, those in the cluster and those that wait to join it
	done    map[string]int
}

// host is a machine, as far as a node can tell.
type host struct {
	number int
	server *server
	disk   *faultDisk
	clock  *wallClock
	in     bool // the cluster
	gone   bool // removed, for good
}

// Faults of mixed kinds, one after the other or two at once, chosen by the seed:
// kills, power cuts, pauses, cuts of every shape, disks that are slow or fail, clocks
// that are set, nodes that join and are removed. At the end everything heals, drains, and is
// judged. E2E_FAULTS makes it longer, E2E_SEED repeats the choices.
func TestClusterCampaign(t *testing.T) {
	faults, seed := envInt(t, "E2E_FAULTS", 20), envSeed(t)
	c := newCampaign(t, seed, 3, 5)
	c.cast(6, 2)
	var urls []string
	for _, h := range c.hosts {
		urls = append(urls, h.server.ws())
	}
	for _, p := range c.phones {
		p.urls = urls
	}
	stop := c.action()
	for n := range faults {
		c.fault(n)
		c.judge(fmt.Sprintf("fault %d", n))
	}
	c.settle()
	stop()
	c.judgeAtRest()
	t.Logf("%d faults (%v): %d sent, %d delivered, %d connections", faults, c.done, c.count.sents.Load(), c.count.delivers.Load(), c.count.welcomes.Load())
}

// newCampaign starts a cluster of so many nodes, on the first of so many hosts.
func newCampaign(t *testing.T, seed uint64, nodes, hosts int) *campaign {
	t.Helper()
	w := newNetwork(t, hosts)
	c := &campaign{network: w, cluster: &cluster{t: t}, done: map[string]int{}}
	ca := filepath.Join(t.TempDir(), "ca")
	for i := 1; i <= hosts; i++ {
		h := &host{number: i, clock: &wallClock{t: t}}
		h.disk = &faultDisk{Disk: faultfs.New(seed + uint64(i)), t: t, dir: t.TempDir()}
		h.disk.mount()
		t.Cleanup(func() { // after the server's, which came later
			h.disk.SetFault(nil)
			if err := h.disk.unmount(); err != nil {
				t.Error(err)
			}
		})
		h.server = newServerIn(t, filepath.Join(h.disk.dir, "data"), "--checkpoint-every", "2s")
		h.server.begin = h.clock.start
		w.settle(h.server, i, ca)
		c.hosts = append(c.hosts, h)
		if i <= nodes {
			c.join(h)
		}
	}
	c.cluster.awaitReplicated()
	c.director = &director{t: t, server: c.hosts[0].server, rng: rand.New(rand.NewPCG(seed, 3))}
	return c
}

func (c *campaign) join(h *host) {
	h.in = true
	c.cluster.nodes = append(c.cluster.nodes, h.server)
	h.server.restart()
}

// members of the cluster, in an order of the seed's choice.
func (c *campaign) members() []*host {
	var in []*host
	for _, h := range c.hosts {
		if h.in {
			in = append(in, h)
		}
	}
	c.rng.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
	return in
}

// fault does something to one node or two while everybody talks, lets them talk
// on, and mends it.
func (c *campaign) fault(n int) {
	c.t.Helper()
	total, sents := 0, c.count.sents.Load()
	for _, p := range c.phones {
		k := 2 + c.rng.IntN(12)
		total += k
		p.more(k)
	}
	c.await("sents", &c.count.sents, sents+1+c.rng.Int64N(int64(total/2)))
	kinds := []func([]*host) (string, func()){c.kill, c.power, c.pause, c.part, c.crawl, c.ail, c.leap, c.grow, c.kill, c.part, c.shrink}
	name, mend := kinds[n%len(kinds)](c.members())
	if n%3 == 2 { // and something else at the same time
		more, mendToo := kinds[c.rng.IntN(7)](c.members())
		first := mend
		name, mend = name+" and "+more, func() { first(); mendToo() }
	}
	c.t.Logf("fault %d: %s", n, name)
	for _, kind := range strings.Split(name, " and ") {
		c.done[strings.Fields(kind)[0]]++
	}
	for _, p := range c.phones {
		p.more(3)
	}
	moment := time.NewTimer(time.Duration(c.rng.IntN(4000)) * time.Millisecond)
	<-moment.C
	mend()
	c.network.heal()
	members := c.members()
	for _, h := range members { // all of them first: one alone may have no majority
		if !h.server.alive() {
			h.server.start()
		}
	}
	for _, h := range members {
		h.server.waitReady()
	}
	c.cluster.awaitReplicated()
	sents = c.count.sents.Load()
	for _, p := range c.phones {
		p.more(1)
	}
	c.await("sents after all is mended", &c.count.sents, sents+1)
}

func nothing() {}

func (c *campaign) kill(m []*host) (string, func()) {
	if m[0].server.alive() {
		m[0].server.kill()
	}
	return fmt.Sprintf("kill %d", m[0].number), nothing
}

// power is cut: what was not synced is lost, some of it or all.
func (c *campaign) power(m []*host) (string, func()) {
	h := m[0]
	if h.server.alive() {
		h.server.kill()
	}
	h.disk.cut([]faultfs.Keep{faultfs.Nothing, faultfs.Some, faultfs.Some}[c.rng.IntN(3)])
	return fmt.Sprintf("power %d", h.number), nothing
}

func (c *campaign) pause(m []*host) (string, func()) {
	h := m[0]
	if !h.server.alive() {
		return "pause nobody", nothing
	}
	c.signalNode(h.server, syscall.SIGSTOP)
	return fmt.Sprintf("pause %d", h.number), func() {
		if h.server.alive() { // and was not killed as well
			c.signalNode(h.server, syscall.SIGCONT)
		}
	}
}

// part some hosts from each other: a node from all, two from each other, or one
// direction of that.
func (c *campaign) part(m []*host) (string, func()) {
	a, b := m[0].number, m[1].number
	switch c.rng.IntN(4) {
	case 0:
		for _, h := range m[1:] {
			c.network.cut(a, h.number)
		}
		return fmt.Sprintf("cut %d from all", a), nothing
	case 1:
		c.network.cut(a, b)
		return fmt.Sprintf("cut %d from %d", a, b), nothing
	case 2:
		for _, h := range m[1:] {
			c.network.mute(a, h.number)
		}
		return fmt.Sprintf("mute %d to all", a), nothing
	}
	c.network.mute(a, b)
	return fmt.Sprintf("mute %d to %d", a, b), nothing
}

// crawl: every sync of a node's log takes long.
func (c *campaign) crawl(m []*host) (string, func()) {
	h, slow := m[0], time.Duration(50+c.rng.IntN(1000))*time.Millisecond
	h.disk.SetFault(func(op faultfs.Op, name string) syscall.Errno {
		if op == faultfs.Sync && strings.HasSuffix(name, ".seg") {
			wait := time.NewTimer(slow)
			<-wait.C
		}
		return 0
	})
	return fmt.Sprintf("slow %d, %v a sync", h.number, slow), func() { h.disk.SetFault(nil) }
}

// ail: a node's disk fails, or is full.
func (c *campaign) ail(m []*host) (string, func()) {
	h, f := m[0], diskFaults[c.rng.IntN(len(diskFaults))]
	f.begin(h.disk)
	return fmt.Sprintf("disk of %d, %s", h.number, f.name), func() {
		h.disk.mend()
		if f.restart && h.server.alive() {
			h.server.kill() // and it is started with all others that are not there
		}
	}
}

// leap: a node's wall clock is set.
func (c *campaign) leap(m []*host) (string, func()) {
	h := m[0]
	if !h.server.alive() {
		return "clock of nobody", nothing
	}
	by := []time.Duration{24 * time.Hour, -24 * time.Hour, 10 * time.Second, -10 * time.Second}[c.rng.IntN(4)]
	h.clock.set(by)
	return fmt.Sprintf("clock of %d by %v", h.number, by), func() {
		if h.server.alive() {
			h.clock.set(0)
		} else {
			h.clock.offset = 0
		}
	}
}

// grow the cluster by a host that waits, if one does.
func (c *campaign) grow(m []*host) (string, func()) {
	for _, h := range c.hosts {
		if !h.in && !h.gone {
			c.join(h)
			return fmt.Sprintf("join %d", h.number), nothing
		}
	}
	return c.kill(m)
}

// shrink the cluster by a node, in peace, where that leaves enough.
func (c *campaign) shrink(m []*host) (string, func()) {
	if len(m) <= 3 {
		return c.kill(m)
	}
	h, by := m[0], m[1]
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	id := h.server.nodeID()
	if out, err := exec.CommandContext(ctx, binary(c.t), "ctl", "--admin", by.server.adminAddress(), "node", "remove", id).CombinedOutput(); err != nil {
		c.t.Fatalf("node remove: %v: %s", err, out)
	}
	h.in, h.gone = false, true
	c.cluster.nodes = slices.DeleteFunc(c.cluster.nodes, func(s *server) bool { return s == h.server })
	c.director.server = by.server
	return fmt.Sprintf("remove %d", h.number), nothing
}
