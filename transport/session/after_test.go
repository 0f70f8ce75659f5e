package session

import (
	"testing"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// A device reads a message, reconnects and answers. The answer is later than
// what it answers, though the clock of the shard that accepts it may be behind,
// and nothing was delivered to this session yet. (Found by e2e/sim, seed 7.)
func TestSendIsLaterThanWhatAnEarlierSessionGot(t *testing.T) {
	s := newScene(t, nil)
	s.open()
	s.say(`{"ref":1,"hello":{"token":"good"}}`)
	s.reply(&nodepb.Attached{Session: 5, Time: 1 << 40})
	s.say(sendLine(1))
	m, ok := s.told[len(s.told)-1].(*nodepb.Send)
	if !ok || m.GetAfter() != 1<<40 {
		t.Errorf("told %v, want a send after %d", s.told[len(s.told)-1], uint64(1)<<40)
	}
}
