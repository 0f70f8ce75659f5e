package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/rookery-im/rookery/internal/limits"
)

// Profile names the timing of gossip: how soon a node that is gone is noticed,
// against how seldom one that is only slow is suspected.
type Profile string

// The profiles.
const (
	Loopback Profile = "loopback" // one machine: gone after about 3 s
	LAN      Profile = "lan"      // one site: about 5 s
	WAN      Profile = "wan"      // several: about 30 s
)

// Config of a Membership.
type Config struct {
	Self Member // Gossip and Peer are the addresses that others should use
	// Bind is the address to listen on, UDP and TCP; host as a number. Port 0 takes a free one.
	Bind string
	// Seeds are gossip addresses of other nodes; the own one among them does no harm.
	Seeds []string
	// Key encrypts and authenticates all gossip: 32 bytes, or none on loopback.
	Key     []byte
	Profile Profile
	// Rejoin is how often those that are not there are called again.
	Rejoin time.Duration
	// Changed is told after each change, on a goroutine of this package. It may
	// ask for Members, and does not wait.
	Changed func()

	Logger  *slog.Logger
	Metrics *Metrics
}

// DefaultRejoin of a Config.
const DefaultRejoin = 10 * time.Second

func (c Config) withDefaults() Config {
	if c.Profile == "" {
		c.Profile = LAN
	}
	if c.Rejoin == 0 {
		c.Rejoin = DefaultRejoin
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// Validate names every fault.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("membership: "+format, args...))
		}
	}
	check(c.Self.Node != "", "no node id")
	check(c.Self.Incarnation > 0, "no incarnation")
	check(slices.Contains([]Profile{Loopback, LAN, WAN}, c.Profile), "profile: %q is none of loopback, lan, wan", c.Profile)
	check(c.Rejoin > 0, "rejoin: %v", c.Rejoin)
	check(len(c.Seeds) <= limits.Seeds, "seeds: %d are more than %d", len(c.Seeds), limits.Seeds)
	host, _, err := splitPort(c.Bind)
	check(err == nil && net.ParseIP(host) != nil, "bind: %q is not an address such as 127.0.0.1:7946", c.Bind)
	for _, a := range append([]string{c.Self.Gossip}, c.Seeds...) {
		if a == "" {
			continue // taken from the listener
		}
		_, _, err := splitPort(a)
		check(err == nil, "address: %q is not one such as 10.0.0.7:7946", a)
	}
	check(len(c.Key) == 32 || len(c.Key) == 0, "key: %d bytes, must be 32", len(c.Key))
	if ip := net.ParseIP(host); len(c.Key) == 0 && ip != nil {
		check(ip.IsLoopback(), "bind: %s is not loopback, which takes a key", c.Bind)
	}
	return errors.Join(errs...)
}

func splitPort(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port64, err := strconv.ParseUint(text, 10, 16)
	return host, int(port64), err
}

// Membership of one node in its cluster.
type Membership struct {
	cfg    Config
	list   *memberlist.Memberlist
	cancel context.CancelFunc
	wg     sync.WaitGroup
	change chan struct{}

	mu   sync.Mutex // never held while memberlist is called
	view *view
	meta []byte
}

// New begins to gossip, with nobody until Join or another node's call.
func New(cfg Config) (*Membership, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Membership{cfg: cfg, change: make(chan struct{}, 1), view: newView(cfg.Self, limits.LostMembers)}
	var err error
	if m.meta, err = cfg.Self.encode(); err != nil {
		return nil, err
	}
	conf, err := m.configure()
	if err != nil {
		return nil, err
	}
	if m.list, err = memberlist.Create(conf); err != nil {
		return nil, fmt.Errorf("membership: listen on %s: %w", cfg.Bind, err)
	}
	m.mu.Lock()
	m.view.self.Gossip = m.list.LocalNode().Address()
	m.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.wg.Go(func() { m.tell(ctx) })
	m.wg.Go(func() { m.call(ctx) })
	return m, nil
}

