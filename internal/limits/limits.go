// Package limits states, in one place, the bound of every queue, buffer,
// body, frame and count that is not a setting, and the default of those that
// are. Sizes are bytes.
package limits

import "time"

// What a client may send.
const (
	UserID            = 64        // bytes of a user id
	Client            = 64        // bytes of hello.client
	Payload           = 64 << 10  // send.payload
	DevicePayloads    = 256 << 10 // send.payloads, together
	Message           = 512 << 10 // one WebSocket message, all fragments together
	FrameCount        = 512       // protocol frames in one WebSocket message
	Signal            = 8 << 10   // signalTo.bytes
	Watched           = 256       // users one session watches
	Watchers          = 4096      // sessions that watch one user
	Body              = 512 << 10 // one REST body
	JSONDepth         = 32        // nesting of a JSON frame or body
	UndeliveredRanges = 64        // ranges one receipt names; past it the closest two merge
)

// Accounts.
const (
	Devices     = 10  // devices per user
	DeviceName  = 64  // bytes
	Name        = 128 // bytes of a profile name
	Picture     = 256 // bytes of a picture's id
	About       = 512 // bytes
	PasswordMin = 8   // bytes
	PasswordMax = 256 // bytes
	Blocks      = 4096
)

// Sends in flight.
const (
	InFlightPerConversation = 64
	InFlight                = 256
	IdempotencyWindow       = 64 // results kept per sending device and conversation
)

// Mailboxes.
const (
	MailboxEntries = 20_000
	MailboxBytes   = 64 << 20
	SenderShare    = 4 // one sender fills at most 1/SenderShare of a mailbox
	PageEntries    = 256
	PageBytes      = 256 << 10
)

// Batches and queues of a shard.
const (
	BatchMutations = 4096
	BatchBytes     = 4 << 20
	OutboxSteps    = 65_536 // unconfirmed steps from one shard to another
	LazyDelay      = 25 * time.Millisecond
)

// Times.
const (
	HelloTimeout     = 10 * time.Second
	AnswerTimeout    = 5 * time.Second
	HeartbeatMin     = 10 * time.Second
	HeartbeatDefault = 30 * time.Second
	HeartbeatMax     = 10 * time.Minute
	TimeToLive       = 30 * 24 * time.Hour
	IdempotencyKept  = 7 * 24 * time.Hour
	TokenLife        = 24 * time.Hour
	DrainTimeout     = 15 * time.Second
)
