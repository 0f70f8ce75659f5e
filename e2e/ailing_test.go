//go:build e2e && linux && amd64

package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/rookery-im/rookery/e2e/faultfs"
)

// The disk of one node of three fails in every way there is: that node says so and
// stays up, the others go on without it, and once the disk is well it is one of them
// again; without a restart, but where a sync of Badger's files failed. In the end the power
// of all is cut at once.
func TestClusterDiskFails(t *testing.T) {
	c := newCampaign(t, envSeed(t), 3, 3)
	c.cast(6, 2)
	c.castOn(c.cluster)
	every := castEverywhere(c.cluster)
	stop := c.action()
	for _, f := range diskFaults {
		m := c.members()
		sick, witness := m[0], m[1]
		c.talkOn()
		was := sick.server.ailments()
		f.begin(sick.disk)
		began := time.Now()
		c.director.server = sick.server
		c.talkUntil(f.name+": the node is not ready, and says why", func() bool {
			return c.director.status("/readyz") == http.StatusServiceUnavailable && sick.server.ailments() > was
		})
		noticed := time.Since(began)
		c.acceptedEverywhere(every, witness.server)
		t.Logf("%s: noticed after %v, every shard accepted %v after it began", f.name, noticed.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		if c.director.status("/healthz") != http.StatusOK || !sick.server.alive() {
			t.Fatal("the node did not stay up")
		}
		sick.disk.mend()
		if f.restart {
			sick.server.kill()
			sick.server.start()
		}
		sick.server.waitReady()
		c.cluster.awaitReplicated()
		c.acceptedEverywhere(every, sick.server)
		c.judge(f.name)
	}
	c.talkOn()
	for _, h := range c.hosts {
		h.server.kill()
	}
	for _, h := range c.hosts {
		h.disk.cut(faultfs.Nothing)
		h.server.start()
	}
	for _, h := range c.hosts {
		h.server.waitReady()
	}
	c.settle()
	stop()
	c.judgeAtRest()
	t.Logf("%d sent, %d delivered, %d connections", c.count.sents.Load(), c.count.delivers.Load(), c.count.welcomes.Load())
}
