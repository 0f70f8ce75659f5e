package peer

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of all links of a node.
type Metrics struct {
	Out, In   prometheus.Gauge
	Frames    prometheus.Counter
	Repeated  prometheus.Counter
	Lost      prometheus.Counter
	LooseLost prometheus.Counter
	Full      prometheus.Counter
	Breaks    prometheus.Counter
	Refused   prometheus.Counter
}

// NewMetrics registers with r, unless r is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "rookery", Subsystem: "peer", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "rookery", Subsystem: "peer", Name: name, Help: help})
	}
	return &Metrics{
		Out:       gauge("streams_out", "Open streams to other nodes."),
		In:        gauge("streams_in", "Open streams from other nodes."),
		Frames:    counter("frames_total", "Frames taken to be sent."),
		Repeated:  counter("frames_repeated_total", "Frames due to be written again because a stream broke."),
		Lost:      counter("frames_lost_total", "Frames whose receiver ended before it acknowledged them."),
		LooseLost: counter("loose_lost_total", "Messages without a promise that were dropped before they were written."),
		Full:      counter("frames_refused_total", "Frames that were not taken because too many waited."),
		Breaks:    counter("breaks_total", "Streams to other nodes that broke or could not be made."),
		Refused:   counter("callers_refused_total", "Streams from others that were refused."),
	}
}
