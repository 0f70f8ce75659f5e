package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ear keeps what it hears, and may be told to wait.
type ear struct {
	mu     sync.Mutex
	change *sync.Cond
	got    []int
	loose  []int
	lost   []int
	deaf   bool
}

func newEar() *ear {
	e := &ear{}
	e.change = sync.NewCond(&e.mu)
	return e
}

func (e *ear) Receive(ctx context.Context, _ string, bodies [][]byte) error {
	stop := context.AfterFunc(ctx, func() { e.mu.Lock(); defer e.mu.Unlock(); e.change.Broadcast() })
	defer stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.deaf && ctx.Err() == nil {
		e.change.Wait()
	}
	if e.deaf {
		return ctx.Err()
	}
	for _, b := range bodies {
		e.got = append(e.got, number(b))
	}
	e.change.Broadcast()
	return nil
}

func (e *ear) Loose(_ string, bodies [][]byte) { e.note(&e.loose, bodies) }
func (e *ear) Lost(_ string, bodies [][]byte)  { e.note(&e.lost, bodies) }

func (e *ear) note(list *[]int, bodies [][]byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range bodies {
		*list = append(*list, number(b))
	}
	e.change.Broadcast()
}

// until waits for something to be true of it.
func (e *ear) until(fact func() bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for !fact() {
		e.change.Wait()
	}
}

func (e *ear) set(deaf bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deaf = deaf
	e.change.Broadcast()
}

// node is Links that listen on loopback.
type node struct {
	*Links
	*ear
	address string
	served  chan error
	t       *testing.T
}

func start(t *testing.T, name string, incarnation uint64, change func(*Config)) *node {
	t.Helper()
	e := newEar()
	cfg := Config{
		Cluster: "cluster", Node: name, Incarnation: incarnation, Handler: e,
		RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	links, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Links: links, ear: e, address: listener.Addr().String(), served: make(chan error, 1), t: t}
	go func() { n.served <- links.Serve(listener) }()
	t.Cleanup(n.stop)
	return n
}

func (n *node) stop() {
	n.Close()
	if n.served == nil {
		return
	}
	if err := <-n.served; err != nil {
		n.t.Error(err)
	}
	n.served = nil
}

func meet(a, b *node) {
	a.SetPeers(map[string]string{a.cfg.Node: a.address, b.cfg.Node: b.address})
	b.SetPeers(map[string]string{a.cfg.Node: a.address, b.cfg.Node: b.address})
}

// dials remembers the connections that a node made, so that they can be cut.
type dials struct {
	mu    sync.Mutex
	conns []*mutable
}

func (d *dials) dial(ctx context.Context, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	m := &mutable{Conn: c}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, m)
	return m, nil
}

// each connection that there is, and forget it.
func (d *dials) each(do func(*mutable)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		do(c)
	}
	d.conns = nil
}

func (d *dials) cut() { d.each(func(c *mutable) { _ = c.Close() }) }

// mutable is a connection whose network can be made to swallow everything.
type mutable struct {
	net.Conn
	mute atomic.Bool
}

