package user

import (
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// shows says whether this user's presence and last seen are for another user.
// One who is blocked sees what a stranger sees, so that it learns of no block.
func (s *State) shows(user string) bool {
	if user == s.id {
		return true
	}
	if !s.exists() {
		return false
	}
	switch s.account.GetProfile().GetLastSeen() {
	case storepb.Profile_EVERYONE:
		return true
	case storepb.Profile_CONTACTS:
		return s.contact(user) && !s.blocked(user)
	}
	return false
}

// contact says whether messages went both ways: one was accepted here, and a
// receipt came back for one of this user's.
func (s *State) contact(user string) bool {
	c := s.convs[user]
	return c != nil && c.lastOrder > 0 && c.receipt(user) != nil
}

func (t *turn) watch(m *nodepb.Watch) {
	o := m.GetOrigin()
	p := &nodepb.Presence{User: t.id}
	shown := t.shows(o.GetUser())
	if shown {
		p.Online, p.LastSeen = t.online(), t.lastSeen()
	}
	t.effect(AddWatch{Conn: o.GetConn(), Watcher: o.GetUser(), Shown: shown, Again: m.GetAgain()})
	t.effect(Ephemeral{Conn: o.GetConn(), Msg: p})
}

// met has a peer's watches begin anew who has just become a contact.
func (t *turn) met(peer string, before bool) {
	if !before && t.account.GetProfile().GetLastSeen() == storepb.Profile_CONTACTS && t.contact(peer) {
		t.effect(Rewatch{User: peer})
	}
}

func (t *turn) typing(m *nodepb.Typing) {
	t.passOn(m.GetOrigin(), func() Ephemeral { return Ephemeral{Msg: &nodepb.Notice{From: m.GetOrigin(), On: m.GetOn()}} })
}

func (t *turn) signal(m *nodepb.Signal) {
	t.passOn(m.GetOrigin(), func() Ephemeral { return Ephemeral{Msg: &nodepb.Ring{From: m.GetOrigin(), Bytes: m.GetBytes()}} })
}

// passOn hands something that is never stored to the connected devices, but
// the one that it comes from.
func (t *turn) passOn(from *nodepb.Origin, make func() Ephemeral) {
	if !t.exists() || t.blocked(from.GetUser()) {
		return
	}
	for _, d := range t.devices {
		if d.attached() && d.att.Conn != from.GetConn() {
			e := make()
			e.Conn = d.att.Conn
			t.effect(e)
		}
	}
}
