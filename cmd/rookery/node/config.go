package node

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/store"
	"github.com/rookery-im/rookery/transport/api"
	"github.com/rookery-im/rookery/transport/auth"
	"github.com/rookery-im/rookery/transport/conns"
	"github.com/rookery-im/rookery/transport/session"
)

// MaxShards is how many shards a cluster may be created with.
const MaxShards = 4096

// Config of a node. DefaultConfig has all that need not be given.
type Config struct {
	// Data is the directory of everything that is kept.
	Data string
	// Listen is the address of clients; Admin that of metrics and
	// administration, or the path of a socket file.
	Listen, Admin string
	// TLSCert and TLSKey are files; TLS is on where they are given.
	TLSCert, TLSKey string
	// PublicURL is where clients are told to connect; what they asked by where empty.
	PublicURL string
	// Origins that browsers may call the REST API from; "*" is any.
	Origins []string
	// Connections is how many are taken at most; 0 sets no bound.
	Connections int
	// Conns bounds what each peer and address may do, and names proxies. What
	// stands elsewhere in this Config is filled in.
	Conns conns.Config
	// HelloTimeout is how long a connection may wait with its hello.
	HelloTimeout time.Duration
	// Echo serves GET /v1/ws/echo.
	Echo bool
	// Registration is "open", "invite", "closed" or "webhook", which asks Webhook.
	// Nobody registers where there is an outside Issuer of tokens.
	Registration string
	Webhook      Webhook
	Issuer       Issuer
	// Place in a cluster.
	Place Place
	// Shards of a new cluster.
	Shards       uint32
	TokenLife    time.Duration
	TimeToLive   time.Duration
	DrainTimeout time.Duration
	// CheckpointEvery is how long what was applied may stay in memory and log
	// alone; more often means less to replay and more written.
	CheckpointEvery time.Duration
	// CheckpointBytes in memory, or CheckpointLog in the log, are a checkpoint's
	// other reasons; overlayFactor times the first stops sends.
	CheckpointBytes, CheckpointLog int
	// DiskReserve is what checkpoints leave free on the disk, BlockCache what the
	// store keeps of it in memory. Bytes.
	DiskReserve, BlockCache int64
	// MailboxEntries and MailboxBytes are what may wait for one user.
	MailboxEntries, MailboxBytes int
	// IdleActor is how long a user's actor stays in memory without input.
	IdleActor time.Duration
	// InviteLife is how long an invitation is good.
	InviteLife time.Duration
	// PasswordWorkers is how many passwords are hashed at once.
	PasswordWorkers int
	// Requests bounds the REST requests of each device, ConcurrentRequests those
	// that are served at once.
	Requests           session.Rate
	ConcurrentRequests int
	// Polls and Streams are how many requests wait, and how many streams of
	// events are open, at once.
	Polls, Streams, StreamsPerAddress int
	// Login bounds registrations and logins, of each address and of each user.
	Login   session.Rate
	Session session.Config
	// StandIns takes connections without descriptors over the admin address, for
	// measuring; no setting sets it.
	StandIns bool
	Version  string
	Log      *slog.Logger
}

// DefaultConfig of a node.
func DefaultConfig() Config {
	return Config{
		Registration: "open", Issuer: defaultIssuer(), Place: defaultPlace(), Shards: 64,
		TokenLife: limits.TokenLife, TimeToLive: limits.TimeToLive, DrainTimeout: limits.DrainTimeout,
		CheckpointEvery: shard.DefaultCheckpointEvery, CheckpointBytes: shard.DefaultCheckpointBytes, CheckpointLog: shard.DefaultCheckpointLog,
		DiskReserve: store.DefaultReserve, BlockCache: store.DefaultBlockCache,
		MailboxEntries: limits.MailboxEntries, MailboxBytes: limits.MailboxBytes,
		IdleActor: host.DefaultIdle, InviteLife: control.InviteLife, PasswordWorkers: auth.PasswordWorkers,
		Requests: session.Rate{PerSecond: api.RequestsPerSecond, Burst: api.RequestsBurst}, ConcurrentRequests: api.Concurrent,
		Polls: limits.Parked, Streams: limits.Streams, StreamsPerAddress: limits.StreamsPerAddress,
		Conns:        conns.DefaultConfig(),
		HelloTimeout: limits.HelloTimeout,
		Login:        session.Rate{PerSecond: auth.AccountsPerSecond, Burst: auth.AccountsBurst},
		Session:      session.DefaultConfig(),
		Log:          slog.New(slog.DiscardHandler),
	}
}

