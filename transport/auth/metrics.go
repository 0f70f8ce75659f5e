package auth

import "github.com/prometheus/client_golang/prometheus"

// Metrics of this package.
type Metrics struct {
	tokens    *prometheus.CounterVec
	issued    prometheus.Counter
	limited   *prometheus.CounterVec
	forgotten *prometheus.CounterVec
	hashing   prometheus.Gauge
	waiting   prometheus.Gauge
	turned    *prometheus.CounterVec
	seconds   prometheus.Histogram

	verified, cached, expired, invalid, undecided prometheus.Counter
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rookery_auth_tokens_verified_total", Help: "Tokens looked at, by result."}, []string{"result"}),
		issued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rookery_auth_tokens_issued_total", Help: "Tokens issued."}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rookery_auth_limited_total", Help: "Requests refused by a rate limit, by limiter."}, []string{"limiter"}),
		forgotten: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rookery_auth_limiter_forgotten_total", Help: "Buckets forgotten because a limiter's table was full."}, []string{"limiter"}),
		hashing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rookery_auth_passwords_hashing", Help: "Passwords being hashed now."}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rookery_auth_passwords_waiting", Help: "Password checks waiting for their turn."}),
		turned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rookery_auth_passwords_turned_away_total", Help: "Password checks not done, by reason."}, []string{"reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rookery_auth_password_seconds", Help: "Time to hash one password, without waiting.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 10)}),
	}
	m.verified = m.tokens.WithLabelValues("verified")
	m.cached = m.tokens.WithLabelValues("cached")
	m.expired = m.tokens.WithLabelValues("expired")
	m.invalid = m.tokens.WithLabelValues("invalid")
	m.undecided = m.tokens.WithLabelValues("undecided")
	if reg != nil {
		reg.MustRegister(m.tokens, m.issued, m.limited, m.forgotten, m.hashing, m.waiting, m.turned, m.seconds)
	}
	return m
}
