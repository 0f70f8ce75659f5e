package shard

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of a Set.
type Metrics struct {
	SyncSeconds       prometheus.Histogram
	CommitterSyncs    prometheus.Counter
	BatchGroups       prometheus.Histogram
	BatchBytes        prometheus.Histogram
	Entries           prometheus.Counter
	Proposals         prometheus.Gauge
	Leading           prometheus.Gauge
	Reads             prometheus.Counter
	Checkpoints       prometheus.Counter
	CheckpointErrors  prometheus.Counter
	CheckpointSeconds prometheus.Histogram
	Snapshots         *prometheus.CounterVec
	Dropped           *prometheus.CounterVec
}

// Reasons of Metrics.Dropped.
const (
	dropNotLeading  = "not_leading"  // leadership went before the proposal reached Raft
	dropRaft        = "raft"         // Raft refused it: no leader, or it hands leadership over
	dropOverloaded  = "overloaded"   // refused: the overlay is over its bound
	dropBroken      = "log_broken"   // the log broke before the proposal reached Raft
	dropNoTransport = "no_transport" // messages to replicas that this node cannot reach
	dropMessage     = "message"      // messages of other replicas that no group took
	dropUnknown     = "unknown"      // messages to replicas of which it is not known where they are
	dropParcel      = "parcel"       // words about snapshots and removals that could not be sent
	dropRead        = "read_bound"   // reads refused
)

// NewMetrics registers with r, unless r is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "rookery", Subsystem: "shard", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "rookery", Subsystem: "shard", Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{Namespace: "rookery", Subsystem: "shard", Name: name, Help: help, Buckets: buckets})
	}
	return &Metrics{
		SyncSeconds:       histogram("sync_seconds", "Time of one sync of the log.", prometheus.ExponentialBuckets(50e-6, 2, 18)),
		CommitterSyncs:    counter("committer_syncs_total", "Syncs that left the loop because the disk was slow."),
		BatchGroups:       histogram("batch_groups", "Groups that shared one sync.", prometheus.ExponentialBuckets(1, 2, 10)),
		BatchBytes:        histogram("batch_bytes", "Bytes of entries that shared one sync.", prometheus.ExponentialBuckets(64, 4, 10)),
		Entries:           counter("entries_total", "Entries appended to the log."),
		Proposals:         gauge("proposals_in_flight", "Proposals handed in and not yet committed, dropped or void."),
		Leading:           gauge("leading", "Groups that this node leads."),
		Reads:             counter("reads_total", "Rounds of ReadIndex; one serves all reads that wait."),
		Checkpoints:       counter("checkpoints_total", "Checkpoints completed."),
		CheckpointErrors:  counter("checkpoint_errors_total", "Checkpoints failed; they are tried again."),
		CheckpointSeconds: histogram("checkpoint_seconds", "Time of one checkpoint, off the loop.", prometheus.ExponentialBuckets(1e-3, 2, 18)),
		Snapshots: f.NewCounterVec(prometheus.CounterOpts{Namespace: "rookery", Subsystem: "shard", Name: "snapshots_total",
			Help: "Snapshots that replicas began with, sent and taken."}, []string{"way"}),
		Dropped: f.NewCounterVec(prometheus.CounterOpts{Namespace: "rookery", Subsystem: "shard", Name: "dropped_total",
			Help: "Proposals, reads and messages given up, by reason."}, []string{"reason"}),
	}
}
