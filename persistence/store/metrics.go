package store

import "github.com/prometheus/client_golang/prometheus"

// Metrics that a Store counts.
type Metrics struct {
	OverlayBytes   prometheus.Gauge // live and frozen, as of the last Freeze or Thaw
	Rows           prometheus.Counter
	Tombstones     prometheus.Counter
	Elided         prometheus.Counter
	Checkpoints    *prometheus.CounterVec // result: done, failed, no_space
	CheckpointTime prometheus.Histogram
	SyncTime       prometheus.Histogram
	FilesSynced    prometheus.Counter
	BadgerLog      *prometheus.CounterVec // level: warning, error
	Damaged        prometheus.Counter
	TableBytes     prometheus.Gauge
}

// NewMetrics registers the metrics of a Store.
func NewMetrics(r prometheus.Registerer) *Metrics {
	const ns, sub = "rookery", "store"
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)})
	}
	m := &Metrics{
		OverlayBytes:   gauge("overlay_bytes", "Bytes of the live and the frozen overlay at the last checkpoint step."),
		Rows:           prometheus.NewCounter(counter("rows_written_total", "Rows that checkpoints wrote.")),
		Tombstones:     prometheus.NewCounter(counter("tombstones_written_total", "Deletes that checkpoints wrote.")),
		Elided:         prometheus.NewCounter(counter("rows_elided_total", "Rows put and deleted that never needed to be written.")),
		Checkpoints:    prometheus.NewCounterVec(counter("checkpoints_total", "Checkpoints by result."), []string{"result"}),
		CheckpointTime: seconds("checkpoint_seconds", "Time to write and sync one checkpoint."),
		SyncTime:       seconds("checkpoint_sync_seconds", "Time to sync every file at the end of a checkpoint."),
		FilesSynced:    prometheus.NewCounter(counter("files_synced_total", "Files synced by checkpoints.")),
		BadgerLog:      prometheus.NewCounterVec(counter("badger_messages_total", "What Badger logged, by level."), []string{"level"}),
		Damaged:        prometheus.NewCounter(counter("damaged_total", "Rows, tables or files found damaged.")),
		TableBytes:     gauge("table_bytes", "Size of Badger's tables at the last Maintain."),
	}
	r.MustRegister(m.OverlayBytes, m.Rows, m.Tombstones, m.Elided, m.Checkpoints, m.CheckpointTime, m.SyncTime,
		m.FilesSynced, m.BadgerLog, m.Damaged, m.TableBytes)
	return m
}