// Fault is something wrong with a configuration. It names the settings that
// it is about, as cmd/rookery/settings spells them.
type Fault struct {
	Settings []string
	Problem  string
}

func (f *Fault) Error() string { return strings.Join(f.Settings, ", ") + ": " + f.Problem }

// Validate reports every fault, each a *Fault where settings can mend it.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, settings, problem string, args ...any) {
		if !ok {
			errs = append(errs, &Fault{strings.Split(settings, ","), fmt.Sprintf(problem, args...)})
		}
	}
	check(c.Data != "", "data", "a directory is needed")
	check(c.Listen != "", "listen", "an address is needed")
	check(c.Admin != "", "admin", "an address or a socket file is needed")
	check((c.TLSCert == "") == (c.TLSKey == ""), "tls-cert,tls-key", "one is given without the other")
	c.checkAccounts(check)
	c.Place.check(check)
	check(c.Shards >= 1 && c.Shards <= MaxShards, "shards", "%d is not from 1 to %d", c.Shards, MaxShards)
	check(c.TokenLife > 0, "token-life", "%v is not above 0", c.TokenLife)
	check(c.TimeToLive > 0, "time-to-live", "%v is not above 0", c.TimeToLive)
	check(c.DrainTimeout > 0, "drain-timeout", "%v is not above 0", c.DrainTimeout)
	check(c.CheckpointEvery > 0, "checkpoint-every", "%v is not above 0", c.CheckpointEvery)
	check(c.CheckpointBytes > 0, "checkpoint-memory", "%d is not above 0", c.CheckpointBytes)
	check(c.CheckpointLog > 0, "checkpoint-log", "%d is not above 0", c.CheckpointLog)
	check(c.DiskReserve > 0, "disk-reserve", "%d is not above 0", c.DiskReserve)
	check(c.BlockCache >= 1<<20, "block-cache", "%d bytes are below 1 MiB", c.BlockCache)
	check(c.IdleActor > 0, "hibernate-after", "%v is not above 0", c.IdleActor)
	check(c.InviteLife > 0 && c.InviteLife <= control.InviteLifeMax, "invite-life", "%v is not above 0 and up to %v", c.InviteLife, control.InviteLifeMax)
	check(c.PasswordWorkers > 0, "password-workers", "%d is not above 0", c.PasswordWorkers)
	check(c.Requests.PerSecond > 0 && c.Requests.Burst > 0, "rate-requests", "%g/%d is not above 0", c.Requests.PerSecond, c.Requests.Burst)
	check(c.ConcurrentRequests > 0, "concurrent-requests", "%d is not above 0", c.ConcurrentRequests)
	check(c.Polls > 0, "concurrent-polls", "%d is not above 0", c.Polls)
	check(c.Streams > 0, "concurrent-streams", "%d is not above 0", c.Streams)
	check(c.StreamsPerAddress > 0, "streams-per-address", "%d is not above 0", c.StreamsPerAddress)
	check(c.HelloTimeout > 0, "hello-timeout", "%v is not above 0", c.HelloTimeout)
	check(c.Login.PerSecond > 0 && c.Login.Burst > 0, "rate-login", "%g/%d is not above 0", c.Login.PerSecond, c.Login.Burst)
	s := c.Session
	heartbeats := s.HeartbeatMin <= s.Heartbeat && s.Heartbeat <= s.HeartbeatMax
	check(heartbeats, "heartbeat-min,heartbeat,heartbeat-max", "%v, %v, %v do not ascend", s.HeartbeatMin, s.Heartbeat, s.HeartbeatMax)
	check(s.Limits.InFlightPerConversation <= s.Limits.InFlight, "in-flight-per-conversation,in-flight",
		"%d for one conversation are more than %d in all", s.Limits.InFlightPerConversation, s.Limits.InFlight)
	if heartbeats { // else it is said already
		errs = append(errs, s.Validate())
	}
	return errors.Join(append(errs, c.users().Validate(), c.Conns.Validate())...)
}

// users are the settings that all users share.
func (c Config) users() user.Settings {
	return user.Settings{TimeToLive: c.TimeToLive, MailboxEntries: c.MailboxEntries, MailboxBytes: c.MailboxBytes}
}

// overlayFactor times a checkpoint's memory is what may wait for the disk.
const overlayFactor = shard.DefaultOverlayBound / shard.DefaultCheckpointBytes
