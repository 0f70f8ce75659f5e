package client

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Config says where and as whom to connect. URL and User are needed, and one
// of Password, TokenSource and a Store that holds a token.
type Config struct {
	// URL is the server: http, https, ws or wss, a host and perhaps a path
	// before /v1, such as https://chat.example.org.
	URL  string
	User string
	// Password logs in where the store holds no device yet, and gets a new
	// token where the old one ran out. It is kept in memory only.
	Password string
	// DeviceName is what this device is called in the list of devices.
	DeviceName string
	// Invite is used by Register only, where the server asks for one.
	Invite string

	// TokenSource gives a token that is good now, for servers whose tokens come
	// from an outside issuer. It is asked before a connection whenever the last
	// token was refused or none is known, and stands instead of Password. An
	// error that is ErrUnauthenticated stops the client; it tries again after others.
	TokenSource func(context.Context) (string, error)

	// Store remembers the device, the place in the mailbox and unsent messages.
	// Nil is a new memory store: then every run is a new device. Close closes it.
	Store Store

	// Encoding of frames; protobuf unless said otherwise.
	Encoding Encoding
	// HTTPClient is used for REST and for the WebSocket's upgrade; nil is a new
	// one. Its Timeout must be 0: a WebSocket outlives it.
	HTTPClient *http.Client
	// Logger gets what a developer wants to know; nil logs nothing. Tokens,
	// passwords and payloads are never logged.
	Logger *slog.Logger
	// ClientName is the program's name and version, such as "demo/1"; at most 64 bytes.
	ClientName string

	// Heartbeat asks the server for another heartbeat than its own: slower ones
	// spare a phone's battery. The server bounds it.
	Heartbeat time.Duration
	// QueueLimit bounds the messages without a fate; 1024 unless given.
	QueueLimit int
	// AckDelay bounds how long an ack may wait for company; 50 ms unless given.
	AckDelay time.Duration
	// Backoff is how long to wait before the first attempt to reconnect, and
	// MaxBackoff what doubling it ends at; 0.5 s and 30 s unless given. Each
	// wait is drawn at random between nothing and that.
	Backoff, MaxBackoff time.Duration
}

// Encoding of frames on the wire.
type Encoding uint8

// The encodings. JSON is for looking at what goes by.
const (
	Protobuf Encoding = iota
	JSON
)
