package conns

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-im/rookery/transport/poll"
)

// Reasons for which something was dropped or refused.
const (
	dropInbox        = "inbox_full"        // a call posted to the loop
	dropSlow         = "slow_consumer"     // a message to a connection at PendingMax
	dropPong         = "pong_to_slow"      // an answer to a ping, above PendingHigh
	dropLobby        = "lobby"             // an HTTP connection that was not being served, at limits.Lobby
	dropCrowded      = "crowded_out"       // a connection, at Config.Unfinished or Config.Unread
	dropFull         = "connections_full"  // a handshake, at Config.Conns
	dropAddress      = "address_limit"     // a handshake, over what one address may have
	dropFruitless    = "address_fruitless" // a handshake of an address of which too much came to nothing
	dropVain         = "address_vain"      // a request of such an address, where as many as may be are held back
	dropDraining     = "draining"          // a handshake after StopAccepting
	dropHandshake    = "handshake_failed"  // a handshake
	dropNoDescriptor = "no_descriptor"     // a handshake that could not be carried
)

// Metrics of the connections.
type Metrics struct {
	open       prometheus.Gauge
	opened     prometheus.Counter
	closed     *prometheus.CounterVec // by code
	bytes      *prometheus.CounterVec // by direction
	messages   prometheus.Counter
	frames     prometheus.Counter
	calls      *prometheus.CounterVec // system calls, by direction
	shortOut   prometheus.Counter
	drops      *prometheus.CounterVec // by reason
	pauses     *prometheus.CounterVec // by reason
	pings      prometheus.Counter
	acceptFail prometheus.Counter

	// Of the vectors, those that a round may add to.
	bytesIn, bytesOut, callsIn, callsOut     prometheus.Counter
	dropsSlow, dropsPong, byNode, byPressure prometheus.Counter
	dropsCrowded                             prometheus.Counter
}

// NewMetrics makes the collectors and registers them, where reg is not nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "rookery", Subsystem: "transport", Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "rookery", Subsystem: "transport", Name: name, Help: help}, []string{label})
	}
	m := &Metrics{
		open: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "rookery", Subsystem: "transport", Name: "connections",
			Help: "Open WebSocket connections."}),
		opened:     counter("opened_total", "WebSocket connections opened."),
		closed:     vec("closed_total", "WebSocket connections closed, by our close code, or peer, or lost.", "code"),
		bytes:      vec("bytes_total", "Bytes of WebSocket connections.", "direction"),
		messages:   counter("messages_received_total", "Complete WebSocket messages received."),
		frames:     counter("frames_sent_total", "WebSocket frames queued to be sent."),
		calls:      vec("syscalls_total", "System calls that read or write connections.", "direction"),
		shortOut:   counter("short_writes_total", "Writes that the kernel did not take whole."),
		drops:      vec("dropped_total", "What was dropped or refused, by reason.", "reason"),
		pauses:     vec("pauses_total", "Times that reading a connection was paused, by reason.", "reason"),
		pings:      counter("pings_sent_total", "Heartbeat pings sent."),
		acceptFail: counter("accept_errors_total", "Failed accepts, after which the listener paused."),
	}
	m.bytesIn, m.bytesOut = m.bytes.WithLabelValues("in"), m.bytes.WithLabelValues("out")
	m.callsIn, m.callsOut = m.calls.WithLabelValues("in"), m.calls.WithLabelValues("out")
	m.dropsSlow, m.dropsPong = m.drops.WithLabelValues(dropSlow), m.drops.WithLabelValues(dropPong)
	m.dropsCrowded = m.drops.WithLabelValues(dropCrowded)
	m.byNode, m.byPressure = m.pauses.WithLabelValues("node"), m.pauses.WithLabelValues("pending")
	if reg != nil {
		reg.MustRegister(m.open, m.opened, m.closed, m.bytes, m.messages, m.frames, m.calls, m.shortOut, m.drops, m.pauses, m.pings, m.acceptFail)
	}
	return m
}

// counts are the loop's own, so that the hot path touches nothing shared.
type counts struct {
	open             int // connections in that state; the rest are of this round
	opened           int
	messages         int
	frames           int
	pings            int
	pongsDropped     int
	messagesDropped  int
	crowdedOut       int
	pausesByNode     int
	pausesByPressure int

	reported poll.Stats
}

// countRound adds the round to the metrics.
func (c *Conns) countRound() {
	m, n := c.metrics, &c.counts
	m.open.Set(float64(n.open))
	now := c.loop.Stats().Plus(c.wires.stats)
	add := func(to prometheus.Counter, n float64) {
		if n > 0 {
			to.Add(n)
		}
	}
	add(m.opened, float64(n.opened))
	add(m.messages, float64(n.messages))
	add(m.frames, float64(n.frames))
	add(m.pings, float64(n.pings))
	add(m.dropsPong, float64(n.pongsDropped))
	add(m.dropsSlow, float64(n.messagesDropped))
	add(m.dropsCrowded, float64(n.crowdedOut))
	add(m.byNode, float64(n.pausesByNode))
	add(m.byPressure, float64(n.pausesByPressure))
	add(m.bytesIn, float64(now.Read-n.reported.Read))
	add(m.bytesOut, float64(now.Written-n.reported.Written))
	add(m.callsIn, float64(now.Reads-n.reported.Reads))
	add(m.callsOut, float64(now.Writes-n.reported.Writes))
	add(m.shortOut, float64(now.ShortOut-n.reported.ShortOut))
	*n = counts{open: n.open, reported: now}
}

func (m *Metrics) countClosed(f farewell) {
	label := "lost"
	switch f.by {
	case byPeer:
		label = "peer"
	case byServer:
		label = strconv.Itoa(int(f.code))
	}
	m.closed.WithLabelValues(label).Inc()
}
