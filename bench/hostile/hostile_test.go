//go:build e2e

package hostile

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bound of an attack.
type bound struct {
	attack string
	conns  int           // Field.Conns
	users  int           // attackers
	during time.Duration // of the attack
	rss    float64       // MB that the process may grow by, at its peak
	fds    int           // descriptors that it may open more; 0: as many as there are attackers
}

func TestMemoryStaysBounded(t *testing.T) {
	attacks := map[string]Attack{}
	for _, a := range Attacks() {
		attacks[a.Name] = a
	}
	for _, b := range bounds {
		a, ok := attacks[b.attack]
		if !ok {
			t.Errorf("no attack is called %q", b.attack)
			continue
		}
		delete(attacks, b.attack)
		t.Run(a.Name, func(t *testing.T) { withstand(t, a, b) })
	}
	for name := range attacks {
		t.Errorf("nothing says how much memory %s may cost", name)
	}
}

// withstand attacks a node on which two people talk.
func withstand(t *testing.T, a Attack, b bound) {
	s := startServer(t)
	people := s.users("person", 2, 1)
	f := &Field{Address: s.address, Attackers: s.users("attacker", b.users, 1), Victim: people[1].Name, Subnet: 66, Conns: b.conns}
	pair, err := Talk(t.Context(), s.address, people[0], people[1], 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	breathe(t.Context(), time.Second/2)
	before := pair.Lap()
	s.resetPeak()
	rss, _ := s.memory()

	ctx, cancel := context.WithTimeout(t.Context(), b.during)
	defer cancel()
	fds, mostFDs := s.descriptors(), 0
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		for ; ctx.Err() == nil; breathe(ctx, 100*time.Millisecond) {
			mostFDs = max(mostFDs, s.descriptors()-fds)
		}
	}()
	score, err := a.run(ctx, f)
	<-sampled
	during := pair.Lap()
	_, most := s.memory()
	m := s.metrics()
	if err != nil {
		t.Error("the attacker gave up:", err)
	}
	longest, err := pair.Stop(10 * time.Second)
	if err != nil {
		t.Error("the pair:", err)
	}
	if longest > 5*time.Second {
		t.Errorf("a message took %v", longest)
	}
	t.Logf("bound: %s", a.Bound)
	t.Logf("rss %.0f MB, at most %.0f; heap in use %.0f MB, goroutines %.0f; %v", rss, most, m["go_memstats_heap_inuse_bytes"]/(1<<20), m["go_goroutines"], score)
	t.Logf("before: %v; during: %v; p50 x%.2f p99 x%.2f", before, during, float64(during.P50)/float64(before.P50), float64(during.P99)/float64(before.P99))
	t.Logf("%d descriptors more at most", mostFDs)
	if b.fds > 0 && mostFDs > b.fds {
		t.Errorf("the process opened %d descriptors more, not %d at most", mostFDs, b.fds)
	}
	if most-rss > b.rss {
		t.Errorf("the process grew by %.0f MB, more than %.0f", most-rss, b.rss)
	}
}
