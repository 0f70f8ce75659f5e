//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// movePatience is for what a node holds to be moved to others.
const movePatience = 3 * patience

// A node that dies for good is replaced after replace-after, without a word of an
// operator: then it stops nothing where another one hangs. Both get their share
// when they are back, and nothing of what they still had is ever told.
func TestClusterReplaces(t *testing.T) {
	seed := envSeed(t)
	c := startCluster(t, 4, "--shards", "16", "--replace-after", "3s")
	d := &director{t: t, server: c.nodes[0], rng: rand.New(rand.NewPCG(seed, 4))}
	d.cast(6, 2)
	d.castOn(c)
	every := castEverywhere(c)
	stop := d.action()

	d.rng.Shuffle(len(c.nodes), func(i, j int) { c.nodes[i], c.nodes[j] = c.nodes[j], c.nodes[i] })
	dead, second, witness := c.nodes[0], c.nodes[1], c.nodes[2]
	id, other := dead.nodeID(), second.nodeID()
	d.talkOn()
	dead.kill()
	began := time.Now()
	witness.awaitAlerts(map[string]float64{"members_silent": 1})
	d.awaitStatus(witness, "the dead node is replaced", func(st clusterStatus) bool {
		return st.FullyReplicated && st.state(id) == "lost" && !st.holds(id)
	})
	t.Logf("replaced %v after the kill", time.Since(began).Round(time.Millisecond))
	witness.awaitAlerts(map[string]float64{"members_silent": 1, `members{state="lost"}`: 1, "groups_short": 0, "shards_unled": 0})
	d.judge("replaced")

	// Two of four are gone now: what only seemed to be replaced stands still.
	d.pauseNode(second)
	d.talkOn()
	d.acceptedEverywhere(every, witness)
	d.awaitStatus(witness, "the one that hangs is missed", func(st clusterStatus) bool { return st.state(other) == "lost" })
	witness.awaitAlerts(map[string]float64{"members_silent": 2, `members{state="lost"}`: 2, "shards_unled": 0})
	eventually(t, "groups are short of replicas", func() error {
		if n, err := witness.measure("rookery_cluster_groups_short"); err != nil || n == 0 {
			return fmt.Errorf("%v are, %w", n, err)
		}
		return nil
	})
	d.judge("another one hangs")

	d.resumeNode(second)
	dead.restart()
	d.talkOn()
	d.awaitStatus(witness, "both are back", func(st clusterStatus) bool {
		return st.FullyReplicated && st.state(id) == "ready" && st.holds(id) && st.state(other) == "ready" && st.holds(other)
	})
	d.acceptedEverywhere(every, dead)
	witness.awaitAlerts(map[string]float64{"members_silent": 0, `members{state="lost"}`: 0, "groups_short": 0, "shards_unled": 0})
	d.settle()
	stop()
	d.judgeAtRest()
	t.Logf("%d sent, %d delivered, %d connections", d.count.sents.Load(), d.count.delivers.Load(), d.count.welcomes.Load())
}

// awaitAlerts waits until the node says so of its cluster in its metrics.
func (s *server) awaitAlerts(want map[string]float64) {
	s.t.Helper()
	eventually(s.t, fmt.Sprint(want), func() error {
		for name, n := range want {
			if got, err := s.measure("rookery_cluster_" + name); err != nil || got != n {
				return fmt.Errorf("%s is %v: %w", name, got, err)
			}
		}
		return nil
	})
}

