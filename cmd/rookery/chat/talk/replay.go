package talk

import (
	"cmp"
	"maps"
	"slices"
)

// LinesKept is how many lines stay over all conversations.
const LinesKept = 20_000

// Events is the shortest list of events that makes this model again: what a
// history is compacted to. Where there are more lines than are kept, the
// oldest go first.
func (m *Model) Events() []Event {
	var events []Event
	for _, user := range slices.Sorted(maps.Keys(m.names)) {
		events = append(events, Named{user, m.names[user]})
	}
	if m.loose.text != "" {
		events = append(events, Drafted{"", m.loose.text})
	}
	horizon := m.horizon(LinesKept)
	for _, peer := range slices.Sorted(maps.Keys(m.conversations)) {
		events = append(events, m.conversations[peer].events(m.Me, horizon)...)
	}
	return events
}

// horizon is the time before which lines go, so that at most so many stay.
func (m *Model) horizon(most int) uint64 {
	var times []uint64
	for _, c := range m.conversations {
		for _, l := range c.Lines {
			times = append(times, l.Time)
		}
	}
	if len(times) <= most {
		return 0
	}
	slices.SortFunc(times, func(a, b uint64) int { return cmp.Compare(b, a) })
	return times[most-1]
}

func (c *Conversation) events(me string, horizon uint64) []Event {
	var events []Event
	for _, l := range c.Lines {
		if l.Time >= horizon {
			events = append(events, Arrived{Conversation: c.Peer, ID: l.ID, From: l.From, Device: l.Device, Order: l.Order, Time: l.Time, Body: l.Body})
		}
	}
	for _, l := range c.Pending {
		events = append(events, Queued{Conversation: c.Peer, ID: l.ID, Text: l.typed, At: l.At})
		if l.failed {
			events = append(events, Settled{Conversation: c.Peer, ID: l.ID, Refusal: l.Why})
		}
	}
	if c.delivered > 0 || c.seen > 0 || len(c.undelivered) > 0 {
		events = append(events, Receipt{Conversation: c.Peer, By: c.Peer, Delivered: c.delivered, ReadUpTo: c.seen, Undelivered: c.undelivered})
	}
	if c.read > 0 {
		events = append(events, ReadHere{c.Peer, c.read})
	}
	if c.draft.text != "" {
		events = append(events, Drafted{c.Peer, c.draft.text})
	}
	return events
}
