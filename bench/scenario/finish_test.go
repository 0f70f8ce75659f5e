package scenario

import (
	"strings"
	"testing"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/report"
)

// A generator that is late in a closed loop makes the node look worse than it
// is: that is said, and the rate stands.
func TestLateInAClosedLoop(t *testing.T) {
	r := report.New("x")
	r.Machine.Cores = 2
	judge(r, &report.Phase{Name: "window 8", Seconds: 10, LateMs: &latency.Quantiles{P99: 11, Count: 2000}})
	if !r.Valid || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "late by 11.0 ms") {
		t.Errorf("valid %v, %q", r.Valid, r.Notes)
	}
}