func (m *Membership) configure() (*memberlist.Config, error) {
	conf := map[Profile]func() *memberlist.Config{
		Loopback: memberlist.DefaultLocalConfig, LAN: memberlist.DefaultLANConfig, WAN: memberlist.DefaultWANConfig,
	}[m.cfg.Profile]()
	conf.Name = m.cfg.Self.name()
	var err error
	if conf.BindAddr, conf.BindPort, err = splitPort(m.cfg.Bind); err != nil {
		return nil, fmt.Errorf("membership: bind: %w", err)
	}
	conf.AdvertisePort = conf.BindPort
	if m.cfg.Self.Gossip != "" {
		if conf.AdvertiseAddr, conf.AdvertisePort, err = splitPort(m.cfg.Self.Gossip); err != nil {
			return nil, fmt.Errorf("membership: advertise: %w", err)
		}
	}
	if len(m.cfg.Key) > 0 {
		conf.SecretKey = m.cfg.Key
	}
	conf.Delegate, conf.Events, conf.Alive, conf.Merge = described{m}, events{m}, gate{m}, gate{m}
	conf.Logger = slog.NewLogLogger(levels{m.cfg.Logger.Handler()}, slog.LevelDebug)
	return conf, nil
}

// Members are the nodes that are there, this one among them, sorted by id.
func (m *Membership) Members() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view.members()
}

// Cluster is this node's, or where it knows none, the one of those it met;
// empty where they know none either.
func (m *Membership) Cluster() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view.cluster()
}

// Belong says which cluster this node belongs to, from now on, and waits until
// it was heard.
func (m *Membership) Belong(cluster string, wait time.Duration) error {
	return m.say(wait, func(self *Member) { self.Cluster = cluster })
}

// say something new of this node, and wait until somebody has heard it.
func (m *Membership) say(wait time.Duration, change func(self *Member)) error {
	m.mu.Lock()
	self := m.view.self
	change(&self)
	meta, err := self.encode()
	if err == nil {
		m.view.self, m.meta = self, meta
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if err := m.list.UpdateNode(wait); err != nil {
		return fmt.Errorf("membership: tell the others: %w", err)
	}
	return nil
}

// Join calls the seeds once, and returns how many other nodes answered. Those
// that did not are called again in the background.
func (m *Membership) Join() (int, error) {
	m.mu.Lock()
	calls := m.view.calls(m.cfg.Seeds)
	m.mu.Unlock()
	if len(calls) == 0 {
		return 0, nil
	}
	m.cfg.Metrics.Calls.Add(float64(len(calls)))
	n, err := m.list.Join(calls)
	if err != nil && n == 0 {
		return 0, fmt.Errorf("membership: join: %w", err)
	}
	return n, nil
}

// Leave says that this node goes for good, and waits until it was heard. Where
// it was not, the others take the node for lost.
func (m *Membership) Leave(wait time.Duration) error {
	if err := m.say(wait, func(self *Member) { self.Leaving = true }); err != nil {
		return err
	}
	if err := m.list.Leave(wait); err != nil {
		return fmt.Errorf("membership: leave: %w", err)
	}
	return nil
}

// Close ends gossip. Without Leave the others find out by themselves.
func (m *Membership) Close() error {
	m.cancel()
	err := m.list.Shutdown()
	m.wg.Wait()
	if err != nil {
		return fmt.Errorf("membership: close: %w", err)
	}
	return nil
}

// call those that are not there, again and again.
func (m *Membership) call(ctx context.Context) {
	for {
		pause := m.cfg.Rejoin/2 + rand.N(m.cfg.Rejoin)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if _, err := m.Join(); err != nil {
			m.cfg.Logger.Debug("nobody answers", "err", err)
		}
	}
}

// tell of changes, several at once where they come quickly.
func (m *Membership) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.change:
			m.cfg.Changed()
		}
	}
}

func (m *Membership) changed() {
	m.cfg.Metrics.Members.Set(float64(len(m.view.members())))
	select {
	case m.change <- struct{}{}:
	default:
	}
}
