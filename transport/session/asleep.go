package session

import (
	"iter"

	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/internal/slab"
	"github.com/rookery-im/rookery/transport/frames"
)

// A session to which nothing has happened for a while sleeps: what it will need
// again is kept in a record without pointers, and the rest is forgotten. Most
// sessions of a node sleep most of the time; awake, each is a dozen objects for
// the collector to go through. It wakes by whatever happens to it.
//
// Only a session of which all that is left fits into the record sleeps: one that
// is attached and live, waits for nothing, owes nothing and watches nobody.

// asleep is a session at rest.
type asleep struct {
	conn    uint64
	number  uint64
	written uint64
	cursor  uint64
	after   uint64
	sends   uint64 // numbers given to sends
	device  uint32
	others  uint32 // first of a chain of siblings
	id      [inlineUser]byte
	size    uint8 // of the user's id; an id that is longer than inlineUser is in long
	enc     frames.Encoding
}

const inlineUser = 22

// sibling is one of the user's other devices.
type sibling struct{ device, next uint32 }

// sleepers are the sessions that sleep. One of a user with one device costs
// 80 bytes and 5 to 11 of the index, see TestSleeperBudget.
type sleepers struct {
	records  slab.Slab[asleep]
	index    *slab.Index // by conn
	siblings slab.Slab[sibling]
	long     slab.Slab[[limits.UserID]byte]
}

func newSleepers() *sleepers {
	p := &sleepers{}
	p.index = slab.NewIndex(func(n uint32) uint32 { return hash(p.records.At(n).conn) })
	return p
}

// hash of a connection's id, which no client chooses.
func hash(conn uint64) uint32 { return uint32(conn * 0x9E3779B97F4A7C15 >> 32) }

func (p *sleepers) find(conn uint64) uint32 {
	return p.index.Find(hash(conn), func(n uint32) bool { return p.records.At(n).conn == conn })
}

// add a session.
func (p *sleepers) add(s *session) {
	n, r := p.records.Take()
	*r = asleep{
		conn: s.conn, number: s.number, written: s.written, cursor: s.cursor, after: s.after, sends: s.sends,
		device: s.device, size: uint8(len(s.user)), enc: s.enc, //nolint:gosec // the length of an id
	}
	if len(s.user) > inlineUser {
		at, id := p.long.Take()
		copy(id[:], s.user)
		r.id[0], r.id[1], r.id[2], r.id[3] = byte(at), byte(at>>8), byte(at>>16), byte(at>>24)
	} else {
		copy(r.id[:], s.user)
	}
	for i := len(s.others) - 1; i >= 0; i-- {
		at, o := p.siblings.Take()
		*o = sibling{s.others[i], r.others}
		r.others = at
	}
	p.index.Add(n)
}

// user of a record: a string of its own.
func (p *sleepers) user(r *asleep) string {
	if r.size <= inlineUser {
		return string(r.id[:r.size])
	}
	return string(p.long.At(r.longAt())[:r.size])
}

func (r *asleep) longAt() uint32 {
	return uint32(r.id[0]) | uint32(r.id[1])<<8 | uint32(r.id[2])<<16 | uint32(r.id[3])<<24
}

// take a session out.
func (p *sleepers) take(n uint32) *session {
	r := p.records.At(n)
	s := &session{
		conn: r.conn, enc: r.enc, state: attached, stream: live, drained: true,
		user: p.user(r), device: r.device, number: r.number, sends: r.sends,
		written: r.written, cursor: r.cursor, after: r.after,
	}
	for at := r.others; at != 0; {
		o := *p.siblings.At(at)
		s.others = append(s.others, o.device)
		p.siblings.Give(at)
		at = o.next
	}
	if r.size > inlineUser {
		p.long.Give(r.longAt())
	}
	p.index.Remove(n)
	p.records.Give(n)
	return s
}

// each goes through the records.
func (p *sleepers) each() iter.Seq[*asleep] {
	return func(yield func(*asleep) bool) {
		for n := uint32(1); n <= p.records.Last(); n++ {
			if r := p.records.At(n); r.size != 0 && !yield(r) {
				return
			}
		}
	}
}

// bytes held.
func (p *sleepers) bytes() int {
	return 80*p.records.Records() + 8*p.siblings.Records() + limits.UserID*p.long.Records() + p.index.Bytes()
}

// How soon and how many at a time: sweeps come four times a second.
const (
	drowsy    = 8    // sweeps without anything for it, until a session sleeps
	drowsyMax = 2048 // sessions looked at in one sweep
)

// find a session, and wake it where it sleeps.
func (g *Gateway) find(conn uint64) *session {
	s := g.sessions[conn]
	if s == nil {
		n := g.sleepers.find(conn)
		if n == 0 {
			return nil
		}
		s = g.sleepers.take(n)
		g.wakes(s)
		g.wokenBefore(s, n)
	}
	s.touched = g.sweeps
	return s
}

// wakes takes a session, new or woken, among those that are awake.
func (g *Gateway) wakes(s *session) {
	s.touched, s.place = g.sweeps, len(g.awake)
	g.sessions[s.conn] = s
	g.awake = append(g.awake, s)
	g.crowd = max(g.crowd, len(g.awake))
}

// parts takes a session from among those that are awake.
func (g *Gateway) parts(s *session) {
	delete(g.sessions, s.conn)
	end := len(g.awake) - 1
	g.awake[s.place] = g.awake[end]
	g.awake[s.place].place = s.place
	g.awake[end] = nil
	g.awake = g.awake[:end]
}

// lull has those sleep that were left alone, of the next few.
func (g *Gateway) lull() {
	g.sweeps++
	for range min(len(g.awake), drowsyMax) {
		if g.drowsy >= len(g.awake) {
			g.drowsy = 0
		}
		s := g.awake[g.drowsy]
		if g.sweeps-s.touched >= drowsy {
			g.forgetReads(s)
		}
		if g.sweeps-s.touched < drowsy || !s.quiet() {
			g.drowsy++
			continue
		}
		if s.busy != nil {
			g.leave(s.busy.allowance)
		}
		g.parts(s) // the last one takes its place, and is looked at next
		g.sleepers.add(s)
		if len(g.awake) == 0 {
			break
		}
	}
	g.shrink()
	g.metrics.Asleep.Set(float64(g.sleepers.records.Len()))
}

// shrink gives back the room that many who were awake at once have taken: a map
// would keep it for ever, 50 bytes for each. What is moved is a small part of it.
func (g *Gateway) shrink() {
	g.open = fit(g.open)
	if g.crowd <= fewAwake || len(g.awake) > g.crowd/fitPart {
		return
	}
	g.crowd = len(g.awake)
	g.awake = fit(g.awake)
	g.sessions = make(map[uint64]*session, len(g.awake))
	for _, s := range g.awake {
		g.sessions[s.conn] = s
	}
}

// Room for a few costs nothing; room for more goes once a small part is used.
const fewAwake, fitPart = 1024, 16

func fit[T any](s []T) []T {
	if cap(s) <= fewAwake || len(s) > cap(s)/fitPart {
		return s
	}
	return append([]T(nil), s...)
}

// quiet says whether all that is left of the session fits into a record.
func (s *session) quiet() bool {
	return s.state == attached && s.bond == bound && s.stream == live && s.drained && !s.leaving && !s.resting && !s.full && s.out == nil &&
		(s.busy == nil || s.busy.empty())
}

// empty says whether nothing is lost with the activity.
func (a *activity) empty() bool {
	return len(a.pending) == 0 && len(a.chains) == 0 && len(a.watched) == 0 && len(a.held) == 0 && a.barrier == barrier{} && a.reads.empty()
}
