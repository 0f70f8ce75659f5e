package session

import (
	"time"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/frames"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// state of a session.
type state uint8

const (
	greeting state = iota
	attaching
	attached
	turnedAway // hello came too soon; nothing is read any more
	closing
)

func (s state) String() string {
	return [...]string{"greeting", "attaching", "attached", "turned away", "closing"}[s]
}

// stream says how entries reach an attached session.
type stream uint8

const (
	// pulling: a Page is under way.
	pulling stream = iota
	// lagging: entries wait until the connection has room, or stand behind a gap.
	lagging
	// live: entries are pushed as they come.
	live
)

func (s stream) String() string { return [...]string{"pulling", "lagging", "live"}[s] }

// session is one connection.
type session struct {
	// Immutable.
	conn   uint64
	enc    frames.Encoding
	bearer string

	state  state
	stream stream
	// leaving: GoAway was said.
	leaving bool
	// drained is set once the frame of that name was written.
	drained bool
	// later: hello was refused for the moment.
	later bool
	// full: no copies for the user's other devices are taken.
	full bool
	// resting: it is not read until it has made up for its effort.
	resting bool
	// broken frames said before hello.
	broken uint8
	bond   bond

	user    string
	device  uint32
	renewed uint32         // times that it asked to be attached again
	number  uint64         // of the session, as the user's actor gave it
	from    *nodepb.Origin // made of these, see origin
	sends   uint64         // numbers given to sends
	ref     uint32         // of hello
	// heartbeat granted.
	heartbeat time.Duration

	waited  uint32 // entries written before drained
	written uint64 // last seq written; before that, where a stream is to begin
	cursor  uint64 // acked, as far as told
	backlog uint64 // last seq of the mailbox when the session attached
	after   uint64 // highest time delivered
	others  []uint32

	out  []byte    // frames to be sent at the end of the round
	busy *activity // nil for a session that has sent nothing since it woke

	place   int    // in Gateway.awake
	touched uint32 // the sweep before which something happened
}

// waits says whether what a deadline is for is still open.
func (s *session) waits(d deadline) bool {
	switch {
	case d.tag == helloTag:
		return s.state == attaching
	case d.tag == againTag:
		return s.state == greeting
	case s.busy == nil:
		return false
	case d.tag == heldTag:
		return s.busy.oldest(d.at)
	}
	return s.busy.pending[d.tag] != nil
}

// oldest says whether a frame that was held when it was read, by then, is
// still held, or a send among them still open.
func (a *activity) oldest(read int64) bool {
	if len(a.held) > 0 && a.held[0].read <= read {
		return true
	}
	for _, p := range a.pending {
		if p.read <= read && p.read != p.at {
			return true
		}
	}
	return false
}

// ended says that nothing the client says counts any more.
func (s *session) ended() bool { return s.state == closing || s.state == turnedAway }

// next numbers a send; its tag is the lower half, but for what means no send.
func (s *session) next() (tag uint32) {
	s.sends++
	for uint32(s.sends) == helloTag || uint32(s.sends) >= againTag {
		s.sends++
	}
	return uint32(s.sends)
}

// origin stamps what the session says to actors. Nobody changes it: a change
// of the session makes another.
func (s *session) origin() *nodepb.Origin {
	if o := s.from; o == nil || o.GetSession() != s.number || o.GetDevice() != s.device || o.GetUser() != s.user {
		s.from = &nodepb.Origin{Conn: s.conn, User: s.user, Device: s.device, Session: s.number}
	}
	return s.from
}

// activity is the part of a session that an idle one does not need.
type activity struct {
	pending map[uint32]*pending
	chains  map[string]*chain
	watched map[string]struct{}
	// held are frames read past the bound of sends in flight, or before welcome.
	held []heldFrame
	// barrier: Devices of this epoch is confirmed once open, the sends stamped
	// before it, are decided.
	barrier barrier
	reads   *reads // lately
	*allowance
}

type barrier struct {
	epoch uint64
	upTo  uint64
	open  int
}

type heldFrame struct {
	frame *clientpb.ClientFrame
	fault *nodepb.Fault
	read  int64 // see Gateway.clock
}

// pending is a send that awaits its answer.
type pending struct {
	ref      uint32
	id       [16]byte
	peer     string
	number   uint64
	previous uint64
	at       int64 // when it was stamped, see Gateway.clock
	read     int64 // when it was read; earlier where it was held
	doomed   bool  // one before it was refused retryably
}

// chain is the sequence of a session's sends to one user.
type chain struct {
	last     uint64 // number of the last send that was not finally refused
	inFlight int
	// blocked is the id that was refused retryably and has to come first.
	blocked   [16]byte
	isBlocked bool
}

// refused takes the refusal of a send, which is no longer pending, into its
// chain. After a retryable one what was stamped behind the send is refused as
// well, maybe long after all of it was sent again: that is no news.
func (a *activity) refused(c *chain, p *pending, f *nodepb.Fault) {
	switch {
	case !f.GetRetryable():
		if c.last == p.number {
			c.last = p.previous
		}
		a.unlink(p)
	case !p.doomed:
		// The chain is blocked by nothing earlier, or the send were doomed.
		c.blocked, c.isBlocked = p.id, true
		c.last = p.previous
		for _, later := range a.pending {
			if later.peer == p.peer && later.number > p.number {
				later.doomed = true
			}
		}
	}
}

func (g *Gateway) activity(s *session) *activity {
	if s.busy == nil {
		s.busy = &activity{
			pending: map[uint32]*pending{}, chains: map[string]*chain{}, watched: map[string]struct{}{}, allowance: g.allow(s),
		}
	}
	return s.busy
}
