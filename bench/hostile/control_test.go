//go:build unix

package hostile

import (
	"context"
	"testing"
	"time"
)

// A control that took more than the attack would hide what the node does, and
// one that took next to nothing would blame the node for the attacker.
func TestControlTakesWhatItIsTold(t *testing.T) {
	const cores, during = 0.2, time.Second
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	before := processorTime()
	s, err := control(cores).run(ctx, &Field{Subnet: 3})
	if err != nil {
		t.Fatal(err)
	}
	took := (processorTime() - before).Seconds() / during.Seconds()
	// Little is had of a machine that others use; more than asked for never.
	if took > 1.25*cores || s.Frames.Load() == 0 {
		t.Errorf("%.3f cores of %.1f, %v", took, cores, s)
	}
}
