package screen

import (
	"fmt"
	"strings"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// Clock is the time of day of a line, in now's time zone.
func Clock(t, now time.Time) string { return t.In(now.Location()).Format("15:04") }

// Day is a date as one says it.
func Day(t, now time.Time) string {
	t = t.In(now.Location())
	y, m, d := now.Date()
	midnight := time.Date(y, m, d, 0, 0, 0, 0, now.Location())
	switch {
	case !t.Before(midnight):
		return "today"
	case !t.Before(midnight.AddDate(0, 0, -1)):
		return "yesterday"
	case t.Year() == now.Year():
		return t.Format("Mon 2 Jan")
	default:
		return t.Format("2 Jan 2006")
	}
}

// When is a moment in the past as one says it.
func When(t, now time.Time) string {
	if d := Day(t, now); d != "today" {
		return d + " " + Clock(t, now)
	}
	return Clock(t, now)
}

// Presence of a user in words; empty where it is not known.
func Presence(m *talk.Model, user string, now time.Time) string {
	p, known := m.Presence(user)
	switch {
	case !known:
		return ""
	case p.Online:
		return "online"
	case p.LastSeen.IsZero():
		return ""
	default:
		return "last seen " + When(p.LastSeen, now)
	}
}

// Link is how the connection stands, in words.
func Link(l talk.Link, now time.Time) string {
	switch l.State {
	case talk.Offline:
		s := "offline, trying again"
		if wait := l.RetryAt.Sub(now); wait > 0 {
			s = "offline, again in " + (wait + time.Second - 1).Truncate(time.Second).String()
		}
		if l.Why != "" {
			s += ": " + l.Why
		}
		return s
	case talk.Refused:
		return "refused: " + l.Why
	default:
		return l.State.String()
	}
}

// TypingLine says who types in a conversation; empty where nobody does.
func TypingLine(c *talk.Conversation, now time.Time) string {
	who := c.Typing(now)
	switch {
	case len(who) == 0:
		return ""
	case len(who) == 1 && who[0] == c.Peer:
		return "typing…"
	case len(who) < 4:
		return strings.Join(who, ", ") + " typing…"
	default:
		return fmt.Sprintf("%d are typing…", len(who))
	}
}

// Signs are the ticks. They tell the states apart without colour.
type Signs struct{ Queued, Sent, Delivered, Read, Failed, Expired, Bar, Rule, Here string }

// Ticks are the signs where UTF-8 is spoken.
func Ticks() Signs {
	return Signs{Queued: "◷", Sent: "✓", Delivered: "✓✓", Read: "✓✓◉", Failed: "✗", Expired: "✗", Bar: "│", Rule: "─", Here: "•"}
}

// ASCII are the signs everywhere else.
func ASCII() Signs {
	return Signs{Queued: "~", Sent: "+", Delivered: "++", Read: "++*", Failed: "!", Expired: "x", Bar: "|", Rule: "-", Here: "*"}
}

// Of is the sign of a state.
func (s Signs) Of(state talk.State) string {
	switch state {
	case talk.WaitsHere, talk.Waiting:
		return s.Queued
	case talk.Sent:
		return s.Sent
	case talk.Delivered:
		return s.Delivered
	case talk.Seen:
		return s.Read
	case talk.Failed:
		return s.Failed
	case talk.Expired:
		return s.Expired
	default:
		return ""
	}
}

// LineOf is a line of a conversation on one row, for the line mode: who wrote
// it, to whom, what, and for one's own how far it has got.
func LineOf(m *talk.Model, c *talk.Conversation, l *talk.Line, signs Signs, now time.Time) string {
	state := c.State(l, m.Me)
	clock := Clock(l.Wall(), now)
	text := string(l.Body.Says().OneLine())
	if state == talk.Received {
		where := ""
		if l.From != c.Peer {
			where = " in " + c.Peer
		}
		return fmt.Sprintf("%s %s%s: %s", clock, l.From, where, text)
	}
	how := signs.Of(state) + " " + state.String()
	if l.Why != "" {
		how += ": " + string(plain.Text(l.Why).OneLine())
	}
	return fmt.Sprintf("%s > %s: %s [%s]", clock, c.Peer, text, how)
}
