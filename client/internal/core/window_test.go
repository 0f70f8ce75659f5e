package core

import (
	"fmt"
	"testing"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// The server remembers the last 64 ids of a device and conversation. Whenever
// the power is cut, what is sent again must be among them: what is unanswered
// now, and what is decided and not synced.
func TestWindow(t *testing.T) {
	p := &player{t: t, now: epoch, roll: 0.5, records: map[string][]byte{}, cfg: Config{User: "alice", QueueLimit: 500, AckDelay: 1, Backoff: 1, MaxBackoff: 1}}
	p.command([]string{"linked"})
	p.command([]string{"open"})
	p.command([]string{"dialled"})
	const total = 300
	for i := range total {
		p.command([]string{"queue", fmt.Sprint(i), "bob"})
	}
	effects := p.m.Step(p.now, p.roll, Frames{Conn: p.conn, Frames: []*clientpb.ServerFrame{{Body: &clientpb.ServerFrame_Welcome{Welcome: &clientpb.Welcome{
		User: "alice", Device: 1, Limits: &clientpb.Limits{InFlight: 256, InFlightPerConversation: 64},
	}}}}})
	unanswered, loose, sent := 0, 0, 0
	count := func(effects []Effect) {
		for _, e := range effects {
			switch e := e.(type) {
			case Say:
				unanswered++
			case Write:
				loose++
				if e.Sync {
					loose = 0
				}
			}
		}
		if unanswered+loose > 64 {
			t.Fatalf("after %d answers: %d unanswered, %d decided and not synced", sent, unanswered, loose)
		}
	}
	count(effects)
	for ; sent < total; sent++ {
		unanswered--
		count(p.m.Step(p.now, p.roll, p.input("sent", []string{fmt.Sprint(sent)}, func(int) string { return fmt.Sprint(sent) })))
	}
	if p.m.outbox.undecided != 0 || unanswered != 0 {
		t.Errorf("%d undecided, %d unanswered", p.m.outbox.undecided, unanswered)
	}
}
