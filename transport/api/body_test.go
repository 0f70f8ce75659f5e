package api

import (
	"sync"
	"testing"
	"testing/synctest"
)

// Long bodies are decoded so many at a time, and short ones do not wait for them.
func TestLongBodiesAreDecodedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &call{long: make(chan struct{}, 1)}
		long, next := make([]byte, longBody+1), make(chan struct{})
		var mu sync.Mutex
		now, most, done := 0, 0, 0
		count := func(d int) {
			mu.Lock()
			defer mu.Unlock()
			now += d
			most = max(most, now)
		}
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				c.decode(long, func() { count(1); <-next; count(-1) })
				mu.Lock()
				defer mu.Unlock()
				done++
			})
		}
		for want := range 4 {
			synctest.Wait()
			c.decode(long[:longBody], func() {}) // returns
			mu.Lock()
			if most != 1 || done != want {
				t.Errorf("%d at once, %d done, want %d", most, done, want)
			}
			mu.Unlock()
			next <- struct{}{}
		}
		running.Wait()
	})
}