// A living node that is removed by force serves as long as the others cannot do
// without its votes, as where a dead one leaves no majority but with it. A dead one goes
// once others hold what it held, or by force at once, whether it knows or not. None of
// them is ever taken in again.
func TestClusterRemoves(t *testing.T) {
	seed := envSeed(t)
	c := startCluster(t, 5, "--shards", "16")
	d := &director{t: t, server: c.nodes[0], rng: rand.New(rand.NewPCG(seed, 5))}
	d.cast(6, 2)
	d.castOn(c)
	every := castEverywhere(c)
	stop := d.action()

	d.rng.Shuffle(len(c.nodes), func(i, j int) { c.nodes[i], c.nodes[j] = c.nodes[j], c.nodes[i] })
	dead, living, hung, last, witness := c.nodes[0], c.nodes[1], c.nodes[2], c.nodes[3], c.nodes[4]
	ids := map[*server]string{}
	for _, s := range c.nodes {
		ids[s] = s.nodeID()
	}
	d.talkOn()
	dead.kill()
	witness.ctl("node", "remove", "--force", ids[living])
	d.talkOn()
	d.acceptedEverywhere(every, witness)
	witness.ctl("node", "remove", ids[dead])
	d.awaitEnd(living, 0, "the cluster has removed this node, for good")
	d.awaitStatus(witness, "the others have all", func(st clusterStatus) bool { return st.FullyReplicated })
	d.judge("two are removed")
	for _, s := range []*server{dead, living} {
		s.start()
		d.talkOn()
		d.awaitEnd(s, 1, "the node was removed from the cluster, for good")
		witness.ctlFails("there is no node", "node", "remove", "--force", ids[s])
	}
	d.judge("the removed came back")

	d.pauseNode(hung)
	d.awaitStatus(witness, "another leads group 0", func(st clusterStatus) bool { return st.Groups[0].Leader != 0 })
	witness.ctl("node", "remove", "--force", ids[hung])
	d.awaitStatus(witness, "two have all", func(st clusterStatus) bool { return len(st.Members) == 2 && st.replicas() == 2 })
	d.acceptedEverywhere(every, witness)
	for _, s := range []*server{witness, last} { // nothing waits for it any more
		s.awaitThere(2)
	}
	d.resumeNode(hung)
	d.awaitEnd(hung, 0, "the cluster has removed this node, for good")
	d.judge("a node goes on that was removed")

	last.kill() // and one of two is no majority
	d.awaitStatus(witness, "group 0 has no leader", func(st clusterStatus) bool { return st.Groups[0].Leader == 0 })
	witness.ctlFails("group 0", "node", "remove", "--force", ids[last])
	last.restart()
	d.acceptedEverywhere(every, last)
	if st, text, err := witness.status(); err != nil || st.state(ids[last]) != "ready" {
		t.Errorf("what was refused was done: %v %s", err, text)
	}
	d.settle()
	stop()
	d.judgeAtRest()
	t.Logf("%d sent, %d delivered, %d connections", d.count.sents.Load(), d.count.delivers.Load(), d.count.welcomes.Load())
}

// A node that is alone has nobody to leave its users to.
func TestLastNodeStays(t *testing.T) {
	s := startServer(t)
	for _, more := range [][]string{nil, {"--force"}} {
		s.ctlFails("no other node is ready to hold data", append([]string{"node", "remove", s.nodeID()}, more...)...)
		s.ctlFails(`there is no node "2"`, append([]string{"node", "remove", "2"}, more...)...)
	}
	s.people(1, "alice")
}

// talkOn has everybody say something, and waits until the first of it is accepted.
func (d *director) talkOn() {
	d.t.Helper()
	sents := d.count.sents.Load()
	for _, p := range d.phones {
		p.more(2 + d.rng.IntN(12))
	}
	d.await("sents", &d.count.sents, sents+1+d.rng.Int64N(int64(len(d.phones))))
}

// awaitStatus waits until a node says of the cluster that it is so, while everybody talks.
func (d *director) awaitStatus(s *server, what string, is func(clusterStatus) bool) {
	d.t.Helper()
	within(d.t, movePatience, what, func() error {
		for _, p := range d.phones {
			p.more(1)
		}
		st, text, err := s.status()
		if err == nil && !is(st) {
			err = errors.New(text)
		}
		return err
	})
}

// awaitThere waits until a node believes that so many are there.
func (s *server) awaitThere(nodes float64) {
	s.t.Helper()
	within(s.t, movePatience, "so many nodes are there", func() error {
		n, err := s.measure("rookery_membership_members")
		if err == nil && n != nodes {
			err = fmt.Errorf("%v are", n)
		}
		return err
	})
}

// awaitEnd waits until a process ends by itself, for a reason that it gives.
func (d *director) awaitEnd(s *server, code int, why string) {
	d.t.Helper()
	within(d.t, movePatience, "the process ends", func() error {
		if s.alive() {
			return errors.New("it is there")
		}
		return nil
	})
	if said := s.lastWords(); s.process.ProcessState.ExitCode() != code || !strings.Contains(said, why) {
		d.t.Errorf("it ended with %v, and said %q; it should with %d, and say that %s", s.process.ProcessState, said, code, why)
	}
}

// lastWords of a process that has ended: what its last start has logged.
func (s *server) lastWords() string {
	text := s.logged()
	return text[max(0, strings.LastIndex(text, "==== start ")):]
}

func (d *director) acceptedEverywhere(every *everywhere, s *server) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	if err := every.accepted(ctx, s); err != nil {
		d.t.Fatal(err)
	}
}

// ctl has an operator say something to a node, which does it.
func (s *server) ctl(words ...string) {
	s.t.Helper()
	if said, err := s.operator(words); err != nil {
		s.t.Fatalf("ctl %s: %v: %s", strings.Join(words, " "), err, said)
	}
}

// ctlFails has it refused, for a reason that is named.
func (s *server) ctlFails(why string, words ...string) {
	s.t.Helper()
	said, err := s.operator(words)
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !strings.Contains(said, why) {
		s.t.Errorf("ctl %s: %v, %q; it should fail with %q", strings.Join(words, " "), err, said, why)
	}
	s.t.Logf("refused: %s", strings.TrimSpace(said))
}

func (s *server) operator(words []string) (said string, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), movePatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary(s.t), append([]string{"ctl", "--admin", s.adminAddress()}, words...)...).CombinedOutput()
	return string(out), err
}
