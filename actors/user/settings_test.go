package user

import (
	"strings"
	"testing"

	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// A setting that leaves no room for a message would refuse all of them, later.
func TestSettingsNameEveryFault(t *testing.T) {
	if err := DefaultSettings().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := Settings{TimeToLive: 1, MailboxEntries: limits.SenderShare - 1, MailboxBytes: limits.SenderShare*limits.Message - 1}.Validate()
	for _, want := range []string{"time to live", "entries", "bytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %s: %v", want, err)
		}
	}
}

// What may wait is what the settings say, a quarter of it from one sender.
func TestMailboxOfAnotherSize(t *testing.T) {
	load := func(set Settings) *State {
		s, err := set.Load("bob", userRows{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.account = &storepb.AccountRow{}
		if err := s.Adopt("dave", userRows{}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	small := Settings{TimeToLive: limits.TimeToLive, MailboxEntries: 8, MailboxBytes: limits.MailboxBytes}
	for name, c := range map[string]struct {
		set      Settings
		accepted int
	}{"small": {small, 2}, "default": {DefaultSettings(), 5}} {
		s, accepted := load(c.set), 0
		for i := range 5 {
			out := s.Step(Context{Now: 1000}, &nodepb.Send{Origin: &nodepb.Origin{Conn: 9, User: "dave", Device: 1}, To: "bob", Id: messageID(string(rune('a' + i)))})
			accepted++
			for _, e := range out.Effects {
				if to, ok := e.(ToConn); ok {
					if r, ok := to.Msg.(*nodepb.Refused); ok {
						accepted--
						if r.GetFault().GetReason() != "sender_share" {
							t.Errorf("%s: refused by %v", name, r.GetFault())
						}
					}
				}
			}
		}
		if accepted != c.accepted {
			t.Errorf("%s: %d of 5 sends accepted, want %d", name, accepted, c.accepted)
		}
	}
}
