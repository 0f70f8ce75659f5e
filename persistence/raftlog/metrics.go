package raftlog

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what the log does.
type Metrics struct {
	syncSeconds   prometheus.Histogram
	appends       prometheus.Counter
	appendedBytes prometheus.Counter
	segments      prometheus.Gauge
	tailBytes     prometheus.Gauge
	diskReads     prometheus.Counter
	broken        prometheus.Gauge
	repairs       prometheus.Counter
}

// NewMetrics makes the collectors and registers them, unless r is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	const space, sub = "rookery", "raftlog"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: space, Subsystem: sub, Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: space, Subsystem: sub, Name: name, Help: help})
	}
	m := &Metrics{
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: space, Subsystem: sub, Name: "sync_seconds",
			Help:    "Time of one sync of the log.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 16),
		}),
		appends:       counter("appends_total", "Writes to the log, one per round."),
		appendedBytes: counter("appended_bytes_total", "Bytes written to the log."),
		segments:      gauge("segments", "Segment files of the log."),
		tailBytes:     gauge("tail_bytes", "Memory held by the newest entries."),
		diskReads:     counter("disk_reads_total", "Records read back because memory did not hold them."),
		broken:        gauge("broken", "1 from a write or sync that failed to the repair of the log; meanwhile it takes no writes."),
		repairs:       counter("repairs_total", "Times that the log was opened again after it broke."),
	}
	if r != nil {
		r.MustRegister(m.syncSeconds, m.appends, m.appendedBytes, m.segments, m.tailBytes, m.diskReads, m.broken, m.repairs)
	}
	return m
}
