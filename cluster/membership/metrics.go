package membership

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of a Membership.
type Metrics struct {
	Members        prometheus.Gauge
	Calls, Refused prometheus.Counter
}

// NewMetrics registers with r, unless r is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "rookery", Subsystem: "membership", Name: name, Help: help})
	}
	return &Metrics{
		Members: f.NewGauge(prometheus.GaugeOpts{Namespace: "rookery", Subsystem: "membership", Name: "members", Help: "Nodes that gossip calls alive, this one included."}),
		Calls:   counter("calls_total", "Seeds and lost members that were called."),
		Refused: counter("refused_total", "Nodes that were not let in: of another cluster, or another protocol."),
	}
}
