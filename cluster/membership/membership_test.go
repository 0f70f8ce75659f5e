package membership

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A probe that is under way at Shutdown ends by its own timeout, which memberlist
// does not wait for.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

// crowd wakes when any of its nodes sees a change.
type crowd struct {
	t      *testing.T
	mu     sync.Mutex
	change *sync.Cond
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{t: t}
	c.change = sync.NewCond(&c.mu)
	return c
}

func (c *crowd) start(node string, incarnation uint64, change func(*Config)) *Membership {
	c.t.Helper()
	cfg := Config{
		Self: Member{Node: node, Cluster: "c", Incarnation: incarnation}, Bind: "127.0.0.1:0", Profile: Loopback,
		Rejoin: 20 * time.Millisecond,
		Changed: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.change.Broadcast()
		},
	}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = m.Close() })
	return m
}

func (c *crowd) until(fact func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !fact() {
		c.change.Wait()
	}
}

func (c *crowd) sees(m *Membership, want ...string) {
	c.until(func() bool { return slices.Equal(names(m.Members()), want) })
}

func address(m *Membership) string { return m.list.LocalNode().Address() }

func at(seeds ...string) func(*Config) { return func(c *Config) { c.Seeds = seeds } }

// Three find each other through one, which has itself among its seeds; one dies
// and is missed; it comes back elsewhere under its id, and nobody had to be told.
func TestThreeMeet(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	a := c.start("a", 1, nil)
	b := c.start("b", 1, at(address(a)))
	d := c.start("d", 1, at(address(a), address(b)))
	for _, m := range []*Membership{a, b, d} {
		c.sees(m, "a.1", "b.1", "d.1")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	c.sees(a, "a.1", "d.1")
	again := c.start("b", 2, at(address(a)))
	c.sees(d, "a.1", "b.2", "d.1")
	if got := again.Members()[1].Gossip; got == address(b) {
		t.Errorf("the same address %s", got)
	}
}

// Who was lost is called again where it was, though neither end has seeds.
func TestLostAreFound(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	a := c.start("a", 1, nil)
	b := c.start("b", 1, at(address(a)))
	c.sees(a, "a.1", "b.1")
	where := address(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	c.sees(a, "a.1")
	again := c.start("b", 2, func(cfg *Config) { cfg.Bind = where })
	c.sees(again, "a.1", "b.2")
}

// Who leaves is gone at once, and is not called again.
func TestLeaves(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	a := c.start("a", 1, nil)
	b := c.start("b", 1, at(address(a)))
	c.sees(a, "a.1", "b.1")
	c.sees(b, "a.1", "b.1") // or it would leave without a word
	if err := b.Leave(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	c.sees(a, "a.1")
	a.mu.Lock()
	defer a.mu.Unlock()
	if calls := a.view.calls(nil); len(calls) != 0 {
		t.Errorf("calls %v", calls)
	}
}

// A node that belongs nowhere learns where it is, and says so from then on.
func TestNewcomer(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	a := c.start("a", 1, nil)
	b := c.start("b", 1, func(cfg *Config) { cfg.Self.Cluster = ""; cfg.Seeds = []string{address(a)} })
	c.sees(b, "a.1", "b.1")
	if got := b.Cluster(); got != "c" {
		t.Errorf("the cluster is %q", got)
	}
	if err := b.Belong("c", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	c.until(func() bool { m := a.Members(); return len(m) == 2 && m[1].Cluster == "c" })
}

// Those of another cluster, and those without the key, stay strangers.
func TestStrangers(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	key := bytes.Repeat([]byte{7}, 32)
	a := c.start("a", 1, func(cfg *Config) { cfg.Key = key; cfg.Rejoin = time.Hour })
	for name, change := range map[string]func(*Config){
		"of another cluster": func(cfg *Config) { cfg.Key = key; cfg.Self.Cluster = "x" },
		"with another key":   func(cfg *Config) { cfg.Key = bytes.Repeat([]byte{8}, 32) },
		"without a key":      func(*Config) {},
	} {
		x := c.start("x", 1, func(cfg *Config) { change(cfg); cfg.Seeds = []string{address(a)}; cfg.Rejoin = time.Hour })
		if n, err := x.Join(); err == nil || n != 0 {
			t.Errorf("one %s joined: %d, %v", name, n, err)
		}
		if got := append(names(a.Members()), names(x.Members())...); !slices.Equal(got, []string{"a.1", "x.1"}) {
			t.Errorf("one %s: members %v", name, got)
		}
	}
	b := c.start("b", 1, func(cfg *Config) { cfg.Key = key; cfg.Seeds = []string{address(a)} })
	c.sees(a, "a.1", "b.1")
	c.sees(b, "a.1", "b.1")
}

func TestConfigNamesFaults(t *testing.T) {
	_, err := New(Config{Bind: "0.0.0.0:1", Profile: "x", Key: nil, Seeds: []string{"nowhere"}, Rejoin: -1})
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 6 {
		t.Errorf("got %v", err)
	}
}
