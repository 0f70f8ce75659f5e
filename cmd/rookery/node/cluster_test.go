package node

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/persistence/datadir"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// gossiping is memberlist's: a probe that is under way when it ends goes on until
// its own timeout.
var gossiping = goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode")

// leaks looks for goroutines that are left, where the test was good so far.
func leaks(t *testing.T) {
	if !t.Failed() {
		goleak.VerifyNone(t, gossiping)
	}
}

// town starts nodes of a cluster on this machine.
type town struct {
	t    *testing.T
	seed string
}

func (w *town) start(data string, change func(*Config)) *Node {
	w.t.Helper()
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Admin, cfg.Shards = data, "127.0.0.1:0", "127.0.0.1:0", 2
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(w.t.Output(), nil))
	}
	if w.seed == "" {
		cfg.Place.Gossip = "127.0.0.1:0"
	} else {
		cfg.Place.Join = []string{w.seed}
	}
	if change != nil {
		change(&cfg)
	}
	n, err := Start(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.seed == "" {
		for _, m := range n.cluster.gossip.Members() {
			w.seed = m.Gossip
		}
	}
	return n
}

func (w *town) end(nodes ...*Node) {
	w.t.Helper()
	for _, n := range nodes {
		if err := n.Drain(); err != nil {
			w.t.Error(err)
		}
	}
}

// until something is true of a node's view.
func (w *town) until(n *Node, what string, is func(v *control.View) bool) *control.View {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if v := n.cluster.view(); v != nil && is(v) {
			return v
		}
		select {
		case <-deadline:
			w.t.Fatalf("%s: %+v", what, n.cluster.view())
		case <-tick.C:
		}
	}
}

func ready(count int) func(*control.View) bool {
	return func(v *control.View) bool {
		for _, m := range v.Members {
			if m.State != control.Ready {
				return false
			}
		}
		return len(v.Members) == count
	}
}

