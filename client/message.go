package client

import (
	"fmt"
	"time"
)

// Conversation names whom one talks with: a user or, once the server has
// them, a group. Exactly one of the two is set.
type Conversation struct {
	User  string
	Group string
}

// With is the conversation with a user.
func With(user string) Conversation { return Conversation{User: user} }

// InGroup is the conversation of a group.
func InGroup(group string) Conversation { return Conversation{Group: group} }

// String is the user's or the group's id.
func (c Conversation) String() string {
	if c.Group != "" {
		return c.Group
	}
	return c.User
}

// Device is one device of one user.
type Device struct {
	User   string
	Device uint32
}

// String is user/device.
func (d Device) String() string { return fmt.Sprintf("%s/%d", d.User, d.Device) }

// Time is the server's clock: 48 bits of Unix milliseconds and 16 bits of
// counter. It orders the two directions of a conversation the same way on
// every device; ties go by user id.
type Time uint64

// Wall is the time of day, to the millisecond.
func (t Time) Wall() time.Time { return time.UnixMilli(int64(t >> 16)) }

// Kind says what a payload is. The server looks into none.
type Kind uint8

// The kinds of messages. Control stands for edits, deletions and reactions,
// which refer to another message by ReplyTo.
const (
	KindText Kind = iota + 1
	KindImage
	KindVideo
	KindAudio
	KindDocument
	KindLocation
	KindContact
	KindStatus
	KindEncrypted
	KindControl
)

// Push says whether a recipient who is not connected is to be woken.
type Push uint8

// The urgencies; PushDefault leaves it to the server.
const (
	PushDefault Push = iota
	PushNone
	PushNormal
	PushUrgent
)

// Draft is a message to be sent. Only To is needed.
type Draft struct {
	// ID is the message's UUID. Left empty, one is made (version 7). Give one
	// only to a message of its own: the same id is the same message, and
	// ErrAlreadyExists while that is still queued.
	ID string
	To Conversation
	// Kind is KindText where it is left out.
	Kind Kind
	// Payload reaches every device of the recipient, and the sender's others.
	Payload []byte
	// Payloads, one per device, stand for Payload where each device needs its
	// own. They name the recipient's devices and the sender's others exactly;
	// otherwise the send fails with an *Error whose Reason is
	// ReasonDevicesMismatch and whose Missing and Extra say what to mend.
	Payloads []DevicePayload
	// ReplyTo is the id of another message.
	ReplyTo string
	// TTL is how long the message may wait for a device; 0 leaves it to the server.
	TTL  time.Duration
	Push Push
}

// DevicePayload is the payload for one device.
type DevicePayload struct {
	Device
	Payload []byte
}

// Text is a draft of a text message to a user.
func Text(user, text string) Draft {
	return Draft{To: With(user), Kind: KindText, Payload: []byte(text)}
}

// Sent is the server's word that a message is on disk.
type Sent struct {
	ID string
	To Conversation
	// Order is the message's position in its direction of the conversation,
	// from 1 without gaps. Receipts speak of it.
	Order uint64
	Time  Time
	// Duplicate is true where an earlier attempt had been accepted.
	Duplicate bool
}
