package sim

import (
	"fmt"
	"time"

	"github.com/rookery-im/rookery/e2e/history"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// populate registers the users and links their devices, before any fault.
func (w *world) populate() bool {
	var users []string
	for i := range w.shape.users {
		users = append(users, fmt.Sprintf("user%d", i))
	}
	var all []history.Device
	for i, user := range users {
		if !w.ask(&nodepb.Ask{User: user, Body: &nodepb.Ask_Register{Register: &nodepb.Register{Name: user, Password: "p"}}}) {
			return false
		}
		for n := 1; n <= 1+w.random.IntN(w.shape.devices); n++ {
			if !w.ask(&nodepb.Ask{User: user, Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: "d", Password: "p"}}}) {
				return false
			}
			me := history.Device{User: user, N: uint32(n)} //nolint:gosec // small
			all = append(all, me)
			var peers []string
			for j, peer := range users {
				if j != i {
					peers = append(peers, peer)
				}
			}
			w.devices = append(w.devices, newDevice(w, me, peers))
		}
	}
	w.judge = history.NewJudge(all)
	return true
}

// ask puts a question until it is answered well.
func (w *world) ask(ask *nodepb.Ask) bool {
	end := w.now + 60*second
	for w.now < end && len(w.faults) == 0 {
		n := w.leads(w.shardOf(ask.GetUser()))
		if n == nil {
			w.until(50*millisecond, nil)
			continue
		}
		w.asked++
		ask.Request = w.asked
		w.answer = nil
		n.post(func() {
			if err := n.shards[w.shardOf(ask.GetUser())].host.Tell(ask.GetUser(), ask); err != nil {
				w.note(n.number, "%v", err)
			}
		})
		if w.until(2*second, func() bool { return w.answer != nil }) && w.answer.GetFault() == nil {
			return true
		}
	}
	return false
}

// answered takes the answer to an ask.
func (w *world) answered(a *nodepb.Answer) {
	if a.GetRequest() == w.asked {
		w.answer = a
	}
}

// clock of a run's real time, for its figures.
func elapsed(since time.Time) time.Duration { return time.Since(since).Round(time.Millisecond) }
