// Package webhook asks a service of the operator's who may register. The
// question is one POST of JSON, signed as the Standard Webhooks specification
// has it (webhook-id, webhook-timestamp, webhook-signature: v1, HMAC-SHA256),
// so that the service can tell it from anybody else's by a library of its own.
//
// The answer decides: {"allow":true}, or {"allow":false,"message":"..."}.
// Everything else, no answer in time included, is ErrUnavailable: nobody is
// registered, and nobody is refused for good.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rookery-im/rookery/internal/strictjson"
	"github.com/rookery-im/rookery/transport/auth/callout"
)

// Bounds of a call and of its answer.
const (
	DefaultTimeout = 3 * time.Second
	defaultAtOnce  = 32
	answerMax      = 4 << 10
	messageMax     = 256 // bytes, of what the client is shown
	secretsMax     = 4
	secretFileMax  = 4 << 10
)

// Secrets as the specification has them.
const (
	secretPrefix = "whsec_"
	secretMin    = 24 // bytes
	secretMax    = 64
)

// ErrUnavailable: the service gave no answer that decides.
var ErrUnavailable = errors.New("the registration service gave no usable answer")

// ErrBusy: too many are being asked about; this one was not. It is an ErrUnavailable.
var ErrBusy = fmt.Errorf("%w: too many registrations at once", ErrUnavailable)

// ErrSecret says that a secret file does not hold secrets.
var ErrSecret = errors.New("not a file of webhook secrets")

// Config of a Webhook.
type Config struct {
	// URL that is asked: https, or http to a loopback address.
	URL string
	// SecretFile holds the secret that questions are signed with, whsec_ and
	// base64 of 24 to 64 bytes; or several, one a line, of which any may be the
	// service's. It is read for each question, so that it can be replaced.
	SecretFile string
	// Timeout of a question; DefaultTimeout where zero.
	Timeout time.Duration
	// AtOnce is how many questions may be open; 32 where zero.
	AtOnce  int
	Now     func() time.Time // time.Now where nil
	Metrics *Metrics
}

func (c *Config) fill() {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.AtOnce == 0 {
		c.AtOnce = defaultAtOnce
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	if _, err := callout.Parse(c.URL); err != nil {
		faults = append(faults, fmt.Errorf("webhook: URL: %w", err))
	}
	if _, err := secrets(c.SecretFile); err != nil {
		faults = append(faults, fmt.Errorf("webhook: SecretFile: %w", err))
	}
	if c.Timeout < 0 || c.AtOnce < 0 {
		faults = append(faults, fmt.Errorf("webhook: Timeout %v or AtOnce %d is negative", c.Timeout, c.AtOnce))
	}
	return errors.Join(faults...)
}

// Registration is what the service is asked about. It holds no password.
type Registration struct {
	User string `json:"user"`
	Name string `json:"name,omitempty"`
	// Proof is whatever the client gave for the service to judge.
	Proof string `json:"proof,omitempty"`
	// Address the client comes from, as far as it is known.
	Address string `json:"address,omitempty"`
	// Taken: the user id is registered already, so nothing will be, whatever
	// the answer; it only decides what the client learns.
	Taken bool `json:"taken"`
}

// Verdict of the service.
type Verdict struct {
	Allow bool
	// Message to the client where it is refused: one line, bounded, printable.
	Message string
}

// Webhook asks. It is safe for concurrent use and starts no goroutine.
type Webhook struct {
	// immutable
	cfg    Config
	url    string
	client *http.Client
	places chan struct{}
}

// New makes a Webhook.
func New(cfg Config) (*Webhook, error) {
	cfg.fill()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	u, err := callout.Parse(cfg.URL)
	if err != nil {
		return nil, err
	}
	return &Webhook{
		cfg: cfg, url: u.String(), places: make(chan struct{}, cfg.AtOnce),
		client: callout.Client(u, cfg.Timeout, callout.RefuseRedirects),
	}, nil
}

// Ask puts the question. The error wraps ErrUnavailable; its text is for the
// log and holds nothing of the registration.
func (w *Webhook) Ask(ctx context.Context, r Registration) (Verdict, error) {
	select {
	case w.places <- struct{}{}:
		defer func() { <-w.places }()
	default:
		w.cfg.Metrics.asked.WithLabelValues("busy").Inc()
		return Verdict{}, ErrBusy
	}
	begin := time.Now()
	verdict, err := w.ask(ctx, r)
	w.cfg.Metrics.seconds.Observe(time.Since(begin).Seconds())
	switch {
	case err != nil:
		w.cfg.Metrics.asked.WithLabelValues("unavailable").Inc()
		return Verdict{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case verdict.Allow:
		w.cfg.Metrics.asked.WithLabelValues("allowed").Inc()
	default:
		w.cfg.Metrics.asked.WithLabelValues("refused").Inc()
	}
	return verdict, nil
}

func (w *Webhook) ask(ctx context.Context, r Registration) (Verdict, error) {
	request, err := w.request(ctx, r)
	if err != nil {
		return Verdict{}, err
	}
	response, body, err := callout.Do(w.client, request, answerMax)
	if err != nil {
		return Verdict{}, err
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return Verdict{}, fmt.Errorf("status %d", response.StatusCode)
	}
	return parse(body)
}

func (w *Webhook) request(ctx context.Context, r Registration) (*http.Request, error) {
	keys, err := secrets(w.cfg.SecretFile)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, errors.New("the question cannot be written")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the request cannot be made")
	}
	id := id(keys[0], r)
	at := strconv.FormatInt(w.cfg.Now().Unix(), 10)
	h := request.Header
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json")
	h.Set("User-Agent", "rookery")
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", at)
	h.Set("Webhook-Signature", signatures(keys, id, at, body))
	return request, nil
}

// id is the same for the same registration, so that the service can answer a
// repeat as it did the first time. Nothing can be learned from it.
func id(key []byte, r Registration) string {
	h := hmac.New(sha256.New, key)
	io.WriteString(h, "registration") //nolint:errcheck // a hash never fails
	for _, part := range []string{r.User, r.Name, r.Proof} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part)))) //nolint:gosec // a body is bounded
		h.Write([]byte(part))
	}
	return "msg_" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

