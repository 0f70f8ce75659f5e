//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// cluster is several nodes of the real binary on loopback, each with a data
// directory of its own. The first made the cluster, the others joined it.
type cluster struct {
	t     *testing.T
	nodes []*server
	seeds []string              // gossip addresses
	begin func(*exec.Cmd) error // of the next that is added, where set
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
	if c.begin != nil {
		s.begin = c.begin
	}
	c.nodes, c.seeds = append(c.nodes, s), append(c.seeds, gossip)
	s.restart()
	return s
}

// clusterStatus is what `rookery ctl status --json` says, as far as it matters here.
type clusterStatus struct {
	FullyReplicated bool           `json:"fullyReplicated"`
	Members         []memberStatus `json:"members"`
	Groups          []groupStatus  `json:"groups"`
}

type memberStatus struct {
	Node   string `json:"node"`
	State  string `json:"state"`
	Groups int    `json:"groups"`
}

type groupStatus struct {
	Leader   int `json:"leader"`
	Replicas []struct {
		Number int `json:"number"`
	} `json:"replicas"`
}

// state of a node; none where it is no member.
func (st clusterStatus) state(node string) string {
	for _, m := range st.Members {
		if m.Node == node {
			return m.State
		}
	}
	return ""
}

// replicas are the most that any group has.
func (st clusterStatus) replicas() (most int) {
	for _, g := range st.Groups {
		most = max(most, len(g.Replicas))
	}
	return most
}

// holds says whether a node has a replica of anything.
func (st clusterStatus) holds(node string) bool {
	return slices.ContainsFunc(st.Members, func(m memberStatus) bool { return m.Node == node && m.Groups > 0 })
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
	tokens := c.nodes[0].people(1, "alice", "bob")

	// A node for clients alone keeps nothing; one for data alone takes none.
	gate, keeper := c.add("--roles", "gateway"), c.add("--roles", "data")
	if sent := gate.client(tokens["alice/1"]).send(t, "bob", "hello"); sent.Order != 1 {
		t.Errorf("through the gateway: %+v", sent)
	}
	if code, answer := keeper.rest("GET /v1/users/alice", tokens["alice/1"], ""); code != http.StatusServiceUnavailable || !strings.Contains(fmt.Sprint(answer["detail"]), "takes no clients") {
		t.Errorf("REST at the node for data: %d %v", code, answer)
	}
	if _, _, err := keeper.hello(tokens["alice/1"]); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a socket at the node for data: %v", err)
	}
	eventually(t, "all but the node for data are named to clients", func() error {
		_, answer := keeper.rest("GET /v1/nodes", tokens["alice/1"], "")
		if named := fmt.Sprint(answer); !strings.Contains(named, gate.address) || strings.Contains(named, keeper.address) {
			return errors.New(named)
		}
		return nil
	})
	st, _, err := gate.status()
	if err != nil || st.holds(gate.nodeID()) {
		t.Errorf("the node for clients holds groups: %v", err)
	}
	eventually(t, "the node for data holds groups", func() error {
		if st, _, err := gate.status(); err != nil || !st.holds(keeper.nodeID()) {
			return fmt.Errorf("none yet, %w", err)
		}
		return nil
	})
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
	seed, rounds := envSeed(t), envInt(t, "E2E_CLUSTER_ROUNDS", 8)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := startCluster(t, 3, unlimitedSends)
	d := &director{t: t, server: c.nodes[0], rng: rng}
	d.cast(6, 2)
	d.castOn(c)
	every := castEverywhere(c)
	stop := d.action()
	for round := range rounds {
		d.loseNode(c, round, every)
		d.judge(fmt.Sprintf("round %d", round))
	}
	d.settle()
	stop()
	d.judgeAtRest()
	t.Logf("%d nodes lost: %d sent, %d delivered, %d connections", rounds, d.count.sents.Load(), d.count.delivers.Load(), d.count.welcomes.Load())
	every.report(t)
}

// unlimitedSends is for where somebody writes to everybody at once, again and again
// until it is accepted: who does that is told to wait, and soon not listened to, which
// is not what is measured.
const unlimitedSends = "--rate-sends=1000000/1000000"

// everywhere is users in all shards, and who writes to each of them.
type everywhere struct {
	users  []string
	tokens map[string]string
	took   map[string][]time.Duration
}

// castEverywhere makes so many users that hardly a shard is without any.
func castEverywhere(c *cluster) *everywhere {
	e := &everywhere{took: map[string][]time.Duration{}}
	for i := range 400 {
		e.users = append(e.users, fmt.Sprintf("every%d", i))
	}
	c.nodes[0].people(1, e.users...)
	e.tokens = c.nodes[0].people(1, "writer")
	return e
}

