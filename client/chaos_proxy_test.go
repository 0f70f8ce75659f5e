package client_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between clients and a node, and treats every connection by a
// fate drawn from its seed.
type proxy struct {
	t        testing.TB
	listener net.Listener
	upstream string
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu     sync.Mutex
	rng    *rand.Rand
	tame   bool
	script []fate // for the first connections
	open   map[*passage]bool
	counts map[string]int
}

// fate is what becomes of one connection.
type fate struct {
	name     string
	up, down int           // bytes after which it strikes, by direction; -1 for never
	linger   time.Duration // how long a connection that swallows stays open
	late     time.Duration // how much later what the client had said still arrives
	hellos   int           // pieces after the handshake at which the client is cut off; 0 for never
	delay    time.Duration // at most, of each piece
}

func newProxy(t testing.TB, upstream string, seed uint64) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		t: t, listener: l, upstream: upstream, rng: rand.New(rand.NewPCG(seed, 1)),
		open: map[*passage]bool{}, counts: map[string]int{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
	return p
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

func (p *proxy) close() {
	p.listener.Close()
	p.cancel()
	p.cutAll()
	p.wg.Wait()
}

// only gives the first connections these fates, and leaves the rest alone.
func (p *proxy) only(script ...fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tame, p.script = true, script
}

// calm ends all faults: connections are cut once more, and then left alone.
func (p *proxy) calm() {
	p.mu.Lock()
	p.tame = true
	p.mu.Unlock()
	p.cutAll()
}

// rest waits until nothing is on its way any more.
func (p *proxy) rest() {
	eventually(p.t, "the proxy is at rest", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if n := len(p.open); n > 0 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
}

func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for g := range p.open {
		g.cut()
	}
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		g := &passage{p: p, client: conn.(*net.TCPConn), fate: p.draw(), struck: make(chan struct{})}
		p.mu.Lock()
		p.open[g] = true
		p.mu.Unlock()
		p.wg.Go(func() {
			g.run()
			p.mu.Lock()
			delete(p.open, g)
			p.mu.Unlock()
		})
	}
}

// draw a fate. The bytes are chosen so that handshakes, hellos, frames and
// the calls for tokens are hit as well as long conversations.
func (p *proxy) draw() fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rng
	f := fate{name: "clean", up: -1, down: -1}
	if len(p.script) > 0 {
		f, p.script = p.script[0], p.script[1:]
		return f
	}
	if p.tame {
		return f
	}
	strike := func() int { return r.IntN(1 << (6 + r.IntN(10))) } // up to 64 bytes ... 32 KiB
	switch k := r.IntN(100); {
	case k < 15:
	case k < 25:
		f.name, f.delay = "slow", time.Duration(1+r.IntN(40))*time.Millisecond
	case k < 40:
		f.name, f.up = "cut while the client speaks", strike()
	case k < 55:
		f.name, f.down = "cut while the server speaks", strike()
	case k < 70:
		f.name, f.down, f.linger = "answers swallowed", 400+strike(), time.Duration(50+r.IntN(1500))*time.Millisecond
	case k < 78:
		f.name, f.up, f.linger = "requests swallowed", 400+strike(), time.Duration(50+r.IntN(1500))*time.Millisecond
	case k < 84: // its hello comes after that of the next connection
		f.name, f.hellos, f.late = "shadow", 1, time.Duration(100+r.IntN(300))*time.Millisecond
	case k < 95:
		f.name, f.down, f.late = "overtaken", 150+strike(), time.Duration(20+r.IntN(400))*time.Millisecond
	default:
		f.name, f.up = "refused", 0
	}
	p.counts[f.name]++
	return f
}

// passage is one connection through the proxy.
type passage struct {
	p              *proxy
	client, server *net.TCPConn
	fate           fate
	once           sync.Once
	struck         chan struct{} // closed when the fate has struck

	mu   sync.Mutex
	gone bool
}

