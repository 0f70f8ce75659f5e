package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/rookery-im/rookery/transport/frames"
)

// A device that connects anew goes on with what its rates had left, and is
// forgotten when that is everything.
func TestRatesOutliveConnections(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Limits.Signals = Rate{1, 5} })
	signals := func(n int) (refused int) {
		for i := range n {
			s.say(fmt.Sprintf(`{"ref":%d,"signalTo":{"to":{"user":"bob"},"bytes":"AA=="}}`, i+1))
		}
		return s.count("< {\"ref\":")
	}
	s.attach()
	if n := signals(4); n != 0 {
		t.Fatalf("%d of the first four are refused", n)
	}
	s.g.Closed(7)
	s.attach()
	if n := signals(4); n != 3 {
		t.Errorf("after connecting anew %d of four are refused, want 3", n)
	}
	// The new connection of a takeover is there before the old one has gone.
	s.g.Opened(8, frames.JSON, "")
	s.g.Message(8, frames.JSON, []byte(`{"hello":{"token":"good"}}`+"\n"+`{"ping":{}}`))
	s.g.Closed(7)
	if n := len(s.g.allowances); n != 1 {
		t.Errorf("%d allowances of one device", n)
	}
	s.g.Closed(8)
	s.g.Sweep()
	if len(s.g.allowances) != 1 {
		t.Error("forgotten before it is full")
	}
	s.now = s.now.Add(time.Minute)
	s.g.Sweep()
	if len(s.g.allowances) != 0 || len(s.g.parted) != 0 {
		t.Errorf("%d allowances and %d parted ones are kept for nobody", len(s.g.allowances), len(s.g.parted))
	}
	s.attach()
	if n := signals(6); n != 1 {
		t.Errorf("after a minute %d of six are refused, want 1", n)
	}
}
