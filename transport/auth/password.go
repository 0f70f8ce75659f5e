package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

// Params of argon2id. Verifying uses those that stand in the hash.
type Params struct {
	Memory  uint32 // KiB
	Time    uint32
	Threads uint8
	Salt    uint32 // bytes
	Hash    uint32 // bytes
}

// DefaultParams are OWASP's first recommendation for argon2id (Password
// Storage Cheat Sheet, 2025): 19 MiB, two passes, one lane.
var defaultParams = Params{Memory: 19 << 10, Time: 2, Threads: 1, Salt: 16, Hash: 32}

// The most that a stored hash may ask for, so that a damaged one cannot take
// the machine down.
const (
	maxMemory  = 1 << 20 // KiB
	maxTime    = 16
	maxThreads = 16
	maxBytes   = 128 // of salt and of hash
)

// ErrHash says that a stored hash is not one.
var ErrHash = errors.New("stored password hash is damaged")

// PasswordWorkers is how many passwords are hashed at once by default: each
// takes a processor, and a small machine has to leave one to everybody else.
const PasswordWorkers = 1

// PasswordsConfig configures Passwords.
type PasswordsConfig struct {
	Params Params // DefaultParams() where zero
	// Workers is how many are hashed at once; PasswordWorkers where zero. Each takes
	// Params.Memory.
	Workers int
	// Queue is how many may wait, all clients together; 256 where zero. More
	// would not be served within limits.AnswerTimeout.
	Queue int
	// QueuePerClient is how many of one client (see Client) may wait; 16 where zero.
	QueuePerClient int
	// Clock measures how long a hash takes; time.Now where nil.
	Clock   func() time.Time
	Metrics *Metrics
}

// wrongRest is how long a place rests after a wrong password, as a multiple of
// what finding that out took: whoever guesses, from however many addresses,
// gets a quarter of the processors that hash, and the rest is left to those
// who send messages. The answer does not wait for it.
const wrongRest = 3

// DefaultParams are the parameters that new hashes are made with.
func DefaultParams() Params { return defaultParams }

func (c *PasswordsConfig) fill() {
	if c.Params == (Params{}) {
		c.Params = defaultParams
	}
	if c.Workers == 0 {
		c.Workers = PasswordWorkers
	}
	if c.Queue == 0 {
		c.Queue = 256
	}
	if c.QueuePerClient == 0 {
		c.QueuePerClient = 16
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
}

// Validate reports every fault of the configuration.
func (c PasswordsConfig) Validate() error {
	var faults []error
	if err := c.Params.check(); err != nil {
		faults = append(faults, fmt.Errorf("auth: Params: %w", err))
	}
	if c.Workers < 1 {
		faults = append(faults, fmt.Errorf("auth: Workers %d is below one", c.Workers))
	}
	if c.Queue < 0 || c.QueuePerClient < 0 {
		faults = append(faults, fmt.Errorf("auth: Queue %d or QueuePerClient %d is negative", c.Queue, c.QueuePerClient))
	}
	return errors.Join(faults...)
}

func (p Params) check() error {
	switch {
	case p.Time < 1 || p.Time > maxTime:
		return fmt.Errorf("time %d is not in 1 to %d", p.Time, maxTime)
	case p.Threads < 1 || p.Threads > maxThreads:
		return fmt.Errorf("threads %d is not in 1 to %d", p.Threads, maxThreads)
	case p.Memory < 8*uint32(p.Threads) || p.Memory > maxMemory: // RFC 9106, section 3.1
		return fmt.Errorf("memory %d KiB is not in 8 times the threads to %d", p.Memory, maxMemory)
	case p.Salt < 8 || p.Salt > maxBytes || p.Hash < 16 || p.Hash > maxBytes:
		return fmt.Errorf("salt of %d or hash of %d bytes", p.Salt, p.Hash)
	}
	return nil
}

// Passwords hashes and verifies passwords, a bounded number at once.
type Passwords struct {
	// immutable
	params  Params
	dummy   string // the hash of nobody's password
	clock   func() time.Time
	metrics *Metrics

	places *places
}

// NewPasswords makes a Passwords.
func NewPasswords(cfg PasswordsConfig) (*Passwords, error) {
	cfg.fill()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Passwords{
		params:  cfg.Params,
		clock:   cfg.Clock,
		metrics: cfg.Metrics,
		places:  newPlaces(cfg.Workers, cfg.Queue, cfg.QueuePerClient, cfg.Metrics),
	}
	p.dummy = phc(cfg.Params, random(cfg.Params.Salt), random(cfg.Params.Hash))
	return p, nil
}

// Hash makes the PHC string of a password. The error is ErrClientBusy,
// ErrBusy or the context's.
func (p *Passwords) Hash(ctx context.Context, from netip.Addr, password string) (string, error) {
	if err := p.places.take(ctx, Client(from)); err != nil {
		return "", err
	}
	defer p.places.give()
	salt := random(p.params.Salt)
	hash, _ := p.derive(password, salt, p.params)
	return phc(p.params, salt, hash), nil
}

// Verify reports whether the password is the one that hash was made of. An
// empty hash, for a user who does not exist or has no password, takes as long
// as any other and is never right. The error is ErrClientBusy, ErrBusy,
// ErrHash or the context's.
func (p *Passwords) Verify(ctx context.Context, from netip.Addr, hash, password string) (bool, error) {
	exists := hash != ""
	if !exists {
		hash = p.dummy
	}
	params, salt, want, err := parsePHC(hash)
	if err != nil {
		return false, err
	}
	if err := p.places.take(ctx, Client(from)); err != nil {
		return false, err
	}
	got, took := p.derive(password, salt, params)
	right := subtle.ConstantTimeCompare(got, want) == 1 && exists
	if right {
		p.places.give()
	} else {
		time.AfterFunc(wrongRest*took, p.places.give)
	}
	return right, nil
}

func (p *Passwords) derive(password string, salt []byte, params Params) (hash []byte, took time.Duration) {
	begin := p.clock()
	hash = argon2.IDKey([]byte(password), salt, params.Time, params.Memory, params.Threads, params.Hash)
	took = p.clock().Sub(begin)
	p.metrics.seconds.Observe(took.Seconds())
	return hash, took
}

func random(n uint32) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}

// phc writes a hash in the PHC string format.
func phc(p Params, salt, hash []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Time, p.Threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(hash))
}

func parsePHC(s string) (p Params, salt, hash []byte, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return p, nil, nil, fmt.Errorf("%w: not an argon2id PHC string", ErrHash)
	}
	numbers := strings.Split(parts[3], ",")
	if len(numbers) != 3 {
		return p, nil, nil, fmt.Errorf("%w: parameters", ErrHash)
	}
	var values [3]uint32
	for i, name := range [3]string{"m=", "t=", "p="} {
		text, ok := strings.CutPrefix(numbers[i], name)
		n, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil || name == "p=" && n > maxThreads {
			return p, nil, nil, fmt.Errorf("%w: parameter %s", ErrHash, name)
		}
		values[i] = uint32(n)
	}
	salt, saltErr := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	hash, hashErr := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if saltErr != nil || hashErr != nil {
		return p, nil, nil, fmt.Errorf("%w: base64", ErrHash)
	}
	p = Params{Memory: values[0], Time: values[1], Threads: uint8(values[2]), Salt: uint32(len(salt)), Hash: uint32(len(hash))}
	if err := p.check(); err != nil {
		return p, nil, nil, fmt.Errorf("%w: %w", ErrHash, err)
	}
	return p, salt, hash, nil
}
