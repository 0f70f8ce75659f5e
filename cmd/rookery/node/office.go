package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-im/rookery/cluster/peer"
	"github.com/rookery-im/rookery/internal/invariant"
	"github.com/rookery-im/rookery/internal/limits"
)

// kind of what nodes say to each other: the first byte of every body.
type kind byte

const (
	kindRaft       kind = 1 + iota // loose: messages of all groups of a round
	kindBeacon                     // loose: that a node is there, and what it leads
	kindWords                      // inputs for user actors, and back those that were not taken
	kindDeliveries                 // what actors have for connections
	kindMail                       // between shards
	kindControl                    // joining, the view, questions to group 0
	kindSnapshot                   // chunks of a shard's rows, and that they came
	kindCalm                       // loose: as raft, and nothing in it is in a hurry
	kinds
)

func (k kind) String() string {
	if k == 0 || k >= kinds {
		return "unknown"
	}
	return [...]string{"", "raft", "beacon", "words", "deliveries", "mail", "control", "snapshot", "calm"}[k]
}

// office is the loop's side of the links to other nodes: what comes is handed
// out on the loop by its kind, in the order in which its sender said it. What
// promises to arrive holds its sender back while the loop is behind; what is
// loose is dropped then.
//
// A node that is alone has an office without links: it never has anybody to
// write to.
type office struct {
	// Immutable once the loop runs.
	wake func() // the loop
	hear [kinds]func(from string, body []byte)
	back [kinds]func(to string, bodies [][]byte)
	gone func(node string) // its process has ended, and what it said is handed out
	log  *slog.Logger

	bodies  *prometheus.CounterVec // by kind, those that came
	dropped *prometheus.CounterVec // by kind

	mu    sync.Mutex
	room  sync.Cond // the loop has taken what came, or it ended
	links *peer.Links
	ended bool
	bytes int  // of came
	woken bool // the loop, for what came
	came  []parcel
	spare []parcel // owned by the loop
}

// parcel is what one node said at once, or what never reached it.
type parcel struct {
	node   string
	bodies [][]byte
	lost   bool
	gone   bool // nothing but that the node's process has ended
}

func newOffice(wake func(), log *slog.Logger, with prometheus.Registerer) *office {
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"kind"})
		with.MustRegister(c)
		return c
	}
	o := &office{
		gone: func(string) {}, wake: wake, log: log,
		bodies:  counter("rookery_office_bodies_total", "What other nodes said, by kind."),
		dropped: counter("rookery_office_dropped_total", "What other nodes said and nobody could take, by kind."),
	}
	o.room.L = &o.mu
	return o
}

// on says who takes bodies of a kind, without the byte of the kind. They are
// the taker's to keep. Before the loop runs.
func (o *office) on(k kind, f func(from string, body []byte)) {
	invariant.Check(o.hear[k] == nil, "two takers of %v", k)
	o.hear[k] = f
}

// lost says who is told of bodies of a kind that were given to send and of which
// it is not known whether the node, whose life has ended, got them.
func (o *office) lost(k kind, f func(to string, bodies [][]byte)) {
	invariant.Check(o.back[k] == nil, "two are told of lost %v", k)
	o.back[k] = f
}

// open begins to carry: from now on links are those to other nodes.
func (o *office) open(l *peer.Links) {
	o.mu.Lock()
	defer o.mu.Unlock()
	invariant.Check(o.links == nil, "the office is open already")
	o.links = l
}

// carrier is the links, or nil while there are none. Any goroutine.
func (o *office) carrier() *peer.Links {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.links
}

// frame begins a body of a kind, for send or loose; what follows is appended.
func frame(k kind, room int) []byte { return append(make([]byte, 0, room+1), byte(k)) }

// send a body, made with frame, that arrives once and in order while both nodes
// live. An error says that it was not taken and never will arrive.
func (o *office) send(to string, body []byte) error {
	l := o.carrier()
	if l == nil {
		return fmt.Errorf("%w: %s: this node has no links", peer.ErrUnknown, to)
	}
	return l.Send(to, body)
}

// loose sends a body that may be lost.
func (o *office) loose(to string, body []byte) {
	if l := o.carrier(); l != nil {
		l.SendLoose(to, body)
	}
}

var errEnded = errors.New("node: the loop has ended")

