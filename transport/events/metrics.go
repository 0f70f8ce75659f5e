package events

import "github.com/prometheus/client_golang/prometheus"

// Why a stream ended, beside a close code, and why there was none.
const (
	endLost        = "lost"    // the client has gone, or the connection failed
	endStuck       = "stuck"   // too little of what was written was taken
	endRefused     = "refused" // before it began, by the session or its actor
	refusedFull    = "full"    // as many as there may be, of the node
	refusedAddress = "address" // the same, of one address
	refusedNode    = "node"    // no connection at all is taken
	refusedLoop    = "inbox_full"
)

// Metrics of the streams.
type Metrics struct {
	open    prometheus.Gauge
	ended   *prometheus.CounterVec // by close code, or the words above
	refused *prometheus.CounterVec
	bytes   prometheus.Counter
}

// NewMetrics makes the collectors and registers them, where reg is not nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "rookery", Subsystem: "events", Name: name, Help: help}
	}
	m := &Metrics{
		open: prometheus.NewGauge(prometheus.GaugeOpts(opts("streams", "Event streams open."))),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts(opts("ended_total",
			"Event streams that ended, by close code, or lost, stuck.")), []string{"end"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts(opts("refused_total",
			"Event streams that did not begin, by reason.")), []string{"reason"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts(opts("bytes_total", "Bytes written to event streams."))),
	}
	if reg != nil {
		reg.MustRegister(m.open, m.ended, m.refused, m.bytes)
	}
	return m
}
