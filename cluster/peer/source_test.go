package peer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	peerpb "github.com/rookery-im/rookery/proto/rookery/peer/v1"
)

// A stream that was replaced adds nothing any more, whatever it still brings.
func TestReplacedStreamIsDeaf(t *testing.T) {
	e := newEar()
	s := &source{}
	greeting := &peerpb.Greeting{Incarnation: 1, Series: 1}
	up := &peerpb.Up{Frames: []*peerpb.Frame{{Number: 1, Body: body(0)}}}
	ctx, cancel := context.WithCancel(t.Context())
	old, _, err := s.begin(cancel, greeting)
	if err != nil {
		t.Fatal(err)
	}
	now, _, err := s.begin(func() {}, greeting)
	if err != nil {
		t.Fatal(err)
	}
	if ctx.Err() == nil {
		t.Error("the stream that was replaced is not told")
	}
	if _, err := s.take(t.Context(), e, "x", old, up); !errors.Is(err, errReplaced) {
		t.Errorf("the old stream: %v", err)
	}
	if received, err := s.take(t.Context(), e, "x", now, up); err != nil || received != 1 || len(e.got) != 1 {
		t.Errorf("the new one: %d, %v, heard %v", received, err, e.got)
	}
}

// sink is a stream that counts what goes back.
type sink struct {
	grpc.ServerStream
	sent []uint64
}

func (s *sink) SendMsg(m any) error {
	s.sent = append(s.sent, m.(*peerpb.Down).GetReceived())
	return nil
}

// Signs of life come as often as the caller asked, whether anything is taken
// over or not.
func TestBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &sink{}
		go newDownstream(s, 3).run(ctx, heartbeat(&peerpb.Greeting{Heartbeat: 500}))
		time.Sleep(1600 * time.Millisecond)
		cancel()
		synctest.Wait()
		if len(s.sent) != 3 || s.sent[0] != 3 {
			t.Errorf("sent %v", s.sent)
		}
	})
	if got := heartbeat(&peerpb.Greeting{}); got != minSilence {
		t.Errorf("nothing asked for: %v", got)
	}
}

// What is received within a moment is acknowledged once, and what promises
// nothing is not acknowledged at all.
func TestAcknowledgementsWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &sink{}
		d := newDownstream(s, 3)
		go d.run(ctx, time.Minute)
		d.acked(3) // loose bodies came
		time.Sleep(time.Second)
		synctest.Wait()
		if len(s.sent) != 0 {
			t.Errorf("nothing was received, and said %v", s.sent)
		}
		for n := range uint64(50) {
			d.acked(4 + n)
			time.Sleep(ackDelay / 10)
		}
		time.Sleep(ackDelay)
		synctest.Wait() // the last acknowledgement may be due at this very moment
		if n := len(s.sent); n < 5 || n > 6 || s.sent[n-1] != 53 {
			t.Errorf("said %v", s.sent)
		}
		cancel()
		synctest.Wait()
	})
}
