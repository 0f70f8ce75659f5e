package route

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var errBeacon = errors.New("route: a beacon names shards without terms")

// Why something is dropped.
const (
	dropKind     = "kind"     // of a kind that is not known
	dropFenced   = "fenced"   // said before a break of its node
	dropBroken   = "broken"   // it cannot be read
	dropStranger = "stranger" // from a node that is no member
	dropStale    = "stale"    // from a life that has ended, or for one
	dropEnded    = "ended"    // for a connection of a life that has ended
	dropForeign  = "foreign"  // in the name of a connection that the node does not have
	dropDeposed  = "deposed"  // from who leads no more
	dropFull     = "full"     // bodies that the link did not take
	dropOwed     = "owed"     // ends of attachments that the link did not take
	dropMail     = "mail"     // letters to shards without a leader
)

// Metrics of an Exchange.
type Metrics struct {
	Words, Deliveries, Refused prometheus.Counter
	dropped                    *prometheus.CounterVec
}

// NewMetrics registers with r, unless r is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "rookery", Subsystem: "route", Name: name, Help: help})
	}
	m := &Metrics{
		Words:      counter("words_total", "Inputs of actors sent to other nodes."),
		Deliveries: counter("deliveries_total", "What actors said to connections at other nodes."),
		Refused:    counter("refused_total", "Inputs that the other node, or the link to it, did not take."),
		dropped: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "rookery", Subsystem: "route", Name: "dropped_total", Help: "What nodes said to each other and was not used, by reason.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{dropKind, dropBroken, dropStranger, dropStale, dropEnded, dropForeign, dropDeposed, dropFull, dropOwed, dropMail} {
		m.dropped.WithLabelValues(reason)
	}
	return m
}

func (m *Metrics) drop(reason string) { m.dropped.WithLabelValues(reason).Inc() }
