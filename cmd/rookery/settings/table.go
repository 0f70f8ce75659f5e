package settings

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cmd/rookery/heap"
	"github.com/rookery-im/rookery/cmd/rookery/node"
	"github.com/rookery-im/rookery/transport/session"
)

// Config is everything that settings set.
type Config struct {
	Node      node.Config
	LogLevel  slog.Level
	LogFormat string
	// HeapFloor is what the heap may grow to before it is collected, bytes.
	HeapFloor int64
	// File is the configuration file that was read, or empty.
	File string
}

// Default is the configuration of somebody who sets nothing.
func Default() Config {
	c := Config{Node: node.DefaultConfig(), LogFormat: "text", HeapFloor: heap.DefaultFloor}
	c.Node.Data, c.Node.Listen, c.Node.Admin = "./data", "127.0.0.1:8080", "127.0.0.1:9090"
	return c
}

// Setting is one row of the table.
type Setting struct {
	Name string // as a flag and in a file; lower case, words parted by hyphens
	Doc  string // what it is, for an operator; a sentence without its full stop
	kind kind
	// beside says that a file cannot hold it.
	beside bool
}

// Topic is a part of the table.
type Topic struct {
	Title    string
	Settings []Setting
}

// Topics is the table: nothing else knows what settings there are. The package
// comment says how to add one.
func Topics() []Topic {
	return []Topic{
		{"Configuration", general()},
		{"Addresses", addresses()},
		{"TLS and proxies", edges()},
		{"Cluster", cluster()},
		{"Accounts", accounts()},
		{"Connections", connections()},
		{"Limits", rates()},
		{"Storage", storage()},
		{"Logging", logging()},
	}
}

// Settings are those of all topics, in order.
func Settings() []Setting {
	var all []Setting
	for _, t := range Topics() {
		all = append(all, t.Settings...)
	}
	return all
}

func general() []Setting {
	return []Setting{{
		Name: "config", Doc: "configuration file, in YAML; none where empty", beside: true,
		kind: text(func(c *Config) *string { return &c.File }, "a file"),
	}}
}

func addresses() []Setting {
	return []Setting{{
		Name: "listen", Doc: "address of WebSocket and REST; port 0 takes a free one",
		kind: address(func(c *Config) *string { return &c.Node.Listen }, "an address such as 127.0.0.1:8080", noPath),
	}, {
		Name: "admin", Doc: "address, or path of a socket file, of metrics, pprof and administration. Whoever reaches it rules the node: a loopback address or a socket file unless something else guards it",
		kind: address(func(c *Config) *string { return &c.Node.Admin }, "an address such as 127.0.0.1:9090, or a path with a /", isPath),
	}, {
		Name: "public-url", Doc: "where clients are told to connect by GET /v1/nodes; where empty, the host that they asked",
		kind: place(func(c *Config) *string { return &c.Node.PublicURL }, "a URL such as wss://chat.example.org/v1/ws", "ws", "wss"),
	}, {
		Name: "cors-origin", Doc: "origins of web pages that may call the REST API from a browser; * is any",
		kind: list(func(c *Config) *[]string { return &c.Node.Origins }, webOrigin()),
	}, {
		Name: "ws-echo", Doc: "serve GET /v1/ws/echo, which sends every message back: for tests of conformance and latency",
		kind: boolean(func(c *Config) *bool { return &c.Node.Echo }),
	}}
}

func edges() []Setting {
	return []Setting{{
		Name: "tls-cert", Doc: "certificate file, in PEM; TLS is on where it is given, and it is read again when it changes",
		kind: text(func(c *Config) *string { return &c.Node.TLSCert }, "a file"),
	}, {
		Name: "tls-key", Doc: "file with the key of the certificate, read again with it",
		kind: text(func(c *Config) *string { return &c.Node.TLSKey }, "a file"),
	}, {
		Name: "proxy-protocol-from", Doc: "networks of proxies: connections from there must begin with a header of the PROXY protocol, version 1 or 2, and the address in it counts as the client's",
		kind: list(func(c *Config) *[]netip.Prefix { return &c.Node.Conns.Proxies }, network()),
	}}
}

