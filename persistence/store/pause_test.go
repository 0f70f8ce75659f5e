package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Write leaves half of the time to others, until somebody is in a hurry or
// wants it to end.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Frozen{hurry: make(chan struct{})}
		took := func(ctx context.Context) time.Duration {
			start := time.Now()
			f.pause(ctx, time.Minute)
			return time.Since(start)
		}
		if d := took(t.Context()); d != time.Minute {
			t.Errorf("paused for %v", d)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if d := took(ended); d != 0 {
			t.Errorf("paused for %v after the end", d)
		}
		f.Hurry()
		f.Hurry()
		if d := took(t.Context()); d != 0 {
			t.Errorf("paused for %v in a hurry", d)
		}
	})
}

func TestWritten(t *testing.T) {
	for _, c := range []struct{ data, zeros int }{{0, 0}, {0, 4096}, {1, 4095}, {1, 8192}, {4096, 4096}, {5000, 3192}, {4095, 1}, {8192, 0}} {
		b := make([]byte, c.data+c.zeros)
		for i := range c.data {
			b[i] = 1
		}
		if n := written(b); n != c.data {
			t.Errorf("%d bytes and %d zeros: written up to %d", c.data, c.zeros, n)
		}
	}
}
