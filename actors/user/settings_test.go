package user

import (
	"math"
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

// The room that is asked for is what the entry takes, or a little more.
func TestEntryMost(t *testing.T) {
	most, payload := uint64(math.MaxUint64), make([]byte, 300)
	full := &nodepb.Send{
		Origin: &nodepb.Origin{User: strings.Repeat("a", limits.UserID), Device: math.MaxUint32}, Id: payload[:16], Kind: math.MaxUint32, ReplyTo: payload[:16],
		Payloads: []*nodepb.TargetPayload{{User: "bob", Device: math.MaxUint32, Payload: payload}, {User: "bob", Device: math.MaxUint32, Payload: payload}},
	}
	for _, m := range []*nodepb.Send{full, {Origin: &nodepb.Origin{User: "a", Device: 1}, Id: payload[:16], Payload: payload}} {
		user := m.GetOrigin().GetUser()
		e := &storepb.Entry{Seq: most, Expires: most, Skip: math.MaxUint32, Body: &storepb.Entry_Message{Message: &storepb.Message{
			Id: m.GetId(), From: user, Device: m.GetOrigin().GetDevice(), Peer: user, Order: most, Time: most,
			Kind: m.GetKind(), ReplyTo: m.GetReplyTo(), Payload: m.GetPayload(), Payloads: payloadsOf(m, "bob"),
		}}}
		if got, is := entryMost(m), e.SizeVT(); got < is || got > is+100 {
			t.Errorf("room for %d bytes is asked for, it takes %d", got, is)
		}
	}
}
