package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-im/rookery/internal/limits"
)

func newTestOffice(wake func()) (*office, *[]string) {
	o := newOffice(wake, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	var heard []string
	o.on(kindMail, func(from string, body []byte) { heard = append(heard, from+" mail "+string(body)) })
	o.on(kindRaft, func(from string, body []byte) { heard = append(heard, from+" raft "+string(body)) })
	o.lost(kindMail, func(to string, bodies [][]byte) { heard = append(heard, fmt.Sprintf("%s lost %q", to, bodies)) })
	return o, &heard
}

func bodies(k kind, texts ...string) (out [][]byte) {
	for _, t := range texts {
		out = append(out, append(frame(k, len(t)), t...))
	}
	return out
}

func TestOfficeHandsOutInOrder(t *testing.T) {
	woken := 0
	o, heard := newTestOffice(func() { woken++ })
	for _, step := range []func() error{
		func() error { return o.Receive(t.Context(), "b", bodies(kindMail, "1", "2")) },
		func() error { o.Loose("c", bodies(kindRaft, "3")); return nil },
		func() error {
			return o.Receive(t.Context(), "b", [][]byte{{byte(kindBeacon)}, {99}, {}, {byte(kindMail), '4'}})
		},
		func() error { o.Lost("b", append(bodies(kindMail, "5"), bodies(kindRaft, "6")...)); return nil },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if woken != 1 || !o.waits() {
		t.Errorf("woken %d times, waits: %v", woken, o.waits())
	}
	o.round()
	if want := []string{"b mail 1", "b mail 2", "c raft 3", "b mail 4", `b lost ["5"]`}; !slices.Equal(*heard, want) {
		t.Errorf("heard %q, want %q", *heard, want)
	}
	if o.waits() {
		t.Error("something waits")
	}
}

// Heartbeats wake nobody; what comes after them does, and is heard after them.
func TestOfficeWakesForWhatIsUrgent(t *testing.T) {
	woken := 0
	o, heard := newTestOffice(func() { woken++ })
	o.on(kindCalm, func(from string, body []byte) { *heard = append(*heard, from+" calm "+string(body)) })
	for range 2 {
		o.Loose("b", bodies(kindCalm, "1"))
		if woken != 0 || !o.waits() {
			t.Errorf("woken %d times, waits: %v", woken, o.waits())
		}
		o.Loose("b", append(bodies(kindCalm, "2"), bodies(kindRaft, "3")...))
		o.Loose("b", bodies(kindRaft, "4"))
		if woken != 1 {
			t.Errorf("woken %d times", woken)
		}
		o.round()
		if want := []string{"b calm 1", "b calm 2", "b raft 3", "b raft 4"}; !slices.Equal(*heard, want) {
			t.Errorf("heard %q, want %q", *heard, want)
		}
		*heard, woken = nil, 0
	}
}

// A node whose loop is behind holds back who wants to be sure, and drops the rest.
func TestOfficeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, heard := newTestOffice(func() {})
		big := make([]byte, limits.OfficeBytes)
		big[0] = byte(kindMail)
		if err := o.Receive(t.Context(), "b", [][]byte{big}); err != nil {
			t.Fatal(err)
		}
		o.Loose("c", bodies(kindRaft, "dropped"))
		taken := make(chan error, 1)
		go func() { taken <- o.Receive(t.Context(), "b", bodies(kindMail, "after")) }()
		given, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := o.Receive(given, "c", bodies(kindMail, "given up")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("not held back: %v", err)
		}
		select {
		case err := <-taken:
			t.Errorf("not held back: %v", err)
		default:
		}
		o.round()
		if err := <-taken; err != nil {
			t.Error(err)
		}
		o.round()
		if n := len(*heard); n != 2 || (*heard)[1] != "b mail after" {
			t.Errorf("%d heard", n)
		}
		if err := o.Receive(t.Context(), "b", [][]byte{big}); err != nil {
			t.Fatal(err)
		}
		go func() { taken <- o.Receive(t.Context(), "b", bodies(kindMail, "too late")) }()
		synctest.Wait()
		o.end()
		if err := <-taken; !errors.Is(err, errEnded) {
			t.Errorf("taken after the end: %v", err)
		}
	})
}
