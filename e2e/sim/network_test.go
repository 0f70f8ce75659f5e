package sim

// network carries what nodes say to each other. Loose messages may be lost,
// doubled and overtaken. Reliable ones arrive once and in order as long as both
// ends live, as cluster/peer has it: a cut delays them, the end of a process
// loses them.
type network struct {
	world *world
	cut   map[[2]int]bool // from, to
	links map[[2]int]*link
	said  map[[2]int]micros // when the last loose message arrives
	// slow delays everything between two nodes; loss is in a thousand.
	slow map[[2]int]micros
	loss int
	// late: one in so many hears late that a process has ended; deaf: nobody hears.
	late int
	deaf bool
}

// link is one direction of a pair.
type link struct {
	from, to   int
	queue      []carried // on their way
	incarnates [2]int    // of both ends, when the queue began
	last       micros    // when the last one arrives
}

// carried is something on a link, and what its sender does when it is returned.
type carried struct{ do, lost func() }

// linkBound is how much may wait on a link before it is given up.
const linkBound = 512

func newNetwork(w *world) *network {
	return &network{world: w, cut: map[[2]int]bool{}, links: map[[2]int]*link{}, said: map[[2]int]micros{}, slow: map[[2]int]micros{}, late: 8}
}

func (n *network) delay(from, to int) micros {
	w := n.world
	d := w.between(50, 800)
	if w.chance(50) {
		d = w.between(millisecond, 60*millisecond)
	}
	return d + n.slow[[2]int{from, to}]
}

// loose sends a message that may never arrive.
func (n *network) loose(from, to int, do func()) {
	w := n.world
	if n.cut[[2]int{from, to}] || w.random.IntN(1000) < n.loss {
		return
	}
	times := 1
	if n.loss > 0 && w.chance(40) {
		times = 2
	}
	incarnation := w.nodes[to].incarnation
	for range times {
		at := w.now + n.delay(from, to)
		n.said[[2]int{from, to}] = max(n.said[[2]int{from, to}], at)
		w.at(at, func() {
			if t := w.nodes[to]; t.up && t.incarnation == incarnation && !n.cut[[2]int{from, to}] {
				t.post(do)
			}
		})
	}
}

// reliable sends a message over the link; what came before it arrives before it.
// False where the link is full. What a life of the other end has not got is given
// back when the next one begins.
func (n *network) reliable(from, to int, do, lost func()) bool {
	w := n.world
	if w.nodes[to].gone {
		return true // and it waits there for ever
	}
	key := [2]int{from, to}
	l := n.links[key]
	now := [2]int{w.nodes[from].incarnation, w.nodes[to].incarnation}
	if l == nil || l.incarnates != now {
		l = &link{from: from, to: to, incarnates: now}
		n.links[key] = l
	}
	if len(l.queue) >= linkBound {
		w.note(from, "the link to n%d is full", to)
		w.stats.full++
		return false
	}
	l.queue = append(l.queue, carried{do, lost})
	if len(l.queue) == 1 {
		n.carry(l)
	}
	return true
}

// began: a node has started anew.
func (n *network) began(to *node) {
	w := n.world
	for _, from := range w.nodes[1:] {
		key := [2]int{from.number, to.number}
		l := n.links[key]
		if l == nil {
			continue
		}
		delete(n.links, key)
		if !from.up || from.incarnation != l.incarnates[0] {
			continue
		}
		incarnation := from.incarnation
		w.after(w.between(millisecond, 100*millisecond), func() {
			for _, c := range l.queue {
				if c.lost != nil && from.up && from.incarnation == incarnation {
					w.stats.returned++
					from.post(c.lost)
				}
			}
		})
	}
}

// carry has the first of a link's queue arrive.
func (n *network) carry(l *link) {
	w := n.world
	l.last = max(l.last, w.now+n.delay(l.from, l.to))
	w.at(l.last, func() { n.arrive(l) })
}

// arrive takes everything that waits: one frame carries many.
func (n *network) arrive(l *link) {
	w := n.world
	to := w.nodes[l.to]
	switch {
	case n.links[[2]int{l.from, l.to}] != l || l.incarnates[1] != to.incarnation || !to.up:
		return // the other end is another process
	case n.cut[[2]int{l.from, l.to}]:
		w.after(100*millisecond, func() { n.arrive(l) })
		return
	}
	queue := l.queue
	l.queue = nil
	for _, c := range queue {
		to.post(c.do)
	}
}

// isolate cuts a node off from others.
func (n *network) isolate(a, b int, both bool) {
	n.cut[[2]int{a, b}] = true
	if both {
		n.cut[[2]int{b, a}] = true
	}
}

func (n *network) heal() {
	clear(n.cut)
	clear(n.slow)
	n.loss = 0
}