func (g *passage) run() {
	defer g.cut()
	if g.fate.up == 0 {
		return
	}
	conn, err := (&net.Dialer{}).DialContext(g.p.ctx, "tcp", g.p.upstream)
	if err != nil {
		return
	}
	g.mu.Lock()
	g.server = conn.(*net.TCPConn)
	gone := g.gone
	g.mu.Unlock()
	if gone {
		conn.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		if g.fate.late > 0 {
			g.copyLate(&both)
			return
		}
		g.copy(g.server, g.client, g.fate.up, g.rng(1))
	})
	both.Go(func() { g.copy(g.client, g.server, g.fate.down, g.rng(2)) })
	both.Wait()
}

func (g *passage) rng(n uint64) *rand.Rand {
	g.p.mu.Lock()
	defer g.p.mu.Unlock()
	return rand.New(rand.NewPCG(g.p.rng.Uint64(), n))
}

// copy until the end, or until the fate strikes after so many bytes.
func (g *passage) copy(to, from *net.TCPConn, strike int, rng *rand.Rand) {
	buf := make([]byte, 8<<10)
	passed := 0
	for {
		n, err := from.Read(buf[:1+rng.IntN(len(buf))])
		piece := buf[:n]
		if strike >= 0 && passed+n >= strike {
			_, _ = to.Write(piece[:strike-passed]) // in the middle of whatever it is
			g.strike(from)
			return
		}
		passed += n
		if g.fate.delay > 0 && n > 0 {
			g.wait(time.Duration(rng.Int64N(int64(g.fate.delay))))
		}
		if n > 0 {
			if _, err := to.Write(piece); err != nil {
				g.cut()
				return
			}
		}
		if err != nil {
			select {
			case <-g.struck: // its end belongs to the fate
			default:
				g.cut()
			}
			return
		}
	}
}

// copyLate brings what the client says later, and also when the client has
// gone: so it arrives among what the client says on its next connection, and a
// hello may come after the next one's.
func (g *passage) copyLate(both *sync.WaitGroup) {
	type piece struct {
		at    time.Time
		bytes []byte
	}
	queue := make(chan piece, 1024)
	both.Go(func() {
		for p := range queue {
			g.wait(time.Until(p.at))
			if _, err := g.server.Write(p.bytes); err != nil {
				g.cut() // ends the reader, which closes the queue
			}
		}
	})
	defer close(queue)
	pieces := 0
	buf := make([]byte, 4<<10)
	for {
		n, err := g.client.Read(buf)
		if n > 0 {
			queue <- piece{at: time.Now().Add(g.fate.late), bytes: bytes.Clone(buf[:n])}
			pieces++
			if g.fate.hellos > 0 && pieces > g.fate.hellos {
				close(g.struck)
				reset(g.client)
				g.client.Close()
				g.wait(2 * g.fate.late)
				g.cut()
				return
			}
		}
		if err != nil {
			select {
			case <-g.struck:
			default:
				g.cut()
			}
			return
		}
	}
}

// strike does what the fate has in store.
func (g *passage) strike(from *net.TCPConn) {
	close(g.struck)
	switch {
	case g.fate.linger > 0: // the one side is read on, and nobody hears of it
		_ = from.SetReadDeadline(time.Now().Add(g.fate.linger))
		sink := make([]byte, 4<<10)
		for {
			if _, err := from.Read(sink); err != nil {
				break
			}
		}
	case g.fate.late > 0: // the client sees an end; what it had said arrives later
		reset(g.client)
		g.client.Close()
		g.wait(2 * g.fate.late)
	}
	g.cut()
}

func (g *passage) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.p.ctx.Done():
	}
}

func reset(c *net.TCPConn) { _ = c.SetLinger(0) }

// cut both ends at once.
func (g *passage) cut() {
	g.once.Do(func() {
		g.mu.Lock()
		g.gone = true
		server := g.server
		g.mu.Unlock()
		reset(g.client)
		g.client.Close()
		if server != nil {
			reset(server)
			server.Close()
		}
	})
}
