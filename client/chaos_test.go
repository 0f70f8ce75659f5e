package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/rookery-im/rookery/client"
)

// TestChaos lets several devices talk through a proxy that delays, cuts in the
// middle of frames, swallows answers, and lets what one connection said arrive
// after the next one began, to a node that is killed, or stopped, and started
// again, while the devices themselves are closed, or end in a crash or a power
// cut, and come back from their files. In the end every message must have its
// fate, and every device must have been shown each message once, in order.
//
// ROOKERY_CHAOS_SEED repeats a run's choices, ROOKERY_CHAOS_TIME is for how
// long the faults last (8s).
func TestChaos(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("ROOKERY_CHAOS_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	length := 8 * time.Second
	if text := os.Getenv("ROOKERY_CHAOS_TIME"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		length = d
	}
	t.Logf("ROOKERY_CHAOS_SEED=%d ROOKERY_CHAOS_TIME=%v", seed, length)
	w := newWorld(t, seed)
	w.run(length)
	w.settle()
	w.judge()
	w.node.kill()
	goleak.VerifyNone(t)
}

// A hello on a connection that was given up comes after that of the next one,
// and displaces it. The client does not take its own shadow for somebody else.
func TestShadow(t *testing.T) {
	n := newNode(t)
	cfg := n.person("alice")
	n.person("bob")
	store := client.NewMemoryStore()
	cfg.Store = store
	c, err := client.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, n.address, 1)
	t.Cleanup(p.close)
	p.only(fate{name: "shadow", up: -1, down: -1, hellos: 1, late: time.Second})
	cfg.URL, cfg.Backoff = p.url(), time.Millisecond
	c = open(t, cfg)
	welcomes := 0
	for welcomes < 2 { // its own, and the one after it was displaced
		if e := next[*client.StateChanged](t, c); e.State == client.StateOnline {
			welcomes++
		}
	}
	if _, err := c.Send(t.Context(), client.Text("bob", "hello")); err != nil {
		t.Fatal(err)
	}
}

// world is everything of one run.
type world struct {
	t       *testing.T
	seed    uint64
	node    *node
	phones  []*phone
	calm    atomic.Bool
	log     *record
	stop    context.CancelFunc
	ctx     context.Context
	phoning sync.WaitGroup
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, seed: seed, log: newRecord()}
	// Tokens that run out all the time, and no bound on asking for new ones.
	w.node = newNode(t, "--token-life", "5s", "--rate-login", "1000/1000", "--drain-timeout", "3s")
	w.ctx, w.stop = context.WithCancel(context.Background())
	dir := t.TempDir()
	users := []string{"alice", "bob", "carol"}
	for _, u := range users {
		w.node.person(u)
	}
	for i, owner := range []string{"alice", "alice", "bob", "carol"} {
		p := &phone{
			w: w, n: i, proxy: newProxy(t, w.node.address, seed+uint64(i)), path: filepath.Join(dir, fmt.Sprintf("phone%d", i)),
			rng: rand.New(rand.NewPCG(seed, uint64(100+i))),
			cfg: client.Config{
				URL: w.node.url(), User: owner, Password: "correct horse", DeviceName: strconv.Itoa(i), QueueLimit: 256,
				Encoding: client.Encoding(i % 2), Backoff: 20 * time.Millisecond, MaxBackoff: 400 * time.Millisecond,
			},
		}
		for _, u := range users {
			if u != owner {
				p.peers = append(p.peers, u)
			}
		}
		p.link()
		w.phones = append(w.phones, p)
	}
	return w
}

// run lets the faults rage.
func (w *world) run(length time.Duration) {
	for _, p := range w.phones {
		w.phoning.Go(p.run)
	}
	rng := rand.New(rand.NewPCG(w.seed, 2))
	end := time.After(length)
	for {
		select {
		case <-time.After(time.Duration(800+rng.IntN(1500)) * time.Millisecond):
			if rng.IntN(4) > 0 {
				w.node.kill()
			} else {
				w.node.stop() // says goAway
			}
			w.node.start()
		case <-end:
			return
		}
	}
}

