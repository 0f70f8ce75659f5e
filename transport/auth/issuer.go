package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/internal/strictjson"
	"github.com/rookery-im/rookery/transport/auth/keyset"
)

// outsideMax bounds an outside token.
const outsideMax = limits.Token

// DefaultLeeway is how far an issuer's clock may be ahead.
const DefaultLeeway = 30 * time.Second

// The claims that name user and device unless configured.
const (
	DefaultUserClaim   = "sub"
	DefaultDeviceClaim = "device"
)

// IssuerKeys are the keys of an outside issuer. Both methods are called from
// any goroutine and must not block. keyset.Source is one.
type IssuerKeys interface {
	// Lookup finds a key by id. The error is keyset.ErrUnknown, or
	// keyset.ErrUndecided where it may yet become known.
	Lookup(id string) (*keyset.Key, error)
	// Trusts says whether a key that Lookup gave is still trusted.
	Trusts(key *keyset.Key) bool
}

// Issuer says whose tokens are accepted beside one's own.
type Issuer struct {
	// Name is what its tokens must say as iss.
	Name string
	// Audience is what they must hold in aud; not looked at where empty, and
	// then a token that the issuer made for another service opens this one too.
	Audience string
	// UserClaim and DeviceClaim name the claims that name user and device;
	// DefaultUserClaim and DefaultDeviceClaim where empty.
	UserClaim, DeviceClaim string
	// Leeway is how far the issuer's clock may be ahead of this one: how long
	// before nbf a token is good. It makes no token last longer. DefaultLeeway
	// where zero.
	Leeway time.Duration
	Keys   IssuerKeys
}

func (i *Issuer) fill() {
	if i.UserClaim == "" {
		i.UserClaim = DefaultUserClaim
	}
	if i.DeviceClaim == "" {
		i.DeviceClaim = DefaultDeviceClaim
	}
	if i.Leeway == 0 {
		i.Leeway = DefaultLeeway
	}
}

// CheckClaims says what keeps two claims from naming user and device.
func CheckClaims(user, device string) error {
	standing := []string{"iss", "aud", "exp", "nbf", "iat", "jti", "events"}
	switch {
	case user == device:
		return fmt.Errorf("the claim of the user and that of the device are both %q", user)
	case slices.Contains(standing, user):
		return fmt.Errorf("the claim %q has a meaning of its own", user)
	case slices.Contains(append(standing, "sub"), device):
		return fmt.Errorf("the claim %q has a meaning of its own", device)
	}
	return nil
}

// validate reports every fault.
func (i *Issuer) validate(cluster string) error {
	var faults []error
	if i.Name == "" {
		faults = append(faults, errors.New("auth: Issuer.Name is empty"))
	}
	if i.Name == cluster {
		faults = append(faults, fmt.Errorf("auth: Issuer.Name %q is that of this cluster's own tokens", i.Name))
	}
	if i.Keys == nil {
		faults = append(faults, errors.New("auth: Issuer.Keys is nil"))
	}
	if err := CheckClaims(i.UserClaim, i.DeviceClaim); err != nil {
		faults = append(faults, fmt.Errorf("auth: Issuer: %w", err))
	}
	if i.Leeway < 0 || i.Leeway > 5*time.Minute {
		faults = append(faults, fmt.Errorf("auth: Issuer.Leeway %v is not from 0 to 5 minutes", i.Leeway))
	}
	return errors.Join(faults...)
}

// outside verifies the tokens of an issuer.
type outside struct {
	// immutable
	Issuer
	now    func() time.Time // for what ends
	stamp  func() time.Time // for what begins
	parser *jwt.Parser
}

