//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// cluster is several nodes of the real binary on loopback, each with a data
// directory of its own. The first made the cluster, the others joined it.
type cluster struct {
	t     *testing.T
	nodes []*server
	seeds []string // gossip addresses
}

// startCluster starts n nodes and waits until each shard has three replicas.
func startCluster(t *testing.T, n int, more ...string) *cluster {
	t.Helper()
	c := &cluster{t: t}
	for range n {
		c.add(more...)
	}
	c.awaitReplicated()
	return c
}

// add a node and wait until it is ready.
func (c *cluster) add(more ...string) *server {
	c.t.Helper()
	gossip := freeAddress(c.t)
	flags := append([]string{"--gossip", gossip, "--peer", freeAddress(c.t)}, more...)
	if len(c.seeds) > 0 {
		flags = append(flags, "--join", c.seeds[0])
	}
	s := newServer(c.t, flags...)
	c.nodes, c.seeds = append(c.nodes, s), append(c.seeds, gossip)
	s.restart()
	return s
}

// clusterStatus is what `rookery ctl status --json` says, as far as it matters here.
type clusterStatus struct {
	FullyReplicated bool `json:"fullyReplicated"`
}

// status as an operator asks for it.
func (s *server) status() (st clusterStatus, text string, err error) {
	out, err := exec.Command(binary(s.t), "ctl", "--admin", s.adminAddress(), "status", "--json").CombinedOutput()
	if err != nil {
		return st, string(out), fmt.Errorf("ctl status: %w: %s", err, out)
	}
	return st, string(out), json.Unmarshal(out, &st)
}

func (s *server) adminAddress() string { return s.args[slices.Index(s.args, "--admin")+1] }

// awaitReplicated waits until a node that lives says that every shard has all
// its replicas.
func (c *cluster) awaitReplicated() time.Duration {
	c.t.Helper()
	began := time.Now()
	eventually(c.t, "every shard has its replicas", func() error {
		for _, s := range c.nodes {
			if !s.alive() {
				continue
			}
			st, text, err := s.status()
			if err == nil && !st.FullyReplicated {
				err = errors.New(text)
			}
			return err
		}
		return errors.New("no node lives")
	})
	return time.Since(began)
}

// A third node makes three replicas of everything, and that soon.
func TestClusterForms(t *testing.T) {
	c := &cluster{t: t}
	for range 3 {
		c.add()
	}
	took := c.awaitReplicated()
	t.Logf("fully replicated %v after the third node was ready", took.Round(time.Millisecond))
	if took > 20*time.Second {
		t.Errorf("an empty cluster took %v to have three replicas of everything", took)
	}
	// Whoever registers at one node can log in at another.
	c.nodes[0].people(1, "alice", "bob")
}

// castOn has the phones connect to any of the nodes.
func (d *director) castOn(c *cluster) {
	var urls []string
	for _, s := range c.nodes {
		urls = append(urls, s.ws())
	}
	for _, p := range d.phones {
		p.urls = urls
	}
}

// One of three nodes is killed or stopped, again and again, while devices talk
// through any of them: nothing acknowledged lost, nothing twice, nothing out of
// order, no receipt early or lost.
func TestClusterLosesNodes(t *testing.T) {
	seed, rounds := envSeed(t), envInt(t, "E2E_CLUSTER_ROUNDS", 20)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := startCluster(t, 3)
	d := &director{t: t, server: c.nodes[0], rng: rng}
	d.cast(6, 2)
	d.castOn(c)
	stop := d.action()
	for round := range rounds {
		d.loseNode(c, round)
		d.judge(fmt.Sprintf("round %d", round))
	}
	d.settle()
	stop()
	d.judgeAtRest()
	t.Logf("%d nodes lost: %d sent, %d delivered, %d connections", rounds, d.count.sents.Load(), d.count.delivers.Load(), d.count.welcomes.Load())
}

// loseNode gives every phone something to say and takes one node away in the
// middle of it; the others have to go on without.
func (d *director) loseNode(c *cluster, round int) {
	d.t.Helper()
	total, sents := 0, d.count.sents.Load()
	for _, p := range d.phones {
		n := 2 + d.rng.IntN(16)
		total += n
		p.more(n)
	}
	d.await("sents", &d.count.sents, sents+1+d.rng.Int64N(int64(total/2)))
	victim := c.nodes[d.rng.IntN(len(c.nodes))]
	if round%4 == 3 {
		d.pauseNode(victim)
	} else {
		victim.kill()
	}
	began := time.Now()
	// Who speaks now is answered by those that are left.
	sents = d.count.sents.Load()
	for _, p := range d.phones {
		p.more(4)
	}
	d.await("sents without a node", &d.count.sents, sents+int64(2*len(d.phones)))
	d.t.Logf("round %d: %d sents %v after a node was lost", round, 2*len(d.phones), time.Since(began).Round(time.Millisecond))
	if victim.alive() {
		d.resumeNode(victim)
		victim.waitReady()
	} else {
		victim.restart()
	}
	c.awaitReplicated()
}

func (d *director) pauseNode(s *server) { d.signalNode(s, syscall.SIGSTOP) }

func (d *director) resumeNode(s *server) { d.signalNode(s, syscall.SIGCONT) }

func (d *director) signalNode(s *server, sig syscall.Signal) {
	d.t.Helper()
	if err := s.process.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
}
