package scenario

import (
	"strings"
	"testing"

	"github.com/rookery-im/rookery/bench/hostile"
	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/report"
)

func felt(p99 ...float64) (phases []report.Phase) {
	for _, ms := range p99 {
		phases = append(phases, report.Phase{DeliverMs: &latency.Quantiles{P50: ms / 10, P99: ms}})
	}
	return phases
}

// What the attacker's process takes from the machine is not the node's doing,
// and what the node does shows nevertheless.
func TestSlowedIsWhatTheNodeDoes(t *testing.T) {
	said := []hostile.Report{{}}
	for _, c := range []struct {
		name                   string
		without, with, control []float64
		p99                    float64
		verdict                string
	}{
		{"nothing", []float64{10, 11, 10}, []float64{11, 10, 10}, []float64{10, 10, 11}, 1, ", within"},
		{"the machine", []float64{10, 10, 10}, []float64{21, 20, 20}, []float64{20, 20, 21}, 1, ", within"},
		{"the node", []float64{10, 10, 10}, []float64{13, 13, 13}, []float64{10, 10, 10}, 1.3, "NOT within"},
		{"both", []float64{10, 10, 10}, []float64{26, 26, 26}, []float64{20, 20, 20}, 1.3, "NOT within"},
		{"one bad round of three", []float64{10, 10, 10}, []float64{10, 90, 10}, []float64{10, 10, 10}, 1, ", within"},
	} {
		o := &ordeal{name: "x", without: felt(c.without...), with: felt(c.with...), control: felt(c.control...), said: said}
		if p50, p99 := o.slowed(); p99 < c.p99-0.01 || p99 > c.p99+0.01 || p50 < c.p99-0.01 || p50 > c.p99+0.01 {
			t.Errorf("%s: x%.2f and x%.2f, want x%.2f", c.name, p50, p99, c.p99)
		}
		if !strings.Contains(o.String(), c.verdict) {
			t.Errorf("%s: %s", c.name, o)
		}
	}
	if o := (&ordeal{name: "x", without: felt(1), with: make([]report.Phase, 1), control: felt(1), said: said}); !strings.Contains(o.String(), "too little") {
		t.Error(o)
	}
}