func cluster() []Setting {
	place := func(c *Config) *node.Place { return &c.Node.Place }
	return []Setting{{
		Name: "gossip", Doc: "address by which the nodes of a cluster find each other, UDP and TCP (see docs/cluster.md). Beyond loopback it takes cluster-key and node-cert. Where empty, a free port of 127.0.0.1 if join or peer is given; otherwise the node is alone",
		kind: address(func(c *Config) *string { return &place(c).Gossip }, "an IP address and port such as 127.0.0.1:7946", isEmpty),
	}, {
		Name: "peer", Doc: "address of the links between nodes; where empty, a free port beside that of gossip",
		kind: address(func(c *Config) *string { return &place(c).Peer }, "an IP address and port such as 127.0.0.1:7947", isEmpty),
	}, {
		Name: "advertise", Doc: "host by which other nodes reach gossip and peer; where empty, the one that they listen on",
		kind: text(func(c *Config) *string { return &place(c).Advertise }, "a host, such as 10.0.0.7"),
	}, {
		Name: "join", Doc: "gossip addresses of nodes to join; a node that is given any never creates a cluster of its own. Its own may be among them",
		kind: list(func(c *Config) *[]string { return &place(c).Join }, hostPort()),
	}, {
		Name: "roles", Doc: "what the node is for: data keeps users and their messages, gateway takes clients",
		kind: list(func(c *Config) *[]string { return &place(c).Roles }, word("a list of data, gateway", control.RoleData, control.RoleGateway)),
	}, {
		Name: "zone", Doc: "what fails together with the node, such as a rack: the replicas of a user are spread over as many zones as there are",
		kind: text(func(c *Config) *string { return &place(c).Zone }, "a name, at most 64 bytes"),
	}, {
		Name: "cluster-key", Doc: "file with the key that gossip is encrypted with, 32 bytes in base64, the same on all nodes (rookery tls init makes it)",
		kind: text(func(c *Config) *string { return &place(c).Key }, "a file"),
	}, {
		Name: "node-cert", Doc: "file with the certificate that this node shows to others, in PEM (rookery tls node makes it)",
		kind: text(func(c *Config) *string { return &place(c).Cert }, "a file"),
	}, {
		Name: "node-key", Doc: "file with the key of that certificate",
		kind: text(func(c *Config) *string { return &place(c).CertKey }, "a file"),
	}, {
		Name: "node-ca", Doc: "file with the certificate of the cluster's authority",
		kind: text(func(c *Config) *string { return &place(c).CA }, "a file"),
	}, {
		Name: "replace-after", Doc: "how long a node may be gone until others take over what it holds, where there are enough; 0 is for ever",
		kind: scalar(func(c *Config) *time.Duration { return &place(c).ReplaceAfter }, least(duration(), 0)),
	}}
}

