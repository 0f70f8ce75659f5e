package webhook

import "github.com/prometheus/client_golang/prometheus"

// Metrics of this package.
type Metrics struct {
	asked   *prometheus.CounterVec
	seconds prometheus.Histogram
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rookery_registration_webhook_total", Help: "Registrations put to the webhook, by result."}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rookery_registration_webhook_seconds", Help: "Time until the webhook's answer, or until it was given up.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 10)}),
	}
	if reg != nil {
		reg.MustRegister(m.asked, m.seconds)
	}
	return m
}
