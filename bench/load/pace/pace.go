// Package pace says when an open loop is to send. It is pure: a schedule is
// fixed before the first answer comes, so that a slow server cannot slow it
// down, and every latency is counted from the time that stands in it. That is
// what keeps coordinated omission out.
package pace

import (
	"math"
	"math/rand/v2"
	"time"
)

// Schedule gives times of a Poisson process, as many independent senders make
// one together, and who is to send at each: all in turn, in an order that is
// shuffled anew each round, so that nobody sends far more often than others.
type Schedule struct {
	rng   *rand.Rand
	mean  float64 // ns between two
	at    float64 // ns since the start, of the next
	order []int
	next  int
}

// New makes a schedule of a rate a second over n senders, the same for the same
// seed.
func New(perSecond float64, n int, seed uint64) *Schedule {
	s := &Schedule{rng: rand.New(rand.NewPCG(seed, 0)), mean: float64(time.Second) / perSecond, order: make([]int, n)}
	for i := range s.order {
		s.order[i] = i
	}
	s.next = n
	s.step()
	return s
}

// Next is when the next is due, since the start.
func (s *Schedule) Next() time.Duration { return time.Duration(s.at) }

// Take gives the next, if it is due at now: when it was to be sent, and by
// whom. What is overdue is given one after the other with the time it was due.
func (s *Schedule) Take(now time.Duration) (at time.Duration, sender int, ok bool) {
	at = s.Next()
	if at > now || len(s.order) == 0 {
		return 0, 0, false
	}
	if s.next == len(s.order) {
		s.rng.Shuffle(len(s.order), func(i, j int) { s.order[i], s.order[j] = s.order[j], s.order[i] })
		s.next = 0
	}
	sender = s.order[s.next]
	s.next++
	s.step()
	return at, sender, true
}

// step draws the time to the next: exponential, so that the count in any time
// is Poisson's.
func (s *Schedule) step() { s.at += -math.Log(1-s.rng.Float64()) * s.mean }
