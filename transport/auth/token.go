package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
)

// Key signs tokens. Private is never logged or shown.
type Key struct {
	ID        string
	Private   ed25519.PrivateKey
	Public    ed25519.PublicKey
	CreatedAt time.Time
}

// Keys is the set of signing keys. Both methods are called from any goroutine
// and must not block: Verify runs where connections are served.
type Keys interface {
	// Signing is the key that new tokens are signed with; false before there is one.
	Signing() (Key, bool)
	// Lookup finds a key by id; one that is not found is not trusted any more.
	Lookup(id string) (Key, bool)
}

// Why a token is not accepted, or none can be issued.
var (
	ErrTokenExpired = errors.New("the token has expired")
	ErrTokenInvalid = errors.New("the token is not valid")
	ErrNoKey        = errors.New("no signing key yet")
	// ErrUndecided: the token's key is not known, but this node does not know
	// all keys yet, as after a restart.
	ErrUndecided = errors.New("it is not known yet whether the token is valid")
)

// tokenMax bounds what is read as a token; those issued here have some 300 bytes.
const tokenMax = 2048

// Claims are what a token says.
type Claims struct {
	User    string
	Device  uint32
	Expires time.Time
}

// TokensConfig configures Tokens.
type TokensConfig struct {
	// Cluster is the id of the cluster: the issuer of its tokens.
	Cluster string
	Keys    Keys
	// Complete says whether Keys has every key; always where nil.
	Complete func() bool
	// Life of a token; limits.TokenLife where zero.
	Life time.Duration
	// Cache is how many verified tokens are remembered; 65,536 where zero.
	Cache int
	// Now is the clock; time.Now where nil.
	Now     func() time.Time
	Metrics *Metrics
}

func (c *TokensConfig) fill() {
	if c.Life == 0 {
		c.Life = limits.TokenLife
	}
	if c.Cache == 0 {
		c.Cache = 1 << 16
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.Complete == nil {
		c.Complete = func() bool { return true }
	}
}

// Validate reports every fault of the configuration.
func (c TokensConfig) Validate() error {
	var faults []error
	if c.Cluster == "" {
		faults = append(faults, errors.New("auth: Cluster is empty"))
	}
	if c.Keys == nil {
		faults = append(faults, errors.New("auth: Keys is nil"))
	}
	if c.Life < 0 || c.Life%time.Second != 0 {
		faults = append(faults, fmt.Errorf("auth: Life %v is not a positive number of seconds", c.Life))
	}
	if c.Cache < 0 {
		faults = append(faults, fmt.Errorf("auth: Cache %d is negative", c.Cache))
	}
	return errors.Join(faults...)
}

// Tokens issues and verifies tokens.
type Tokens struct {
	// immutable
	cfg    TokensConfig
	parser *jwt.Parser

	cache *cache
}

// NewTokens makes a Tokens.
func NewTokens(cfg TokensConfig) (*Tokens, error) {
	cfg.fill()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Tokens{
		cfg: cfg,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
			jwt.WithIssuer(cfg.Cluster),
			jwt.WithExpirationRequired(),
			jwt.WithTimeFunc(cfg.Now),
			jwt.WithStrictDecoding(),
		),
		cache: newCache(cfg.Cache),
	}, nil
}

// wireClaims are the claims as they are written.
type wireClaims struct {
	jwt.RegisteredClaims
	Device uint32 `json:"dev"`
}

// Ready is ErrNoKey before there is a key to sign with.
func (t *Tokens) Ready() error {
	if _, ok := t.cfg.Keys.Signing(); !ok {
		return ErrNoKey
	}
	return nil
}

