package session

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rookery-im/rookery/internal/limits"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// Rate is a token bucket: so many a second, so many at once.
type Rate struct {
	PerSecond float64
	Burst     int
}

func (r Rate) proto() *clientpb.Rate {
	return &clientpb.Rate{PerSecond: r.PerSecond, Burst: uint32(r.Burst)} //nolint:gosec // validated
}

// Limits that a session holds its device to.
type Limits struct {
	InFlightPerConversation int
	InFlight                int
	Sends                   Rate
	Typing                  Rate
	Watch                   Rate
	Signals                 Rate
	Frames                  Rate
	Hellos                  Rate // of a device; sessions begun
}

// Config of a Gateway.
type Config struct {
	Node   string
	Limits Limits
	// Heartbeats: what is given where nothing is wished, and the bounds of a wish.
	Heartbeat, HeartbeatMin, HeartbeatMax time.Duration
	// Answer is how long a send may be open before its connection is closed.
	Answer time.Duration
	// HighWater is the number of bytes pending at a connection past which
	// nothing is pushed to it.
	HighWater int
}

// DefaultConfig of a node's gateway.
func DefaultConfig() Config {
	return Config{
		Limits: Limits{
			InFlightPerConversation: limits.InFlightPerConversation,
			InFlight:                limits.InFlight,
			Sends:                   Rate{128, 1024},
			Typing:                  Rate{8, 64},
			Watch:                   Rate{8, 64},
			Signals:                 Rate{64, 512},
			Frames:                  Rate{2048, 8192},
			Hellos:                  Rate{10, 100},
		},
		Heartbeat: limits.HeartbeatDefault, HeartbeatMin: limits.HeartbeatMin, HeartbeatMax: limits.HeartbeatMax,
		// Checked four times a second; answered or closed within 5 s.
		Answer:    limits.AnswerTimeout - time.Second,
		HighWater: limits.PageBytes,
	}
}

// Named is the configuration of the gateway of a node.
func (c Config) Named(node string) Config {
	c.Node = node
	return c
}

// Validate names every fault.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("session: "+format, args...))
		}
	}
	check(c.Limits.InFlight > 0, "in-flight sends: %d is not above 0", c.Limits.InFlight)
	check(c.Limits.InFlightPerConversation > 0, "in-flight sends of a conversation: %d is not above 0", c.Limits.InFlightPerConversation)
	check(c.HeartbeatMin > 0 && c.HeartbeatMin <= c.Heartbeat && c.Heartbeat <= c.HeartbeatMax,
		"heartbeat: %v is not between %v and %v", c.Heartbeat, c.HeartbeatMin, c.HeartbeatMax)
	check(c.Answer > 0, "answer timeout: %v is not above 0", c.Answer)
	check(c.HighWater > 0, "high water: %d is not above 0", c.HighWater)
	for name, r := range map[string]Rate{
		"sends": c.Limits.Sends, "typing": c.Limits.Typing, "watch": c.Limits.Watch, "signals": c.Limits.Signals, "frames": c.Limits.Frames, "hellos": c.Limits.Hellos,
	} {
		check(r.PerSecond > 0 && r.Burst > 0, "rate of %s: %v a second, burst %d: must be above 0", name, r.PerSecond, r.Burst)
	}
	return errors.Join(errs...)
}

// welcome shows the limits in force.
func (l Limits) proto() *clientpb.Limits {
	return &clientpb.Limits{
		Payload: limits.Payload, DevicePayloads: limits.DevicePayloads, Message: limits.Message,
		InFlightPerConversation: uint32(l.InFlightPerConversation), InFlight: uint32(l.InFlight), //nolint:gosec // validated
		Watched: limits.Watched, Signal: limits.Signal,
		Sends: l.Sends.proto(), Typing: l.Typing.proto(), Watch: l.Watch.proto(), Signals: l.Signals.proto(), Frames: l.Frames.proto(),
	}
}

// heartbeat grants a wish within the bounds.
func (c Config) heartbeat(wish *durationpb.Duration) time.Duration {
	if wish == nil || wish.AsDuration() <= 0 {
		return c.Heartbeat
	}
	return min(max(wish.AsDuration(), c.HeartbeatMin), c.HeartbeatMax)
}
