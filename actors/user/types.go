package user

import (
	"google.golang.org/protobuf/proto"

	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Context is what a step may know of the world.
type Context struct {
	// Now is the leader's wall clock, Unix milliseconds.
	Now uint64
	// Session is a number never given before in this shard: term<<32 | counter.
	Session uint64
	// OutboxFull is set while the shard's outbox takes no further step.
	OutboxFull bool
	// Silent says of a connection that the node that it is on is not heard; nil where
	// all are.
	Silent func(conn uint64) bool
	// Scratch is the host's, or nil.
	Scratch *Scratch
}

// Tick is the input at a user's deadline, and before any other input past it:
// expire what is due. While the clock is not trusted there are no ticks.
type Tick struct {
	// Expiry is the leader's clock, Unix milliseconds.
	Expiry uint64
}

// Laziness says whether an output's mutations may wait for company.
type Laziness uint8

// Eager outputs are proposed at once, Lazy ones within limits.LazyDelay.
const (
	Eager Laziness = iota
	Lazy
)

func (l Laziness) String() string {
	if l == Lazy {
		return "lazy"
	}
	return "eager"
}

// Output of a step. Mutations are absolute and belong into one batch, in
// order; effects wait for that batch unless their type says otherwise.
type Output struct {
	Mutations []*storepb.Mutation
	Laziness  Laziness
	Effects   []Effect
}

// Effect is something to be done outside the core.
type Effect interface{ effect() }

// ToConn tells a session or a REST request something, once the batch is durable.
type ToConn struct {
	Conn uint64
	Msg  proto.Message
}

// Ephemeral tells a session something at once: typing, presence, signals.
type Ephemeral struct {
	Conn uint64
	Msg  proto.Message
}

// ReadPage sends the entries after After, up to and including UpTo, to a
// session as a nodepb.Page, or with Request set as the nodepb.Answer to a REST
// request: entries that Device skips are left out, and so are those that do
// not match Peer and ID where set, or stand at or below Acked. The entries are
// read once the batch is applied, before any later one is.
type ReadPage struct {
	Conn    uint64
	Session uint64
	Request uint64
	Device  uint32
	After   uint64
	Acked   uint64
	UpTo    uint64
	End     bool
	Peer    string
	ID      []byte
}

// Relay is a step for an actor in any shard; the host numbers it into the
// outbox within the same batch. It makes the batch one with mutations.
type Relay struct {
	Step *storepb.Step
}

// PresenceChanged tells those who watch this user.
type PresenceChanged struct {
	Online   bool
	LastSeen uint64 // Unix milliseconds
}

// AddWatch puts a session of another user among those who watch; it is told of
// changes while Shown.
type AddWatch struct {
	Conn    uint64
	Watcher string
	Shown   bool
	// Again: only where it still watches.
	Again bool
}

// DropWatch ends the watch of one session.
type DropWatch struct{ Conn uint64 }

// Rewatch has the watches of one user, or of all where User is empty, begin
// anew with a nodepb.Watch each: what they are shown may have changed.
type Rewatch struct{ User string }

func (ToConn) effect()          {}
func (Ephemeral) effect()       {}
func (ReadPage) effect()        {}
func (Relay) effect()           {}
func (PresenceChanged) effect() {}
func (AddWatch) effect()        {}
func (DropWatch) effect()       {}
func (Rewatch) effect()         {}

// Attachment of a device: which session it has, and what that was pushed. It
// survives hibernation, outside the state, and dies with the term. With no
// session it is a parked request of the device, and Pushed what that looked at.
type Attachment struct {
	Conn    uint64
	Session uint64
	// Pushed is the last seq handed to the session.
	Pushed uint64
	Device uint32
	// Live: the session has had everything up to Pushed and is sent entries as
	// they come. Otherwise it pulls.
	Live bool
	// Next: the session has not pulled yet, and the one before it stands.
	Next bool
}

// Parked says whether it is a request that waits, rather than a session.
func (a Attachment) Parked() bool { return a.Session == 0 }

// Rows reads the rows of one user.
type Rows interface {
	// Scan calls fn for each row of the kind whose suffix begins with prefix,
	// ascending, until fn fails.
	Scan(kind byte, prefix []byte, fn func(suffix, value []byte) error) error
}
