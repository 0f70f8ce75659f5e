package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/route"
	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/persistence/datadir"
	"github.com/rookery-im/rookery/persistence/mailbox"
	"github.com/rookery-im/rookery/persistence/raftlog"
	"github.com/rookery-im/rookery/persistence/store"
	"github.com/rookery-im/rookery/transport/api"
	"github.com/rookery-im/rookery/transport/auth"
	"github.com/rookery-im/rookery/transport/auth/keyset"
	"github.com/rookery-im/rookery/transport/conns"
	"github.com/rookery-im/rookery/transport/events"
	"github.com/rookery-im/rookery/transport/session"
)

var (
	errNotLeading = errors.New("a shard has no leader yet")
	errNoControl  = errors.New("group 0 is not ready yet")
	errDraining   = errors.New("the node is draining")
)

// firstNode is the number of the node that creates a cluster.
const firstNode = 1

// readiness is why the node does not serve, or nil in it.
type readiness struct{ err error }

// Node is a running node.
type Node struct {
	// Immutable after Start.
	cfg      Config
	registry *prometheus.Registry
	clock    *clock
	dir      *datadir.Dir
	log      *raftlog.Log
	store    *store.Store
	set      *shard.Set
	cluster  *cluster
	system   *host.System
	shards   map[uint32]*host.Shard
	conns    *conns.Conns
	sessions *session.Gateway
	router   *router
	exchange *route.Exchange
	office   *office
	courier  *shard.Courier // of Raft's messages
	mover    *mover
	rest     *backend
	streams  *events.Streams
	api      *api.API
	tokens   *auth.Tokens
	password *auth.Passwords
	keys     *keyset.Source // of an outside issuer; else nil
	passes   *passes        // of stand-ins; else nil
	clients  *http.Server
	admin    *http.Server
	listen   net.Listener
	manage   net.Listener
	cancel   context.CancelFunc
	running  sync.WaitGroup

	// Ends of the loop: stop asks for it, done says it.
	stop, done chan struct{}
	stopOnce   sync.Once
	removed    chan struct{} // see Removed

	keeping sync.Mutex // of the time, on disk

	// Owned by the loop.
	here     []*host.Shard // all of shards, which is slow to go through
	stamp    route.Stamp   // as in stamps
	lag      time.Duration // of the rounds of the loop, the longest of late
	replayed bool          // it has served: the wait for the start is over
	leaving  bool          // the cluster, which knows
	settled  bool          // every replica has applied what its log held at the start
	healer   healer

	// Atomic.
	count     atomic.Uint32 // of shards; 0 until the cluster is known
	readiness atomic.Pointer[readiness]
	failed    atomic.Pointer[readiness]
	draining  atomic.Bool
	near      atomic.Pointer[[]uint16]    // nodes that are there, by load
	stamps    atomic.Pointer[route.Stamp] // of this node's connections; nil until it has a number
}

