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
	Greeting          = 64 << 10  // one from somebody who has not said hello
	BrokenHellos      = 16        // frames that break the schema, before hello
	FrameCount        = 512       // protocol frames in one WebSocket message
	Spares            = 16_384    // of each thing that sessions use again; what is above goes to the collector
	SpareBytes        = 8 << 20   // buffers among them, together
	Names             = 4096      // user ids that the reading of frames remembers; the older lose
	Signal            = 8 << 10   // signalTo.bytes
	Watched           = 256       // users one session watches
	Watchers          = 4096      // sessions that watch one user
	Body              = 512 << 10 // one REST body
	JSONDepth         = 32        // nesting of a JSON frame or body
	UndeliveredRanges = 64        // ranges one receipt names; past it the closest two merge
)

// Accounts.
const (
	Devices     = 10      // devices per user
	DeviceName  = 64      // bytes
	Name        = 128     // bytes of a profile name
	Picture     = 256     // bytes of a picture's id
	About       = 512     // bytes
	PasswordMin = 8       // bytes
	PasswordMax = 256     // bytes
	Token       = 8 << 10 // bytes of an outside issuer's token; those that list a user's roles are long
	Proof       = 4 << 10 // bytes of what a client gives the registration webhook to judge
	Blocks      = 4096
	BulkUsers   = 1000    // users made by one request to the admin address
	BulkBody    = 1 << 20 // bytes of it
)

// Sends in flight.
const (
	InFlightPerConversation = 64
	InFlight                = 256
	Chains                  = 4096 // conversations in which a session has a send open, or owes one
	ReadsKept               = 64   // conversations of a session with a read that is kept, see ReadsKeptFor
	IdempotencyWindow       = 64   // results kept per sending device and conversation
)

// Clients without a WebSocket. What waits is not among the requests served at
// once; each costs a goroutine and its buffers, 30 to 50 kB.
const (
	PollWait          = time.Minute // the longest wait of a long poll
	Parked            = 4096        // long polls of a node
	ParkedPerDevice   = 4
	Streams           = 4096 // server-sent event streams of a node
	StreamsPerAddress = 1024 // of one address; of one /64 in IPv6
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
	BatchRooms     = 8 << 20     // bytes that batches of all shards leave to each other
	OutboxSteps    = 65_536      // unconfirmed steps from one shard to another
	ActorMail      = 256         // messages that wait for one actor while it restarts
	OutboxRetry    = time.Second // until what found the outbox full is tried again
	LazyDelay      = 25 * time.Millisecond
	AckDelay       = time.Second // at most, until an ack is taken in
	HeldAcks       = 8192        // of one shard, that are yet to be taken in
	Foretold       = 16          // senders whom one of them tells something; more are told when it is taken in
)

// Sockets. The bounds of what waits to be written hold for one connection.
const (
	PendingLow      = 64 << 10  // below it, a connection that was above PendingHigh goes on
	PendingHigh     = 256 << 10 // above it, a connection is not read, and is cut after SlowConsumer
	PendingMax      = 2 << 20   // at it, a connection is cut at once
	Unfinished      = 64 << 20  // beginnings of messages, all connections together; the oldest lose
	Unread          = 256 << 20 // what waits to be written, all connections together; the longest waiting lose
	EchoMessage     = 16 << 20  // one message to the echo endpoint
	LoopInbox       = 8192      // calls that wait for the loop
	Unauthenticated = 1024      // connections of one address that have not said hello
	Lobby           = 2048      // HTTP connections that are not being served; the oldest lose
	LobbyPerAddress = 1024      // the same of one address
	Bodies          = 64 << 20  // bytes of bodies, read or being read, of all requests together; the oldest lose
	Handshakes      = 256       // opening handshakes of one address at once
	Fruitless       = 256       // connections of one address that came to nothing, before it has to wait; 8 a second are forgiven; a refused request counts as a sixteenth
	Newcomers       = 500       // connections taken a second while people talk
	Talk            = 40        // messages a second that are called so, of those who have been here for a while
	Regrets         = 65_536    // addresses of which those are counted
	HeldRefusals    = 512       // handshakes whose refusal is held back, and requests that are, see FruitlessWait
	Arrivals        = 1 << 20   // devices of which it is known when they connected; the oldest lose their count
)

// Ids of connections. One is 2 bits of kind, 16 of the node's number, these of
// its life, generation and index: 64 in all.
const (
	ConnLifeBits       = 6  // lives of a node that are told apart
	ConnGenerationBits = 18 // of one index: 131,072 connections in a life, after which it is used no more
	ConnIndexBits      = 22 // 2,097,152 connections at once by epoll, and as many otherwise
)

// Times.
const (
	PartialTimeout   = time.Minute      // from the first byte of a message to its last
	SlowConsumer     = 10 * time.Second // above PendingHigh
	CloseLinger      = 5 * time.Second  // for a close frame to be taken and answered
	HandshakeTimeout = 10 * time.Second
	HelloTimeout     = 10 * time.Second
	AnswerTimeout    = 5 * time.Second
	ReadsKeptFor     = 10 * time.Second // by a session, to say them again elsewhere; as long as it lives without a leader
	TurnedAwayMin    = time.Second      // from a refused hello to the end of its connection
	TurnedAwayMax    = 5 * time.Second  // below HelloTimeout
	FruitlessWait    = time.Second      // for which one is held back
	HeartbeatMin     = 10 * time.Second
	HeartbeatDefault = 30 * time.Second
	HeartbeatMax     = 10 * time.Minute
	TimeToLive       = 30 * 24 * time.Hour
	IdempotencyKept  = 7 * 24 * time.Hour
	SeenWithin       = 24 * time.Hour // how stale the stored time of a device that is there may be
	TokenLife        = 24 * time.Hour
	DrainTimeout     = 15 * time.Second
)

// Replicas.
const (
	Moving = 8 // groups that a node takes to other nodes at once
)

// Raft log.
const (
	LogSegment   = 64 << 20  // one segment file
	LogFree      = 4         // segment files kept to be used again
	LogRetain    = 128 << 20 // segments kept for followers that are behind
	LogWrite     = 512 << 20 // one append
	LogTail      = 16 << 20  // newest entries kept in memory, all groups
	LogGroupTail = 4 << 20   // the same, one group
)

// Links between nodes, each direction of a pair.
const (
	PeerFrames = 65_536    // frames that wait to be acknowledged
	PeerBytes  = 32 << 20  // of their bodies
	PeerLoose  = 16 << 20  // bytes of messages without a promise that wait to be written
	PeerBody   = 8 << 20   // one body; an entry of BatchBytes has to fit
	PeerBatch  = 256 << 10 // written at once, about

	OfficeBytes = 32 << 20 // of what other nodes said and the loop has not taken
)

// What nodes say to each other about users.
const (
	NodeNumber = 1<<16 - 1 // of a node, the highest
	RouteBody  = 1 << 20   // one body of words, deliveries or mail, about
	RouteOwed  = 65_536    // ends of attachments that one other node is still to hear of
	Renewals   = 256       // attachments and watches that are begun again in one round of the loop
	Passed     = 4096      // sleeping sessions looked at in one round after shards have moved
	Disowned   = 512       // rows of one shard looked at in one tick for connections that have ended
)

// Membership.
const (
	Seeds       = 64   // addresses to join by
	LostMembers = 1024 // nodes that are called again although nobody hears of them
	// ReplaceAfter is how long a member may be gone until others take over.
	ReplaceAfter = 10 * time.Minute
	Questions    = 1024 // to group 0, that a node has open at once; more are refused
)