func signatures(keys [][]byte, id, at string, body []byte) string {
	all := make([]string, len(keys))
	for i, key := range keys {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(id + "." + at + "."))
		h.Write(body)
		all[i] = "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	return strings.Join(all, " ")
}

// secrets reads the secret file. The error holds nothing of it.
func secrets(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, secretFileMax+1))
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	lines := strings.Fields(string(data))
	if len(data) > secretFileMax || len(lines) == 0 || len(lines) > secretsMax {
		return nil, fmt.Errorf("%w: it must hold 1 to %d lines", ErrSecret, secretsMax)
	}
	keys := make([][]byte, len(lines))
	for i, line := range lines {
		text, ok := strings.CutPrefix(line, secretPrefix)
		key, err := base64.StdEncoding.Strict().DecodeString(text)
		if !ok || err != nil || len(key) < secretMin || len(key) > secretMax {
			return nil, fmt.Errorf("%w: line %d must be %s and base64 of %d to %d bytes", ErrSecret, i+1, secretPrefix, secretMin, secretMax)
		}
		keys[i] = key
	}
	return keys, nil
}

// parse reads an answer. Members that are not known are let pass.
func parse(body []byte) (Verdict, error) {
	members, err := strictjson.Object(body)
	if err != nil {
		return Verdict{}, errors.New("the answer is not a JSON object")
	}
	var v Verdict
	decided := false
	for _, m := range members {
		switch m.Name {
		case "allow":
			if string(m.Value) != "true" && string(m.Value) != "false" {
				return Verdict{}, errors.New("the answer's allow is neither true nor false")
			}
			v.Allow, decided = string(m.Value) == "true", true
		case "message":
			if json.Unmarshal(m.Value, &v.Message) != nil {
				return Verdict{}, errors.New("the answer's message is not a string")
			}
			v.Message = shown(v.Message)
		}
	}
	if !decided {
		return Verdict{}, errors.New("the answer has no allow")
	}
	return v, nil
}

// shown makes a message fit to be shown by any client: one line of printable
// characters. What does not print (control characters, and those that turn the
// direction of text around) becomes a space.
func shown(message string) string {
	message = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, message)
	message = strings.Join(strings.Fields(message), " ")
	if len(message) <= messageMax {
		return message
	}
	const dots = "..."
	cut := messageMax - len(dots)
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut] + dots
}
