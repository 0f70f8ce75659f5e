package core

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// read is how far a conversation was read. Nothing answers it, so it is said
// again on the next connection unless its own lived on for a while.
type read struct {
	order uint64
	said  time.Time // on this connection
	ref   uint32
	again time.Time // refused, for now
}

// reads are those that the server may not know of.
type reads struct {
	by map[string]*read
}

func (m *Machine) read(in Read) {
	m.do(Said{})
	key := laneKey(in.Conversation)
	r := m.reads.by[key]
	if r == nil {
		if len(m.reads.by) >= readsKept {
			m.reads.dropOne(m)
		}
		r = &read{}
		m.reads.by[key] = r
	}
	if in.Order <= r.order {
		return
	}
	*r = read{order: in.Order}
	m.write(false, Record{Key: keyRead + key, Value: strconv.AppendUint(nil, in.Order, 10)})
	m.keepReads()
}

// dropOne makes room: the reader's next read of that conversation will do.
func (rs *reads) dropOne(m *Machine) {
	for key := range rs.by {
		rs.delete(m, key)
		return
	}
}

func (rs *reads) delete(m *Machine, key string) {
	delete(rs.by, key)
	m.write(false, Record{Key: keyRead + key})
}

// keepReads says what is to be said, and forgets what was said long enough
// ago. It waits for drained: before that the server may not have delivered to
// this connection what was read.
func (m *Machine) keepReads() {
	if m.state != online || !m.session.drained {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(m.reads.by)) {
		r := m.reads.by[key]
		switch {
		case due(m.now, r.again), r.said.IsZero() && r.again.IsZero():
			r.said, r.again = m.now, time.Time{}
			kind, id, _ := strings.Cut(key, ":")
			conv := &clientpb.Conversation{Peer: &clientpb.Conversation_User{User: id}}
			if kind == "g" {
				conv.Peer = &clientpb.Conversation_Group{Group: id}
			}
			r.ref = m.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Read{Read: &clientpb.Read{Conversation: conv, Order: r.order}}}, refRead)
		case !r.said.IsZero() && due(m.now, r.said.Add(readKept)):
			m.reads.delete(m, key)
		}
	}
}

func (m *Machine) readRefused(ref uint32, e *clientpb.Error) {
	for key, r := range m.reads.by {
		if r.ref != ref {
			continue
		}
		if e.GetRetryable() {
			r.said = time.Time{}
			r.again = m.now.Add(max(time.Duration(e.GetRetryAfterMs())*time.Millisecond, m.cfg.Backoff))
			return
		}
		m.reads.delete(m, key)
	}
	m.ephemeralEvent(&Refused{What: "read", Refusal: e})
}

// next is when a read must be said again, or may be forgotten.
func (rs *reads) next() time.Time {
	var next time.Time
	for _, r := range rs.by {
		at := r.again
		if at.IsZero() && !r.said.IsZero() {
			at = r.said.Add(readKept)
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// unsaid: the connection ended; what it carried only just now may be lost.
func (rs *reads) unsaid(m *Machine) {
	for key, r := range rs.by {
		if !r.said.IsZero() && due(m.now, r.said.Add(readKept)) {
			rs.delete(m, key)
			continue
		}
		r.said, r.again, r.ref = time.Time{}, time.Time{}, 0
	}
}

func (rs *reads) forget(m *Machine) {
	for key := range rs.by {
		rs.delete(m, key)
	}
}