// settle ends all faults and waits for everything to arrive.
func (w *world) settle() {
	w.calm.Store(true)
	for _, p := range w.phones {
		p.proxy.calm()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && (len(w.missing()) > 0 || w.log.idle() < 500*time.Millisecond) {
		<-tick.C
	}
	for _, m := range w.missing() {
		w.t.Error("in the end: " + m)
	}
	w.stop()
	w.phoning.Wait()
	for _, p := range w.phones {
		p.proxy.close()
	}
}

// missing says what has not come yet.
func (w *world) missing() []string {
	var list []string
	for _, p := range w.phones {
		if !p.up.Load() {
			list = append(list, fmt.Sprintf("phone %d is down", p.n))
		}
	}
	return append(list, w.log.missing(w.phones)...)
}

// phone is one device through all its lives.
type phone struct {
	w     *world
	n     int
	proxy *proxy
	path  string
	cfg   client.Config
	peers []string
	up    atomic.Bool

	rng  *rand.Rand // owned by run
	life int
	made int
}

// link makes the device, before the faults begin.
func (p *phone) link() {
	s, err := client.OpenFileStore(p.path)
	if err != nil {
		p.w.t.Fatal(err)
	}
	cfg := p.cfg
	cfg.Store = s
	c, err := client.Open(context.Background(), cfg)
	if err != nil {
		p.w.t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		p.w.t.Fatal(err)
	}
	p.cfg.URL = p.proxy.url()
}

// run lives one life after the other until the world ends.
func (p *phone) run() {
	for p.w.ctx.Err() == nil {
		p.life++
		p.live()
	}
}

// ends of a life.
const (
	byClose = iota
	byCrash
	byPowerCut
)

func (p *phone) live() {
	t := p.w.t
	file, err := client.OpenFileStore(p.path)
	if err != nil {
		t.Errorf("phone %d: %v", p.n, err)
		p.w.stop()
		return
	}
	store := &frailStore{FileStore: file}
	cfg := p.cfg
	cfg.Store = store
	c, err := client.Open(p.w.ctx, cfg)
	if err != nil {
		t.Errorf("phone %d: %v", p.n, err)
		p.w.stop()
		return
	}
	p.up.Store(true)
	end := p.rng.IntN(3)
	store.power = end == byPowerCut
	p.w.log.begins(p.n, p.life)
	ctx, cancel := context.WithCancel(p.w.ctx)
	var both sync.WaitGroup
	both.Go(func() { p.receive(ctx, c) })
	both.Go(func() { p.talk(ctx, c) })
	lifetime := time.NewTimer(time.Duration(300+p.rng.IntN(2500)) * time.Millisecond)
	select {
	case <-lifetime.C:
	case <-p.w.ctx.Done():
	}
	for p.w.calm.Load() && p.w.ctx.Err() == nil { // in the end everybody stays
		<-p.w.ctx.Done()
		end = byClose
	}
	lifetime.Stop()
	p.up.Store(false)
	if end == byClose {
		cancel()
		both.Wait()
	} else {
		store.die()
	}
	if err := c.Close(); err != nil && end == byClose {
		t.Errorf("phone %d: close: %v", p.n, err)
	}
	cancel()
	both.Wait()
	p.w.log.ended(p.n, p.life, end, store.cursor())
	file.Close()
	// A new process begins when the network has forgotten the old one: a hello
	// of that which came later would displace it.
	p.proxy.rest()
}

// receive records what is shown.
func (p *phone) receive(ctx context.Context, c *client.Client) {
	rng := rand.New(rand.NewPCG(p.w.seed, uint64(p.n)<<32|uint64(p.life)|1<<63))
	err := c.Receive(ctx, func(ctx context.Context, e client.Event) error {
		if rng.IntN(8) == 0 && !p.w.calm.Load() { // let some wait
			pause(ctx, time.Duration(rng.IntN(50))*time.Millisecond)
		}
		switch e := e.(type) {
		case *client.Message:
			p.w.log.shown(p.n, p.life, e)
		case *client.Settled:
			p.w.log.settled(p.n, p.life, e.ID, e.Sent, e.Err)
		case *client.Refused:
			p.w.t.Errorf("phone %d: refused %s: %v", p.n, e.What, e.Err)
		}
		return nil
	})
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, client.ErrClosed), errors.Is(err, client.ErrStore):
	default:
		p.w.t.Errorf("phone %d: receive: %v", p.n, err)
	}
}

