package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/rookery-im/rookery/transport/auth"
	"github.com/rookery-im/rookery/transport/auth/webhook"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// Backend puts a question to a user's actor, on whichever node it is. It sets
// ask.Request itself. An error, the context's included, means that the outcome
// is not known; what is definitely refused comes as an Answer with a fault.
type Backend interface {
	Ask(ctx context.Context, ask *nodepb.Ask) (*nodepb.Answer, error)
}

// Invites are what registration asks for in mode Invite.
type Invites interface {
	// Check says whether Redeem would do, and changes nothing.
	Check(ctx context.Context, code, user string) error
	// Redeem uses the code up for the user. It gives ErrInvite where the code
	// is unknown, spent or expired; redeeming again for the same user is not
	// an error, so that a registration can be repeated.
	Redeem(ctx context.Context, code, user string) error
}

// ErrInvite says that an invitation is not good.
var ErrInvite = errors.New("invitation is not valid")

// Registrar is asked who may register in mode Webhook. webhook.Webhook is one.
type Registrar interface {
	// Ask gives the verdict. The error wraps webhook.ErrUnavailable.
	Ask(ctx context.Context, r webhook.Registration) (webhook.Verdict, error)
}

// Readiness says whether the node serves, for GET /readyz; the error says why
// not and is shown.
type Readiness interface {
	Ready() error
}

// Mode says who may register.
type Mode string

// The modes of registration.
const (
	Open    Mode = "open"
	Invite  Mode = "invite"
	Closed  Mode = "closed"
	Webhook Mode = "webhook"
)

// The default rate of authenticated requests, per device, and how many are
// served at once.
const (
	RequestsPerSecond = 64
	RequestsBurst     = 512
	Concurrent        = 512
)

// Config configures an API.
type Config struct {
	Backend   Backend
	Tokens    *auth.Tokens
	Passwords *auth.Passwords
	Ready     Readiness

	// Mode of registration; Open where empty, and where the tokens are an
	// outside issuer's: nobody registers then, accounts are made by first use.
	Mode Mode
	// Invites is needed in mode Invite.
	Invites Invites
	// Registrar is needed in mode Webhook.
	Registrar Registrar

	// Node is this node's name, URL where clients reach its WebSocket; derived
	// from the request's Host where empty.
	Node string
	URL  string
	// Nodes are those that take clients, this one among them, the one that should be
	// tried first at the front; this one alone where nil. Any goroutine.
	Nodes func() []Place
	// Origins of web pages that may call the API from a browser, such as
	// https://chat.example.org; "*" is every page.
	Origins []string

	// Rate of logins, registrations and password checks, for each address and
	// for each user; zero values are auth's defaults.
	AccountsPerSecond float64
	AccountsBurst     int
	// Rate of authenticated requests, for each device; 64 and 512 where zero.
	RequestsPerSecond float64
	RequestsBurst     int
	// Concurrent requests served at once; 512 where zero. Past it they are
	// refused as unavailable.
	Concurrent int
	// Waiting is for requests that wait for what is to come.
	Waiting Waiting

	Now         func() time.Time // time.Now where nil
	Log         *slog.Logger     // discarded where nil
	Metrics     *Metrics
	AuthMetrics *auth.Metrics // of the rate limiters
}

func (c *Config) fill() {
	if c.Mode == "" {
		c.Mode = Open
	}
	if c.RequestsPerSecond == 0 {
		c.RequestsPerSecond = RequestsPerSecond
	}
	if c.RequestsBurst == 0 {
		c.RequestsBurst = RequestsBurst
	}
	if c.Concurrent == 0 {
		c.Concurrent = Concurrent
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.AuthMetrics == nil {
		c.AuthMetrics = auth.NewMetrics(nil)
	}
}

// CheckOrigin says what is wrong with one of Config.Origins.
func CheckOrigin(origin string) error {
	if u, err := url.Parse(origin); origin != "*" && (err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin) {
		return fmt.Errorf("%q is not an origin such as https://chat.example.org, or *", origin)
	}
	return nil
}

// Place is a node, and where clients reach its WebSocket.
type Place struct {
	Node string `json:"node"`
	URL  string `json:"url"` // empty for this node, which answers by Config.URL
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	missing := func(name string, is bool) {
		if is {
			faults = append(faults, fmt.Errorf("api: %s is missing", name))
		}
	}
	missing("Backend", c.Backend == nil)
	missing("Tokens", c.Tokens == nil)
	missing("Passwords", c.Passwords == nil)
	missing("Ready", c.Ready == nil)
	missing("Node", c.Node == "")
	switch c.Mode {
	case Open, Closed, "":
	case Invite:
		missing("Invites", c.Invites == nil)
	case Webhook:
		missing("Registrar", c.Registrar == nil)
	default:
		faults = append(faults, fmt.Errorf("api: Mode %q is none of open, invite, closed, webhook", c.Mode))
	}
	if c.Tokens != nil && c.Tokens.Outside() && c.Mode != Open {
		faults = append(faults, fmt.Errorf("api: Mode %q has no meaning where an outside issuer signs the tokens", c.Mode))
	}
	for _, origin := range c.Origins {
		if err := CheckOrigin(origin); err != nil {
			faults = append(faults, fmt.Errorf("api: %w", err))
		}
	}
	if c.Concurrent < 0 {
		faults = append(faults, fmt.Errorf("api: Concurrent %d is negative", c.Concurrent))
	}
	return errors.Join(faults...)
}
