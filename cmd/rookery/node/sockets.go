package node

import (
	"time"

	"github.com/rookery-im/rookery/cluster/route"
	"github.com/rookery-im/rookery/transport/conns"
	"github.com/rookery-im/rookery/transport/events"
	"github.com/rookery-im/rookery/transport/session"
)

// sockets is the sessions' view of the connections: WebSockets, and streams of
// events, whose ids tell them apart. There, ids are the node's own.
type sockets struct {
	conns   *conns.Conns
	streams *events.Streams
	clock   *clock
}

func (s sockets) Send(conn uint64, data []byte) {
	if route.IsStream(conn) {
		s.streams.Send(route.Own(conn), data)
		return
	}
	s.conns.Send(conns.ID(route.Own(conn)), data)
}

func (s sockets) Pending(conn uint64) int {
	if route.IsStream(conn) {
		return s.streams.Pending(route.Own(conn))
	}
	return s.conns.Pending(conns.ID(route.Own(conn)))
}

func (s sockets) Read(conn uint64, r session.Reading) {
	switch {
	case route.IsStream(conn): // there is nothing to read
	case r == session.Pause:
		s.conns.Pause(conns.ID(route.Own(conn)))
	default:
		s.conns.Resume(conns.ID(route.Own(conn)))
	}
}

func (s sockets) Admit(conn uint64, heartbeat time.Duration, expires time.Time) {
	expires = s.clock.deadline(expires)
	if route.IsStream(conn) {
		s.streams.Admit(route.Own(conn), heartbeat, expires)
		return
	}
	id := conns.ID(route.Own(conn))
	s.conns.Authenticated(id)
	s.conns.SetHeartbeat(id, heartbeat)
	s.conns.SetDeadline(id, expires, session.CloseUnauthenticated)
}

func (s sockets) Close(conn uint64, code uint16, reason string) {
	if route.IsStream(conn) {
		s.streams.Close(route.Own(conn), code, reason)
		return
	}
	s.conns.Close(conns.ID(route.Own(conn)), code, reason)
}

// listeners is the streams' view of the sessions.
type listeners struct{ n *Node }

func (l listeners) Opened(id uint64, h events.Hello) {
	if l.n.stamps.Load() == nil {
		l.n.streams.Close(id, session.CloseUnavailable, errJoining.Error())
		return
	}
	l.n.sessions.Stream(l.n.stamp.Stream(id), session.Identity{User: h.User, Device: h.Device, Expires: h.Expires}, h.After, h.Heartbeat)
}

func (l listeners) Drained(id uint64) { l.n.sessions.Drained(l.n.stamp.Stream(id)) }

func (l listeners) Closed(id uint64) { l.n.sessions.Closed(l.n.stamp.Stream(id)) }