func accounts() []Setting {
	return []Setting{{
		Name: "registration", Doc: "who may register; webhook asks registration-webhook",
		kind: choice(func(c *Config) *string { return &c.Node.Registration }, "open", "invite", "closed", "webhook"),
	}, {
		Name: "registration-webhook", Doc: "where to ask who may register (see docs/accounts.md)",
		kind: place(func(c *Config) *string { return &c.Node.Webhook.URL }, "a URL such as https://chat.example.org/may-register; http is for a loopback address only", "https", "http"),
	}, {
		Name: "registration-webhook-secret-file", Doc: "file with the secret that questions to the webhook are signed with, whsec_ and base64; read for each question",
		kind: text(func(c *Config) *string { return &c.Node.Webhook.SecretFile }, "a file"),
	}, {
		Name: "issuer", Doc: "iss of an outside issuer of tokens (see docs/accounts.md): whoever it names has an account, and nobody registers or has a password; none where empty",
		kind: text(func(c *Config) *string { return &c.Node.Issuer.Name }, "a name, such as https://login.example.org/realms/chat"),
	}, {
		Name: "issuer-audience", Doc: "what the aud of the issuer's tokens must hold; give one, or tokens that it signed for any other service are accepted, too",
		kind: text(func(c *Config) *string { return &c.Node.Issuer.Audience }, "a name; not looked at where empty"),
	}, {
		Name: "issuer-keys", Doc: "the issuer's key set (JWKS), fetched again and again",
		kind: text(func(c *Config) *string { return &c.Node.Issuer.Keys }, "a file, or a URL such as https://login.example.org/certs; http is for a loopback address only"),
	}, {
		Name: "issuer-keys-max-age", Doc: "how long the last key set is used that could be fetched",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.Issuer.KeysMaxStale }, above0(duration())),
	}, {
		Name: "issuer-user-claim", Doc: "claim that holds the user id",
		kind: needed(func(c *Config) *string { return &c.Node.Issuer.UserClaim }, "a claim's name"),
	}, {
		Name: "issuer-device-claim", Doc: "claim that holds the device, where the issuer knows it",
		kind: needed(func(c *Config) *string { return &c.Node.Issuer.DeviceClaim }, "a claim's name"),
	}, {
		Name: "token-life", Doc: "how long a token lasts",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.TokenLife }, above0(duration())),
	}, {
		Name: "invite-life", Doc: "how long an invitation is good",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.InviteLife }, within(duration(), time.Minute, control.InviteLifeMax)),
	}, {
		Name: "password-workers", Doc: "passwords that are hashed at once; each takes 19 MiB and a processor, which rests after a wrong one",
		kind: scalar(func(c *Config) *int { return &c.Node.PasswordWorkers }, within(number[int](), 1, 1024)),
	}, {
		Name: "rate-login", Doc: "registrations and logins of an address or user",
		kind: rate(func(c *Config) *session.Rate { return &c.Node.Login }),
	}}
}

func connections() []Setting {
	limits := func(c *Config) *session.Config { return &c.Node.Session }
	return []Setting{{
		Name: "max-connections", Doc: "connections at once; 0 is what the limit of descriptors leaves room for, which is the most in any case",
		kind: scalar(func(c *Config) *int { return &c.Node.Connections }, least(number[int](), 0)),
	}, {
		Name: "unauthenticated-per-address", Doc: "connections of one address (IPv6: of one /64) that have not said hello yet",
		kind: scalar(func(c *Config) *int { return &c.Node.Conns.Unauthenticated }, least(number[int](), 1)),
	}, {
		Name: "handshakes-per-address", Doc: "opening handshakes of one address at once",
		kind: scalar(func(c *Config) *int { return &c.Node.Conns.Handshakes }, least(number[int](), 1)),
	}, {
		Name: "fruitless-per-address", Doc: "connections of one address that came to nothing, before it has to wait for a second with each; a request that is refused counts as a sixteenth of one; they are forgiven in half a minute",
		kind: scalar(func(c *Config) *int { return &c.Node.Conns.Fruitless }, least(number[int](), 1)),
	}, {
		Name: "newcomers", Doc: "connections taken a second while people talk, who go before those who come; the others wait in the kernel's queue",
		kind: scalar(func(c *Config) *int { return &c.Node.Conns.Newcomers }, least(number[int](), 1)),
	}, {
		Name: "handshake-timeout", Doc: "how long a client may take to receive the answer of the opening handshake",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.Conns.Handshake }, within(duration(), time.Second, time.Hour)),
	}, {
		Name: "hello-timeout", Doc: "how long a client may take from the handshake to the end of its hello",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.HelloTimeout }, within(duration(), time.Second, time.Hour)),
	}, {
		Name: "message-timeout", Doc: "how long a client may take from the first byte of a message to its last",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.Conns.Partial }, within(duration(), time.Second, time.Hour)),
	}, {
		Name: "slow-consumer-timeout", Doc: "how long a client may leave more than 256 KiB unread before it is cut off with 4001",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.Conns.Slow }, within(duration(), time.Second, time.Hour)),
	}, {
		Name: "unfinished-memory", Doc: "memory for messages that have begun, of all connections together; past it those begun longest ago are closed with 1013",
		kind: scalar(func(c *Config) *int { return &c.Node.Conns.Unfinished }, within(size[int](), 4<<20, 1<<30)),
	}, {
		Name: "unread-memory", Doc: "memory for what clients have not read yet, of all connections together; past it those that wait longest are cut off with 4001",
		kind: scalar(func(c *Config) *int { return &c.Node.Conns.Unread }, within(size[int](), 4<<20, 1<<30)),
	}, {
		Name: "heartbeat", Doc: "heartbeat where a client wishes none; a client that is silent for two is cut off",
		kind: scalar(func(c *Config) *time.Duration { return &limits(c).Heartbeat }, within(duration(), time.Second, day)),
	}, {
		Name: "heartbeat-min", Doc: "the fastest heartbeat that a client may wish",
		kind: scalar(func(c *Config) *time.Duration { return &limits(c).HeartbeatMin }, within(duration(), time.Second, day)),
	}, {
		Name: "heartbeat-max", Doc: "the slowest heartbeat that a client may wish",
		kind: scalar(func(c *Config) *time.Duration { return &limits(c).HeartbeatMax }, within(duration(), time.Second, day)),
	}, {
		Name: "drain-timeout", Doc: "how long an orderly end may take: clients are sent away, requests answered, data closed",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.DrainTimeout }, above0(duration())),
	}}
}

