package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rookery-im/rookery/cluster/route"
	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// An actor that panics has its answer given before Tell returns.
func TestAnswerWithinTell(t *testing.T) {
	var b *backend
	b = newBackend(stamped(route.NewStamp(1, 0)), func(f func()) bool { f(); return true }, func(_ string, msg any) error {
		b.answered(&nodepb.Answer{Request: msg.(*nodepb.Ask).GetRequest()})
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := b.Ask(ctx, &nodepb.Ask{User: "alice"}); err != nil {
		t.Fatal(err)
	}
	if len(b.waiting) > 0 {
		t.Errorf("%d requests still wait", len(b.waiting))
	}
}

func TestAskThatIsNotTaken(t *testing.T) {
	b := newBackend(stamped(route.NewStamp(1, 0)), func(f func()) bool { f(); return true }, func(string, any) error { return errors.New("no leader") })
	a, err := b.Ask(t.Context(), &nodepb.Ask{User: "alice"})
	if err != nil || a.GetFault().GetCode() != string(fault.Unavailable) {
		t.Fatalf("got %v, %v", a, err)
	}
	if len(b.waiting) > 0 {
		t.Errorf("%d requests still wait", len(b.waiting))
	}
}