// Issue makes a token for a device, and says when it expires. The error is
// ErrNoKey, or a failure to sign.
func (t *Tokens) Issue(user string, device uint32) (string, time.Time, error) {
	key, ok := t.cfg.Keys.Signing()
	if !ok {
		return "", time.Time{}, ErrNoKey
	}
	now := t.cfg.Now().Truncate(time.Second)
	expires := now.Add(t.cfg.Life)
	jti, err := uuid.NewRandom()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("issue token: %w", err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, wireClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    t.cfg.Cluster,
			Subject:   user,
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(expires),
			ID:        jti.String(),
		},
		Device: device,
	})
	token.Header["kid"] = key.ID
	signed, err := token.SignedString(key.Private)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("issue token: %w", err)
	}
	t.cfg.Metrics.issued.Inc()
	return signed, expires.UTC(), nil
}

// Verify says who a token was issued to. The error is ErrTokenExpired or
// ErrUndecided, or wraps ErrTokenInvalid; its text is fit for the client and repeats nothing of the
// token.
func (t *Tokens) Verify(token string) (Claims, error) {
	if len(token) > tokenMax {
		t.cfg.Metrics.invalid.Inc()
		return Claims{}, fmt.Errorf("%w: it is too long", ErrTokenInvalid)
	}
	sum := sha256.Sum256([]byte(token))
	if hit, ok := t.cache.get(sum); ok {
		// Not even a remembered token outlives its key or its time.
		if _, trusted := t.cfg.Keys.Lookup(hit.key); trusted && t.cfg.Now().Before(hit.claims.Expires) {
			t.cfg.Metrics.cached.Inc()
			return hit.claims, nil
		}
		t.cache.drop(sum)
	}
	claims, key, err := t.parse(token)
	switch {
	case errors.Is(err, ErrTokenExpired):
		t.cfg.Metrics.expired.Inc()
	case errors.Is(err, ErrUndecided):
	case err != nil:
		t.cfg.Metrics.invalid.Inc()
	default:
		t.cfg.Metrics.verified.Inc()
		t.cache.put(sum, verified{claims: claims, key: key})
	}
	return claims, err
}

func (t *Tokens) parse(token string) (Claims, string, error) {
	var wire wireClaims
	var kid string
	_, err := t.parser.ParseWithClaims(token, &wire, func(parsed *jwt.Token) (any, error) {
		id, ok := parsed.Header["kid"].(string)
		if !ok || id == "" {
			return nil, errNoKeyID
		}
		complete := t.cfg.Complete() // before the look, or a key could come in between
		key, ok := t.cfg.Keys.Lookup(id)
		switch {
		case !ok && !complete:
			return nil, ErrUndecided
		case !ok:
			return nil, errUnknownKey
		}
		kid = key.ID
		return key.Public, nil
	})
	if err != nil {
		return Claims{}, "", tokenError(err)
	}
	if ident.CheckUser(wire.Subject) != nil || wire.Device == 0 {
		return Claims{}, "", fmt.Errorf("%w: it names no user and device", ErrTokenInvalid)
	}
	return Claims{User: wire.Subject, Device: wire.Device, Expires: wire.ExpiresAt.Time}, kid, nil
}

var (
	errNoKeyID    = errors.New("no key id")
	errUnknownKey = errors.New("unknown key")
)

// tokenError words the library's error anew: its own may hold parts of what
// it read. Expired is said only of a token whose signature is right.
func tokenError(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return fmt.Errorf("%w: its signature or algorithm is wrong", ErrTokenInvalid)
	case errors.Is(err, errNoKeyID):
		return fmt.Errorf("%w: it names no key", ErrTokenInvalid)
	case errors.Is(err, ErrUndecided):
		return ErrUndecided
	case errors.Is(err, errUnknownKey):
		return fmt.Errorf("%w: its key is not known", ErrTokenInvalid)
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return fmt.Errorf("%w: another cluster issued it", ErrTokenInvalid)
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrTokenExpired
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return fmt.Errorf("%w: a claim is missing", ErrTokenInvalid)
	default:
		return fmt.Errorf("%w: it is malformed", ErrTokenInvalid)
	}
}