// Start opens the data, brings up every shard, and serves. What it started is
// stopped again where it fails.
func Start(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := cfg.Look(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, registry: prometheus.NewRegistry(), shards: map[uint32]*host.Shard{},
		router: &router{}, stop: make(chan struct{}), done: make(chan struct{}), removed: make(chan struct{}),
	}
	n.readiness.Store(&readiness{errNotLeading})
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	go n.run()
	if err := n.serve(); err != nil {
		n.end()
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// open builds everything, bottom up; nothing runs yet but what the parts need.
func (n *Node) open() error {
	steps := []func() error{n.openData, n.openTransport, n.openCluster, n.openShards, n.openSessions}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) openData() error {
	var err error
	if n.dir, err = datadir.Open(n.cfg.Data); err != nil {
		return err
	}
	origin := datadir.Creates
	if len(n.cfg.Place.Join) > 0 {
		origin = datadir.Joins
	}
	if err := n.dir.Begin(origin); err != nil {
		return err
	}
	seen, err := n.dir.Seen()
	if err != nil { // what it tells is not worth a node that does not start
		n.cfg.Log.Warn("the time of the last run is not known: the clock is taken as it is", "err", err)
	}
	n.clock = newClock(now(), seen, n.cfg.Log)
	n.registry.MustRegister(clockMetrics(n.clock)...)
	missing, presence := raftlog.Create, store.MayCreate
	if !n.dir.New() {
		missing, presence = raftlog.Refuse, store.MustExist
	}
	// Side by side: both read all that they hold and check it.
	var logErr, storeErr error
	var opening sync.WaitGroup
	opening.Go(func() {
		n.log, logErr = raftlog.Open(raftlog.Config{
			Dir: n.dir.Log(), Missing: missing, Metrics: raftlog.NewMetrics(n.registry), Logger: n.cfg.Log.With("part", "raftlog"),
		})
	})
	n.store, storeErr = store.Open(store.Config{
		Dir: n.dir.Store(), Presence: presence, Split: mailbox.Part, Reserve: n.cfg.DiskReserve, BlockCacheBytes: n.cfg.BlockCache,
		Metrics: store.NewMetrics(n.registry), Logger: n.cfg.Log.With("part", "store"),
	})
	opening.Wait()
	return errors.Join(logErr, storeErr)
}

func (n *Node) openTransport() error {
	cfg := n.cfg.Conns
	cfg.Echo, cfg.Conns, cfg.Heartbeat = n.cfg.Echo, n.cfg.Connections, n.cfg.Session.Heartbeat
	cfg.Log, cfg.Metrics = n.cfg.Log.With("part", "conns"), conns.NewMetrics(n.registry)
	var err error
	if n.conns, err = conns.New(cfg, handler{n}); err != nil {
		return err
	}
	n.office = newOffice(func() { n.conns.Post(func() {}) }, n.cfg.Log.With("part", "office"), n.registry)
	n.streams, err = events.New(events.Config{
		Sessions: listeners{n}, Seats: n.conns, Post: n.conns.Post,
		Streams: n.cfg.Streams, PerAddress: n.cfg.StreamsPerAddress,
		PendingLow: cfg.PendingLow, PendingMax: cfg.PendingMax, Slow: cfg.Slow, Linger: cfg.Linger,
		Log: n.cfg.Log.With("part", "events"), Metrics: events.NewMetrics(n.registry),
	})
	return err
}

func (n *Node) openShards() error {
	log := shard.SegmentLog{Log: n.log}
	if n.dir.Origin() == datadir.Joins && n.dir.New() && len(log.Groups()) > 0 {
		return fmt.Errorf("node: %s holds a cluster that was being created, and this start joins one: start without join, or with another folder", n.dir.Path())
	}
	found := n.countShards(log)
	gate := &gateway{}
	n.router.shards = n.shards
	n.openExchange(gate)
	n.rest = newBackend(n.stamps.Load, n.conns.Post, n.exchange.Tell)
	gate.rest = n.rest
	n.takeNumber()
	n.courier = shard.NewCourier(byte(kindRaft), byte(kindCalm), n.office.loose)
	n.office.on(kindRaft, n.hearRaft)
	n.office.on(kindCalm, n.hearRaft)
	n.office.on(kindSnapshot, n.hearParcel)
	n.office.gone = n.gone
	var err error
	if n.set, err = shard.New(shard.Config{
		Log: log, Store: storeAdapter{n.store}, Node: n.dir.Node(), Found: found, Machine: n.machines(), Retire: n.retire, Post: n.conns.Post,
		Send: n.courier.Take, Ship: n.ship, Rows: rowsAdapter{n.store}, Holders: n.holders, Led: n.exchange.Led,
		CheckpointEvery: n.cfg.CheckpointEvery, CheckpointBytes: n.cfg.CheckpointBytes, CheckpointLog: n.cfg.CheckpointLog,
		OverlayBound: overlayFactor * n.cfg.CheckpointBytes,
		Logger:       n.cfg.Log.With("part", "shard"), Metrics: shard.NewMetrics(n.registry),
	}); err != nil {
		return err
	}
	n.mover = newMover(n.dir.Node(), n.set, n.cluster.view, func(number uint16) bool { return n.exchange.Astray(number) }, n.cfg.Log.With("part", "mover"))
	n.cluster.reports = n.report
	n.cluster.holds = func() int { return len(n.set.Groups()) }
	n.registry.MustRegister(newGauges(n))
	if err := n.dir.Established(); err != nil {
		return err
	}
	n.sessions, err = session.New(n.cfg.Session.Named(n.dir.Node()), sockets{n.conns, n.streams, n.clock}, tellFunc(n.exchange.Tell), n, time.Now,
		n.cfg.Log.With("part", "session"), session.NewMetrics(n.registry))
	gate.sessions = n.sessions
	return err
}

type tellFunc func(user string, msg any) error

func (f tellFunc) Tell(user string, msg any) error { return f(user, msg) }

// openSessions makes what checks who somebody is.
func (n *Node) openSessions() error {
	metrics := auth.NewMetrics(n.registry)
	var err error
	if n.password, err = auth.NewPasswords(auth.PasswordsConfig{Workers: n.cfg.PasswordWorkers, Metrics: metrics}); err != nil {
		return err
	}
	issuer, err := n.openIssuer()
	if err != nil {
		return err
	}
	n.tokens, err = auth.NewTokens(auth.TokensConfig{
		Cluster: ownIssuer, Keys: clusterKeys{n.cluster}, Complete: n.cluster.complete, Issuer: issuer, Life: n.cfg.TokenLife,
		Now: n.clock.due, Stamp: n.clock.stamp, Metrics: metrics,
	})
	if err != nil {
		return err
	}
	if n.cfg.StandIns {
		if n.passes, err = newPasses(n.cfg.TokenLife); err != nil {
			return err
		}
		n.cfg.Log.Warn("this node takes stand-ins for connections over its admin address: it is for measuring only")
	}
	return n.openHTTP(metrics)
}

// Identify is for sessions.
func (n *Node) Identify(token string) (session.Identity, error) {
	if n.passes != nil {
		if who, ok := n.passes.check(token); ok {
			return who, nil
		}
	}
	c, err := n.tokens.Verify(token)
	if errors.Is(err, auth.ErrUndecided) {
		return session.Identity{}, fmt.Errorf("%w: %w", session.ErrUndecided, err)
	}
	if err != nil {
		return session.Identity{}, err
	}
	return session.Identity{User: c.User, Device: c.Device, Expires: c.Expires}, nil
}

// clusterKeys are the cluster's keys as the tokens want them.
type clusterKeys struct{ cluster *cluster }

func (k clusterKeys) Signing() (auth.Key, bool) { return keyOf(k.cluster.view().Signing()) }

func (k clusterKeys) Lookup(id string) (auth.Key, bool) { return keyOf(k.cluster.view().Lookup(id)) }

func keyOf(k control.Key, ok bool) (auth.Key, bool) {
	return auth.Key{ID: k.ID, Private: k.Private, Public: k.Public, CreatedAt: k.CreatedAt}, ok
}

// fail notes why the node cannot go on, and ends the loop.
func (n *Node) fail(err error) {
	if n.failed.CompareAndSwap(nil, &readiness{err}) {
		n.cfg.Log.Error("the node fails", "err", err)
		n.readiness.Store(&readiness{err})
	}
}

// Ready says why the node does not serve.
func (n *Node) Ready() error {
	if n.draining.Load() {
		return errDraining
	}
	if r := n.failed.Load(); r != nil {
		return r.err
	}
	if err := n.readiness.Load().err; err != nil || n.keys == nil {
		return err
	}
	return n.keys.Ready()
}

// Done is closed when the node has failed for good.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is why.
func (n *Node) Err() error {
	if r := n.failed.Load(); r != nil {
		return r.err
	}
	return nil
}

// Addr of clients, AdminAddr of administration.
func (n *Node) Addr() string      { return n.listen.Addr().String() }
func (n *Node) AdminAddr() string { return n.manage.Addr().String() }

// TLS says whether clients speak it.
func (n *Node) TLS() bool { return n.cfg.TLSCert != "" }

// end stops the loop and waits for it.
func (n *Node) end() {
	n.stopOnce.Do(func() { close(n.stop) })
	n.conns.Post(func() {})
	<-n.done
}

// close gives everything back, top down.
func (n *Node) close() error {
	var errs []error
	if n.cancel != nil {
		n.cancel()
	}
	if n.office != nil {
		n.office.end()
	}
	ended := n.cluster.end()
	n.running.Wait()
	n.keepTime()
	errs = append(errs, ended)
	if n.set != nil {
		n.set.Close()
	}
	if n.conns != nil {
		errs = append(errs, wrap("close connections", n.conns.Stop()))
	}
	if n.store != nil {
		errs = append(errs, wrap("close the store", n.store.Close()))
	}
	if n.log != nil {
		errs = append(errs, wrap("close the log", n.log.Close()))
	}
	if n.dir != nil {
		errs = append(errs, wrap("close the data directory", n.dir.Close()))
	}
	return errors.Join(errs...)
}
