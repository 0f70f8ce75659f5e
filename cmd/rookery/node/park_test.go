package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/rookery-im/rookery/cluster/route"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// parkedBackend has one request of alice's parked; told is what her actor hears.
func parkedBackend(t *testing.T) (b *backend, told *[]any, answer chan *nodepb.Answer, give context.CancelFunc) {
	t.Helper()
	told = new([]any)
	b = newBackend(stamped(route.NewStamp(1, 0)), func(f func()) bool { f(); return true }, func(_ string, msg any) error {
		*told = append(*told, msg)
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	answer = make(chan *nodepb.Answer, 1)
	go func() {
		a, err := b.Ask(ctx, &nodepb.Ask{User: "alice", Asker: "alice", Device: 3, Body: &nodepb.Ask_List{List: &nodepb.List{Park: &nodepb.Park{}}}})
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		answer <- a
	}()
	synctest.Wait()
	return b, told, answer, cancel
}

// Whatever ends the wait at the actor's wakes the request; it asks again, and
// hears then how things are.
func TestParkedIsWoken(t *testing.T) {
	for name, wake := range map[string]func(g *gateway, conn uint64){
		"by its actor":          func(g *gateway, conn uint64) { g.Deliver(conn, &nodepb.Woken{}) },
		"when the park is lost": func(g *gateway, conn uint64) { g.Lost(conn, "alice") },
		"when the shard moves":  func(g *gateway, _ uint64) { g.rest.left(func(user string) bool { return user == "alice" }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, told, answer, give := parkedBackend(t)
				defer give()
				conn := (*told)[0].(*nodepb.Ask).GetList().GetPark().GetConn()
				if !route.IsRequest(conn) || route.IsStream(conn) {
					t.Errorf("parked under %x", conn)
				}
				g := &gateway{rest: b}
				b.left(func(string) bool { return false })
				wake(g, conn)
				if a := <-answer; a.GetWoken() == nil {
					t.Errorf("answered %v", a)
				}
				if len(b.waiting) > 0 {
					t.Error("it waits still")
				}
				wake(g, conn) // too late, and no harm
			})
		})
	}
}

// A request that is given up is forgotten here, and at the actor; also when it
// was given up before the loop came to it, and when the loop's queue is full.
func TestParkedIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, told, answer, give := parkedBackend(t)
		b.post = func(func()) bool { return false } // full
		give()
		<-answer
		b.round()
		if len(*told) != 2 || len(b.waiting) > 0 {
			t.Fatalf("told %v, %d wait", *told, len(b.waiting))
		}
		o := (*told)[1].(*nodepb.Unpark).GetOrigin()
		if conn := (*told)[0].(*nodepb.Ask).GetList().GetPark().GetConn(); o.GetConn() != conn || o.GetUser() != "alice" || o.GetDevice() != 3 || o.GetSession() != 0 {
			t.Errorf("unparked %v, parked under %d", o, conn)
		}

		var late func()
		b.post = func(f func()) bool {
			if late == nil {
				late = f
			}
			return true
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Ask(ctx, &nodepb.Ask{User: "alice"}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		b.round()
		late()
		if len(*told) != 2 || len(b.waiting) > 0 {
			t.Errorf("told %v, %d wait", *told, len(b.waiting))
		}
	})
}
