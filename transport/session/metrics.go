package session

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a Gateway.
type Metrics struct {
	Sessions   prometheus.Gauge
	Asleep     prometheus.Gauge
	FramesIn   prometheus.Counter
	FramesOut  prometheus.Counter
	Sends      prometheus.Counter
	Sents      prometheus.Counter
	Delivers   prometheus.Counter
	Faults     *prometheus.CounterVec // by code
	Gaps       prometheus.Counter
	Lags       prometheus.Counter
	Overdue    prometheus.Counter
	Untaken    prometheus.Counter
	Rests      prometheus.Counter
	Unsaid     prometheus.Counter
	TurnedAway prometheus.Counter
	Adrift     prometheus.Counter
	Resumed    prometheus.Counter
	// SentSeconds is from a send being read to its sent being written,
	// DeliverSeconds from its acceptance to its deliver being written live.
	SentSeconds    prometheus.Histogram
	DeliverSeconds prometheus.Histogram
	// MailboxDepth is how many entries waited for a device that attached.
	MailboxDepth prometheus.Histogram
}

// NewMetrics registers them, where reg is not nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	register := func(c ...prometheus.Collector) {
		if reg != nil {
			reg.MustRegister(c...)
		}
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "rookery", Name: name, Help: help})
		register(c)
		return c
	}
	histogram := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "rookery", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0001, 2, 18),
		})
		register(h)
		return h
	}
	m := &Metrics{
		Sessions:       prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "rookery", Name: "sessions", Help: "Connections with a session, attached or about to."}),
		Asleep:         prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "rookery", Name: "sessions_asleep", Help: "Those of which only a record is in memory."}),
		FramesIn:       counter("frames_in_total", "Frames read from clients."),
		FramesOut:      counter("frames_out_total", "Frames written to clients."),
		Sends:          counter("sends_total", "Sends read and put to a user's actor."),
		Sents:          counter("sents_total", "Sends answered with sent."),
		Delivers:       counter("delivers_total", "Messages written to devices."),
		Gaps:           counter("stream_gaps_total", "Pushed entries that did not follow the last one written."),
		Lags:           counter("stream_lags_total", "Sessions that stopped being pushed to because their peer does not read."),
		Overdue:        counter("sends_overdue_total", "Connections closed because the outcome of a send was not known in time."),
		Rests:          counter("session_rests_total", "Sessions that were not read for a while because their frames took too much effort."),
		Unsaid:         counter("unsaid_total", "Typing notices and signals dropped because much waits to be written to the device."),
		TurnedAway:     counter("hellos_turned_away_total", "Hellos refused because their device connected too often."),
		Adrift:         counter("sessions_adrift_total", "Sessions whose actor had forgotten them, so that they attach again."),
		Resumed:        counter("sessions_resumed_total", "Those that attached again."),
		Untaken:        counter("untaken_total", "Words to an actor that were not taken and need no answer."),
		SentSeconds:    histogram("send_to_sent_seconds", "From a send being read to its sent being written."),
		DeliverSeconds: histogram("send_to_deliver_seconds", "From acceptance to the deliver being written to a connected device."),
		MailboxDepth: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "rookery", Name: "mailbox_depth", Help: "Entries that waited in the mailbox for a device that attached.",
			Buckets: append([]float64{0}, prometheus.ExponentialBuckets(1, 4, 8)...),
		}),
		Faults: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "rookery", Name: "faults_total", Help: "Errors sent to clients, by code."}, []string{"code"}),
	}
	register(m.Sessions, m.Asleep, m.Faults, m.MailboxDepth)
	return m
}