// recover waits until every shard has accepted a message that a node passes on.
func (e *everywhere) recover(t *testing.T, how string, began time.Time, s *server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := e.accepted(ctx, s); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began).Round(time.Millisecond)
	e.took[how] = append(e.took[how], took)
	t.Logf("every shard accepted %v after %s", took, how)
}

func (e *everywhere) report(t *testing.T) {
	t.Helper()
	for how, took := range e.took {
		slices.Sort(took)
		t.Logf("every shard accepted again after %s: median of %d %v, longest %v", how, len(took), took[len(took)/2], took[len(took)-1])
	}
}

// accepted sends a message to each of the users by a node, each again until it
// is accepted.
func (e *everywhere) accepted(ctx context.Context, s *server) error {
	open := map[string]string{} // user by message
	for _, u := range e.users {
		open[newID()] = u
	}
	var last error
	for len(open) > 0 {
		err := e.write(ctx, s, open)
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d users cannot be written to: %w; before that: %w", len(open), len(e.users), err, last)
		}
		last = err
		pauseProbe()
	}
	return nil
}

// write what is open on one connection, and strike out what is accepted, until
// all of it is, or the connection ends.
func (e *everywhere) write(ctx context.Context, s *server, open map[string]string) error {
	conn, _, err := websocket.Dial(ctx, s.ws(), &websocket.DialOptions{Subprotocols: []string{"rookery.v1.json"}})
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20) // all refusals at once
	text := helloText(e.tokens["writer/1"], 0)
	for id, user := range open {
		text += "\n" + sendText(2, id, user, "all well?")
	}
	for {
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			return err
		}
		text = ""
		for text == "" {
			_, data, err := conn.Read(ctx)
			if err != nil {
				return err
			}
			frames, err := parseFrames(string(data))
			if err != nil {
				return err
			}
			for _, f := range frames {
				switch {
				case f.Sent != nil:
					delete(open, f.Sent.ID)
				case f.Error != nil && f.Error.ID == "":
					return errors.New(f.text) // the hello was refused
				case f.Error != nil && f.Error.Retryable:
					text += sendText(2, f.Error.ID, open[f.Error.ID], "all well?") + "\n"
				case f.Error != nil:
					return errors.New(f.text)
				}
			}
			if len(open) == 0 {
				return nil
			}
		}
		pauseProbe()
	}
}

// pauseProbe before what was refused is tried again.
func pauseProbe() { <-time.NewTimer(30 * time.Millisecond).C }

// loseNode gives every phone something to say and takes one node away in the
// middle of it; the others have to go on without.
func (d *director) loseNode(c *cluster, round int, every *everywhere) {
	d.t.Helper()
	total, sents := 0, d.count.sents.Load()
	for _, p := range d.phones {
		n := 2 + d.rng.IntN(16)
		total += n
		p.more(n)
	}
	d.await("sents", &d.count.sents, sents+1+d.rng.Int64N(int64(total/2)))
	i := d.rng.IntN(len(c.nodes))
	victim, witness := c.nodes[i], c.nodes[(i+1)%len(c.nodes)]
	how := "kill -9"
	if round%4 == 3 {
		how = "SIGSTOP"
		d.pauseNode(victim)
	} else {
		victim.kill()
	}
	began := time.Now()
	for _, p := range d.phones {
		p.more(4)
	}
	every.recover(d.t, how, began, witness)
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

// Anybody can connect to any node and talk to anybody, wherever the actors are.
func TestClusterFromAnyNode(t *testing.T) {
	c := startHosts(t, newNetwork(t, 3), 3)
	var users []string
	for i := range 12 {
		users = append(users, fmt.Sprintf("u%d", i))
	}
	tokens := c.nodes[0].people(3, users...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for i, user := range users {
		for n, s := range c.nodes {
			p := openProbe(t, ctx, s, tokens[fmt.Sprintf("%s/%d", user, n+1)])
			p.say(ctx, sendText(2, newID(), users[(i+1)%len(users)], "hello"))
			p.until(ctx, func(f frame) bool { return f.Sent != nil })
			p.conn.CloseNow()
		}
	}
}

// ask the admin address for an object.
func (s *server) ask(path string, into any) error {
	response, err := s.admin().Get("http://admin" + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// nodeID is what a node calls itself.
func (s *server) nodeID() string {
	s.t.Helper()
	var about struct{ Node string }
	if err := s.ask("/v1/about", &about); err != nil {
		s.t.Fatal(err)
	}
	return about.Node
}
