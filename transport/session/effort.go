package session

import (
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

// Effort is what a session's messages cost the loop that everybody shares, in
// bytes: their own, more for a frame that does not fit the schema, since to say
// why takes several looks at it, and something for each frame. The rates answer
// what is too much; but to answer is work as well, and a client that does not
// care may ask for it without an end. So past the burst that the rates allow a
// session is not read from until it has made up for it.
const (
	frameEffort  = 512      // bytes that a frame counts as, however small
	sendEffort   = 8 << 10  // bytes of each send that its rate allows for, in the long run
	brokenEffort = 32       // times what a message with a broken frame counts
	faultEffort  = 16 << 10 // bytes that an answer which is an error counts as
	watchEffort  = 8 << 10  // bytes that a user counts as who begins or ends to be watched: an actor is asked
)

// effort is a bucket that may be overdrawn.
type effort struct {
	level float64 // bytes not made up for
	at    time.Time
}

// bounds of effort: bytes a second, and the burst. What the rates of frames
// allow passes, and what that of sends does where they are of a common size: a
// megabyte a second with the defaults, and four at once.
func (l Limits) effort() (perSecond, burst float64) {
	perSecond = max(l.Frames.PerSecond*frameEffort, l.Sends.PerSecond*sendEffort)
	return perSecond, max(float64(l.Frames.Burst)*frameEffort, limits.Message)
}

// add takes effort in and says whether it is too much by now.
func (e *effort) add(now time.Time, bytes float64, limit Limits) bool {
	perSecond, burst := limit.effort()
	e.level = max(0, e.level-max(0, now.Sub(e.at).Seconds())*perSecond) + bytes
	e.at = now
	return e.level > burst
}

// charge a session for a message, and rest it where it has had its share.
func (g *Gateway) charge(s *session, bytes, frames int, broken bool) {
	if s.state != attached {
		return // who has not said hello is bounded by messages, see beforeWelcome
	}
	cost := float64(bytes)
	if broken {
		cost *= brokenEffort
	}
	if g.activity(s).effort.add(g.at, cost+float64(frames*frameEffort), g.cfg.Limits) && !s.resting {
		s.resting = true
		g.resting = append(g.resting, s)
		g.metrics.Rests.Inc()
		g.conns.Read(s.conn, Pause)
	}
}

// wake goes on with the sessions that have rested enough.
func (g *Gateway) wake() {
	if len(g.resting) == 0 {
		return
	}
	g.look()
	kept := g.resting[:0]
	for _, s := range g.resting {
		switch {
		case s.state == closing:
			s.resting = false
		case s.busy.effort.add(g.at, 0, g.cfg.Limits):
			kept = append(kept, s)
		default:
			s.resting = false
			g.readOn(s)
		}
	}
	clear(g.resting[len(kept):])
	g.resting = kept
}

// readOn reads a session again, unless something else keeps it from that.
func (g *Gateway) readOn(s *session) {
	if !s.resting && !s.leaving && s.state != attaching && s.state != closing && (s.busy == nil || len(s.busy.held) == 0) {
		g.conns.Read(s.conn, Resume)
	}
}
