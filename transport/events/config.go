package events

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

// Sessions hear of streams, on the loop's goroutine.
type Sessions interface {
	// Opened asks for a session: its first words, or Close, begin the stream.
	Opened(id uint64, hello Hello)
	// Drained says that the bytes waiting fell to Config.PendingLow after having
	// been above it.
	Drained(id uint64)
	// Closed is called once for everything Opened.
	Closed(id uint64)
}

// Hello is what a request for a stream says, once it is authenticated.
type Hello struct {
	User      string
	Device    uint32
	Expires   time.Time     // of the token; zero: it does not
	After     uint64        // the seq after which the stream begins, or 0
	Heartbeat time.Duration // that is wished for, or 0
}

// Seats are the connections that a node may have, of every kind.
type Seats interface {
	// TakeSeat counts one more, or says why not.
	TakeSeat() error
	GiveSeat()
	// GiveUpAfter has a request's connection end once the peer acknowledges
	// nothing for so long; 0 takes that back.
	GiveUpAfter(r *http.Request, d time.Duration)
}

// Config of Streams. Zero values mean the defaults, most of which are in
// package limits.
type Config struct {
	Sessions Sessions
	Seats    Seats
	// Post has a function called by the loop soon, unless it is overloaded.
	Post func(func()) bool

	Streams, PerAddress    int
	PendingLow, PendingMax int           // bytes that wait for one stream
	Slow                   time.Duration // for 16 KiB, or what there is, to be taken
	Linger                 time.Duration // from Close to the end
	Beginning              time.Duration // until the first words

	Log     *slog.Logger
	Metrics *Metrics
}

func (c Config) withDefaults() Config {
	for field, value := range map[*int]int{
		&c.Streams: limits.Streams, &c.PerAddress: limits.StreamsPerAddress,
		&c.PendingLow: limits.PendingLow, &c.PendingMax: limits.PendingMax,
	} {
		if *field == 0 {
			*field = value
		}
	}
	for field, value := range map[*time.Duration]time.Duration{
		&c.Slow: limits.SlowConsumer, &c.Linger: limits.CloseLinger, &c.Beginning: limits.AnswerTimeout,
	} {
		if *field == 0 {
			*field = value
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
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
			errs = append(errs, fmt.Errorf("events: "+format, args...))
		}
	}
	fault(c.Sessions == nil, "Sessions are missing")
	fault(c.Seats == nil, "Seats are missing")
	fault(c.Post == nil, "Post is missing")
	fault(c.Streams < 1, "Streams is %d", c.Streams)
	fault(c.PerAddress < 1, "PerAddress is %d", c.PerAddress)
	fault(c.PendingLow < 1 || c.PendingLow > c.PendingMax, "PendingLow, PendingMax (%d, %d) do not ascend", c.PendingLow, c.PendingMax)
	fault(c.Slow <= 0, "Slow is %v", c.Slow)
	fault(c.Linger <= 0, "Linger is %v", c.Linger)
	fault(c.Beginning <= 0, "Beginning is %v", c.Beginning)
	return errors.Join(errs...)
}
