package sim

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-im/rookery/transport/frames"
	"github.com/rookery-im/rookery/transport/session"
)

func gatewayConfig(number int) session.Config {
	return session.DefaultConfig().Named(fmt.Sprintf("n%d", number))
}

// tokens are "user/device".
type tokens struct{}

// Identify implements session.Verifier.
func (tokens) Identify(token string) (session.Identity, error) {
	user, device, _ := strings.Cut(token, "/")
	n, err := strconv.ParseUint(device, 10, 32)
	if err != nil {
		return session.Identity{}, fmt.Errorf("sim: token %q: %w", token, err)
	}
	return session.Identity{User: user, Device: uint32(n), Expires: time.UnixMilli(epoch).Add(24 * time.Hour)}, nil
}

// sockets are a node's connections.
type sockets struct {
	node   *node
	open   map[uint64]*socket
	opened map[uint64]bool // ever
	next   uint64
	ended  []*socket // closed by the gateway in this round
}

// socket is one connection between a device and a gateway. Both directions are
// in order; either end may go without the other noticing at once.
type socket struct {
	node   *node
	id     uint64
	device *device
	paused bool   // the gateway does not read
	held   []said // arrived, not read
	gone   bool   // for the gateway
	code   uint16 // that the gateway closed with
	toDev  micros // when the last thing said to the device arrives
	toGate micros
	slow   micros // until then the device does not read what is sent to it
	began  micros
	asked  map[string]micros // sends that were read and are not answered, by id
}

func newSockets(n *node) *sockets {
	return &sockets{node: n, open: map[uint64]*socket{}, opened: map[uint64]bool{}}
}

// accept a device; nil where nobody listens.
func (s *sockets) accept(d *device) *socket {
	s.next++
	c := &socket{node: s.node, id: s.node.office.stamp.Connection(s.next), device: d, began: s.node.world.now, asked: map[string]micros{}}
	s.open[c.id], s.opened[c.id] = c, true
	s.node.post(func() { s.node.sessions.Opened(c.id, frames.Protobuf, "") })
	return c
}

// lag is how long something takes between a device and a gateway.
func (c *socket) lag(last *micros) micros {
	w := c.node.world
	at := w.now + w.between(200, 3*millisecond)
	if w.chance(60) {
		at += w.between(20*millisecond, 400*millisecond)
	}
	*last = max(*last, at)
	return *last
}

// said is what a device says at once, with the ids of the sends in it.
type said struct {
	data  []byte
	sends []string
}

// write is the device's.
func (c *socket) write(s said) {
	w, incarnation := c.node.world, c.node.incarnation
	w.at(c.lag(&c.toGate), func() {
		if c.node.up && c.node.incarnation == incarnation && !c.gone {
			c.node.post(func() { c.arrive(s) })
		}
	})
}

func (c *socket) arrive(s said) {
	switch {
	case c.gone:
	case c.paused:
		c.held = append(c.held, s)
	default:
		for _, id := range s.sends {
			c.asked[id] = c.node.world.now
		}
		c.node.sessions.Message(c.id, frames.Protobuf, s.data)
	}
}

// hangUp is the device's.
func (c *socket) hangUp() {
	w, incarnation := c.node.world, c.node.incarnation
	w.at(c.lag(&c.toGate), func() {
		if c.node.up && c.node.incarnation == incarnation {
			c.node.post(c.close)
		}
	})
}

func (c *socket) close() {
	if !c.gone {
		c.gone = true
		delete(c.node.sockets.open, c.id)
		c.node.sessions.Closed(c.id)
	}
}

// Send implements session.Conns.
func (s *sockets) Send(conn uint64, data []byte) {
	c := s.open[conn]
	if c == nil || c.gone || c.code != 0 {
		return
	}
	data = append([]byte(nil), data...)
	s.node.world.at(c.lag(&c.toDev), func() { c.device.read(c, data) })
}

// Pending implements session.Conns. Now and then a device does not read for a
// while.
func (s *sockets) Pending(conn uint64) int {
	c, w := s.open[conn], s.node.world
	if c == nil || w.healed {
		return 0
	}
	if w.now >= c.slow {
		if !w.chance(150) {
			return 0
		}
		c.slow = w.now + w.between(20*millisecond, second)
		incarnation := s.node.incarnation
		w.at(c.slow, func() {
			if s.node.up && s.node.incarnation == incarnation && !c.gone {
				s.node.post(func() { s.node.sessions.Drained(c.id) })
			}
		})
	}
	return 1 << 30
}

// Read implements session.Conns.
func (s *sockets) Read(conn uint64, r session.Reading) {
	c := s.open[conn]
	if c == nil {
		return
	}
	c.paused = r == session.Pause
	if c.paused || len(c.held) == 0 {
		return
	}
	held := c.held
	c.held = nil
	for _, one := range held {
		s.node.post(func() { c.arrive(one) })
	}
}

// Admit implements session.Conns.
func (s *sockets) Admit(uint64, time.Duration, time.Time) {}

// Close implements session.Conns.
func (s *sockets) Close(conn uint64, code uint16, reason string) {
	c := s.open[conn]
	if c == nil || c.code != 0 {
		return
	}
	c.code = code
	s.node.world.bounds.closed(c, code)
	s.node.note("closes %x with %d: %s", conn, code, reason)
	s.ended = append(s.ended, c)
}

// flush ends what the gateway closed.
func (s *sockets) flush() {
	ended := s.ended
	s.ended = nil
	for _, c := range ended {
		s.node.world.at(c.lag(&c.toDev), func() { c.device.closed(c, c.code) })
		s.node.post(c.close)
	}
}

// crash ends all connections. Where the machine lost power, devices notice by their
// heartbeats, later: also those that wait for nothing, whose last words may be lost.
func (s *sockets) crash(how end) {
	w := s.node.world
	for _, d := range w.devices {
		c := d.socket
		if c == nil || c.node != s.node || c.gone {
			continue
		}
		c.gone = true
		at := c.lag(&c.toDev)
		if how == powerCut {
			at += 6 * second
		}
		w.at(at, func() { d.closed(c, 1006) })
	}
	clear(s.open)
}
