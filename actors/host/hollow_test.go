package host

import (
	"testing"
	"time"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// Actors of users who do not exist make room soon, or names that are made up
// would fill the memory for a minute each.
func TestNobodyIsForgottenSoon(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("bob", &nodepb.Ask{Request: 1})
	w.tell("nobody", &nodepb.Ask{Request: 2})
	w.tell("nobody-else", &nodepb.Ask{Request: 3})
	w.settle()
	s := w.shards[1]
	s.is("3 live, 3 rows, 0 attachments, 3 timers")
	w.after(700 * time.Millisecond)
	w.tell("nobody", &nodepb.Ask{Request: 4})
	w.after(900 * time.Millisecond)
	s.is("2 live, 2 rows, 0 attachments, 2 timers")
	w.after(time.Second)
	s.is("1 live, 1 rows, 0 attachments, 1 timers")
}
