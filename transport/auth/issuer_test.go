package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/transport/auth/keyset"
)

const issuerName = "https://issuer.example/realms/r"

// outsider is an issuer for tests: its private keys by id, and its set as it
// would be read. A key that is asked for and missing gives unknown.
type outsider struct {
	private map[string]any
	keys    keyset.Keys
	unknown error
}

func (o *outsider) Lookup(id string) (*keyset.Key, error) {
	if key := o.keys[id]; key != nil {
		return key, nil
	}
	return nil, o.unknown
}
func (o *outsider) Trusts(key *keyset.Key) bool { return o.keys[key.ID] == key }

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwk writes a public key by hand.
func jwk(t testing.TB, kid string, public any, rest string) string {
	t.Helper()
	switch public := public.(type) {
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q%s}`, kid, b64(public), rest)
	case *rsa.PublicKey:
		return fmt.Sprintf(`{"kty":"RSA","kid":%q,"n":%q,"e":%q%s}`, kid, b64(public.N.Bytes()), b64(big.NewInt(int64(public.E)).Bytes()), rest)
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		return fmt.Sprintf(`{"kty":"EC","crv":%q,"kid":%q,"x":%q,"y":%q%s}`, public.Curve.Params().Name, kid, b64(point[1:1+half]), b64(point[1+half:]), rest)
	}
	t.Fatalf("a %T", public)
	return ""
}

func keysOf(t testing.TB, jwks ...string) keyset.Keys {
	t.Helper()
	keys, passed, err := keyset.Parse([]byte(`{"keys":[` + strings.Join(jwks, ",") + `]}`))
	if err != nil || len(passed) > 0 {
		t.Fatal(err, passed)
	}
	return keys
}

func newOutsider(t testing.TB) *outsider {
	t.Helper()
	must := func(key any, err error) any {
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	_, ed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	private := map[string]any{
		"ed": ed, "rsa": must(rsa.GenerateKey(rand.Reader, 2048)), "p256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"p384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), "p521": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
	}
	var jwks []string
	for kid, key := range private {
		jwks = append(jwks, jwk(t, kid, key.(crypto.Signer).Public(), ""))
	}
	private["ps"] = private["rsa"]
	jwks = append(jwks, jwk(t, "ps", &private["rsa"].(*rsa.PrivateKey).PublicKey, `,"alg":"PS256"`))
	return &outsider{private: private, keys: keysOf(t, jwks...), unknown: keyset.ErrUnknown}
}

// mint signs a token; header and claims of value nil are left out.
func mint(t testing.TB, method jwt.SigningMethod, key any, header, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	for name, value := range header {
		if token.Header[name] = value; value == nil {
			delete(token.Header, name)
		}
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// raw signs header and claims as they are written, with an Ed25519 key.
func raw(key ed25519.PrivateKey, header, claims string) string {
	text := b64([]byte(header)) + "." + b64([]byte(claims))
	return text + "." + b64(ed25519.Sign(key, []byte(text)))
}

// outsideTokens are Tokens with an issuer, and claims that are good.
func outsideTokens(t testing.TB, change func(*Issuer)) (*Tokens, *outsider, *clock, func(...any) map[string]any) {
	t.Helper()
	o := newOutsider(t)
	issuer := &Issuer{Name: issuerName, Audience: "rookery", Keys: o}
	if change != nil {
		change(issuer)
	}
	c := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	tokens, err := NewTokens(TokensConfig{
		Cluster: "c1", Keys: &keyring{signing: "k1", keys: map[string]Key{"k1": key(t, "k1")}}, Now: c.Now, Issuer: issuer,
	})
	if err != nil {
		t.Fatal(err)
	}
	claims := func(change ...any) map[string]any {
		m := map[string]any{"iss": issuerName, "aud": "rookery", "sub": "alice", "device": 3, "exp": c.now.Add(time.Hour).Unix()}
		for i := 0; i < len(change); i += 2 {
			if m[change[i].(string)] = change[i+1]; change[i+1] == nil {
				delete(m, change[i].(string))
			}
		}
		return m
	}
	return tokens, o, c, claims
}

func TestOutsideTokens(t *testing.T) {
	tokens, o, c, claims := outsideTokens(t, nil)
	for kid, methods := range map[string][]jwt.SigningMethod{
		"ed": {jwt.SigningMethodEdDSA}, "p256": {jwt.SigningMethodES256}, "p384": {jwt.SigningMethodES384}, "p521": {jwt.SigningMethodES512},
		"rsa": {jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512, jwt.SigningMethodPS256, jwt.SigningMethodPS384, jwt.SigningMethodPS512},
		"ps":  {jwt.SigningMethodPS256},
	} {
		for _, method := range methods {
			token := mint(t, method, o.private[kid], map[string]any{"kid": kid}, claims())
			for range 2 { // the second is remembered
				got, err := tokens.Verify(token)
				if err != nil || got.User != "alice" || got.Device != 3 || !got.Expires.Equal(c.now.Add(time.Hour)) {
					t.Errorf("%s by %s: %+v, %v", method.Alg(), kid, got, err)
				}
			}
			if _, err := tokens.Prove(token); err != ErrNoProof {
				t.Errorf("%s: a device's token proves a user: %v", kid, err)
			}
			proof := mint(t, method, o.private[kid], map[string]any{"kid": kid}, claims("device", nil))
			for range 2 {
				if user, err := tokens.Prove(proof); err != nil || user != "alice" {
					t.Errorf("%s by %s, no device: %q, %v", method.Alg(), kid, user, err)
				}
				if _, err := tokens.Verify(proof); err != ErrNoDevice {
					t.Errorf("%s by %s, no device, as a device: %v", method.Alg(), kid, err)
				}
			}
		}
	}
	own, _, err := tokens.Issue("bob", 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tokens.Verify(own); err != nil || got.User != "bob" {
		t.Errorf("one's own: %+v, %v", got, err)
	}
	if _, err := tokens.Prove(own); err != ErrNoProof {
		t.Errorf("one's own as a proof: %v", err)
	}
}

func TestForgedOutsideTokens(t *testing.T) {
	tokens, o, c, claims := outsideTokens(t, nil)
	ed := o.private["ed"].(ed25519.PrivateKey)
	public := &o.private["rsa"].(*rsa.PrivateKey).PublicKey
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	header := func(change ...any) map[string]any {
		m := map[string]any{"kid": "ed"}
		for i := 0; i < len(change); i += 2 {
			m[change[i].(string)] = change[i+1]
		}
		return m
	}
	edToken := func(h, m map[string]any) string { return mint(t, jwt.SigningMethodEdDSA, ed, h, m) }
	good, goodClaims := `{"alg":"EdDSA","kid":"ed"}`, func(rest string) string {
		return fmt.Sprintf(`{"iss":%q,"aud":"rookery","sub":"alice","device":3,"exp":%d%s}`, issuerName, c.now.Add(time.Hour).Unix(), rest)
	}
	parts := strings.Split(edToken(header(), claims()), ".")
	other, err := json.Marshal(claims("sub", "bob"))
	if err != nil {
		t.Fatal(err)
	}
	pemText := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	invalid := map[string]string{
		"no algorithm":                      mint(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, header(), claims()),
		"no algorithm, in capitals":         raw(ed, `{"alg":"NONE","kid":"ed"}`, goodClaims("")),
		"algorithm missing":                 raw(ed, `{"kid":"ed"}`, goodClaims("")),
		"algorithm a number":                raw(ed, `{"alg":1,"kid":"ed"}`, goodClaims("")),
		"RSA key as a secret, PEM":          mint(t, jwt.SigningMethodHS256, pemText, header("kid", "rsa"), claims()),
		"RSA key as a secret, DER":          mint(t, jwt.SigningMethodHS512, spki, header("kid", "rsa"), claims()),
		"RSA key as a secret, modulus":      mint(t, jwt.SigningMethodHS256, public.N.Bytes(), header("kid", "rsa"), claims()),
		"Ed25519 key as a secret":           mint(t, jwt.SigningMethodHS256, []byte(ed.Public().(ed25519.PublicKey)), header(), claims()),
		"RS256 by a key for PS256":          mint(t, jwt.SigningMethodRS256, o.private["ps"], header("kid", "ps"), claims()),
		"EdDSA said to be of the RSA key":   edToken(header("kid", "rsa"), claims()),
		"ES256 by the key of P-384":         raw(ed, `{"alg":"ES256","kid":"p384"}`, goodClaims("")),
		"another key":                       mint(t, jwt.SigningMethodEdDSA, stranger, header(), claims()),
		"unknown key":                       edToken(header("kid", "none"), claims()),
		"no key id":                         edToken(header("kid", nil), claims()),
		"empty key id":                      edToken(header("kid", ""), claims()),
		"key id a number":                   edToken(header("kid", 1), claims()),
		"a key brought along":               mint(t, jwt.SigningMethodEdDSA, stranger, header("kid", "new", "jwk", json.RawMessage(jwk(t, "new", stranger.Public(), ""))), claims()),
		"a key to be fetched":               mint(t, jwt.SigningMethodEdDSA, stranger, header("kid", "new", "jku", "http://127.0.0.1:1/keys"), claims()),
		"other claims under the signature":  parts[0] + "." + b64(other) + "." + parts[2],
		"no signature":                      parts[0] + "." + parts[1] + ".",
		"a line break":                      strings.Join(parts, ".\n"),
		"a line break at its end":           strings.Join(parts, ".") + "\r\n",
		"two parts":                         parts[0] + "." + parts[1],
		"five parts":                        strings.Join(parts, ".") + "..",
		"must be understood":                edToken(header("crit", []string{"exp"}), claims()),
		"must be understood, empty":         edToken(header("crit", []string{}), claims()),
		"not base64":                        edToken(header("b64", false), claims()),
		"a logout token":                    edToken(header("typ", "logout+jwt"), claims()),
		"an event":                          edToken(header(), claims("events", map[string]any{})),
		"typ a number":                      edToken(header("typ", 1), claims()),
		"header with a name twice":          raw(ed, `{"alg":"EdDSA","kid":"rsa","kid":"ed"}`, goodClaims("")),
		"claim twice":                       raw(ed, good, goodClaims(`,"sub":"bob"`)),
		"device twice":                      raw(ed, good, goodClaims(`,"device":4`)),
		"unused claim twice":                raw(ed, good, goodClaims(`,"x":1,"x":2`)),
		"more after the claims":             raw(ed, good, goodClaims("")+"{}"),
		"claims an array":                   raw(ed, good, `["`+issuerName+`"]`),
		"claims deep":                       raw(ed, good, goodClaims(`,"x":`+strings.Repeat("[", 99)+strings.Repeat("]", 99))),
		"not UTF-8":                         raw(ed, good, goodClaims(",\"x\":\"\xff\"")),
		"another issuer":                    edToken(header(), claims("iss", "https://issuer.example/realms/q")),
		"issuer with more":                  edToken(header(), claims("iss", issuerName+"/")),
		"no issuer":                         edToken(header(), claims("iss", nil)),
		"issuers":                           edToken(header(), claims("iss", []string{issuerName})),
		"this cluster, by the issuer's key": edToken(header(), claims("iss", "c1")),
		"another audience":                  edToken(header(), claims("aud", "shop")),
		"other audiences":                   edToken(header(), claims("aud", []string{"shop", "mail"})),
		"no audience":                       edToken(header(), claims("aud", nil)),
		"audience a number":                 edToken(header(), claims("aud", 7)),
		"no end":                            edToken(header(), claims("exp", nil)),
		"end a string":                      edToken(header(), claims("exp", fmt.Sprint(c.now.Add(time.Hour).Unix()))),
		"end null":                          raw(ed, good, strings.Replace(goodClaims(""), `"exp":`, `"exp":null,"y":`, 1)),
		"end beyond all time":               edToken(header(), claims("exp", 1e300)),
		"negative end":                      edToken(header(), claims("exp", -1)),
		"not yet":                           edToken(header(), claims("nbf", c.now.Add(31*time.Second).Unix())),
		"begin a string":                    edToken(header(), claims("nbf", "0")),
		"no user":                           edToken(header(), claims("sub", nil)),
		"empty user":                        edToken(header(), claims("sub", "")),
		"no user id":                        edToken(header(), claims("sub", "auth0|5f7c8ec7")),
		"a group":                           edToken(header(), claims("sub", "g_1")),
		"long user":                         edToken(header(), claims("sub", strings.Repeat("x", 65))),
		"user a number":                     edToken(header(), claims("sub", 7)),
		"user null":                         raw(ed, good, strings.Replace(goodClaims(""), `"alice"`, "null", 1)),
		"too long":                          edToken(header(), claims("x", strings.Repeat("x", outsideMax))),
		"giant":                             strings.Repeat("x", 1<<20),
	}
	for _, device := range []string{"0", "-1", "1.0", "1.5", "1e0", `"3"`, "4294967296", "null", "true", "[3]", "{}", "18446744073709551619"} {
		invalid["device "+device] = raw(ed, good, strings.Replace(goodClaims(""), `"device":3`, `"device":`+device, 1))
	}
	for name, token := range invalid {
		for _, call := range []func() error{
			func() error { _, err := tokens.Verify(token); return err },
			func() error { _, err := tokens.Prove(token); return err },
		} {
			err := call()
			if !errors.Is(err, ErrTokenInvalid) {
				t.Errorf("%s: %v", name, err)
			} else if len(err.Error()) > 123 || strings.Contains(err.Error(), "alice") { // a close reason has room for 123 bytes
				t.Errorf("%s: %q", name, err)
			}
		}
	}
	for name, token := range map[string]string{
		"as it should be":           raw(ed, good, goodClaims("")),
		"typ of an access token":    edToken(header("typ", "at+jwt"), claims()),
		"typ as a media type":       edToken(header("typ", "application/JWT"), claims()),
		"no typ":                    edToken(header("typ", nil), claims()),
		"one audience of several":   edToken(header(), claims("aud", []string{"shop", "rookery"})),
		"a clock that is ahead":     edToken(header(), claims("nbf", c.now.Add(30*time.Second).Unix())),
		"a fraction":                edToken(header(), claims("exp", float64(c.now.Add(time.Hour).Unix())+0.5)),
		"the last second of time":   edToken(header(), claims("exp", 253402300799)),
		"the highest device":        edToken(header(), claims("device", 4294967295)),
		"as long as it may be":      edToken(header(), claims("x", strings.Repeat("x", 5000))),
		"more claims":               edToken(header(), claims("realm_access", map[string]any{"roles": []string{"a"}})),
		"other members of a header": edToken(header("x5t", "abc"), claims()),
	} {
		if _, err := tokens.Verify(token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A remembered token outlives neither its key nor its time, in both directions.
func TestOutsideTokenDies(t *testing.T) {
	tokens, o, c, claims := outsideTokens(t, nil)
	token := func(change ...any) string {
		return mint(t, jwt.SigningMethodEdDSA, o.private["ed"], map[string]any{"kid": "ed"}, claims(change...))
	}
	want := func(what, token string, want error) {
		t.Helper()
		if _, err := tokens.Verify(token); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	begin := c.now
	short := token("exp", begin.Add(time.Minute).Unix(), "nbf", begin.Unix())
	want("new", short, nil)
	c.now = begin.Add(time.Minute - 1)
	want("at its last moment", short, nil)
	c.now = begin.Add(time.Minute)
	want("at its end", short, ErrTokenExpired) // no leeway
	c.now = begin.Add(2 * time.Minute)
	want("after its end", short, ErrTokenExpired)
	c.now = begin.Add(-30 * time.Second)
	want("again, where the clock went back", short, nil)
	c.now = begin.Add(-31 * time.Second)
	want("before its begin, though remembered", short, ErrTokenInvalid)
	c.now = begin

	long := token()
	want("long", long, nil)
	before := maps.Clone(o.keys)
	delete(o.keys, "ed")
	want("its key withdrawn", long, ErrTokenInvalid)
	o.unknown = keyset.ErrUndecided
	want("its key not known yet", long, ErrUndecided)
	if _, err := tokens.Prove(long); err != ErrUndecided || errors.Is(err, ErrTokenInvalid) {
		t.Errorf("as a proof: %v", err)
	}
	o.keys = before
	want("its key again", long, nil)
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	o.keys = keysOf(t, jwk(t, "ed", stranger.Public(), ""))
	want("another key of that id", long, ErrTokenInvalid)
	// The signature comes first: nobody learns that a forged token has expired.
	want("expired, by another key", token("exp", begin.Unix()-1), ErrTokenInvalid)
}

func TestOtherClaims(t *testing.T) {
	tokens, o, _, claims := outsideTokens(t, func(i *Issuer) {
		i.UserClaim, i.DeviceClaim, i.Audience = "https://chat.example/user", "https://chat.example/device", ""
	})
	token := mint(t, jwt.SigningMethodEdDSA, o.private["ed"], map[string]any{"kid": "ed"},
		claims("sub", "auth0|17", "device", "a phone", "aud", "shop", "https://chat.example/user", "carol", "https://chat.example/device", 7))
	if got, err := tokens.Verify(token); err != nil || got.User != "carol" || got.Device != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	token = mint(t, jwt.SigningMethodEdDSA, o.private["ed"], map[string]any{"kid": "ed"}, claims())
	if _, err := tokens.Verify(token); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("sub alone: %v", err)
	}
}

func TestIssuerFaults(t *testing.T) {
	ring := &keyring{}
	for want, issuer := range map[string]Issuer{
		"Name is empty": {Keys: &outsider{}}, "own tokens": {Name: "c1", Keys: &outsider{}}, "Keys is nil": {Name: "x"},
		"are both":      {Name: "x", Keys: &outsider{}, UserClaim: "u", DeviceClaim: "u"},
		"\"iss\" has a": {Name: "x", Keys: &outsider{}, UserClaim: "iss"},
		"\"sub\" has a": {Name: "x", Keys: &outsider{}, UserClaim: "u", DeviceClaim: "sub"},
		"Leeway":        {Name: "x", Keys: &outsider{}, Leeway: time.Hour},
	} {
		if _, err := NewTokens(TokensConfig{Cluster: "c1", Keys: ring, Issuer: &issuer}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Whatever comes as a token: no panic, and nothing is accepted but what the
// issuer signed, as it signed it.
func FuzzOutsideToken(f *testing.F) {
	tokens, o, c, claims := outsideTokens(f, nil)
	ed := o.private["ed"].(ed25519.PrivateKey)
	for _, kid := range []string{"ed", "rsa"} {
		method := map[string]jwt.SigningMethod{"ed": jwt.SigningMethodEdDSA, "rsa": jwt.SigningMethodRS256}[kid]
		token := mint(f, method, o.private[kid], map[string]any{"kid": kid}, claims())
		parts := strings.Split(token, ".")
		header, _ := base64.RawURLEncoding.DecodeString(parts[0])
		body, _ := base64.RawURLEncoding.DecodeString(parts[1])
		f.Add(string(header), string(body), token)
	}
	f.Fuzz(func(t *testing.T, header, body, token string) {
		if got, err := tokens.Verify(token); err == nil && got.Device == 0 {
			t.Fatalf("%+v", got)
		}
		// Signed, so that all behind the signature is reached.
		signed := raw(ed, header, body)
		user, errProof := tokens.Prove(signed)
		got, err := tokens.Verify(signed)
		switch {
		case err == nil:
			if errProof != ErrNoProof || got.Device == 0 || !c.now.Before(got.Expires) {
				t.Fatalf("%+v, as a proof %v", got, errProof)
			}
			user = got.User
		case errProof == nil:
			if err != ErrNoDevice {
				t.Fatalf("a proof of %q, as a device's %v", user, err)
			}
		default:
			if !errors.Is(err, ErrTokenInvalid) && err != ErrTokenExpired || err.Error() != errProof.Error() {
				t.Fatalf("%v, as a proof %v", err, errProof)
			}
			return
		}
		if err := ident.CheckUser(user); err != nil {
			t.Fatalf("%q: %v", user, err)
		}
		// Names are told apart by case, and a reader that keeps the last of two
		// sees the same.
		var lenient map[string]any
		if err := json.Unmarshal([]byte(body), &lenient); err != nil || lenient["sub"] != user || lenient["iss"] != issuerName {
			t.Fatalf("%q, %v: read as %q", body, err, user)
		}
	})
}

// What a token costs where connections are served: the first time, and when it
// is remembered.
func BenchmarkOutsideToken(b *testing.B) {
	tokens, o, _, claims := outsideTokens(b, nil)
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodEdDSA, jwt.SigningMethodES256, jwt.SigningMethodES384, jwt.SigningMethodES512, jwt.SigningMethodRS256, jwt.SigningMethodPS256} {
		kid := map[string]string{"EdDSA": "ed", "ES256": "p256", "ES384": "p384", "ES512": "p521", "RS256": "rsa", "PS256": "rsa"}[method.Alg()]
		token := mint(b, method, o.private[kid], map[string]any{"kid": kid}, claims())
		b.Run(method.Alg(), func(b *testing.B) {
			for b.Loop() {
				if _, err := tokens.outside.verify(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	token := mint(b, jwt.SigningMethodES256, o.private["p256"], map[string]any{"kid": "p256"}, claims())
	b.Run("remembered", func(b *testing.B) {
		for b.Loop() {
			if _, err := tokens.Verify(token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
