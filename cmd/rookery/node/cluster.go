package node

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/council"
	"github.com/rookery-im/rookery/cluster/membership"
	"github.com/rookery-im/rookery/cluster/peer"
	"github.com/rookery-im/rookery/persistence/datadir"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// The cluster's times.
const (
	pulseEvery = council.PulseEvery
	// freshFor is how long a view counts as the newest after a pulse that said so.
	freshFor = 3 * pulseEvery
	// heardWait is how long it may take until others have heard a word of gossip.
	heardWait = 5 * time.Second
	// loopbackRejoin is how often those that are not there are called on one
	// machine, where nodes are started together.
	loopbackRejoin = time.Second
	// lingerMost is how long a node that was removed waits for others to take over
	// what it holds. Where they cannot, whoever forced it out wanted it so.
	lingerMost = 10 * time.Minute
)

var (
	errJoining = errors.New("this node waits to be taken into its cluster")
	errTaken   = errors.New("node: the cluster has removed this node, for good: its data directory is of no use any more")
)

// cluster is this node's place among others: what it knows of them, how it finds
// them, and what it asks them about the cluster itself. It belongs to the loop,
// but for what is atomic.
type cluster struct {
	// Immutable once the loop runs.
	place     Place
	site      *site // nil where the node is alone
	node      string
	life      uint64
	dir       *datadir.Dir
	office    *office
	log       *slog.Logger
	gossip    *membership.Membership // nil where the node is alone
	peers     net.Listener           // nil where it is alone
	wake      func()
	fail      func(error)
	retire    func()       // it was removed, and may go
	run       func(func()) // a goroutine that close waits for
	metrics   *peer.Metrics
	following []func(*control.View) // told each new view, on the loop

	// Owned by the loop.
	machine   *control.Control // nil where this node has no replica of group 0
	lead      func() string    // node that leads group 0, as the replica here knows
	council   *council.Council
	admission *council.Admission
	herald    *council.Herald
	guard     guard
	links     *peer.Links
	called    map[string]string // who is linked to, and where
	reports   func() *controlpb.Report
	pulse     time.Time
	removed   time.Time  // from the cluster; zero while it is not
	holds     func() int // how many groups there are replicas of here

	// Atomic.
	current atomic.Pointer[control.View]
	fresh   atomic.Int64 // until when the view is the newest: since start
	start   time.Time
	moved   atomic.Bool // gossip has changed
	kept    chan *control.View
}

// openCluster finds what was known of the cluster, and begins to look for the
// others.
func (n *Node) openCluster() error {
	c := &cluster{
		place: n.cfg.Place, node: n.dir.Node(), life: n.dir.Incarnation(), dir: n.dir, office: n.office, log: n.cfg.Log.With("part", "cluster"),
		wake: func() { n.conns.Post(func() {}) }, fail: n.fail, run: n.running.Go,
		retire: sync.OnceFunc(func() { close(n.removed) }), start: time.Now(), kept: make(chan *control.View, 1),
		metrics: peer.NewMetrics(n.registry), lead: func() string { return "" }, holds: func() int { return 0 }, reports: func() *controlpb.Report { return &controlpb.Report{} },
	}
	n.cluster = c
	c.council = council.New(council.Config{
		Self: c.node, Now: c.start, Send: c.say, Answer: c.answer, Leads: c.leads, Leader: func() string { return c.lead() }, Others: c.others,
	})
	c.admission = council.NewAdmission(c.council, c.admitted, c.fail, c.log)
	c.herald = council.NewHerald(council.HeraldConfig{
		Self: c.node, Council: c.council, View: c.view, Take: c.take, Confirm: c.confirm, Member: func() bool { return c.dir.Number() != 0 },
		Send: c.say, Loose: c.sayLoosely, Log: c.log,
	})
	c.guard = guard{cluster: c, gone: map[uint16]time.Time{}}
	c.office.on(kindControl, c.hear)
	if err := c.recall(); err != nil {
		return err
	}
	if err := c.settle(); err != nil {
		return err
	}
	if c.place.alone() {
		return nil
	}
	return c.meet(n)
}

