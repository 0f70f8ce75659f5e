package core

import (
	"time"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// Effect is something to be done. The types of this file are effects.
type Effect interface{ effect() }

// Record is a record to be written; a nil Value deletes it.
type Record struct {
	Key   string
	Value []byte
}

// Write changes the store. With Sync, what was written so far is durable
// before anything else of this round is done.
type Write struct {
	Records []Record
	Sync    bool
}

// Means of getting a token.
type Means uint8

// The means: links a device; needs the password; needs a good token; outside.
const (
	ByLogin Means = iota + 1
	ByPassword
	ByToken
	BySource
)

// Ask gets a token by some means. Token or NoToken answers.
type Ask struct {
	Means  Means
	Device uint32
	Token  string
}

// Dial opens a connection. Alternate is a URL that the server named; empty
// for the configured one.
type Dial struct {
	Conn      uint64
	Alternate string
}

// Look asks the node at the URL that Dial went to which nodes there are. Nodes
// answers, or nothing does.
type Look struct{ Alternate string }

// Say sends a frame.
type Say struct {
	Conn  uint64
	Frame *clientpb.ClientFrame
}

// Hangup ends the connection, with what was said before it still going out
// where Orderly. What comes from it afterwards is not heard.
type Hangup struct {
	Conn    uint64
	Orderly bool
	Reason  string
}

// Hold stops reading from the connection, or goes on.
type Hold struct {
	Conn uint64
	On   bool
}

// Queued answers Queue. Err is ErrFull, ErrTwice or ErrStopped, or a *Refusal.
type Queued struct {
	ID  string
	Err error
}

// Answer is the fate of a message that somebody waits for.
type Answer struct {
	Call uint64
	Fate Fate
}

// Said answers Typing, Signal, Read and Watch.
type Said struct{ Err error }

// Hand answers Fetch. Event is nil once the machine has stopped.
type Hand struct{ Event Event }

// Note is for the log.
type Note struct {
	Text string
	Err  error
	Wait time.Duration
}

// Stop is the last effect, but for answers to those who ask later.
type Stop struct {
	Why Why
	Err error
}

// Why the machine stopped.
type Why uint8

// The reasons.
const (
	Closed Why = iota + 1
	Displaced
	Unlinked
	Unauthenticated
	Malformed
	StoreBroken
)

func (Write) effect()  {}
func (Ask) effect()    {}
func (Dial) effect()   {}
func (Look) effect()   {}
func (Say) effect()    {}
func (Hangup) effect() {}
func (Hold) effect()   {}
func (Queued) effect() {}
func (Answer) effect() {}
func (Said) effect()   {}
func (Hand) effect()   {}
func (Note) effect()   {}
func (Stop) effect()   {}

// Event is what the application gets: *clientpb.Deliver, *clientpb.Receipt,
// *clientpb.DeviceEvent, *clientpb.Presence, *clientpb.TypingNotice,
// *clientpb.Signal, *clientpb.Drained, *Fate, *Delay, *Refused or *Changed.
type Event any

// Fate of a message: Sent, or Refusal for good, or Err where the machine
// stopped before it was known.
type Fate struct {
	ID      string
	To      *clientpb.Conversation
	Sent    *clientpb.Sent
	Refusal *clientpb.Error
	Err     error
}

// Delay says that a message goes out again at Until.
type Delay struct {
	ID      string
	To      *clientpb.Conversation
	Refusal *clientpb.Error
	Until   time.Time
}

// Refused says that the server refused a frame that nobody waits for.
type Refused struct {
	What    string
	Refusal *clientpb.Error
}

// Changed says that the phase changed.
type Changed struct{ Status Status }

// Phase is what the outside sees of the states.
type Phase uint8

// The phases, numbered as client.State is.
const (
	Connecting Phase = iota + 1
	Online
	Waiting
	Stopped
)

// Status of the machine.
type Status struct {
	Phase   Phase
	Err     error
	RetryAt time.Time
	User    string
	Device  uint32
	Node    string
	Unsent  int
	Limits  *clientpb.Limits
}
