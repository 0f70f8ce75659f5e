//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// startHosts starts a cluster whose nodes are hosts of a network, so that they
// need the cluster's key and certificates.
func startHosts(t *testing.T, w *network, n int, more ...string) *cluster {
	t.Helper()
	c := &cluster{t: t}
	ca := filepath.Join(t.TempDir(), "ca")
	for i := 1; i <= n; i++ {
		s := newServer(t, more...)
		w.settle(s, i, ca)
		c.nodes = append(c.nodes, s)
		s.restart()
	}
	c.awaitReplicated()
	return c
}

// settle prepares a server to be the node on a host; the one on the first host
// makes the cluster.
func (w *network) settle(s *server, i int, ca string) {
	w.t.Helper()
	data := s.args[slices.Index(s.args, "--data")+1]
	what := "node"
	if i == 1 {
		what = "init"
	}
	if out, err := exec.Command(binary(w.t), "tls", what, "--data", data, "--ca", ca).CombinedOutput(); err != nil {
		w.t.Fatalf("tls %s: %v: %s", what, err, out)
	}
	at := func(name string) string { return filepath.Join(data, "tls", name) }
	s.args = append(s.args, "--gossip", w.address(i)+":7946", "--peer", w.address(i)+":7947",
		"--cluster-key", at("cluster.key"), "--node-cert", at("node.pem"), "--node-key", at("node-key.pem"), "--node-ca", at("ca.pem"))
	if i > 1 {
		s.args = append(s.args, "--join", w.address(1)+":7946,"+w.address(2)+":7946")
	}
	w.live(s, i)
}

// Cuts of every shape, under devices that talk through all nodes: who is with
// the majority goes on, who is not refuses and sends its clients away, and after
// healing all agree.
func TestClusterIsCut(t *testing.T) {
	seed, rounds := envSeed(t), envInt(t, "E2E_CUT_ROUNDS", 4)
	rng := rand.New(rand.NewPCG(seed, 2))
	w := newNetwork(t, 3)
	c := startHosts(t, w, 3, unlimitedSends)
	d := &director{t: t, server: c.nodes[0], rng: rng}
	d.cast(6, 2)
	d.castOn(c)
	every := castEverywhere(c)
	probes := c.nodes[0].people(1, "probe", "probed")
	stop := d.action()
	for round := range rounds {
		d.cutRound(w, c, round, probes["probe/1"], every)
		d.judge(fmt.Sprintf("round %d", round))
	}
	d.settle()
	stop()
	d.judgeAtRest()
	t.Logf("%d cuts: %d sent, %d delivered, %d connections", rounds, d.count.sents.Load(), d.count.delivers.Load(), d.count.welcomes.Load())
	every.report(t)
}

func (d *director) cutRound(w *network, c *cluster, round int, token string, every *everywhere) {
	d.t.Helper()
	for _, p := range d.phones {
		p.more(2 + d.rng.IntN(16))
	}
	a := 1 + d.rng.IntN(3)
	b := a%3 + 1
	last := 6 - a - b
	switch round % 4 {
	case 0:
		d.isolate(w, c, a, token, every)
	case 1:
		d.t.Logf("round %d: %d and %d cut off from each other", round, a, b)
		w.cut(a, b)
		d.goOn()
	case 2:
		d.t.Logf("round %d: what %d says does not reach %d", round, a, b)
		w.mute(a, b)
		d.goOn()
	case 3:
		d.t.Logf("round %d: %d is heard by nobody", round, a)
		w.mute(a, b)
		w.mute(a, last)
		d.goOn()
	}
	w.heal()
	for _, s := range c.nodes {
		s.waitReady()
	}
	c.awaitReplicated()
}

// goOn has everybody say more, and waits until that many are accepted as those
// can say who are not in a minority.
func (d *director) goOn() {
	d.t.Helper()
	sents := d.count.sents.Load()
	for _, p := range d.phones {
		p.more(4)
	}
	d.await("sents in spite of the cut", &d.count.sents, sents+int64(2*len(d.phones)))
}

// isolate a node from both others, until it has sent its clients away.
func (d *director) isolate(w *network, c *cluster, i int, token string, every *everywhere) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*patience)
	defer cancel()
	p := openProbe(d.t, ctx, c.nodes[i-1], token)
	defer p.conn.CloseNow()
	d.t.Logf("%d is cut off from both others", i)
	w.cut(i, i%3+1)
	w.cut(i, (i+1)%3+1)
	cut := time.Now()
	every.recover(d.t, "a cut", cut, c.nodes[i%3])
	d.goOn()
	// What is said before this may still have got through, or nobody knows.
	quiet := time.NewTimer(time.Until(cut.Add(2 * time.Second)))
	<-quiet.C
	first, code := p.refusedUntilClosed(ctx)
	took := time.Since(cut)
	d.t.Logf("the minority refused a send after %v, and closed with %d %v after the cut", first.Round(time.Millisecond), code, took.Round(time.Millisecond))
	if first > time.Second {
		d.t.Errorf("the minority took %v to refuse a send", first)
	}
	if code != websocket.StatusTryAgainLater || took > 15*time.Second {
		d.t.Errorf("the minority's session ended with %d after %v, not with 1013 after 10 s", code, took)
	}
}

// probe is a client that says one thing after the other.
type probe struct {
	t    *testing.T
	conn *websocket.Conn
}

func openProbe(t *testing.T, ctx context.Context, s *server, token string) *probe {
	t.Helper()
	conn, _, err := websocket.Dial(ctx, s.ws(), &websocket.DialOptions{Subprotocols: []string{"rookery.v1.json"}})
	if err != nil {
		t.Fatal(err)
	}
	p := &probe{t: t, conn: conn}
	p.say(ctx, helloText(token, 0))
	p.until(ctx, func(f frame) bool { return f.Welcome != nil })
	return p
}

func (p *probe) say(ctx context.Context, text string) {
	p.t.Helper()
	if err := p.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

// until a frame comes; others are passed over.
func (p *probe) until(ctx context.Context, is func(frame) bool) {
	p.t.Helper()
	for {
		frames, err := p.read(ctx)
		if err != nil {
			p.t.Fatal(err)
		}
		if slices.ContainsFunc(frames, is) {
			return
		}
	}
}

func (p *probe) read(ctx context.Context) ([]frame, error) {
	_, data, err := p.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	return parseFrames(string(data))
}

// refusedUntilClosed sends, one message after each answer and ten a second at
// most, until the node closes the connection. None may be accepted. It returns
// how long the first answer took, and how the connection was closed.
func (p *probe) refusedUntilClosed(ctx context.Context) (first time.Duration, code websocket.StatusCode) {
	p.t.Helper()
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for ref := 2; ; ref++ {
		said := time.Now()
		err := p.conn.Write(ctx, websocket.MessageText, []byte(sendText(ref, newID(), "probed", "still there?")))
		for answered := false; err == nil && !answered; {
			var frames []frame
			frames, err = p.read(ctx)
			for _, f := range frames {
				if f.Sent != nil {
					p.t.Errorf("a minority accepted a message: %s", f.text)
				}
				answered = answered || f.Sent != nil || f.Error != nil
			}
		}
		if ref == 2 {
			first = time.Since(said)
		}
		if err != nil {
			return first, websocket.CloseStatus(err)
		}
		<-pace.C
	}
}
