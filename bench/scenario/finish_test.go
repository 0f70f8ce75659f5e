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

// In an open loop lateness is part of the latencies. They are believed while it
// is a small one.
func TestLateInAnOpenLoop(t *testing.T) {
	for _, c := range []struct {
		late, sent float64 // ms, p99
		valid      bool
		notes      int
	}{
		{late: 10, sent: 20, valid: true},
		{late: 11, sent: 20},
		{late: 30, sent: 300, valid: true, notes: 1},
		{late: 31, sent: 300},
		{late: 11}, // nothing was measured
	} {
		r := report.New("x")
		r.Machine.Cores = 2
		p := report.Phase{Name: "open", Seconds: 10, Offered: 100, LateMs: &latency.Quantiles{P99: c.late, Count: 1000}}
		if c.sent > 0 {
			p.SentMs = &latency.Quantiles{P99: c.sent, Count: 1000}
		}
		judge(r, &p)
		if r.Valid != c.valid || len(r.Notes) != c.notes {
			t.Errorf("%+v: valid %v, %q, %q", c, r.Valid, r.Notes, r.Invalid)
		}
	}
}
