package core

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// simConn is one connection: frames on their way, in both directions.
type simConn struct {
	id      uint64
	serial  int
	up      []*clientpb.ClientFrame
	down    []*clientpb.ServerFrame
	lost    bool // for the client
	closed  int  // by the server, with this code; after down
	live    bool // the server has welcomed it
	written uint64
	blocked map[string]string // conversation -> id that must come again
}

// simServer remembers what the protocol says that it does.
type simServer struct {
	mailbox  []noted
	seq      uint64
	acked    uint64
	accepted map[string]uint64   // id -> order
	recent   map[string][]string // conversation -> the last 64 ids
	orders   map[string]uint64
}

// serve one frame, as the protocol has it.
func (s *sim) serve(c *simConn, f *clientpb.ClientFrame) {
	if s.how == traced {
		s.note("   server, %d: %s", c.id, renderFrame(f))
	}
	switch b := f.GetBody().(type) {
	case *clientpb.ClientFrame_Hello:
		s.greet(c, b.Hello)
	case *clientpb.ClientFrame_Send:
		if c.live && c.closed == 0 {
			s.accept(c, b.Send)
		}
	case *clientpb.ClientFrame_Ack:
		if !c.live || c.closed != 0 {
			return
		}
		if b.Ack.GetSeq() > c.written {
			s.fault("ack %d on connection %d, which was given %d", b.Ack.GetSeq(), c.id, c.written)
		}
		s.server.acked = max(s.server.acked, b.Ack.GetSeq())
	}
}

func (s *sim) greet(c *simConn, h *clientpb.Hello) {
	if h.GetAcked() > s.server.seq {
		s.fault("hello.acked %d of %d", h.GetAcked(), s.server.seq)
	}
	for _, other := range s.all {
		if other != c && other.live && other.closed == 0 {
			other.closed = codeDisplaced
			if other.serial > c.serial && !other.lost {
				// A late hello. That is scripted in ghost.txt; here the server is
				// taken to have cut the other off before it knew.
				other.closed = codeUnavailable
			}
		}
	}
	c.live = true
	s.server.acked = max(s.server.acked, h.GetAcked())
	c.written = s.server.acked
	if s.rng.IntN(4) == 0 { // a crash took the acks of its last moments
		c.written = h.GetAcked()
	}
	c.down = append(c.down, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Welcome{Welcome: &clientpb.Welcome{
		User: "alice", Device: 1, Heartbeat: durationpb.New(30 * time.Second),
		Limits: &clientpb.Limits{InFlight: 100, InFlightPerConversation: 64},
	}}})
	c.down = append(c.down, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Drained{Drained: &clientpb.Drained{}}})
}

// accept a message, or do not.
func (s *sim) accept(c *simConn, m *clientpb.Send) {
	id, to := m.GetId(), m.GetTo().GetUser()
	v := &s.server
	refuse := func(code, reason string, retryable bool) {
		c.down = append(c.down, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Error{Error: &clientpb.Error{Id: id, Code: code, Reason: reason, Retryable: &retryable}}})
	}
	if b := c.blocked[to]; b != "" && b != id {
		refuse("failed_precondition", "out_of_order", true)
		return
	}
	if to == "nobody" {
		delete(c.blocked, to)
		refuse("not_found", "", false)
		return
	}
	if s.rng.IntN(12) == 0 {
		c.blocked[to] = id
		refuse("unavailable", "", true)
		return
	}
	delete(c.blocked, to)
	order, known := v.accepted[id]
	if known && !slices.Contains(v.recent[to], id) {
		s.fault("%s is sent again after more than 64 others: it would be taken for a new one", id)
	}
	if !known {
		s.judgeOrder(to, id)
		v.orders[to]++
		order = v.orders[to]
		v.accepted[id] = order
		v.recent[to] = append(v.recent[to], id)
		if n := len(v.recent[to]); n > 64 {
			v.recent[to] = v.recent[to][n-64:]
		}
	}
	c.down = append(c.down, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Sent{Sent: &clientpb.Sent{Id: id, Conversation: user(to), Order: order, Duplicate: known}}})
}

// judgeOrder: everything queued for the conversation before it was accepted before it.
func (s *sim) judgeOrder(to, id string) {
	for _, before := range s.made {
		if before == id {
			return
		}
		if _, ok := s.server.accepted[before]; s.lane[before] == to && !ok {
			s.fault("%s overtakes %s", id, before)
		}
	}
}
