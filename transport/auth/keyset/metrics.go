package keyset

import "github.com/prometheus/client_golang/prometheus"

// Metrics of this package.
type Metrics struct {
	reads   *prometheus.CounterVec
	keys    prometheus.Gauge
	read    prometheus.Gauge
	unknown prometheus.Counter
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rookery_issuer_keys_reads_total", Help: "Readings of the issuer's key set, by result."}, []string{"result"}),
		keys: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rookery_issuer_keys", Help: "Keys of the issuer that tokens can be checked with."}),
		read: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rookery_issuer_keys_read_timestamp_seconds", Help: "When the issuer's key set was last read with success; 0 if never."}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rookery_issuer_keys_unknown_total", Help: "Questions for keys that the issuer's set did not hold."}),
	}
	if reg != nil {
		reg.MustRegister(m.reads, m.keys, m.read, m.unknown)
	}
	return m
}