func (w *town) admin(n *Node, method, path string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+n.AdminAddr()+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// A node joins by one address; both have the same view, whose keys sign; what is
// asked of group 0 at the one is done by the other. It comes back as it was, and
// when it is removed it ends.
func TestNodeJoins(t *testing.T) {
	defer leaks(t)
	defer http.DefaultClient.CloseIdleConnections()
	w := &town{t: t}
	one := w.start(t.TempDir(), nil)
	data := t.TempDir()
	two := w.start(data, nil)
	v := w.until(two, "it is not ready", ready(2))
	me, _ := v.Node(two.dir.Node())
	if me.Number != 2 || me.Peer == "" || me.Gossip == "" || !strings.HasPrefix(me.Clients, "ws://127.0.0.1:") {
		t.Errorf("known as %+v", me)
	}
	same := w.until(one, "the other has another view", func(o *control.View) bool { return o.Version >= v.Version })
	a, _ := v.Signing()
	b, ok := same.Signing()
	if !ok || a.ID != b.ID || !two.cluster.complete() {
		t.Errorf("keys %q and %q, complete: %v", a.ID, b.ID, two.cluster.complete())
	}

	if status, text := w.admin(two, "POST", "/v1/invites"); status != http.StatusCreated || !strings.Contains(text, "code") {
		t.Errorf("an invite: %d %s", status, text)
	}
	if status, text := w.admin(two, "POST", "/v1/keys"); status != http.StatusNoContent {
		t.Errorf("a key: %d %s", status, text)
	}
	w.until(two, "the new key has not come", func(v *control.View) bool { k, _ := v.Signing(); return k.ID != a.ID })
	if _, err := two.ask(t.Context(), &controlpb.Ask{Body: &controlpb.Ask_Redeem{Redeem: &controlpb.Redemption{Code: "NONE", User: "bob"}}}); !errors.Is(err, control.ErrInviteUnknown) {
		t.Errorf("an unknown invite: %v", err)
	}

	w.end(two)
	two = w.start(data, func(c *Config) { c.Place.Join = nil }) // it knows where the others are
	v = w.until(one, "it is not back", func(v *control.View) bool { m, _ := v.Member(2); return m.Incarnation == 2 })
	if len(v.Members) != 2 {
		t.Errorf("members %+v", v.Members)
	}
	w.until(two, "it does not know that it is back", func(o *control.View) bool { return o.Version >= v.Version })
	if _, err := one.ask(t.Context(), &controlpb.Ask{Body: &controlpb.Ask_Remove{Remove: 2}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-two.Removed():
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
	w.end(two)
	two = w.start(data, nil)
	select {
	case <-two.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on, in another life")
	}
	if !errors.Is(two.Err(), control.ErrRemoved) {
		t.Errorf("it ended by %v", two.Err())
	}
	w.end(two)
	w.end(one)
}

// A node that joins makes no cluster of its own, also where nobody answers, and
// takes part once somebody does.
func TestNodeWaitsForItsCluster(t *testing.T) {
	defer leaks(t)
	w := &town{t: t}
	one := w.start(t.TempDir(), nil)
	seed, data := w.seed, one.cfg.Data
	w.end(one)
	two := w.start(t.TempDir(), nil)
	if err := two.Ready(); err == nil {
		t.Error("ready without a cluster")
	}
	if two.dir.Cluster() != "" || two.cluster.view() != nil {
		t.Errorf("it is of cluster %q", two.dir.Cluster())
	}
	one = w.start(data, func(c *Config) { c.Place.Gossip, c.Place.Join = seed, nil })
	w.until(two, "it is not taken in", ready(2))
	if got := two.cluster.view().Cluster; got != one.dir.Cluster() {
		t.Errorf("it is of %s, the other of %s", got, one.dir.Cluster())
	}
	w.end(two, one)
}

// One that belongs to another cluster is not taken in.
func TestNodeOfAnotherCluster(t *testing.T) {
	defer leaks(t)
	w := &town{t: t}
	one := w.start(t.TempDir(), nil)
	stranger := w.start(t.TempDir(), func(c *Config) { c.Place.Gossip, c.Place.Join = "127.0.0.1:0", nil })
	data, cluster := stranger.cfg.Data, stranger.dir.Cluster()
	w.until(stranger, "it has no cluster", ready(1))
	w.end(stranger)
	stranger = w.start(data, nil)
	if n, err := stranger.cluster.gossip.Join(); err == nil || n != 0 {
		t.Errorf("it has met %d, %v", n, err)
	}
	if v := stranger.cluster.view(); v.Cluster != cluster || len(v.Members) != 1 || len(one.cluster.view().Members) != 1 {
		t.Errorf("it is of %s, with %d members", v.Cluster, len(v.Members))
	}
	w.end(stranger, one)
}

// The first node of a cluster holds what it has; told otherwise it does not begin.
func TestFirstNodeKeepsData(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Admin, cfg.Place.Roles = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0", []string{control.RoleGateway}
	if _, err := Start(cfg); err == nil || !strings.Contains(err.Error(), "roles") {
		t.Fatalf("it begins: %v", err)
	}
	cfg.Place.Roles = DefaultConfig().Place.Roles
	n, err := Start(cfg)
	if err != nil {
		t.Fatalf("and not as it ought to: %v", err)
	}
	if err := n.Drain(); err != nil {
		t.Error(err)
	}
}

func TestFolderOfOneThatJoins(t *testing.T) {
	data := t.TempDir()
	d, err := datadir.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Prepare("0d3f2a52-64b9-4dfb-9f0f-3a5a2c1f7f10", datadir.Joins), d.Close()); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Admin = data, "127.0.0.1:0", "127.0.0.1:0"
	if _, err := Start(cfg); !errors.Is(err, datadir.ErrOrigin) {
		t.Errorf("it creates a cluster: %v", err)
	}
}

func TestPlaceNamesFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Place)
		want   string // the settings; empty where it is good
	}{
		{"alone", func(*Place) {}, ""},
		{"join on this machine", func(p *Place) { p.Join = []string{"127.0.0.1:7946", "localhost:1"} }, ""},
		{"join beyond it, without an address", func(p *Place) { p.Join = []string{"10.0.0.1:7946"} }, "gossip, join"},
		{"beyond loopback", func(p *Place) { p.Gossip = "10.0.0.2:7946" }, "gossip, cluster-key, node-cert, node-key, node-ca"},
		{"links beyond loopback", func(p *Place) { p.Peer = "10.0.0.2:7947" }, "peer, cluster-key, node-cert, node-key, node-ca"},
		{"with a key alone", func(p *Place) { p.Gossip, p.Key = "10.0.0.2:7946", "k" }, "gossip, cluster-key, node-cert, node-key, node-ca"},
		{"with all of it", func(p *Place) { p.Gossip, p.Key, p.Cert, p.CertKey, p.CA = "10.0.0.2:7946", "k", "c", "k", "a" }, ""},
		{"half of TLS", func(p *Place) { p.Gossip, p.Cert = "127.0.0.1:7946", "c" }, "node-cert, node-key, node-ca"},
		{"everywhere", func(p *Place) { p.Gossip, p.Key, p.Cert, p.CertKey, p.CA = "0.0.0.0:7946", "k", "c", "k", "a" }, "gossip, advertise"},
		{"a name", func(p *Place) { p.Gossip = "localhost:7946" }, "gossip"},
		{"advertised for nothing", func(p *Place) { p.Advertise = "10.0.0.2" }, "advertise, gossip, join"},
		{"advertised with the port of gossip", func(p *Place) { p.Gossip, p.Advertise = "127.0.0.1:7946", "127.0.0.1:7946" }, ""},
		{"advertised with a port", func(p *Place) { p.Gossip, p.Advertise = "127.0.0.1:7946", "127.0.0.1:1" }, "advertise"},
		{"advertised beyond loopback", func(p *Place) { p.Gossip, p.Advertise = "127.0.0.1:7946", "10.0.0.2" }, "advertise, cluster-key, node-cert, node-key, node-ca"},
		{"one port for both", func(p *Place) { p.Gossip, p.Peer = "127.0.0.1:7946", "127.0.0.1:7946" }, "gossip, peer"},
		{"any port for both", func(p *Place) { p.Gossip, p.Peer = "127.0.0.1:0", "127.0.0.1:0" }, ""},
		{"no roles", func(p *Place) { p.Roles = nil }, "roles"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Data, cfg.Listen, cfg.Admin = "d", ":0", ":0"
			c.change(&cfg.Place)
			err := cfg.Validate()
			var f *Fault
			if errors.As(err, &f) != (c.want != "") || f != nil && strings.Join(f.Settings, ", ") != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestClusterKeyIsRead(t *testing.T) {
	file := t.TempDir() + "/key"
	for text, good := range map[string]bool{
		"": false, "short": false, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n": true,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := readKey(file); (err == nil) != good || good && len(key) != 32 {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A node that was removed goes on while it has replicas, whose votes the others
// need to do without it, but not for ever.
func TestRemovedNodeHandsOver(t *testing.T) {
	removed := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		removed time.Time
		holds   int
		after   time.Duration
		want    bool
	}{
		"a member":                    {time.Time{}, 0, time.Hour, false},
		"removed, holds something":    {removed, 1, time.Second, false},
		"removed, holds nothing":      {removed, 0, time.Second, true},
		"nobody takes over for long":  {removed, 1, lingerMost + time.Second, true},
		"nobody takes over, not long": {removed, 1, lingerMost - time.Second, false},
	} {
		k := &cluster{removed: c.removed, holds: func() int { return c.holds }}
		if got := k.over(removed.Add(c.after)); got != c.want {
			t.Errorf("%s: over %v", name, got)
		}
	}
}

// A node that was not there to be told that it was removed, as it hung, hears of it when
// it is there again: else it would go on for ever, with clients whom nobody answers.
func TestRemovedNodeHearsOfItLater(t *testing.T) {
	defer leaks(t)
	defer http.DefaultClient.CloseIdleConnections()
	w := &town{t: t}
	one, two := w.start(t.TempDir(), nil), w.start(t.TempDir(), nil)
	w.until(two, "it is not ready", ready(2))
	deaf := make(chan struct{})
	if !two.conns.Post(func() {
		hear := two.office.hear[kindControl]
		two.office.hear[kindControl] = func(from string, body []byte) {
			if said := new(controlpb.Word); proto.Unmarshal(body, said) != nil || said.GetView() == nil {
				hear(from, body)
			}
		}
		close(deaf)
	}) {
		t.Fatal("its loop has ended")
	}
	<-deaf
	if _, err := one.ask(t.Context(), &controlpb.Ask{Body: &controlpb.Ask_Remove{Remove: 2}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-two.Removed():
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
	w.end(two, one)
}

// A node that is about to join takes no view yet, and finds nothing wrong with it;
// a member does.
func TestViewOfAnotherCluster(t *testing.T) {
	d, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	c := &cluster{dir: d, log: slog.New(slog.NewTextHandler(&said, nil))}
	v := &control.View{Version: 1, Cluster: "0d3f2a52-64b9-4dfb-9f0f-3a5a2c1f7f10"}
	if c.take(v); said.Len() != 0 || c.view() != nil {
		t.Errorf("before it joins: %s", said.String())
	}
	if err := d.Belong("b1d7ad3c-2f4e-4e0c-9a35-0c1f54d3a1c9", 2, 1); err != nil {
		t.Fatal(err)
	}
	if c.take(v); !strings.Contains(said.String(), "another cluster") || c.view() != nil {
		t.Errorf("a member says %q", said.String())
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