func newOutside(i Issuer, now, stamp func() time.Time) *outside {
	options := []jwt.ParserOption{
		jwt.WithValidMethods(keyset.Algorithms()),
		jwt.WithIssuer(i.Name),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(i.Leeway),
		jwt.WithTimeFunc(now),
		jwt.WithStrictDecoding(),
	}
	if i.Audience != "" {
		options = append(options, jwt.WithAudience(i.Audience))
	}
	return &outside{Issuer: i, now: now, stamp: stamp, parser: jwt.NewParser(options...)}
}

// issued says whether a token claims to be of the issuer. It proves nothing:
// it only says who has to judge it.
func (o *outside) issued(token string) bool {
	_, rest, _ := strings.Cut(token, ".")
	middle, _, _ := strings.Cut(rest, ".")
	data, err := base64.RawURLEncoding.DecodeString(middle)
	if err != nil {
		return false
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	return json.Unmarshal(data, &claims) == nil && claims.Issuer == o.Name
}

// verify judges a token.
func (o *outside) verify(token string) (verified, error) {
	if len(token) > outsideMax {
		return verified{}, fmt.Errorf("%w: it is too long", ErrTokenInvalid)
	}
	claims := outsideClaims{from: o.Issuer}
	var key *keyset.Key
	_, err := o.parser.ParseWithClaims(token, &claims, func(parsed *jwt.Token) (any, error) {
		kid, err := header(token)
		if err != nil {
			return nil, err
		}
		if key, err = o.Keys.Lookup(kid); err != nil {
			return nil, err
		}
		if !key.Fits(parsed.Method.Alg()) {
			return nil, errAlgorithm
		}
		return key.Public, nil
	})
	switch {
	case err != nil:
		return verified{}, outsideError(err)
	case claims.fault != nil:
		return verified{}, fmt.Errorf("%w: %w", ErrTokenInvalid, claims.fault)
	case !o.now().Before(claims.expires.Time): // the leeway is not for this
		return verified{}, ErrTokenExpired
	}
	v := verified{claims: Claims{User: claims.user, Device: claims.device, Expires: claims.expires.Time}, outside: key}
	if claims.begins != nil {
		v.begins = claims.begins.Add(-o.Leeway)
	}
	if o.stamp().Before(v.begins) {
		return verified{}, errEarly
	}
	return v, nil
}

// holds says whether what was verified once still is.
func (o *outside) holds(v verified) bool {
	return o.Keys.Trusts(v.outside) && o.now().Before(v.claims.Expires) && !o.stamp().Before(v.begins)
}

var (
	errHeader    = errors.New("its header is not one of a token for this server")
	errAlgorithm = errors.New("its algorithm is not its key's")
	errEarly     = fmt.Errorf("%w: it is not valid yet", ErrTokenInvalid)
)

// header reads the header once more, and strictly, for the id of the key. Keys
// and addresses of keys that a token brings along are never looked at.
func header(token string) (kid string, err error) {
	first, _, _ := strings.Cut(token, ".")
	data, err := base64.RawURLEncoding.Strict().DecodeString(first)
	if err != nil {
		return "", errHeader
	}
	members, err := strictjson.Object(data)
	if err != nil {
		return "", errHeader
	}
	for _, m := range members {
		switch m.Name {
		case "kid":
			if json.Unmarshal(m.Value, &kid) != nil {
				return "", errNoKeyID
			}
		case "typ":
			// What the issuer signs for other ends, such as logout tokens, is no login.
			var typ string
			if json.Unmarshal(m.Value, &typ) != nil {
				return "", errHeader
			}
			typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
			if typ != "jwt" && typ != "at+jwt" {
				return "", errHeader
			}
		case "crit", "b64", "enc", "zip": // extensions that must be understood, and are not
			return "", errHeader
		}
	}
	if kid == "" {
		return "", errNoKeyID
	}
	return kid, nil
}

// outsideClaims are the claims of an outside token, read strictly. They
// implement jwt.Claims. What is wrong with them is kept in fault, to be said
// of a token whose signature is right.
type outsideClaims struct {
	from Issuer

	issuer   string
	audience jwt.ClaimStrings
	expires  *jwt.NumericDate
	begins   *jwt.NumericDate
	user     string
	device   uint32
	fault    error
}

func (c *outsideClaims) GetExpirationTime() (*jwt.NumericDate, error) { return c.expires, nil }
func (c *outsideClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *outsideClaims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil } // verify's affair: another clock
func (c *outsideClaims) GetIssuer() (string, error)                   { return c.issuer, nil }
func (c *outsideClaims) GetSubject() (string, error)                  { return "", nil }
func (c *outsideClaims) GetAudience() (jwt.ClaimStrings, error)       { return c.audience, nil }

var (
	errClaims = errors.New("its claims are malformed, or one is given twice")
	errUser   = errors.New("it names no user")
	errDevice = errors.New("its device is not a positive whole number")
	errEvent  = errors.New("it tells of an event and is no login")
)

// UnmarshalJSON implements json.Unmarshaler.
func (c *outsideClaims) UnmarshalJSON(data []byte) error {
	if strictjson.Depth(data) > limits.JSONDepth {
		return errClaims
	}
	members, err := strictjson.Object(data)
	if err != nil {
		return errClaims
	}
	named := false
	for _, m := range members {
		if err := c.read(m); err != nil {
			return err
		}
		switch m.Name {
		case c.from.UserClaim:
			named = json.Unmarshal(m.Value, &c.user) == nil && ident.CheckUser(c.user) == nil
		case c.from.DeviceClaim:
			// null is no number either: what proves more must not come by accident.
			n, err := strconv.ParseUint(string(m.Value), 10, 32)
			if err != nil || n == 0 {
				c.fault = errDevice
			}
			c.device = uint32(n) //nolint:gosec // 32 bits
		case "events": // RFC 8417, section 2.2: only what tells of events has it
			c.fault = errEvent
		}
	}
	if !named {
		c.fault = errUser
	}
	return nil
}

// read takes one of the claims that every token may have.
func (c *outsideClaims) read(m strictjson.Member) error {
	switch m.Name {
	case "iss":
		if json.Unmarshal(m.Value, &c.issuer) != nil {
			return errClaims
		}
	case "aud":
		if json.Unmarshal(m.Value, &c.audience) != nil {
			return errClaims
		}
	case "exp", "nbf":
		at, err := date(m.Value)
		if err != nil {
			return err
		}
		if m.Name == "exp" {
			c.expires = at
		} else {
			c.begins = at
		}
	}
	return nil
}

// date reads seconds since 1970, up to the year 9999; a fraction is cut off
// from exp and from nbf alike.
func date(value json.RawMessage) (*jwt.NumericDate, error) {
	const last = 253402300799
	seconds, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > last {
		return nil, errClaims
	}
	return jwt.NewNumericDate(time.Unix(int64(seconds), 0)), nil
}

// outsideError words the library's error anew, as tokenError does.
func outsideError(err error) error {
	switch {
	case errors.Is(err, keyset.ErrUndecided):
		return ErrUndecided
	case errors.Is(err, keyset.ErrUnknown):
		return fmt.Errorf("%w: its key is not known", ErrTokenInvalid)
	case errors.Is(err, errNoKeyID):
		return fmt.Errorf("%w: it names no key", ErrTokenInvalid)
	case errors.Is(err, errHeader):
		return fmt.Errorf("%w: %w", ErrTokenInvalid, errHeader)
	case errors.Is(err, errAlgorithm), errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return fmt.Errorf("%w: its signature or algorithm is wrong", ErrTokenInvalid)
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrTokenExpired
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return fmt.Errorf("%w: another issuer signed it", ErrTokenInvalid)
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return fmt.Errorf("%w: it is for another audience", ErrTokenInvalid)
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return fmt.Errorf("%w: a claim is missing", ErrTokenInvalid)
	default:
		return fmt.Errorf("%w: it is malformed", ErrTokenInvalid)
	}
}