const day = 24 * time.Hour

func rates() []Setting {
	limits := func(c *Config) *session.Limits { return &c.Node.Session.Limits }
	return []Setting{{
		Name: "rate-sends", Doc: "messages that a device sends",
		kind: rate(func(c *Config) *session.Rate { return &limits(c).Sends }),
	}, {
		Name: "rate-frames", Doc: "frames of any kind from a device",
		kind: rate(func(c *Config) *session.Rate { return &limits(c).Frames }),
	}, {
		Name: "rate-hello", Doc: "sessions that a device begins; past it hello is answered by rate_limited",
		kind: rate(func(c *Config) *session.Rate { return &limits(c).Hellos }),
	}, {
		Name: "rate-typing", Doc: "typing frames of a device",
		kind: rate(func(c *Config) *session.Rate { return &limits(c).Typing }),
	}, {
		Name: "rate-watch", Doc: "watch frames of a device",
		kind: rate(func(c *Config) *session.Rate { return &limits(c).Watch }),
	}, {
		Name: "rate-signals", Doc: "signals that a device sends",
		kind: rate(func(c *Config) *session.Rate { return &limits(c).Signals }),
	}, {
		Name: "rate-requests", Doc: "authenticated REST requests of a device",
		kind: rate(func(c *Config) *session.Rate { return &c.Node.Requests }),
	}, {
		Name: "concurrent-requests", Doc: "REST requests that are served at once; more are refused as unavailable",
		kind: scalar(func(c *Config) *int { return &c.Node.ConcurrentRequests }, least(number[int](), 1)),
	}, {
		Name: "concurrent-polls", Doc: "REST requests that wait for messages at once (long poll), beside those",
		kind: scalar(func(c *Config) *int { return &c.Node.Polls }, least(number[int](), 1)),
	}, {
		Name: "concurrent-streams", Doc: "streams of server-sent events at once",
		kind: scalar(func(c *Config) *int { return &c.Node.Streams }, least(number[int](), 1)),
	}, {
		Name: "streams-per-address", Doc: "the same, of one address (IPv6: of one /64)",
		kind: scalar(func(c *Config) *int { return &c.Node.StreamsPerAddress }, least(number[int](), 1)),
	}, {
		Name: "in-flight", Doc: "sends of a connection that may wait for their answer; past it the connection is not read",
		kind: scalar(func(c *Config) *int { return &limits(c).InFlight }, within(number[int](), 1, 65536)),
	}, {
		Name: "in-flight-per-conversation", Doc: "the same, of one conversation",
		kind: scalar(func(c *Config) *int { return &limits(c).InFlightPerConversation }, within(number[int](), 1, 65536)),
	}, {
		Name: "mailbox-entries", Doc: "entries that may wait in a user's mailbox, a quarter of it from one sender, and as many copies again of what the user's own devices sent; more are refused as mailbox_full. Large mailboxes take long to load",
		kind: scalar(func(c *Config) *int { return &c.Node.MailboxEntries }, within(number[int](), 4, 1_000_000)),
	}, {
		Name: "mailbox-size", Doc: "the same, in bytes",
		kind: scalar(func(c *Config) *int { return &c.Node.MailboxBytes }, within(size[int](), 2<<20, 1<<30)),
	}, {
		Name: "heap-floor", Doc: "what the heap may grow to before it is collected, under load that lasts, however little of it is in use: less takes more CPU under load; without load it is given back in either case. Where the environment has GOGC that rules",
		kind: scalar(func(c *Config) *int64 { return &c.HeapFloor }, within(size[int64](), 1<<20, 1<<40)),
	}}
}

