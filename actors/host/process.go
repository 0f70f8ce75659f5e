package host

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/asynkron/protoactor-go/actor"
)

// System is the node's protoactor system, shared by its shards. Of the library
// it uses actors, PIDs, supervision and the address resolver, each on the
// caller's goroutine, with mailboxes of our own (see post). Its logger prints messages, so it gets none; its metrics,
// receive timeouts, futures and dead letters are not used.
type System struct {
	system *actor.ActorSystem
	shards map[string]actor.Process // by address
	rooms  *rooms
}

// NewSystem starts one.
func NewSystem() *System {
	y := &System{shards: make(map[string]actor.Process), rooms: &rooms{}}
	y.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	oneBucket(y.system.ProcessRegistry.LocalPIDs)
	y.system.ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) {
		p, ok := y.shards[pid.GetAddress()]
		return p, ok
	})
	return y
}

// oneBucket puts the library's registry of actors into one of its buckets. It
// has 1,024, of 32 maps each, for processors by the hundred. Here one goroutine
// uses it; and as no map ever shrinks, 32,768 of them with room for the eight
// entries that each begins with are 13 MB that stay when the actors have gone.
func oneBucket(all *actor.SliceMap) {
	first := all.LocalPIDs[0]
	for _, bucket := range all.LocalPIDs[1:] {
		if bucket.IsEmpty() {
			continue // Items starts a goroutine for each of its maps
		}
		for id, process := range bucket.Items() {
			first.Set(id, process)
		}
	}
	all.LocalPIDs = slices.Clone(all.LocalPIDs[:1])
}

// Close ends the system; its shards must have been told to Follow.
func (y *System) Close() { y.system.Shutdown() }

// Address of the virtual PIDs of a shard's users.
func Address(shard uint32) string { return fmt.Sprintf("user/%d", shard) }

func (y *System) add(s *Shard) error {
	at := Address(s.cfg.Shard)
	if _, ok := y.shards[at]; ok {
		return fmt.Errorf("host: shard %d: the system has it already", s.cfg.Shard)
	}
	y.shards[at] = virtual{s}
	s.root = y.system.Root
	s.address = actor.NewPID(at, "")
	s.props = actor.PropsFromProducer(s.incarnate,
		actor.WithMailbox(func() actor.Mailbox { return &s.current.post }),
		actor.WithGuardian(&supervisor{s}),
	)
	return nil
}

// virtual is the process behind every virtual PID of a shard: it finds the row
// of the user that a message is for, and forwards.
type virtual struct{ shard *Shard }

// SendUserMessage implements actor.Process.
func (v virtual) SendUserMessage(pid *actor.PID, message any) {
	_, in, _ := actor.UnwrapEnvelope(message)
	v.shard.refused = v.shard.forward(pid.GetId(), in)
}

// SendSystemMessage implements actor.Process. A virtual actor always exists:
// there is nothing to watch, restart or suspend.
func (v virtual) SendSystemMessage(*actor.PID, any) {}

// Stop implements actor.Process; actors stop when they have been idle.
func (v virtual) Stop(*actor.PID) {}

// Remove a shard that leads nothing any more: another of its number may be made.
func (y *System) Remove(s *Shard) {
	if at := Address(s.cfg.Shard); y.shards[at] == (virtual{s}) {
		delete(y.shards, at)
	}
}

// supervisor decides what becomes of an actor that panicked.
type supervisor struct{ shard *Shard }

// HandleFailure implements actor.SupervisorStrategy. The library has suspended
// the actor's mailbox; nothing is resumed from here, see revive.
func (v *supervisor) HandleFailure(_ *actor.ActorSystem, guardian actor.Supervisor, _ *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	v.shard.broken(v.shard.current, guardian, reason)
}
