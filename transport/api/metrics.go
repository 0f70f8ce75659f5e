package api

import "github.com/prometheus/client_golang/prometheus"

// Metrics of this package.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	active   prometheus.Gauge
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rookery_api_requests_total", Help: "REST requests, by route and error code (ok where none)."}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rookery_api_request_seconds", Help: "Time to answer REST requests, by route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 11)}, []string{"route"}),
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rookery_api_requests_active", Help: "REST requests being served."}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.active)
	}
	return m
}
