package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
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
	// ErrNoDevice: the token is an outside issuer's and good, but proves a user alone.
	ErrNoDevice = errors.New("the token names no device: link one by POST /v1/devices")
	// ErrNoProof: the token is good, but proves no user to link a device for.
	ErrNoProof = errors.New("a token of the issuer, for a user and no device, is needed")
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
	// Issuer is an outside issuer whose tokens are accepted too; none where nil.
	Issuer *Issuer
	// Life of a token; limits.TokenLife where zero.
	Life time.Duration
	// Cache is how many verified tokens are remembered; 65,536 where zero.
	Cache int
	// Now is the clock that tokens expire by, Stamp the one that they are made
	// by and may not be used before; time.Now where nil. They differ where the
	// clock was set, and nobody knows which time is right.
	Now, Stamp func() time.Time
	Metrics    *Metrics
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
	if c.Stamp == nil {
		c.Stamp = c.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.Complete == nil {
		c.Complete = func() bool { return true }
	}
	if c.Issuer != nil {
		filled := *c.Issuer
		filled.fill()
		c.Issuer = &filled
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
	if c.Issuer != nil {
		faults = append(faults, c.Issuer.validate(c.Cluster))
	}
	return errors.Join(faults...)
}

// Tokens issues and verifies tokens.
type Tokens struct {
	// immutable
	cfg     TokensConfig
	parser  *jwt.Parser
	outside *outside // nil without an outside issuer

	cache *cache
}

// NewTokens makes a Tokens.
func NewTokens(cfg TokensConfig) (*Tokens, error) {
	cfg.fill()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t := &Tokens{
		cfg: cfg,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
			jwt.WithIssuer(cfg.Cluster),
			jwt.WithExpirationRequired(),
			jwt.WithTimeFunc(cfg.Now),
			jwt.WithStrictDecoding(),
		),
		cache: newCache(cfg.Cache),
	}
	if cfg.Issuer != nil {
		t.outside = newOutside(*cfg.Issuer, cfg.Now, cfg.Stamp)
	}
	return t, nil
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
	now := t.cfg.Stamp().Truncate(time.Second)
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

// Outside says whether there is an outside issuer: accounts and passwords are
// its affair then.
func (t *Tokens) Outside() bool { return t.outside != nil }

// Verify says which device a token stands for. The error is ErrTokenExpired,
// ErrUndecided or ErrNoDevice, or wraps ErrTokenInvalid; its text is fit for
// the client and repeats nothing of the token.
func (t *Tokens) Verify(token string) (Claims, error) {
	claims, _, err := t.verify(token)
	if err == nil && claims.Device == 0 {
		return Claims{}, ErrNoDevice
	}
	return claims, err
}

// Prove says whom a token of the outside issuer proves, where it proves a user
// and no device: it stands in for a password. The error is as of Verify, but
// ErrNoProof instead of ErrNoDevice.
func (t *Tokens) Prove(token string) (user string, err error) {
	claims, outside, err := t.verify(token)
	switch {
	case err != nil:
		return "", err
	case !outside || claims.Device != 0:
		return "", ErrNoProof
	}
	return claims.User, nil
}

// verify judges a token, and says whether it is the outside issuer's. Such a
// token may name no device.
func (t *Tokens) verify(token string) (Claims, bool, error) {
	if len(token) > max(tokenMax, outsideMax) {
		t.cfg.Metrics.invalid.Inc()
		return Claims{}, false, fmt.Errorf("%w: it is too long", ErrTokenInvalid)
	}
	if strings.ContainsAny(token, "\r\n") { // which base64 decoders pass over: one token would have many texts
		t.cfg.Metrics.invalid.Inc()
		return Claims{}, false, fmt.Errorf("%w: it is malformed", ErrTokenInvalid)
	}
	sum := sha256.Sum256([]byte(token))
	if hit, ok := t.cache.get(sum); ok {
		if t.holds(hit) {
			t.cfg.Metrics.cached.Inc()
			return hit.claims, hit.outside != nil, nil
		}
		t.cache.drop(sum)
	}
	v, err := t.judge(token)
	switch {
	case errors.Is(err, ErrTokenExpired):
		t.cfg.Metrics.expired.Inc()
	case errors.Is(err, ErrUndecided):
		t.cfg.Metrics.undecided.Inc()
	case err != nil:
		t.cfg.Metrics.invalid.Inc()
	default:
		t.cfg.Metrics.verified.Inc()
		t.cache.put(sum, v)
	}
	return v.claims, v.outside != nil, err
}

// holds says whether a remembered token is still good: not even one of those
// outlives its key or its time.
func (t *Tokens) holds(v verified) bool {
	if v.outside != nil {
		return t.outside.holds(v)
	}
	_, trusted := t.cfg.Keys.Lookup(v.key)
	return trusted && t.cfg.Now().Before(v.claims.Expires)
}

func (t *Tokens) judge(token string) (verified, error) {
	if t.outside != nil && t.outside.issued(token) {
		return t.outside.verify(token)
	}
	if len(token) > tokenMax {
		return verified{}, fmt.Errorf("%w: it is too long", ErrTokenInvalid)
	}
	claims, key, err := t.parse(token)
	return verified{claims: claims, key: key}, err
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