// recall the view of an earlier life.
func (c *cluster) recall() error {
	data, err := c.dir.View()
	if err != nil || data == nil {
		return err
	}
	v, err := control.Decode(data)
	if err == nil && v.Cluster != c.dir.Cluster() {
		err = fmt.Errorf("it is of cluster %s, and this node of %s", v.Cluster, c.dir.Cluster())
	}
	if err != nil {
		// The others know better.
		c.log.Warn("what was known of the cluster is lost", "err", err)
		return nil
	}
	c.current.Store(v)
	return nil
}

// settle where a node belongs that has others, and was started without a word of
// them.
func (c *cluster) settle() error {
	v := c.view()
	if !c.place.alone() || v == nil || len(v.Members) < 2 {
		return nil
	}
	if me, ok := v.Node(c.node); !ok || !loopback(me.Gossip) {
		return &Fault{[]string{"gossip"}, "this node has a cluster with others, and needs the address by which they find it"}
	}
	c.place.Gossip = "127.0.0.1:0"
	return nil
}

// seeds are those to call, and those who were there before.
func (c *cluster) seeds() []string {
	seeds := slices.Clone(c.place.Join)
	if v := c.view(); v != nil {
		for _, m := range v.Members {
			if m.Gossip != "" && m.Node != c.node && len(seeds) < maxSeeds {
				seeds = append(seeds, m.Gossip)
			}
		}
	}
	slices.Sort(seeds)
	return slices.Compact(seeds)
}

// meet the others: listen for them, and call them.
func (c *cluster) meet(n *Node) error {
	var err error
	if c.site, err = c.place.survey(); err != nil {
		return err
	}
	if t := c.site.tls; t != nil && (t.Node != c.node || c.dir.Cluster() != "" && t.Cluster != c.dir.Cluster()) {
		return notCertified(c.site, c.dir.Path(), c.node, c.dir.Cluster())
	}
	if c.peers, err = net.Listen("tcp", c.site.peer); err != nil {
		return wrap("listen for other nodes", err)
	}
	self := membership.Member{
		Node: c.node, Cluster: c.dir.Cluster(), Incarnation: c.life, Version: short(n.cfg.Version), Zone: c.place.Zone, Roles: c.place.Roles,
		Peer: c.reach(c.peers.Addr().String()),
	}
	if bind, port := splitHost(c.site.gossip); bind != c.site.host {
		self.Gossip = net.JoinHostPort(c.site.host, port)
	}
	profile, rejoin := membership.LAN, membership.DefaultRejoin
	if loopback(c.site.gossip) {
		profile, rejoin = membership.Loopback, loopbackRejoin
	}
	c.gossip, err = membership.New(membership.Config{
		Self: self, Bind: c.site.gossip, Seeds: c.seeds(), Key: c.site.key, Profile: profile,
		Changed: func() { c.moved.Store(true); c.wake() }, Rejoin: rejoin,
		Logger: n.cfg.Log.With("part", "gossip"), Metrics: membership.NewMetrics(n.registry),
	})
	return err
}

const maxSeeds = 64

// reach is an address of this node as others reach it.
func (c *cluster) reach(listening string) string {
	_, port := splitHost(listening)
	return net.JoinHostPort(c.site.host, port)
}

// begin is called once the loop runs and clients can connect at that URL.
func (c *cluster) begin(self control.Member) {
	if c.gossip != nil {
		self.Peer = c.reach(c.peers.Addr().String())
		for _, m := range c.gossip.Members() {
			if m.Node == c.node {
				self.Gossip = m.Gossip
			}
		}
		c.run(func() {
			if _, err := c.gossip.Join(); err != nil {
				c.log.Info("nobody of those to join answers yet; they are called again", "err", err)
			}
		})
	}
	c.run(c.keep)
	c.admission.Begin(self)
	c.admission.Tick(c.council.Now())
}

// tick is called often.
func (c *cluster) tick(now time.Time) {
	if c.machine != nil {
		c.machine.Tick()
	}
	c.link()
	if c.over(now) {
		c.retire()
	}
	c.council.Tick(now)
	c.admission.Tick(now)
	if now.Before(c.pulse) {
		return
	}
	c.pulse = now.Add(pulseEvery)
	if c.leads() {
		c.beat()
		c.guard.watch(now)
	}
}

// over says whether a node that was removed may end: its replicas have votes until
// the others have taken them over, and may be the last of their kind.
func (c *cluster) over(now time.Time) bool {
	return !c.removed.IsZero() && (c.holds() == 0 || now.Sub(c.removed) > lingerMost)
}