// Receive is of peer.Handler.
func (o *office) Receive(ctx context.Context, from string, bodies [][]byte) error {
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.room.Broadcast()
	})
	defer stop()
	o.mu.Lock()
	for o.bytes >= limits.OfficeBytes && !o.ended && ctx.Err() == nil {
		o.room.Wait()
	}
	switch {
	case o.ended:
		o.mu.Unlock()
		return errEnded
	case ctx.Err() != nil:
		o.mu.Unlock()
		return fmt.Errorf("node: take what another node said: %w", ctx.Err())
	}
	o.putAndUnlock(parcel{node: from, bodies: bodies})
	return nil
}

// Loose is of peer.Handler.
func (o *office) Loose(from string, bodies [][]byte) {
	o.mu.Lock()
	if o.ended || o.bytes >= limits.OfficeBytes {
		o.mu.Unlock()
		for _, b := range bodies {
			o.dropped.WithLabelValues(kindOf(b).String()).Inc()
		}
		return
	}
	o.putAndUnlock(parcel{node: from, bodies: bodies})
}

// Lost is of peer.Handler. It has no bound of its own: the link's holds.
func (o *office) Lost(to string, bodies [][]byte) {
	o.mu.Lock()
	o.putAndUnlock(parcel{node: to, bodies: bodies, lost: true})
}

// Gone is of peer.Config. It has its turn after what the node said.
func (o *office) Gone(node string) {
	o.mu.Lock()
	o.putAndUnlock(parcel{node: node, gone: true})
}

// putAndUnlock wakes the loop where it has to come for this, and unlocks before:
// a loop that wakes looks at what came first of all.
func (o *office) putAndUnlock(p parcel) {
	wake := !o.woken && p.urgent()
	o.woken = o.woken || wake
	o.came = append(o.came, p)
	o.bytes += p.size()
	o.mu.Unlock()
	if wake {
		o.wake()
	}
}

func (p parcel) size() (n int) {
	const overhead = 64
	for _, b := range p.bodies {
		n += len(b) + overhead
	}
	return n
}

// urgent says whether the loop has to come for it. What it need not come for it
// finds with its next tick, in the order in which it came, and before it ticks: to a
// clock that ticks as seldom that is the same.
func (p parcel) urgent() bool {
	return p.lost || slices.ContainsFunc(p.bodies, func(b []byte) bool { return kindOf(b) != kindCalm })
}

func kindOf(body []byte) kind {
	if len(body) == 0 || kind(body[0]) >= kinds {
		return 0
	}
	return kind(body[0])
}

// waits says whether round would hand out anything; any goroutine.
func (o *office) waits() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.came) > 0
}

// round hands out what came; loop only.
func (o *office) round() {
	o.mu.Lock()
	came := o.came
	o.came, o.bytes, o.woken = o.spare[:0], 0, false
	if len(came) > 0 {
		o.room.Broadcast()
	}
	o.mu.Unlock()
	for _, p := range came {
		switch {
		case p.lost:
			o.giveBack(p)
		case p.gone:
			o.gone(p.node)
		default:
			for _, b := range p.bodies {
				o.handOut(p.node, b)
			}
		}
	}
	clear(came)
	o.spare = came[:0]
}

func (o *office) handOut(from string, body []byte) {
	k := kindOf(body)
	if o.hear[k] == nil { // a newer node's, or nobody's here
		o.dropped.WithLabelValues(k.String()).Inc()
		return
	}
	o.bodies.WithLabelValues(k.String()).Inc()
	o.hear[k](from, body[1:])
}

// giveBack what did not arrive for certain, kind by kind in order.
func (o *office) giveBack(p parcel) {
	var lost [kinds][][]byte
	for _, b := range p.bodies {
		lost[kindOf(b)] = append(lost[kindOf(b)], b[min(1, len(b)):])
	}
	o.log.Warn("what was said to a node that ended may not have arrived", "node", p.node, "bodies", len(p.bodies))
	for k, bodies := range lost {
		if len(bodies) > 0 && o.back[k] != nil {
			o.back[k](p.node, bodies)
		}
	}
}

// end refuses what comes from now on, and closes the links.
func (o *office) end() {
	o.mu.Lock()
	links := o.links
	o.ended = true
	o.room.Broadcast()
	o.mu.Unlock()
	if links != nil {
		links.Close()
	}
}
