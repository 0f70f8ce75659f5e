package user

import (
	"testing"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// A session that its actor has forgotten goes on under its number, so that its
// sends stay in one chain. It gives way to one that began later, whichever of
// them comes first, and displaces an earlier one.
func TestResume(t *testing.T) {
	w := lived(t)
	said := func(conn uint64) (got []any) {
		s := w.state("bob")
		for _, e := range s.Step(Context{Now: 1_750_000_000_000, Session: 7<<32 | 1}, &nodepb.Attach{
			Origin: &nodepb.Origin{Conn: conn, User: "bob", Device: 1, Session: conn << 32}, Tag: 3, Resumes: conn << 32,
		}).Effects {
			if c, ok := e.(ToConn); ok {
				got = append(got, c.Conn, c.Msg)
			}
		}
		return got
	}
	w.state("bob").devices[0].att = Attachment{}
	is := func(conn uint64, got []any) {
		t.Helper()
		if a, ok := got[len(got)-1].(*nodepb.Attached); !ok || a.GetSession() != conn<<32 || a.GetTag() != 3 || got[len(got)-2] != conn {
			t.Errorf("session of conn %d: %v", conn, got)
		}
	}
	is(4, said(4))
	is(4, said(4)) // again: what it heard was lost
	later := said(5)
	is(5, later)
	if k, ok := later[1].(*nodepb.Kick); !ok || later[0] != uint64(4) || k.GetCode() != closeReplaced {
		t.Errorf("the earlier one: %v", later)
	}
	late := said(4)
	if k, ok := late[1].(*nodepb.Kick); len(late) != 2 || !ok || late[0] != uint64(4) || k.GetSession() != 4<<32 || k.GetCode() != closeReplaced {
		t.Errorf("one that a later one has displaced: %v", late)
	}
	if att := w.state("bob").devices[0].att; att.Conn != 5 || att.Session != 5<<32 {
		t.Errorf("attached: %+v", att)
	}
}