// talk makes messages, and reads what it is told to.
func (p *phone) talk(ctx context.Context, c *client.Client) {
	rng := rand.New(rand.NewPCG(p.w.seed, uint64(p.n)<<32|uint64(p.life)))
	for !p.w.calm.Load() && ctx.Err() == nil {
		for range 1 + rng.IntN(8) {
			p.say(ctx, c, rng)
		}
		pause(ctx, time.Duration(rng.IntN(60))*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (p *phone) say(ctx context.Context, c *client.Client, rng *rand.Rand) {
	p.made++
	d := client.Text(p.peers[rng.IntN(len(p.peers))], fmt.Sprintf("%d.%d %s", p.n, p.made, strings.Repeat("x", rng.IntN(400))))
	d.ID = uuid.NewString()
	bad := rng.IntN(40) == 0
	if bad { // refused for good, and nobody behind it may notice
		d.To = client.With("nobody-is-called-this")
	}
	p.w.log.making(p.n, p.life, d)
	var err error
	if rng.IntN(4) > 0 {
		_, err = c.Queue(ctx, d)
		p.w.log.made(p.n, d.ID, err)
		if err != nil && !errors.Is(err, client.ErrQueueFull) && !gone(err) {
			p.w.t.Errorf("phone %d: queue: %v", p.n, err)
		}
		return
	}
	waiting, cancel := context.WithTimeout(ctx, time.Duration(rng.IntN(300))*time.Millisecond)
	defer cancel()
	sent, err := c.Send(waiting, d)
	var refused *client.Error
	switch {
	case err == nil, errors.As(err, &refused):
		p.w.log.made(p.n, d.ID, nil)
		p.w.log.settled(p.n, p.life, d.ID, sent, err)
	case errors.Is(err, client.ErrQueueFull):
		p.w.log.made(p.n, d.ID, err)
	case gone(err), errors.Is(err, context.DeadlineExceeded):
		p.w.log.doubtful(d.ID)
	default:
		p.w.t.Errorf("phone %d: send: %v", p.n, err)
	}
}

// gone: the life ended meanwhile.
func gone(err error) bool {
	return errors.Is(err, client.ErrClosed) || errors.Is(err, client.ErrStore) || errors.Is(err, context.Canceled)
}

// frailStore is a file store whose process can die. With power, what was not
// synced dies with it.
type frailStore struct {
	*client.FileStore
	power bool

	mu      sync.Mutex
	pending []client.Record
	dead    bool
	place   uint64
	synced  uint64
}

var errDied = errors.New("the process died")

func (s *frailStore) Apply(ctx context.Context, records []client.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errDied
	}
	for _, r := range records {
		if r.Key == "cursor" {
			s.place, _ = strconv.ParseUint(string(r.Value), 10, 64)
		}
	}
	if s.power {
		s.pending = append(s.pending, records...)
		return nil
	}
	s.synced = s.place
	return s.FileStore.Apply(ctx, records)
}

func (s *frailStore) Sync(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errDied
	}
	return s.flushLocked(ctx)
}

func (s *frailStore) flushLocked(ctx context.Context) error {
	pending := s.pending
	s.pending, s.synced = nil, s.place
	if err := s.FileStore.Apply(ctx, pending); err != nil {
		return err
	}
	return s.FileStore.Sync(ctx)
}

// Close of one that did not die writes all it has. The file stays open until
// the life is over.
func (s *frailStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return nil
	}
	return errors.Join(s.flushLocked(context.Background()), s.FileStore.Close())
}

func (s *frailStore) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
}

// cursor is how far the file says that was taken, of what this life wrote.
func (s *frailStore) cursor() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}