// link to everybody there is.
func (c *cluster) link() {
	if c.gossip == nil {
		return
	}
	if c.links == nil && !c.openLinks() {
		return
	}
	if !c.moved.Swap(false) {
		return
	}
	peers := peersOf(c.node, c.dir.Cluster(), c.view(), c.gossip.Members())
	if !maps.Equal(peers, c.called) {
		c.called = peers
		c.links.SetPeers(peers)
	}
}

// openLinks as soon as it is known which cluster it is.
func (c *cluster) openLinks() bool {
	id := c.dir.Cluster()
	if id == "" && c.site.tls != nil {
		id = c.site.tls.Cluster
	}
	if id == "" {
		id = c.gossip.Cluster()
	}
	if id == "" {
		c.admission.Wait("nobody of those to join answers, or none of them has a cluster")
		return false
	}
	cfg := peer.Config{Cluster: id, Node: c.node, Incarnation: c.life, Handler: c.office, Gone: c.office.Gone, Logger: c.log, Metrics: c.metrics}
	if c.site.tls != nil {
		cfg.TLS = c.site.tls.Config()
	}
	links, err := peer.New(cfg)
	if err != nil {
		c.fail(wrap("open links", err))
		return false
	}
	c.links = links
	c.office.open(links)
	c.run(func() {
		if err := links.Serve(c.peers); err != nil {
			c.fail(wrap("links", err))
		}
	})
	c.moved.Store(true)
	return true
}

// peersOf are those to link to: the members, and whoever is about to become one;
// where gossip has seen them last. One that was removed is linked to as well, as
// long as it is there: it has to be told.
func peersOf(self, cluster string, v *control.View, there []membership.Member) map[string]string {
	peers := map[string]string{}
	if v != nil {
		for _, m := range v.Members {
			if m.Peer != "" {
				peers[m.Node] = m.Peer
			}
		}
	}
	for _, m := range there {
		if m.Peer != "" && (m.Cluster == "" || cluster == "" || m.Cluster == cluster) {
			peers[m.Node] = m.Peer
		}
	}
	delete(peers, self)
	return peers
}

// others are those who may know who leads group 0: who ought to hold it, or else
// anybody.
func (c *cluster) others() []string {
	var nodes []string
	v := c.view()
	for _, number := range v.Of(0) {
		if m, ok := v.Member(number); ok && m.Node != c.node {
			nodes = append(nodes, m.Node)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(c.called)) {
		if !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// leads says whether this node leads group 0.
func (c *cluster) leads() bool { return c.machine != nil && c.machine.Leads() }

// view is what this node knows of its cluster; nil where it knows nothing yet.
// Any goroutine.
func (c *cluster) view() *control.View { return c.current.Load() }

// follow has f told each new view, on the loop. Before the loop runs.
func (c *cluster) follow(f func(*control.View)) { c.following = append(c.following, f) }

// err is why the node has no place in a cluster yet.
func (c *cluster) err() error {
	if c.machine != nil && c.machine.Err() != nil {
		return c.machine.Err()
	}
	v := c.view()
	if v == nil || c.dir.Number() == 0 {
		return errJoining
	}
	if !c.removed.IsZero() {
		return errTaken
	}
	if m, ok := v.Node(c.node); !ok || m.State == control.Joining {
		return errJoining
	}
	if len(v.Members) > 1 {
		return nil // it goes on without group 0, if it must
	}
	if c.machine == nil || !c.machine.Ready() {
		return errNoControl
	}
	c.confirm()
	return nil
}

// there says of nodes whether gossip calls them alive. Any goroutine.
func (c *cluster) there() func(node string) bool {
	if c.gossip == nil {
		return func(string) bool { return false }
	}
	alive := map[string]bool{}
	for _, m := range c.gossip.Members() {
		alive[m.Node] = true
	}
	return func(node string) bool { return alive[node] }
}

// end lets go of the others; after the loop has ended.
func (c *cluster) end() error {
	if c == nil {
		return nil
	}
	close(c.kept)
	var errs []error
	if c.gossip != nil {
		errs = append(errs, c.gossip.Close())
	}
	if c.peers != nil && c.links == nil { // else the links have closed it
		errs = append(errs, c.peers.Close())
	}
	return errors.Join(errs...)
}
