package user

import (
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Foretell says what taking in an ack will tell senders, appended to steps,
// and changes nothing. The host may send that at once and take the ack in
// later: were it forgotten meanwhile, its device would be given the messages
// again and say the same, and what was told is true in any case, because the
// device has said it. False means that the ack is to be taken in now.
//
// A watermark is cut at the last order that this ack covers. Whatever stands
// at or below was decided before a message that the device was given, and only
// durable ones are given; above it there may be orders of a batch that is yet
// to be lost. Losses themselves (undelivered) are not foretold: they are not a
// device's word.
func (s *State) Foretell(m *nodepb.Ack, steps []*storepb.Step) ([]*storepb.Step, bool) {
	d := s.device(m.GetOrigin().GetDevice())
	if !s.exists() || d == nil || d.att.Session != m.GetOrigin().GetSession() || m.GetSeq() <= d.has() || d.owed > d.cursor {
		return steps, false
	}
	// Entries that are acked and not taken out count in the quotas.
	if m.GetSeq() > s.lastSeq || s.entries > s.settings.MailboxEntries/2 || s.bytes > s.settings.MailboxBytes/2 {
		return steps, false
	}
	first := len(steps)
	for i := s.after(d.cursor); i < len(s.index) && s.index[i].seq <= m.GetSeq(); i++ {
		it := &s.index[i]
		if it.kind != itemInbound || it.acked || it.skip == d.number() {
			continue
		}
		var ok bool
		if steps, ok = s.foretell(it, steps, first); !ok {
			return steps[:first], false
		}
	}
	return steps, true
}

// foretell what follows from one more message that is acked; those before it
// are in the steps from first on.
func (s *State) foretell(it *item, steps []*storepb.Step, first int) ([]*storepb.Step, bool) {
	c := s.convs[it.peer]
	if c == nil || c.entries > s.settings.MailboxEntries/(2*limits.SenderShare) || c.bytes > s.settings.MailboxBytes/(2*limits.SenderShare) {
		return steps, false
	}
	if s.blocked(it.peer) {
		return steps, true // it is told nothing
	}
	var w *storepb.Watermark
	for _, step := range steps[first:] {
		if step.GetTo() == it.peer {
			w = step.GetWatermark()
		}
	}
	// What the ack covers must begin with the first open order, without a gap.
	next := 0
	if w != nil {
		for next < len(c.open) && c.open[next] <= w.GetDelivered() {
			next++
		}
	}
	switch {
	case next == len(c.open) || c.open[next] != it.order:
		return steps, true // the watermark does not get there
	case len(c.undelivered) > 0 && c.undelivered[0].GetFirst() <= it.order, len(steps)-first >= limits.Foretold:
		return steps, false
	case w != nil:
		w.Delivered = it.order
		return steps, true
	}
	step := s.watermarkStep(it.peer, c)
	step.GetWatermark().Delivered = it.order
	return append(steps, step), true
}
