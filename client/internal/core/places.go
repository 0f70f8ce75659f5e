package core

import (
	"slices"
	"time"
)

// A cluster has several nodes, and the URL that a client was given may be one of
// them, or something in front of all. So a client asks the node that it is on
// which others there are, and goes to one of these where that node is cut off, or
// cannot be reached any more. The configured URL has every second turn: what the
// nodes call themselves may be of no use where the client is.

// lookEvery is how old the list of nodes may be when a connection begins.
const lookEvery = 5 * time.Minute

// placesKept bounds how many nodes are remembered.
const placesKept = 16

// Place is a node, and the URL of its WebSocket.
type Place struct{ Node, URL string }

// places are the nodes that a client knows of.
type places struct {
	list   []Place // the next to be tried first
	looked time.Time
	at     string // the URL that was dialled last, as Dial has it
}

// look asks which nodes there are, where that is not known of late.
func (m *Machine) look() {
	if p := &m.places; p.looked.IsZero() || m.now.Sub(p.looked) >= lookEvery {
		p.looked = m.now
		m.do(Look{Alternate: p.at})
	}
}

// nodes takes the list that was asked for.
func (m *Machine) nodes(list []Place) {
	m.places.list = slices.Clone(list[:min(len(list), placesKept)])
}

// elsewhere has the next attempt go to another node, where the one that was lost
// said so, or where nothing answers at the configured URL. All have their turn, again
// and again: one that was tried in vain may have been starting.
func (m *Machine) elsewhere(code int, welcomed bool) {
	p := &m.places
	if welcomed {
		p.last(func(o Place) bool { return o.Node == m.node || o.URL == p.at })
	}
	switch {
	case len(m.alternates) > 0, welcomed && code != codeUnavailable:
	case !welcomed && p.at != "": // the configured URL's turn
	case len(p.list) > 0 && (!welcomed || p.list[0].Node != m.node && p.list[0].URL != p.at):
		next := p.list[0]
		p.last(func(o Place) bool { return o == next })
		m.alternates = []string{next.URL}
	}
}

// last puts those places behind the others.
func (p *places) last(is func(Place) bool) {
	var first, last []Place
	for _, o := range p.list {
		if is(o) {
			last = append(last, o)
		} else {
			first = append(first, o)
		}
	}
	p.list = append(first, last...)
}
