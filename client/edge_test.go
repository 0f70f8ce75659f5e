package client

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gated is a store whose writes wait while its gate is closed: so what comes
// meanwhile meets in one round of the loop.
type gated struct {
	*MemoryStore
	gate atomic.Pointer[chan struct{}]
}

func (s *gated) Apply(ctx context.Context, records []Record) error {
	if gate := s.gate.Load(); gate != nil {
		<-*gate
	}
	return s.MemoryStore.Apply(ctx, records)
}

// A Send that is given up in the very round in which its fate comes returns
// that fate, or has an event tell it: it is never told by neither.
func TestSendGivenUpAsItsFateComes(t *testing.T) {
	for range 32 { // the loop takes the two in either order
		synctest.Test(t, func(t *testing.T) {
			s, store := newFakeServer(t), &gated{MemoryStore: linked(t)}
			c := connectTo(t, s, Config{Store: store})
			defer c.Close()
			conn := s.greet()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := make(chan error, 1)
			go func() {
				_, err := c.Send(ctx, Text("bob", "hello"))
				result <- err
			}()
			id := conn.hear().GetSend().GetId()
			gate := make(chan struct{})
			store.gate.Store(&gate)
			queued := make(chan error, 1)
			go func() { // holds the loop up at the gate
				_, err := c.Queue(t.Context(), Text("carol", "hello"))
				queued <- err
			}()
			synctest.Wait()
			conn.say(sentFrame(id))
			cancel()
			synctest.Wait()
			store.gate.Store(nil)
			close(gate)
			if err := <-queued; err != nil {
				t.Fatal(err)
			}
			if err := <-result; err == nil {
				return
			} else if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for {
				e, err := c.Next(ctx)
				if err != nil {
					t.Fatalf("nobody hears of the fate: %v", err)
				}
				if f, ok := e.(*Settled); ok && f.ID == id {
					return
				}
			}
		})
	}
}

// What cannot be put into a frame is refused where it is said. A connection
// would break on it, each time it is said again.
func TestWhatNoFrameHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := connectTo(t, s, Config{})
		defer c.Close()
		conn := s.greet()
		ctx := t.Context()
		send := func(d Draft) error {
			_, err := c.Queue(ctx, d)
			return err
		}
		for field, err := range map[string]error{
			"send.to.user":        send(Text("\xff", "x")),
			"send.to.group":       send(Draft{To: InGroup("g_\xff")}),
			"send.replyTo":        send(Draft{To: With("bob"), ReplyTo: "\xff"}),
			"send.payloads[1]":    send(Draft{To: With("bob"), Payloads: []DevicePayload{{Device: Device{User: "bob", Device: 1}}, {Device: Device{User: "\xff", Device: 1}}}}),
			"send.id":             send(Draft{To: With("bob"), ID: "00000000-0000-0000-0000-000000000000"}),
			"read.conversation":   c.Read(ctx, With("\xff"), 1),
			"typing.conversation": c.Typing(ctx, With("\xff"), true),
			"signalTo.to":         c.Signal(ctx, With("\xff"), []byte("x")),
			"watch.users[1]":      c.Watch(ctx, "bob", "\xff"),
		} {
			if !errors.Is(err, ErrInvalidArgument) || !strings.Contains(err.Error(), field) {
				t.Errorf("%s: %v", field, err)
			}
		}
		synctest.Wait()
		conn.quiet()
		if st := c.Status(); st.State != StateOnline || st.Unsent != 0 {
			t.Errorf("%+v", st)
		}
	})
	_, err := newClient(Config{URL: "https://chat.example.org", User: "\xff", ClientName: "\xff", DeviceName: "\xff"})
	for _, field := range []string{"User:", "ClientName:", "DeviceName:"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s %v", field, err)
		}
	}
}
