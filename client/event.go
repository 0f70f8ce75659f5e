package client

import "time"

// Event is what Next and Receive hand over: one of the pointer types of this
// package that say so. Tell them apart by a type switch, and ignore those you
// do not know: the list may grow.
type Event interface{ event() }

// Message is an Event: a message for this user, or one that another device of
// this user's sent (then From.User is oneself). Each is handed over once.
type Message struct {
	// Seq is the position in this user's mailbox, the same on all devices.
	Seq uint64
	ID  string
	// From is the device that sent it.
	From Device
	// Conversation is the peer: whom to answer.
	Conversation Conversation
	// Order is the position in that direction of the conversation, from 1. Read takes it.
	Order   uint64
	Time    Time
	Kind    Kind
	ReplyTo string
	Payload []byte
}

// Receipt is an Event: how far a conversation has got. Both marks are orders
// of the messages sent to By, or, where By is oneself, how far another device
// of one's own has read. They never decrease, and 0 says nothing.
type Receipt struct {
	Seq          uint64
	Conversation Conversation
	By           string
	// DeliveredUpTo and ReadUpTo are orders: everything up to them was.
	DeliveredUpTo, ReadUpTo uint64
	// Undelivered are ranges below DeliveredUpTo that expired unseen.
	Undelivered []OrderRange
}

// OrderRange is a range of orders, both ends included.
type OrderRange struct{ First, Last uint64 }

// DevicesChanged is an Event: devices of this user were linked or unlinked.
type DevicesChanged struct {
	Seq      uint64
	Linked   []DeviceInfo
	Unlinked []uint32
}

// DeviceInfo describes a device of one's own.
type DeviceInfo struct {
	Device   uint32
	Name     string
	LinkedAt time.Time
	// Current is true for the device that asks. It is set by Devices only.
	Current bool
}

// Presence is an Event: whether a watched user is online. LastSeen is zero
// where it is not known or not shown.
type Presence struct {
	User     string
	Online   bool
	LastSeen time.Time
}

// Typing is an Event: somebody began or ceased to type.
type Typing struct {
	From         Device
	Conversation Conversation
	On           bool
}

// Signal is an Event: bytes that another device sent by Signal, at most once.
type Signal struct {
	From  Device
	Bytes []byte
}

// Drained is an Event: everything that waited at the server when this
// connection began has been handed over.
type Drained struct{ Seq uint64 }

// Settled is an Event: the fate of a message that was queued, or whose Send
// was given up waiting. Err is nil and Sent is set where the server accepted
// it; otherwise Err says why it never will, and the message is not accepted.
type Settled struct {
	ID   string
	To   Conversation
	Sent Sent
	Err  error
}

// Delayed is an Event: the server would not take a message yet, and it, with
// all behind it in its conversation, goes out again at RetryAt.
type Delayed struct {
	ID      string
	To      Conversation
	Err     error
	RetryAt time.Time
}

// Refused is an Event: the server refused something that is not a message and
// that nobody waits for. What is "read", "typing", "watch", "signal" or "ack".
type Refused struct {
	What string
	Err  error
}

// StateChanged is an Event: the connection came, went or ended. Of several in
// a row that nobody fetched only the last is kept for sure.
type StateChanged struct{ Status }

// State is where a client's connection stands.
type State uint8

// The states. A client begins with StateConnecting and alternates between it,
// StateOnline and StateWaiting until it is StateStopped, for good.
const (
	// StateConnecting: dialling, or getting a token.
	StateConnecting State = iota + 1
	// StateOnline: the server has welcomed this device.
	StateOnline
	// StateWaiting: not connected; Status.RetryAt says when it tries again.
	StateWaiting
	// StateStopped: closed, or an error that trying again would not mend. Status.Err says which.
	StateStopped
)

// String is the state's name.
func (s State) String() string {
	switch s {
	case StateConnecting:
		return "connecting"
	case StateOnline:
		return "online"
	case StateWaiting:
		return "waiting"
	case StateStopped:
		return "stopped"
	default:
		return "unknown"
	}
}

// Status is a client at one moment.
type Status struct {
	State State
	// Err is why there is no connection; nil while there is one, and before the first.
	Err error
	// RetryAt is when StateWaiting ends.
	RetryAt time.Time
	// Self is the device this client is. Known once it was linked or welcomed.
	Self Device
	// Node is the node that it is, or was last, connected to.
	Node string
	// Unsent counts the messages that have no fate yet.
	Unsent int
	// Limits are the server's; zero before the first welcome.
	Limits Limits
}

// Limits are what the server allows on a connection; sizes are bytes.
type Limits struct {
	Payload, DevicePayloads, Signal   int
	InFlightPerConversation, InFlight int
	Watched                           int
}

func (*Message) event()        {}
func (*Receipt) event()        {}
func (*DevicesChanged) event() {}
func (*Presence) event()       {}
func (*Typing) event()         {}
func (*Signal) event()         {}
func (*Drained) event()        {}
func (*Settled) event()        {}
func (*Delayed) event()        {}
func (*Refused) event()        {}
func (*StateChanged) event()   {}