func storage() []Setting {
	return []Setting{{
		Name: "data", Doc: "directory for everything that is kept",
		kind: needed(func(c *Config) *string { return &c.Node.Data }, "a directory"),
	}, {
		Name: "shards", Doc: "number of shards, when the data directory is new; fixed from then on",
		kind: scalar(func(c *Config) *uint32 { return &c.Node.Shards }, within(number[uint32](), 1, node.MaxShards)),
	}, {
		Name: "time-to-live", Doc: "how long a message may wait, and a device stay away",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.TimeToLive }, least(duration(), time.Millisecond)),
	}, {
		Name: "checkpoint-every", Doc: "how often the state is written out, so that a restart has less log to replay",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.CheckpointEvery }, above0(duration())),
	}, {
		Name: "checkpoint-memory", Doc: "changes in memory that have the state written out at once; four times as much, and sends are refused until it is",
		kind: scalar(func(c *Config) *int { return &c.Node.CheckpointBytes }, within(size[int](), 1<<20, 256<<20)),
	}, {
		Name: "checkpoint-log", Doc: "log since the last checkpoint that has the state written out at once",
		kind: scalar(func(c *Config) *int { return &c.Node.CheckpointLog }, within(size[int](), 1<<20, 1<<30)),
	}, {
		Name: "disk-reserve", Doc: "what checkpoints leave free on the disk; with less the node goes on from its log and says so in /readyz; with less than half it does not start",
		kind: scalar(func(c *Config) *int64 { return &c.Node.DiskReserve }, within(size[int64](), 1<<20, 1<<40)),
	}, {
		Name: "block-cache", Doc: "memory for what was read from the store",
		kind: scalar(func(c *Config) *int64 { return &c.Node.BlockCache }, within(size[int64](), 1<<20, 1<<40)),
	}, {
		Name: "hibernate-after", Doc: "how long a user stays in memory after a conversation; one whose devices only came or went stays a second",
		kind: scalar(func(c *Config) *time.Duration { return &c.Node.IdleActor }, within(duration(), time.Second, day)),
	}}
}

func logging() []Setting {
	return []Setting{{
		Name: "log-level", Doc: "the least important lines that are logged",
		kind: level(func(c *Config) *slog.Level { return &c.LogLevel }),
	}, {
		Name: "log-format", Doc: "how lines are written to standard error",
		kind: choice(func(c *Config) *string { return &c.LogFormat }, "text", "json"),
	}}
}
