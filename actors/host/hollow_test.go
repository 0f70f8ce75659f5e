package host

import (
	"log/slog"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

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

// Whoever was only visited makes room soon, however many come at once; who
// talks stays, also when a visit comes last.
func TestVisitedRestSoon(t *testing.T) {
	w := newWorld(t)
	w.lead(1)
	w.tell("ann", &nodepb.Attach{Origin: &nodepb.Origin{Conn: 1, User: "ann", Device: 1}})
	w.tell("ann", &nodepb.Pull{Origin: &nodepb.Origin{Conn: 1, User: "ann", Device: 1}})
	w.tell("ben", &nodepb.Ask{Request: 1, Body: &nodepb.Ask_GetProfile{GetProfile: &nodepb.GetProfile{}}})
	w.tell("bob", sendTo(7, 1, "one"))
	w.tell("bob", &nodepb.Detach{Origin: &nodepb.Origin{Conn: 7, User: "bob", Device: 1}})
	w.settle()
	s := w.shards[1]
	s.is("3 live, 3 rows, 0 attachments, 3 timers")
	w.after(900 * time.Millisecond)
	s.is("3 live, 3 rows, 0 attachments, 3 timers")
	w.after(300 * time.Millisecond)
	s.is("1 live, 2 rows, 1 attachments, 1 timers")
	w.after(57 * time.Second)
	s.is("1 live, 2 rows, 1 attachments, 1 timers")
	w.after(2 * time.Second)
	s.is("0 live, 1 rows, 1 attachments, 0 timers")
}

// The registry in one bucket knows what it knew before, the library's own too.
func TestOneBucket(t *testing.T) {
	y := NewSystem()
	defer y.Close()
	r := y.system.ProcessRegistry
	if n := len(r.LocalPIDs.LocalPIDs); n != 1 {
		t.Fatalf("%d buckets", n)
	}
	fresh := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	defer fresh.Shutdown()
	n := 0
	for _, bucket := range fresh.ProcessRegistry.LocalPIDs.LocalPIDs {
		for _, id := range bucket.Keys() {
			n++
			if _, ok := r.GetLocal(id); !ok {
				t.Errorf("%s is lost", id)
			}
		}
	}
	if n == 0 {
		t.Error("the library registers nothing by itself any more: oneBucket need not carry it over")
	}
}
