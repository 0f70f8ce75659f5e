package conns

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-im/rookery/transport/ws"
)

// world plays seeded random lives of connections, with the loop turned by hand,
// and checks after every step what must always hold.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	clock clock
	conns *Conns
	peers map[ID]*peer // open, as the handler knows it
	ghost []*peer      // those the handler has heard Closed of
	dead  []ID
	trace []string
}

// peer is the other end of a connection.
type peer struct {
	id      ID
	fd      int
	out     []byte // frames not written yet
	sent    int    // messages in frames
	heard   int    // by the handler
	paused  bool
	closing bool // the node called Close
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\nafter:\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace[max(0, len(w.trace)-40):], "\n"))
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) known(id ID) *peer {
	p := w.peers[id]
	if p == nil {
		w.fail("%v is not open, and was heard of", id)
	}
	return p
}

func (w *world) Opened(id ID, _ Info) {
	if w.peers[id] != nil || slices.Contains(w.dead, id) {
		w.fail("%v is opened again", id)
	}
	w.peers[id] = &peer{id: id}
}

func (w *world) Message(id ID, _ Opcode, data []byte) {
	p := w.known(id)
	if p.paused || p.closing {
		w.fail("%v: a message while paused (%v) or closing (%v)", id, p.paused, p.closing)
	}
	if want := fmt.Sprintf("%d:", p.heard); !strings.HasPrefix(string(data), want) {
		w.fail("%v: message %.20q, want %s", id, data, want)
	}
	p.heard++
	w.act(p) // as handlers do, from inside
}

func (w *world) Drained(id ID) {
	if p := w.known(id); p.closing {
		w.fail("%v has drained while closing", id)
	}
}

func (w *world) Closed(id ID, code uint16, _ error) {
	p := w.known(id)
	w.note("%v: closed %d", id, code)
	delete(w.peers, id)
	w.dead = append(w.dead, id)
	w.ghost = append(w.ghost, p)
}

// act is something that the node does to a connection.
func (w *world) act(p *peer) {
	switch w.rng.IntN(14) {
	case 0, 1, 2, 3:
		w.conns.Send(p.id, []byte(text(1<<w.rng.IntN(17))))
	case 4:
		w.note("%v: pause", p.id)
		w.conns.Pause(p.id)
		p.paused = true
	case 5, 6, 7:
		w.conns.Resume(p.id)
		p.paused = false
	case 8:
		if w.rng.IntN(4) == 0 {
			w.note("%v: close", p.id)
			w.conns.Close(p.id, 4102, "elsewhere")
			p.closing = true
		}
	case 9:
		w.conns.SetHeartbeat(p.id, time.Duration(1+w.rng.IntN(20))*time.Second)
	case 10:
		w.conns.SetDeadline(p.id, w.clock.now().Add(time.Duration(w.rng.IntN(1000))*time.Second), 4101)
	case 11:
		w.conns.Authenticated(p.id)
	case 12: // the dead are not to be disturbed
		if len(w.dead) > 0 {
			id := w.dead[w.rng.IntN(len(w.dead))]
			w.conns.Send(id, []byte("x"))
			w.conns.Close(id, 4100, "")
			w.conns.Pause(id)
			w.conns.Resume(id)
		}
	}
}

func (w *world) open() {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.conns.total.Add(1)
	before := len(w.peers)
	w.conns.enterByLoop(fds[0], newcomer{})
	if len(w.peers) != before+1 {
		w.fail("not opened")
	}
	for _, p := range w.peers {
		if p.fd == 0 {
			p.fd = fds[1]
			w.note("%v: opened", p.id)
		}
	}
}

// frames adds to what the peer is going to send.
func (w *world) frames(p *peer) {
	var f []byte
	switch w.rng.IntN(20) {
	case 0:
		f = frame(ws.Ping, "p")
	case 1:
		if w.rng.IntN(8) > 0 {
			return
		}
		f = frame(ws.Close, "\x03\xe8")
	case 2:
		if w.rng.IntN(20) > 0 {
			return
		}
		f = []byte{0xff, 0xff}
	default:
		body := fmt.Sprintf("%d:%s", p.sent, text(1<<w.rng.IntN(13)))
		p.sent++
		cut := w.rng.IntN(len(body))
		if w.rng.IntN(3) > 0 {
			f = frame(ws.Text, body)
			break
		}
		f = frame(ws.Text, body[:cut])
		f[0] &^= 0x80
		f = append(append(f, frame(ws.Pong, "")...), frame(ws.Continuation, body[cut:])...)
	}
	p.out = append(p.out, f...)
}

