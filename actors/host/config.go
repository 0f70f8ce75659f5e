package host

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Why a Tell was not taken. None of them changed anything.
var (
	ErrNotLeading = errors.New("host: this node does not hold the shard's term")
	ErrBusy       = errors.New("host: the shard or the actor has all the work it may queue")
	ErrFailed     = errors.New("host: the shard's store is broken")
	ErrUser       = errors.New("host: not the id of a user")
)

// Core is the pure half of a user actor: *user.State.
type Core interface {
	Peers
	// Step changes the state and says what must follow.
	Step(ctx user.Context, in any) user.Output
	// Deadline is the time of the next user.Tick, Unix milliseconds; 0 for none.
	Deadline() uint64
	// Idle says that nothing but Attachments would be lost by hibernation.
	Idle() bool
	// Attachments of the user's devices.
	Attachments() []user.Attachment
}

// Foreteller is a Core that says what an ack will tell senders before it is
// taken in. What it adds to steps is true from then on, whatever becomes of
// the ack; false means that the ack must not wait.
type Foreteller interface {
	Foretell(ack *nodepb.Ack, steps []*storepb.Step) ([]*storepb.Step, bool)
}

// Peers are the parts of a state that are loaded when a step needs them.
type Peers interface {
	Needs(in any) []string
	Has(peer string) bool
	Adopt(peer string, rows user.Rows) error
}

// Raft is the shard's group. Propose and Read are answered by Committed,
// Dropped, Confirmed or Follow; an error means that nothing was started. What is
// proposed stays as it is until Committed, and for good where that never comes.
type Raft interface {
	Propose(token uint64, data []byte) error
	Read(token uint64) error
}

// Store holds the rows. What is put and what it hands out is valid during the
// call.
type Store interface {
	mailbox.Writer
	Get(key []byte) (value []byte, ok bool, err error)
	Scan(prefix, from []byte, fn func(key, value []byte) bool) error
}

// Gateway is where sessions and REST requests are.
type Gateway interface {
	// Deliver hands a nodepb message to a session or a REST request.
	Deliver(conn uint64, msg proto.Message)
	// Lost says that what conn had with the actor of user, an attachment or a
	// watch, is gone: attach or watch again, from the last seq that was written.
	Lost(conn uint64, user string)
	// Unknown says that something conn asked for may or may not have happened.
	Unknown(conn uint64)
	// Left says that the shard is no longer led here: Lost, for every session
	// and watch of its users.
	Left(shard uint32)
}

// Router carries steps between shards. It queues: it never calls back.
type Router interface {
	// Relay a step from src to the shard of its user, as number of that pair.
	Relay(src, dst uint32, number uint64, step *storepb.Step)
	// Confirm to src that dst has taken every step up to number.
	Confirm(src, dst uint32, number uint64)
	// Resend asks src for the steps to dst again, beginning with from.
	Resend(src, dst uint32, from uint64)
	// Tell the user of a step something beforehand. It may be lost, or overtake.
	Tell(src, dst uint32, step *storepb.Step)
	// Told tells src that what the step says is durable in dst.
	Told(src, dst uint32, step *storepb.Step)
}

// DefaultIdle is how long an actor without input stays live.
const DefaultIdle = time.Minute

// Config of a shard. What has no default must be set.
type Config struct {
	Shard   uint32
	Space   mailbox.Space
	System  *System
	Store   Store
	Gateway Gateway
	Router  Router
	// ShardOf says where a user lives.
	ShardOf func(user string) uint32
	// Load makes the state of a user from its rows.
	Load func(id string, rows user.Rows, attachments []user.Attachment) (Core, error)
	// Now is the wall clock, Unix milliseconds.
	Now func() uint64
	// Silent, where set, says of a connection that the node that it is on is not heard.
	Silent func(conn uint64) bool
	// Expiry is the time up to which entries may be expired, 0 while the clock
	// is not trusted. Default: Now.
	Expiry func() uint64
	// Fail is told once that the store is broken; the process should end.
	Fail func(error)

	// Idle is how long an actor without input stays live. DefaultIdle.
	Idle time.Duration
	// Live is how many actors may be live before idle ones make room. Default 16384.
	Live int
	// Resend is how long a step may be unconfirmed before it is sent again.
	// Default 1 s.
	Resend time.Duration
	// SweepEvery is the time between two passes over all mailboxes for
	// deadlines. Default 12 h.
	SweepEvery time.Duration

	Log     *slog.Logger // default: discards
	Metrics *Metrics     // default: unregistered
}

func (c Config) withDefaults() Config {
	if c.Expiry == nil {
		c.Expiry = c.Now
	}
	if c.Idle == 0 {
		c.Idle = DefaultIdle
	}
	if c.Live == 0 {
		c.Live = 16_384
	}
	if c.Resend == 0 {
		c.Resend = time.Second
	}
	if c.SweepEvery == 0 {
		c.SweepEvery = 12 * time.Hour
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// Validate reports every fault of the configuration at once.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("host: "+format, args...))
		}
	}
	need(c.Shard != 0, "Shard: must not be 0, which is the control group")
	need(c.Space.Shard == c.Shard, "Space: is of shard %d, not %d", c.Space.Shard, c.Shard)
	need(c.System != nil, "System: missing")
	need(c.Store != nil, "Store: missing")
	need(c.Gateway != nil, "Gateway: missing")
	need(c.Router != nil, "Router: missing")
	need(c.ShardOf != nil, "ShardOf: missing")
	need(c.Load != nil, "Load: missing")
	need(c.Now != nil, "Now: missing")
	need(c.Fail != nil, "Fail: missing")
	need(c.Idle >= 0, "Idle: %v is negative", c.Idle)
	need(c.Live >= 0, "Live: %d is negative", c.Live)
	need(c.Resend >= 0, "Resend: %v is negative", c.Resend)
	need(c.SweepEvery >= 0, "SweepEvery: %v is negative", c.SweepEvery)
	return errors.Join(errs...)
}
