package sim

import (
	"errors"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/council"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// order is something that somebody wants of group 0, and asks of any node until it
// is answered, as one does who runs a cluster.
type order struct {
	world *world
	what  string
	ask   func() *controlpb.Ask
	then  func()
	tries int
	over  bool
}

// orderLife is how long a node tries to get an answer.
const orderLife = 5 * time.Second

func (w *world) order(what string, ask func() *controlpb.Ask, then func()) {
	o := &order{world: w, what: what, ask: ask, then: then}
	w.orders++
	o.try()
}

func (o *order) try() {
	w := o.world
	if o.over {
		return
	}
	n := w.anyNode()
	if !n.up || !n.belongs || n.seat.view == nil {
		w.after(50*millisecond, o.try)
		return
	}
	o.tries++
	try := o.tries
	w.note(0, "asks n%d: %s", n.number, o.what)
	n.post(func() {
		n.seat.council.Ask(o.ask(), orderLife, func(a *controlpb.Answer, err error) { o.answered(try, council.Verdict(a, err)) })
	})
	// The node may end, or sleep.
	w.after(orderLife.Microseconds()+second, func() {
		if o.tries == try {
			o.try()
		}
	})
}

func (o *order) answered(try int, err error) {
	w := o.world
	w.note(0, "%s: %v", o.what, err)
	switch {
	case o.over:
	case err == nil:
		o.over = true
		w.orders--
		w.stats.orders++
		w.after(0, o.then) // not within the turn of a node, which may end by it
	case errors.Is(err, control.ErrUnavailable), errors.Is(err, control.ErrUnknown),
		errors.Is(err, control.ErrLastData), // others come back
		errors.Is(err, control.ErrNoMember): // who was asked is none any more, or not yet
		if try == o.tries {
			w.after(200*millisecond, o.try)
		}
	default:
		w.fault("%s: %w", o.what, err)
	}
}

// remove a node for good.
func (w *world) remove(n *node, then func()) {
	w.order("remove "+n.String(), func() *controlpb.Ask {
		return &controlpb.Ask{Body: &controlpb.Ask_Remove{Remove: uint32(n.number)}} //nolint:gosec // small
	}, func() {
		w.fence.charter.hasGone(n)
		then()
	})
}

// letLeave has a node leave.
func (w *world) letLeave(n *node, then func()) {
	w.order(n.String()+" leaves", func() *controlpb.Ask {
		return &controlpb.Ask{Body: &controlpb.Ask_Leave{Leave: uint32(n.number)}} //nolint:gosec // small
	}, func() {
		w.fence.charter.hasLeft(n)
		then()
	})
}

// rotate the keys.
func (w *world) rotate() {
	w.order("rotate keys", func() *controlpb.Ask {
		return &controlpb.Ask{Body: &controlpb.Ask_Rotate{Rotate: &controlpb.Nothing{}}}
	}, func() {})
}

// takeForLost has group 0's leader take a node for lost, as its guard does; again
// until it has, or the time is over.
func (w *world) takeForLost(n *node, end micros) {
	if w.healed || w.now > end || w.fence.charter.state(n) != control.Ready {
		return
	}
	if leader := w.leads(0); leader != nil {
		leader.post(func() {
			if m := leader.seat.machine; m != nil {
				m.MarkLost(uint16(n.number), func(err error) { //nolint:gosec // small
					if err == nil {
						w.stats.lost++
					}
				})
			}
		})
	}
	w.after(second, func() { w.takeForLost(n, end) })
}

// planLost has a node taken for lost that is there: others take over, and it says
// that it is not.
func (w *world) planLost(from, to micros) {
	n := w.anyNode()
	w.during(from, to, func() { w.takeForLost(n, to) }, func() {}, "n%d is taken for lost", n.number)
}

// planRotate has a new view that moves nothing.
func (w *world) planRotate(from, to micros) {
	w.during(from, to, w.rotate, w.rotate, "keys are rotated, twice")
}

// planJoin has a machine join that was not there.
func (w *world) planJoin(from, to micros) {
	w.during(from, to, func() {
		w.once(to, w.numbered, func() {
			live := 0
			for _, n := range w.machines {
				if !n.gone {
					live++
				}
			}
			if live < 5 {
				n := w.newcomer()
				w.machines = append(w.machines, n)
				n.start()
			}
		})
	}, func() {}, "another machine joins")
}

// numbered says whether every node that there is has its number, so that the next
// one's is known before group 0 gives it.
func (w *world) numbered() bool {
	_, ok := w.fence.charter.numbers[w.nodes[len(w.nodes)-1].name]
	return ok
}

// newcomer is a node that nobody knows yet.
func (w *world) newcomer() *node {
	n := newNode(w, len(w.nodes))
	w.nodes, w.named[n.name] = append(w.nodes, n), n
	return n
}
