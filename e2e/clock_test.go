//go:build e2e && linux && amd64

package e2e

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// waiting are the ids of all messages that wait for the device, and the last seq.
func waiting(t *testing.T, device *rest) (ids []string, last uint64) {
	t.Helper()
	for end := false; !end; {
		page, err := device.poll(t.Context(), last, "0s")
		if err != nil {
			t.Fatal(err)
		}
		frames, err := page.frames()
		if err != nil {
			t.Fatal(err)
		}
		for i := range frames {
			if m := frames[i].Deliver; m != nil {
				ids = append(ids, m.ID)
			}
		}
		if end = page.End; !end && page.Next <= last {
			t.Fatalf("a page after %d leads nowhere, and is not the last", last)
		}
		last = page.Next
	}
	return ids, last
}

// The clock of the node is set a day forward and back, and a day back and
// forward, while devices talk: every promise holds, and what waits for somebody
// who is away, an hour at most, has not expired after it.
func TestClockIsSet(t *testing.T) {
	rounds, seed := envInt(t, "E2E_CLOCK_ROUNDS", 1), envSeed(t)
	const day = 24 * time.Hour
	s := newServer(t)
	clock := &wallClock{t: t}
	s.begin = clock.start
	s.start()
	s.waitReady()
	d := &director{t: t, server: s, rng: rand.New(rand.NewPCG(seed, 0))}
	d.cast(6, 2)
	d.castListeners()
	tokens := s.people(1, "away", "writer")
	away, writer := s.client(tokens["away/1"]), s.client(tokens["writer/1"])
	var kept []string
	keep := func() {
		id := newID()
		kept = append(kept, id)
		body := fmt.Sprintf(`{"id":%q,"to":{"user":"away"},"payload":%q,"ttl":"3600s"}`, id, base64.StdEncoding.EncodeToString([]byte(id)))
		if err := writer.call(t.Context(), "POST", "/v1/messages", body, nil); err != nil {
			t.Fatal(err)
		}
	}
	stop := d.action()
	for round := range rounds {
		for _, offset := range []time.Duration{day, 0, -day, 0, day, -day, 0} {
			for _, p := range d.phones {
				p.more(2 + d.rng.IntN(8))
			}
			d.talkUntil("something is sent", d.more(&d.count.sents))
			keep()
			clock.set(offset)
			d.talkUntil("something is sent after that", d.more(&d.count.sents))
			keep()
			if got, _ := waiting(t, away); !slices.Equal(got, kept) {
				t.Fatalf("round %d, clock set to %v: %d of %d messages wait: %v, not %v", round, offset, len(got), len(kept), got, kept)
			}
			d.judge(fmt.Sprintf("round %d, clock set to %v", round, offset))
		}
	}
	d.settle()
	stop()
	d.judgeAtRest()
	if said := strings.Count(s.logged(), "the wall clock leapt"); said < rounds {
		t.Errorf("the node noticed %d leaps", said)
	}
	d.t.Logf("%d times seven settings of the clock: %d sent, %d delivered", rounds, d.count.sents.Load(), d.count.delivers.Load())
}
