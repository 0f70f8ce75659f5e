package user

import (
	"slices"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// A parked list promises nothing, so that parking waits for nothing: Woken
// waits for what it tells of to be durable, and is only a hint to ask again.

// park has a list wait.
func (t *turn) park(ask *nodepb.Ask, p Attachment) {
	waiting := 0
	for _, q := range t.parked {
		if q.Device == p.Device {
			waiting++
		}
	}
	if waiting >= limits.ParkedPerDevice {
		t.fail(ask, fault.New(fault.RateLimited, "", "wait: %d requests of this device wait already, the most there may be", limits.ParkedPerDevice))
		return
	}
	t.parked = append(t.parked, p)
}

// wake those parked that match.
func (t *turn) wake(match func(Attachment) bool) {
	t.parked = slices.DeleteFunc(t.parked, func(p Attachment) bool {
		if match(p) {
			t.tell(p.Conn, &nodepb.Woken{})
			return true
		}
		return false
	})
}

// unpark forgets one that waits no longer.
func (t *turn) unpark(m *nodepb.Unpark) {
	t.parked = slices.DeleteFunc(t.parked, func(p Attachment) bool { return p.Conn == m.GetOrigin().GetConn() })
}
