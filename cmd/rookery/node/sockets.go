package node

import (
	"time"

	"github.com/rookery-im/rookery/transport/conns"
	"github.com/rookery-im/rookery/transport/events"
	"github.com/rookery-im/rookery/transport/session"
)

// sockets is the sessions' view of the connections: WebSockets, and streams of
// events, whose ids tell them apart.
type sockets struct {
	conns   *conns.Conns
	streams *events.Streams
	clock   *clock
}

func (s sockets) Send(conn uint64, data []byte) {
	if isStream(conn) {
		s.streams.Send(conn, data)
		return
	}
	s.conns.Send(conns.ID(conn), data)
}

func (s sockets) Pending(conn uint64) int {
	if isStream(conn) {
		return s.streams.Pending(conn)
	}
	return s.conns.Pending(conns.ID(conn))
}

func (s sockets) Read(conn uint64, r session.Reading) {
	switch {
	case isStream(conn): // there is nothing to read
	case r == session.Pause:
		s.conns.Pause(conns.ID(conn))
	default:
		s.conns.Resume(conns.ID(conn))
	}
}

func (s sockets) Admit(conn uint64, heartbeat time.Duration, expires time.Time) {
	expires = s.clock.deadline(expires)
	if isStream(conn) {
		s.streams.Admit(conn, heartbeat, expires)
		return
	}
	id := conns.ID(conn)
	s.conns.Authenticated(id)
	s.conns.SetHeartbeat(id, heartbeat)
	s.conns.SetDeadline(id, expires, session.CloseUnauthenticated)
}

func (s sockets) Close(conn uint64, code uint16, reason string) {
	if isStream(conn) {
		s.streams.Close(conn, code, reason)
		return
	}
	s.conns.Close(conns.ID(conn), code, reason)
}

// listeners is the streams' view of the sessions.
type listeners struct{ n *Node }

func (l listeners) Opened(id uint64, h events.Hello) {
	l.n.sessions.Stream(id, session.Identity{User: h.User, Device: h.Device, Expires: h.Expires}, h.After, h.Heartbeat)
}

func (l listeners) Drained(id uint64) { l.n.sessions.Drained(id) }

func (l listeners) Closed(id uint64) { l.n.sessions.Closed(id) }
