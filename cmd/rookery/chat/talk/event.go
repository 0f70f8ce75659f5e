package talk

import (
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
)

// Event is what Step takes: one of the types below.
type Event interface{ event() }

// Body is what a message says. Kind is empty for text; otherwise it names what
// is there instead, and Size says how many bytes of it.
type Body struct {
	Text plain.Text
	Kind string
	Size int
}

// Arrived: a message, of others or from another device of one's own.
type Arrived struct {
	Conversation, ID, From string
	Device                 uint32
	Order, Time            uint64
	Body                   Body
}

// Queued: a line of one's own is to be sent. Text is as it was typed.
type Queued struct {
	Conversation, ID, Text string
	At                     time.Time
}

// Settled: the server accepted a line, or, where Refusal says why, never will.
type Settled struct {
	Conversation, ID string
	Order, Time      uint64
	Refusal          string
}

// Delayed: the server would not take a line yet.
type Delayed struct {
	Conversation, ID, Why string
	RetryAt               time.Time
}

// Range of orders, both ends included.
type Range struct{ First, Last uint64 }

// Receipt: how far a conversation has got at By. Where By is oneself, how far
// another device of one's own has read.
type Receipt struct {
	Conversation, By    string
	Delivered, ReadUpTo uint64
	Undelivered         []Range
}

// ReadHere: how far this device has read.
type ReadHere struct {
	Conversation string
	Order        uint64
}

// Drafted: what stands in a conversation's input.
type Drafted struct{ Conversation, Text string }

// Dropped: a refused line was taken back, or away.
type Dropped struct{ Conversation, ID string }

// Named: how a user wants to be called.
type Named struct {
	User string
	Name plain.Text
}

// Presence of a user.
type Presence struct {
	User     string
	Online   bool
	LastSeen time.Time
}

// Typing: somebody began or ceased to type.
type Typing struct {
	Conversation, From string
	On                 bool
	At                 time.Time
}

// LinkChanged: the connection came, went or ended.
type LinkChanged struct{ Link Link }

// Drained: everything that waited at the server has arrived.
type Drained struct{}

// Opened: the person turned to a conversation.
type Opened struct {
	Conversation string
	At           time.Time
}

// Looked: whether the person can see the newest line of the open conversation.
type Looked struct{ Sight Sight }

// Sight says what the person sees.
type Sight uint8

// The sights: Away is another window, or scrolled back.
const (
	Away Sight = iota
	AtNewest
)

// Typed: the input of the open conversation changed to Text.
type Typed struct {
	Text string
	At   time.Time
}

// Submitted: the person sent the input, or Text to whom Conversation names.
type Submitted struct {
	Conversation, ID, Text string
	At                     time.Time
}

// TookBack: the person wants a refused line back in the input.
type TookBack struct{ Conversation, ID string }

// Ticked: so late it is now. Once a second is enough.
type Ticked struct{ At time.Time }

func (Arrived) event()     {}
func (Queued) event()      {}
func (Settled) event()     {}
func (Delayed) event()     {}
func (Receipt) event()     {}
func (ReadHere) event()    {}
func (Drafted) event()     {}
func (Dropped) event()     {}
func (Named) event()       {}
func (Presence) event()    {}
func (Typing) event()      {}
func (LinkChanged) event() {}
func (Drained) event()     {}
func (Opened) event()      {}
func (Looked) event()      {}
func (Typed) event()       {}
func (Submitted) event()   {}
func (TookBack) event()    {}
func (Ticked) event()      {}

// LinkState is where the connection stands.
type LinkState uint8

// The states of a connection. Refused is for good, until a person does something.
const (
	Connecting LinkState = iota
	CatchingUp
	Online
	Offline
	Refused
)

// String is the state as a person reads it.
func (s LinkState) String() string {
	switch s {
	case Connecting:
		return "connecting"
	case CatchingUp:
		return "catching up"
	case Online:
		return "online"
	case Offline:
		return "offline"
	case Refused:
		return "refused"
	default:
		return "unknown"
	}
}

// Link is the connection: Why there is none, when it is tried again, and what
// the person can do where trying again is no use.
type Link struct {
	State   LinkState
	Why     string
	RetryAt time.Time
	Advice  string
}

// Effect is what Step wants done: one of the types below.
type Effect interface{ effect() }

// Save writes an event to the history. What follows rests on it.
type Save struct{ Event Event }

// Post queues a line with the server's client.
type Post struct{ Conversation, ID, Text string }

// MarkRead tells the server how far was read.
type MarkRead struct {
	Conversation string
	Order        uint64
}

// SayTyping tells the other side.
type SayTyping struct {
	Conversation string
	On           bool
}

// Watch follows the presence of users, and of nobody else.
type Watch struct{ Users []string }

// Learn asks how a user wants to be called.
type Learn struct{ User string }

// Moved: a line of one's own got so far, or one of others came. It is for
// those who print as things happen.
type Moved struct {
	Conversation *Conversation
	Line         *Line
	State        State
}

// Restore puts text back into the input.
type Restore struct{ Conversation, Text string }

func (Save) effect()      {}
func (Post) effect()      {}
func (MarkRead) effect()  {}
func (SayTyping) effect() {}
func (Watch) effect()     {}
func (Learn) effect()     {}
func (Moved) effect()     {}
func (Restore) effect()   {}
