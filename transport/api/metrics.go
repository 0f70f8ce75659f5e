package api

import "github.com/prometheus/client_golang/prometheus"

// Metrics of this package.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	active   prometheus.Gauge
	parked   prometheus.Gauge
	polls    *prometheus.CounterVec // by how they ended
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
			Name: "rookery_api_requests_active", Help: "REST requests being served, those that wait excepted."}),
		parked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rookery_api_polls_parked", Help: "Long polls that wait."}),
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rookery_api_polls_total", Help: "Long polls, by how they ended: entries, time, gone, drain, full or the error's code."}, []string{"end"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.active, m.parked, m.polls)
	}
	return m
}
