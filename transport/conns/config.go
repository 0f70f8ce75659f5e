package conns

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/transport/poll"
	"github.com/rookery-im/rookery/transport/ws"
)

// Config of the connections. Zero values mean the defaults, most of which are
// in package limits.
type Config struct {
	// What there is.
	Echo     bool // the echo endpoint
	Portable bool // carry every connection by a goroutine

	// Proxies are the networks whose connections must begin with a header of the
	// PROXY protocol, and are believed in it. None: no header is understood.
	Proxies []netip.Prefix

	// What a peer may do.
	Message     int           // bytes of one message
	Greeting    int           // the same until Authenticated
	EchoMessage int           // the same on the echo endpoint
	Partial     time.Duration // from the first byte of a message to its last
	Heartbeat   time.Duration // until SetHeartbeat says otherwise
	Handshake   time.Duration // for the reply of the opening handshake to be taken

	// What waits to be written to one connection, in bytes.
	PendingLow, PendingHigh, PendingMax int

	// What all connections may hold together, in bytes.
	Unfinished int           // of messages that have begun; those begun longest ago are closed with 1013
	Unread     int           // that wait to be written; those waiting longest are cut with 4001
	Slow       time.Duration // above PendingHigh, then 4001
	Linger     time.Duration // for a close frame

	// How many.
	Conns           int // in all; 0: no bound of our own
	Unauthenticated int // of one address (of one /64 in IPv6)
	Handshakes      int // of one address, at once
	Fruitless       int // of one address, that came to nothing within half a minute; a refused request is a sixteenth
	Newcomers       int // a second, while people talk
	Inbox           int // calls posted and not yet run

	// How.
	Sweep   time.Duration // in which every connection's time is looked at once; 250 ms
	Poll    poll.Config
	Clock   func() time.Time
	Log     *slog.Logger
	Metrics *Metrics
}

// DefaultConfig has every default that is a number, for who shows or changes it.
func DefaultConfig() Config {
	c := Config{}.withDefaults()
	c.Clock, c.Log, c.Metrics = nil, nil, nil
	return c
}

func (c Config) withDefaults() Config {
	ints := []struct {
		field *int
		value int
	}{
		{&c.Message, limits.Message},
		{&c.Unfinished, limits.Unfinished},
		{&c.Unread, limits.Unread},
		{&c.EchoMessage, limits.EchoMessage},
		{&c.PendingLow, limits.PendingLow},
		{&c.PendingHigh, limits.PendingHigh},
		{&c.PendingMax, limits.PendingMax},
		{&c.Unauthenticated, limits.Unauthenticated},
		{&c.Handshakes, limits.Handshakes},
		{&c.Fruitless, limits.Fruitless},
		{&c.Newcomers, limits.Newcomers},
		{&c.Inbox, limits.LoopInbox},
	}
	for _, d := range ints {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Greeting == 0 {
		c.Greeting = min(limits.Greeting, c.Message)
	}
	times := []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Partial, limits.PartialTimeout},
		{&c.Heartbeat, limits.HeartbeatDefault},
		{&c.Handshake, limits.HandshakeTimeout},
		{&c.Slow, limits.SlowConsumer},
		{&c.Linger, limits.CloseLinger},
		{&c.Sweep, 250 * time.Millisecond},
	}
	for _, d := range times {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// Validate reports every fault at once, of the configuration with its defaults.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("conns: "+format, args...))
		}
	}
	fault(c.Message < 1 || c.Message > 1<<30, "Message is %d bytes", c.Message)
	fault(c.Message >= 1 && (c.Greeting < 1 || c.Greeting > c.Message), "Greeting is %d bytes, of a Message of %d", c.Greeting, c.Message)
	fault(c.Unfinished < 1, "Unfinished is %d bytes", c.Unfinished)
	fault(c.Unread < 1, "Unread is %d bytes", c.Unread)
	fault(c.EchoMessage < 1 || c.EchoMessage > 1<<30, "EchoMessage is %d bytes", c.EchoMessage)
	fault(c.PendingLow < 1 || c.PendingLow > c.PendingHigh || c.PendingHigh > c.PendingMax || c.PendingMax > 1<<30,
		"PendingLow, PendingHigh, PendingMax (%d, %d, %d) do not ascend", c.PendingLow, c.PendingHigh, c.PendingMax)
	fault(c.Conns < 0, "Conns is %d", c.Conns)
	fault(c.Unauthenticated < 1, "Unauthenticated is %d", c.Unauthenticated)
	fault(c.Handshakes < 1, "Handshakes is %d", c.Handshakes)
	fault(c.Fruitless < 1, "Fruitless is %d", c.Fruitless)
	fault(c.Newcomers < 1, "Newcomers is %d", c.Newcomers)
	fault(c.Inbox < 1, "Inbox is %d", c.Inbox)
	for _, t := range []struct {
		name  string
		value time.Duration
	}{
		{"Partial", c.Partial}, {"Heartbeat", c.Heartbeat}, {"Handshake", c.Handshake},
		{"Slow", c.Slow}, {"Linger", c.Linger}, {"Sweep", c.Sweep},
	} {
		fault(t.value < tickLength || t.value > 24*time.Hour, "%s is %v, not between %v and a day", t.name, t.value, tickLength)
	}
	return errors.Join(append(errs, c.Poll.Validate())...)
}

// ID names a connection. It is never used for another in the process's life;
// zero names none.
type ID = poll.ID

// Opcode of a message: ws.Text or ws.Binary.
type Opcode = ws.Opcode

// Subprotocol is the encoding that the opening handshake agreed to.
type Subprotocol = ws.Subprotocol

// Info is what the opening handshake said.
type Info struct {
	Remote      netip.AddrPort // zero where the listener has no addresses
	Subprotocol Subprotocol
	Token       string // of the Authorization header; may be empty
}

// Handler hears of what happens to connections. All is called on the loop's
// goroutine, from Poll or Flush; it may call any method of Conns.
type Handler interface {
	Opened(id ID, info Info)
	// Message is one complete message; data is lent during the call, in which
	// it may be overwritten.
	Message(id ID, op Opcode, data []byte)
	// Drained says that the bytes waiting fell to PendingLow after having been
	// above it. Whoever finds more than twice PendingLow waiting, what he is about
	// to send included, can count on it.
	Drained(id ID)
	// Closed is called exactly once for everything Opened. The code is what the
	// peer gave, or what we did, or 1006 where the connection was lost.
	Closed(id ID, code uint16, err error)
}
