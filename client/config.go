package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
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
	// error that is ErrUnauthenticated stops the client; it tries again after
	// others. Several goroutines may ask at once. It must heed its context:
	// Close waits for it.
	TokenSource func(context.Context) (string, error)

	// Store remembers the device, the place in the mailbox and unsent messages.
	// Nil is a new memory store: then every run is a new device. Close closes it.
	Store Store

	// Encoding of frames; protobuf unless said otherwise.
	Encoding Encoding
	// HTTPClient is used for REST and for the WebSocket's upgrade; nil is a new
	// one. Unless its CheckRedirect says otherwise, at most 10 redirects are
	// followed, and none from https to http. Its Timeout must be 0: a WebSocket outlives it.
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

func (cfg Config) withDefaults() Config {
	if cfg.Store == nil {
		cfg.Store = NewMemoryStore()
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = newHTTPClient()
	}
	cfg.HTTPClient = redirecting(cfg.HTTPClient)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ClientName == "" {
		cfg.ClientName = "rookery-go"
	}
	if cfg.QueueLimit == 0 {
		cfg.QueueLimit = 1024
	}
	for _, d := range []struct {
		of    *time.Duration
		value time.Duration
	}{{&cfg.AckDelay, 50 * time.Millisecond}, {&cfg.Backoff, 500 * time.Millisecond}, {&cfg.MaxBackoff, 30 * time.Second}} {
		if *d.of == 0 {
			*d.of = d.value
		}
	}
	return cfg
}

// validate names every fault.
func (cfg Config) validate() (base, error) {
	u, err := parseBase(cfg.URL)
	faults := []error{err}
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(cfg.User == "" && cfg.TokenSource == nil, "User: missing")
	for _, text := range []struct{ field, is string }{{"User", cfg.User}, {"DeviceName", cfg.DeviceName}, {"ClientName", cfg.ClientName}} {
		fault(!utf8.ValidString(text.is), "%s: must be UTF-8", text.field)
	}
	fault(len(cfg.ClientName) > 64, "ClientName: %d bytes, at most 64", len(cfg.ClientName))
	fault(cfg.Encoding > JSON, "Encoding: %d is none", cfg.Encoding)
	fault(cfg.HTTPClient.Timeout != 0, "HTTPClient.Timeout: must be 0, a WebSocket outlives it")
	fault(cfg.QueueLimit < 0, "QueueLimit: must not be negative")
	fault(cfg.Heartbeat < 0, "Heartbeat: must not be negative")
	fault(cfg.AckDelay < 0, "AckDelay: must not be negative")
	fault(cfg.Backoff < 0, "Backoff: must not be negative")
	fault(cfg.MaxBackoff < cfg.Backoff, "MaxBackoff: less than Backoff")
	return u, errors.Join(faults...)
}

// base is where a server is: all URLs are made from it.
type base struct{ url url.URL }

func parseBase(text string) (base, error) {
	u, err := url.Parse(text)
	if fault := new(url.Error); errors.As(err, &fault) {
		err = fault.Err // without the text, which may hold a password
	}
	switch {
	case text == "":
		return base{}, errors.New("URL: missing")
	case err != nil:
		return base{}, fmt.Errorf("URL: %w", err)
	case u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return base{}, errors.New("URL: must be a scheme, a host and perhaps a path")
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return base{}, fmt.Errorf("URL: scheme %q, not http, https, ws or wss", u.Scheme)
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/v1/ws")
	return base{url: *u}, nil
}

// rest is the URL of a call; path is escaped already.
func (b base) rest(path string) string { return b.url.String() + path }

func (b base) webSocket() string { return "ws" + strings.TrimPrefix(b.rest("/v1/ws"), "http") }

// alternate is a URL that the server named. One in clear is not followed from
// an encrypted one: the token goes there.
func (b base) alternate(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("alternate: %w", err)
	case u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss":
		return "", fmt.Errorf("alternate: %q is not a WebSocket's URL", text)
	case b.url.Scheme == "https" && u.Scheme != "wss":
		return "", fmt.Errorf("alternate: %q is not encrypted", text)
	}
	return text, nil
}