// speak has the peer write a piece, read a piece, or go away.
func (w *world) speak(p *peer) {
	if len(p.out) < 1000 {
		w.frames(p)
	}
	if k := w.rng.IntN(len(p.out) + 1); k > 0 {
		if n, err := syscall.Write(p.fd, p.out[:k]); err == nil {
			p.out = p.out[n:]
		}
	}
	if w.rng.IntN(3) == 0 {
		_, _ = syscall.Read(p.fd, make([]byte, 1<<w.rng.IntN(18)))
	}
	if w.rng.IntN(150) == 0 {
		w.note("%v: the peer goes", p.id)
		w.hangUp(p)
	}
}

func (w *world) hangUp(p *peer) {
	if p.fd > 0 {
		_ = syscall.Close(p.fd)
		p.fd = -1
	}
}

func (w *world) turn() {
	if err := w.conns.Poll(0); err != nil {
		w.t.Fatal(err)
	}
	w.conns.Flush()
	w.check()
}

func (w *world) check() {
	c := w.conns
	if c.counts.open > len(w.peers) || c.counts.open < len(w.peers)-len(c.closed) {
		w.fail("%d are open, the handler knows of %d", c.counts.open, len(w.peers))
	}
	if c.Len() != c.loop.Len() {
		w.fail("%d connections, %d of them carried", c.Len(), c.loop.Len())
	}
	inputs := 0
	for id, p := range w.peers {
		if r := c.findOpen(id); r != nil {
			if r.input != 0 {
				inputs++
			}
			if got := c.Pending(id); got > c.cfg.PendingMax+1<<17 {
				w.fail("%v: %d bytes wait", id, got)
			}
			if c.mustNotRead(r) && r.flags&notRead == 0 || p.paused && r.flags&pausedByNode == 0 {
				w.fail("%v is read though paused", id)
			}
		}
	}
	if held := len(c.inputs) - len(c.spareInputs); held < inputs || held > c.Len() {
		w.fail("%d inputs are held, %d are used", held, inputs)
	}
}

func (w *world) live(steps int) {
	for range steps {
		switch k := w.rng.IntN(100); {
		case k < 2 || len(w.peers) == 0:
			if len(w.peers) < 12 {
				w.open()
			}
		case k < 4:
			w.clock.advance(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
		case k < 20:
			w.turn()
		default:
			ids := make([]ID, 0, len(w.peers))
			for id := range w.peers {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			p := w.peers[ids[w.rng.IntN(len(ids))]]
			if k < 40 {
				w.act(p)
			} else if p.fd > 0 {
				w.speak(p)
			}
		}
		for len(w.ghost) > 0 && w.rng.IntN(10) == 0 { // some linger
			w.hangUp(w.ghost[0])
			w.ghost = w.ghost[1:]
		}
	}
}

// end closes everything: nothing may be left anywhere.
func (w *world) end() {
	w.conns.CloseSome(1000, 1012, "")
	for range 10 {
		w.turn()
		w.clock.advance(2 * time.Second)
	}
	c := w.conns
	if len(w.peers) != 0 || c.Len() != 0 || len(c.inputs) != len(c.spareInputs) {
		w.fail("%d open, %d connections, %d inputs of %d free", len(w.peers), c.Len(), len(c.spareInputs), len(c.inputs))
	}
	if err := c.Stop(); err != nil {
		w.t.Error(err)
	}
	for _, p := range w.ghost {
		w.hangUp(p)
	}
}

func TestRandomLives(t *testing.T) {
	for seed := range uint64(30) {
		w := &world{t: t, rng: rand.New(rand.NewPCG(7, seed)), peers: map[ID]*peer{}}
		w.note("seed %d", seed)
		c, err := New(Config{
			Clock: w.clock.now, Sweep: tickLength, Heartbeat: 10 * time.Second, Partial: 20 * time.Second,
			PendingLow: 4 << 10, PendingHigh: 64 << 10, PendingMax: 512 << 10,
		}, w)
		if err != nil {
			t.Fatal(err)
		}
		w.conns = c
		w.live(3000)
		w.end()
		if len(w.dead) < 5 {
			t.Errorf("seed %d: only %d lives", seed, len(w.dead))
		}
	}
}