func (m *mutable) Write(b []byte) (int, error) {
	if m.mute.Load() {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

func (m *mutable) Read(b []byte) (int, error) {
	for {
		n, err := m.Conn.Read(b)
		if err != nil || !m.mute.Load() {
			return n, err
		}
	}
}

// All the while connections are cut, everything arrives once and in order, both
// ways.
func TestBreaksAreNotFelt(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := mrand.New(mrand.NewPCG(seed, 0))
	var d dials
	a, b := start(t, "a", 1, func(c *Config) { c.Dial = d.dial }), start(t, "b", 1, nil)
	meet(a, b)
	const each = 3000
	for n := range each {
		for _, way := range []struct {
			from *node
			to   string
		}{{a, "b"}, {b, "a"}} {
			if err := way.from.Send(way.to, body(n)); err != nil {
				t.Fatal(err)
			}
		}
		if random.IntN(100) == 0 {
			reached := random.IntN(n + 1)
			b.until(func() bool { return len(b.got) >= reached })
			d.cut()
		}
	}
	for _, n := range []*node{a, b} {
		n.until(func() bool { return len(n.got) >= each })
		for i, got := range n.got {
			if got != i {
				t.Fatalf("%s: body %d arrived as number %d", n.cfg.Node, got, i)
			}
		}
		if len(n.got) != each || len(n.lost) != 0 {
			t.Errorf("%s: %d arrived, %d lost", n.cfg.Node, len(n.got), len(n.lost))
		}
	}
}

// A node that dies has what it acknowledged; its successor is told nothing of
// it, and the sender learns what is in doubt.
func TestANewLife(t *testing.T) {
	a, b := start(t, "a", 1, nil), start(t, "b", 1, nil)
	meet(a, b)
	send := func(n int) {
		if err := a.Send("b", body(n)); err != nil {
			t.Fatal(err)
		}
	}
	send(0)
	b.until(func() bool { return len(b.got) == 1 })
	b.set(true)
	send(1)
	send(2)
	b.stop()
	again := start(t, "b", 2, nil)
	meet(a, again)
	a.until(func() bool { return len(a.lost) >= 2 })
	send(3)
	again.until(func() bool { return len(again.got) == 1 })
	if last := len(a.lost); a.lost[last-1] != 2 || a.lost[last-2] != 1 || again.got[0] != 3 {
		t.Errorf("lost %v, the new life got %v", a.lost, again.got)
	}
}

// Whoever left and is a member again goes on: nothing is taken for a repetition,
// and what is in doubt is said to be.
func TestLeavesAndComesBack(t *testing.T) {
	e := newEar() // of both, to wait for either
	same := func(c *Config) { c.Handler = e }
	a, b := start(t, "a", 1, same), start(t, "b", 1, same)
	meet(a, b)
	const before = 5
	for n := range before {
		if err := a.Send("b", body(n)); err != nil {
			t.Fatal(err)
		}
	}
	e.until(func() bool { return len(e.got) == before })
	a.SetPeers(nil)
	if err := a.Send("b", body(9)); !errors.Is(err, ErrUnknown) {
		t.Errorf("sent to a stranger: %v", err)
	}
	meet(a, b)
	if err := a.Send("b", body(10)); err != nil {
		t.Fatal(err)
	}
	e.until(func() bool { return e.got[len(e.got)-1] == 10 })
	b.SetPeers(nil)
	meet(a, b)
	for n := 11; ; n++ {
		if err := a.Send("b", body(n)); err != nil {
			t.Fatal(err)
		}
		done := false
		e.until(func() bool {
			done = slices.Contains(e.got, n)
			return done || slices.Contains(e.lost, n)
		})
		if done {
			break
		}
	}
}

// A node that takes nothing fills the queue, which says so; it is alive all the
// same, and gets everything once it does.
func TestBackPressure(t *testing.T) {
	few := func(c *Config) { c.Limits = Limits{Frames: 10, Bytes: 1000, LooseBytes: 100, Body: 100, Batch: 30} }
	var d dials
	a, b := start(t, "a", 1, func(c *Config) { few(c); c.Silence = time.Second; c.Dial = d.dial }), start(t, "b", 1, few)
	b.set(true)
	meet(a, b)
	sent := 0
	for ; ; sent++ {
		if err := a.Send("b", body(sent)); errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if sent != 10 {
		t.Errorf("%d were taken", sent)
	}
	b.set(false)
	b.until(func() bool { return len(b.got) == sent })
}

// A network that swallows everything is noticed, and left.
func TestSilence(t *testing.T) {
	var d dials
	a, b := start(t, "a", 1, func(c *Config) { c.Dial = d.dial; c.Silence = 200 * time.Millisecond }), start(t, "b", 1, func(c *Config) { c.Silence = time.Minute })
	meet(a, b)
	if err := a.Send("b", body(0)); err != nil {
		t.Fatal(err)
	}
	b.until(func() bool { return len(b.got) == 1 })
	d.each(func(c *mutable) { c.mute.Store(true) })
	if err := a.Send("b", body(1)); err != nil {
		t.Fatal(err)
	}
	b.until(func() bool { return len(b.got) == 2 })
}

// Loose messages arrive while there is a stream.
func TestLooseMessages(t *testing.T) {
	a, b := start(t, "a", 1, nil), start(t, "b", 1, nil)
	meet(a, b)
	if err := a.Send("b", body(0)); err != nil {
		t.Fatal(err)
	}
	b.until(func() bool { return len(b.got) == 1 })
	a.SendLoose("b", body(7))
	b.until(func() bool { return len(b.loose) == 1 && b.loose[0] == 7 })
	a.SendLoose("nobody", body(8)) // counted, and nothing else
}

// Those of another cluster, those who mean another node, and strangers are
// refused, and each learns why.
func TestStrangersAreRefused(t *testing.T) {
	b := start(t, "b", 1, nil)
	for name, change := range map[string]func(*Config){
		"cluster":  func(c *Config) { c.Cluster = "other" },
		"stranger": nil,
	} {
		x := start(t, "x", 1, change)
		x.SetPeers(map[string]string{"b": b.address})
		if _, err := x.to("b").stream(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	y := start(t, "y", 1, nil)
	b.SetPeers(map[string]string{"y": y.address})
	y.SetPeers(map[string]string{"c": b.address})
	if _, err := y.to("c").stream(); err == nil {
		t.Error("one who means another node: taken")
	}
}

// authority signs certificates of nodes.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key, a.cert = a.sign(template, nil)
	return a
}

func (a *authority) sign(template *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent := a.cert
	if by == nil {
		by, parent = key, template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

func (a *authority) node(name string) *tls.Config {
	uri, err := url.Parse(NodeURI("cluster", name))
	if err != nil {
		a.t.Fatal(err)
	}
	key, cert := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{uri},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.key)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13,
	}
}

// With certificates, a node is who its certificate says, at both ends.
func TestCertificates(t *testing.T) {
	ca := newAuthority(t)
	with := func(name string) func(*Config) { return func(c *Config) { c.TLS = ca.node(name) } }
	a, b := start(t, "a", 1, with("a")), start(t, "b", 1, with("b"))
	meet(a, b)
	if err := a.Send("b", body(0)); err != nil {
		t.Fatal(err)
	}
	b.until(func() bool { return len(b.got) == 1 })

	// c says that it is a; b does not believe it.
	c := start(t, "a", 9, with("c"))
	c.SetPeers(map[string]string{"b": b.address})
	if _, err := c.to("b").stream(); err == nil {
		t.Error("a caller under another's name was taken")
	}
	// d answers in the name of b; a does not believe it.
	d := start(t, "b", 9, with("d"))
	d.SetPeers(map[string]string{"a": a.address})
	a.SetPeers(map[string]string{"b": d.address})
	if _, err := a.to("b").stream(); err == nil {
		t.Error("an answer under another's name was taken")
	}
	if len(d.got) != 0 {
		t.Error("the impostor heard something")
	}
	// e has a certificate of another authority.
	e := start(t, "a", 9, func(c *Config) { c.TLS = newAuthority(t).node("a") })
	e.SetPeers(map[string]string{"b": b.address})
	if _, err := e.to("b").stream(); err == nil {
		t.Error("a stranger's certificate was taken")
	}
}

func TestConfigNamesFaults(t *testing.T) {
	_, err := New(Config{RetryMin: time.Second, RetryMax: time.Millisecond, Silence: 1})
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 6 {
		t.Errorf("got %v", err)
	}
}

// A node whose process has ended is told of, once; one whose connections broke is
// not, nor one that never was there.
func TestGone(t *testing.T) {
	var d dials
	gone := make(chan string, 8)
	a := start(t, "a", 1, func(c *Config) { c.Dial, c.Gone = d.dial, func(node string) { gone <- node } })
	b := start(t, "b", 1, nil)
	nowhere := start(t, "c", 1, nil)
	nowhere.stop()
	a.SetPeers(map[string]string{"b": b.address, "c": nowhere.address})
	b.SetPeers(map[string]string{"a": a.address})
	for n := range 20 {
		if err := a.Send("b", body(n)); err != nil {
			t.Fatal(err)
		}
		b.until(func() bool { return len(b.got) > n })
		d.cut()
	}
	select {
	case node := <-gone:
		t.Fatalf("%s is called gone", node)
	default:
	}
	b.stop()
	if node := <-gone; node != "b" {
		t.Errorf("%s is called gone", node)
	}
	a.stop()
	if len(gone) > 0 {
		t.Errorf("%s is called gone", <-gone)
	}
}

// Where nobody listens any more, but the node still speaks, it is not gone.
func TestSpeakerIsNotGone(t *testing.T) {
	gone := make(chan string, 8)
	refusing := make(chan struct{}, 1000)
	var d dials
	var refuse atomic.Bool
	a := start(t, "a", 1, func(c *Config) {
		c.Gone = func(node string) { gone <- node }
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			if refuse.Load() {
				select {
				case refusing <- struct{}{}:
				default:
				}
				return nil, syscall.ECONNREFUSED
			}
			return d.dial(ctx, address)
		}
	})
	b := start(t, "b", 1, nil)
	meet(a, b)
	for _, way := range []struct {
		from, at *node
	}{{a, b}, {b, a}} {
		if err := way.from.Send(way.at.cfg.Node, body(1)); err != nil {
			t.Fatal(err)
		}
		way.at.until(func() bool { return len(way.at.got) > 0 })
	}
	refuse.Store(true)
	d.cut()
	for range 5 {
		<-refusing
	}
	if len(gone) > 0 {
		t.Errorf("%s is called gone", <-gone)
	}
	b.stop()
	if node := <-gone; node != "b" {
		t.Errorf("%s is called gone", node)
	}
}

// Whoever calls is called back at once, however long the pause would be.
func TestCallerIsCalledBack(t *testing.T) {
	long := func(c *Config) { c.RetryMin, c.RetryMax = time.Hour, time.Hour }
	a, b := start(t, "a", 1, long), start(t, "b", 1, nil)
	a.SetPeers(map[string]string{"b": b.address}) // which does not know it yet, and refuses
	if err := a.Send("b", body(1)); err != nil {
		t.Fatal(err)
	}
	b.SetPeers(map[string]string{"a": a.address})
	b.until(func() bool { return len(b.got) == 1 })
}

// A link that does not mend itself says what to do about it, at both ends.
func TestAdvice(t *testing.T) {
	later := start(t, "a", 5, nil)
	b := start(t, "b", 1, nil)
	meet(later, b)
	for _, n := range []struct {
		from *node
		to   string
	}{{later, "b"}, {b, "a"}} {
		if err := n.from.Send(n.to, body(0)); err != nil {
			t.Fatal(err)
		}
	}
	b.until(func() bool { return len(b.got) == 1 })
	later.until(func() bool { return len(later.got) == 1 })
	older := start(t, "a", 4, nil)
	older.SetPeers(map[string]string{"b": b.address})
	b.SetPeers(map[string]string{"a": older.address})
	secret := start(t, "s", 1, func(c *Config) { c.TLS = newAuthority(t).node("s") })
	secret.SetPeers(map[string]string{"b": b.address})
	plain := start(t, "p", 1, nil)
	plain.SetPeers(map[string]string{"s": secret.address})
	for _, c := range []struct {
		from     *node
		to, want string
	}{
		{older, "b", "a later start of this node: its data directory is an older copy"},
		{b, "a", "a later start of another one"},
		{secret, "b", "node-cert, node-key and node-ca are missing there"},
		{plain, "s", "are node-cert, node-key and node-ca missing here"},
	} {
		_, err := c.from.to(c.to).stream()
		if got := advice(err, c.from.cfg.TLS != nil); !strings.Contains(got, c.want) {
			t.Errorf("%s to %s: %q of %v, want %q", c.from.cfg.Node, c.to, got, err, c.want)
		}
	}
	plain.SetPeers(map[string]string{"n": "127.0.0.1:1"})
	_, err := plain.to("n").stream()
	if got := advice(err, false); err == nil || got != "" {
		t.Errorf("where nobody is: %q of %v", got, err)
	}
}
