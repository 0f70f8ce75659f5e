package host

import "github.com/prometheus/client_golang/prometheus"

// Metrics of all shards of a node together.
type Metrics struct {
	Live           prometheus.Gauge
	Hibernated     prometheus.Gauge
	RowBytes       prometheus.Gauge
	OutboxDepth    prometheus.Gauge
	Activations    prometheus.Counter
	Hibernations   prometheus.Counter
	Restarts       prometheus.Counter
	Reads          prometheus.Counter
	Held           prometheus.Counter
	BatchMutations prometheus.Histogram
	BatchBytes     prometheus.Histogram
	Drops          *prometheus.CounterVec

	dropBatch, dropBusy, dropInput, dropStep, dropTerm, dropWatch prometheus.Counter
}

// NewMetrics registers them, unless with is nil.
func NewMetrics(with prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "rookery", Subsystem: "host", Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "rookery", Subsystem: "host", Name: name, Help: help})
	}
	histogram := func(name, help string, from float64, factor float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "rookery", Subsystem: "host", Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(from, factor, 13),
		})
	}
	m := &Metrics{
		Live:           gauge("live_actors", "Actors in memory."),
		Hibernated:     gauge("hibernated_rows", "Users of whom only a row is in memory."),
		RowBytes:       gauge("row_bytes", "Bytes of the slabs that hold the rows."),
		OutboxDepth:    gauge("outbox_steps", "Steps to other shards that are not confirmed."),
		Activations:    counter("activations_total", "Actors loaded from the store."),
		Hibernations:   counter("hibernations_total", "Actors put to rest."),
		Restarts:       counter("restarts_total", "Actors restarted after a panic."),
		Reads:          counter("reads_total", "Batches that changed nothing and waited for a ReadIndex."),
		Held:           counter("held_total", "Attempts to propose a batch that Raft refused."),
		BatchMutations: histogram("batch_mutations", "Mutations per proposed batch.", 1, 2),
		BatchBytes:     histogram("batch_bytes", "Bytes per proposed batch.", 64, 4),
		Drops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "rookery", Subsystem: "host", Name: "drops_total",
			Help: "What was dropped: batch (lost by Raft), busy (refused, a queue is full), input (set aside after a panic), step (of another shard, set aside after panics), term (log entry of another term than its batch), watch (too many watchers).",
		}, []string{"reason"}),
	}
	m.dropBatch = m.Drops.WithLabelValues("batch")
	m.dropBusy = m.Drops.WithLabelValues("busy")
	m.dropInput = m.Drops.WithLabelValues("input")
	m.dropStep = m.Drops.WithLabelValues("step")
	m.dropTerm = m.Drops.WithLabelValues("term")
	m.dropWatch = m.Drops.WithLabelValues("watch")
	if with != nil {
		with.MustRegister(m.Live, m.Hibernated, m.RowBytes, m.OutboxDepth, m.Activations, m.Hibernations,
			m.Restarts, m.Reads, m.Held, m.BatchMutations, m.BatchBytes, m.Drops)
	}
	return m
}

// reported is what a shard has added to the node's gauges, so that it can
// take it back.
type reported struct{ live, hibernated, bytes, outbox int }

func (m *Metrics) report(last *reported, now reported) {
	m.Live.Add(float64(now.live - last.live))
	m.Hibernated.Add(float64(now.hibernated - last.hibernated))
	m.RowBytes.Add(float64(now.bytes - last.bytes))
	m.OutboxDepth.Add(float64(now.outbox - last.outbox))
	*last = now
}
