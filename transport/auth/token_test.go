package auth

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// keyring is a Keys for tests.
type keyring struct {
	signing string
	keys    map[string]Key
	lookups int
}

func (k *keyring) Signing() (Key, bool) { return k.Lookup(k.signing) }
func (k *keyring) Lookup(id string) (Key, bool) {
	k.lookups++
	key, ok := k.keys[id]
	return key, ok
}

func key(t testing.TB, id string) Key {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return Key{ID: id, Public: pub, Private: priv}
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newTokens(t testing.TB) (*Tokens, *keyring, *clock) {
	t.Helper()
	ring := &keyring{signing: "k1", keys: map[string]Key{"k1": key(t, "k1")}}
	c := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)}
	tokens, err := NewTokens(TokensConfig{Cluster: "c1", Keys: ring, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return tokens, ring, c
}

func TestTokenLivesItsTime(t *testing.T) {
	tokens, _, c := newTokens(t)
	token, expires, err := tokens.Issue("alice", 3)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 1, 3, 3, 4, 5, 0, time.UTC); !expires.Equal(want) {
		t.Errorf("expires %v, want %v", expires, want)
	}
	for range 2 { // the second is remembered
		claims, err := tokens.Verify(token)
		if err != nil || claims.User != "alice" || claims.Device != 3 || !claims.Expires.Equal(expires) {
			t.Fatalf("%+v, %v", claims, err)
		}
	}
	c.now = expires.Add(-time.Second)
	if _, err := tokens.Verify(token); err != nil {
		t.Errorf("a second before: %v", err)
	}
	c.now = expires
	for range 2 {
		if _, err := tokens.Verify(token); !errors.Is(err, ErrTokenExpired) {
			t.Errorf("at its end: %v", err)
		}
	}
	again, _, err := tokens.Issue("alice", 3)
	if err != nil || again == token {
		t.Errorf("two tokens are alike (%v)", err)
	}
}

// A remembered token must not outlive the key that it was signed with.
func TestTokenDiesWithItsKey(t *testing.T) {
	tokens, ring, _ := newTokens(t)
	token, _, err := tokens.Issue("alice", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Verify(token); err != nil {
		t.Fatal(err)
	}
	ring.keys["k2"] = key(t, "k2")
	ring.signing = "k2"
	if _, err := tokens.Verify(token); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	delete(ring.keys, "k1")
	if _, err := tokens.Verify(token); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("after its key was withdrawn: %v", err)
	}
	delete(ring.keys, "k2")
	if _, _, err := tokens.Issue("alice", 1); !errors.Is(err, ErrNoKey) {
		t.Errorf("without a key: %v", err)
	}
}

func TestForgedTokens(t *testing.T) {
	tokens, ring, c := newTokens(t)
	good := ring.keys["k1"]
	other := key(t, "k1")
	claims := func(change func(jwt.MapClaims)) jwt.MapClaims {
		m := jwt.MapClaims{"iss": "c1", "sub": "alice", "dev": 1, "iat": c.now.Unix(), "exp": c.now.Add(time.Hour).Unix(), "jti": "x"}
		if change != nil {
			change(m)
		}
		return m
	}
	sign := func(method jwt.SigningMethod, kid any, key any, m jwt.MapClaims) string {
		token := jwt.NewWithClaims(method, m)
		if kid != nil {
			token.Header["kid"] = kid
		}
		s, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ed := jwt.SigningMethodEdDSA
	valid := sign(ed, "k1", good.Private, claims(nil))
	parts := strings.Split(valid, ".")
	elevated, _ := json.Marshal(claims(func(m jwt.MapClaims) { m["sub"] = "bob" }))
	for _, c := range []struct {
		name, token string
		want        error
	}{
		{"as it should be", valid, nil},
		{"empty", "", ErrTokenInvalid},
		{"rubbish", "rubbish", ErrTokenInvalid},
		{"long", strings.Repeat("x", 1<<16), ErrTokenInvalid},
		{"no algorithm", sign(jwt.SigningMethodNone, "k1", jwt.UnsafeAllowNoneSignatureType, claims(nil)), ErrTokenInvalid},
		{"the public key as a shared secret", sign(jwt.SigningMethodHS256, "k1", []byte(good.Public), claims(nil)), ErrTokenInvalid},
		{"another key", sign(ed, "k1", other.Private, claims(nil)), ErrTokenInvalid},
		{"unknown key id", sign(ed, "k9", good.Private, claims(nil)), ErrTokenInvalid},
		{"no key id", sign(ed, nil, good.Private, claims(nil)), ErrTokenInvalid},
		{"key id of another type", sign(ed, 1, good.Private, claims(nil)), ErrTokenInvalid},
		{"other claims under the signature", parts[0] + "." + base64.RawURLEncoding.EncodeToString(elevated) + "." + parts[2], ErrTokenInvalid},
		{"no signature", parts[0] + "." + parts[1] + ".", ErrTokenInvalid},
		{"another cluster's", sign(ed, "k1", good.Private, claims(func(m jwt.MapClaims) { m["iss"] = "c2" })), ErrTokenInvalid},
		{"no issuer", sign(ed, "k1", good.Private, claims(func(m jwt.MapClaims) { delete(m, "iss") })), ErrTokenInvalid},
		{"no expiry", sign(ed, "k1", good.Private, claims(func(m jwt.MapClaims) { delete(m, "exp") })), ErrTokenInvalid},
		{"no user", sign(ed, "k1", good.Private, claims(func(m jwt.MapClaims) { delete(m, "sub") })), ErrTokenInvalid},
		{"a group", sign(ed, "k1", good.Private, claims(func(m jwt.MapClaims) { m["sub"] = "g_x" })), ErrTokenInvalid},
		{"no device", sign(ed, "k1", good.Private, claims(func(m jwt.MapClaims) { delete(m, "dev") })), ErrTokenInvalid},
		{"a device below zero", sign(ed, "k1", good.Private, claims(func(m jwt.MapClaims) { m["dev"] = -1 })), ErrTokenInvalid},
		{"expired", sign(ed, "k1", good.Private, claims(func(m jwt.MapClaims) { m["exp"] = 1 })), ErrTokenExpired},
		{"expired and forged", sign(ed, "k1", other.Private, claims(func(m jwt.MapClaims) { m["exp"] = 1 })), ErrTokenInvalid},
	} {
		_, err := tokens.Verify(c.token)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err != nil && len(c.token) > 10 && strings.Contains(err.Error(), c.token[:10]) {
			t.Errorf("%s: the error repeats the token", c.name)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(10)
	for i := range 1000 {
		c.put(digest{byte(i), byte(i >> 8)}, verified{})
		if c.len() > 10 {
			t.Fatalf("%d tokens are remembered", c.len())
		}
	}
	if _, ok := c.get(digest{999 & 0xff, 999 >> 8}); !ok {
		t.Error("the newest is forgotten")
	}
}

func TestConfigsSayEverything(t *testing.T) {
	_, err := NewTokens(TokensConfig{Life: time.Millisecond, Cache: -1})
	for _, want := range []string{"Cluster", "Keys", "Life", "Cache"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	_, err = NewPasswords(PasswordsConfig{Params: Params{Memory: 1}, Workers: -1, Queue: -1})
	for _, want := range []string{"Params", "Workers", "Queue"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	if _, err = NewLimiter[string](LimiterConfig{PerSecond: -1, Burst: -1, Keys: -1}); err == nil {
		t.Error("a limiter of nothing")
	}
}

func BenchmarkVerify(b *testing.B) {
	tokens, _, _ := newTokens(b)
	token, _, err := tokens.Issue("alice", 1)
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"cached", "new"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if name == "new" {
					tokens.cache = newCache(2)
				}
				if _, err := tokens.Verify(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleTokens() {
	pub, priv, _ := ed25519.GenerateKey(nil)
	ring := &keyring{signing: "k1", keys: map[string]Key{"k1": {ID: "k1", Public: pub, Private: priv}}}
	tokens, err := NewTokens(TokensConfig{Cluster: "c1", Keys: ring})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, _, _ := tokens.Issue("alice", 1)
	claims, err := tokens.Verify(token)
	fmt.Println(claims.User, claims.Device, err)
	// Output: alice 1 <nil>
}

// Before a node knows all keys, a token of an unknown one may well be good.
func TestTokenIsNotRefusedBeforeAllKeysAreKnown(t *testing.T) {
	ring := &keyring{signing: "k1", keys: map[string]Key{"k1": key(t, "k1")}}
	complete := true
	tokens, err := NewTokens(TokensConfig{Cluster: "c1", Keys: ring, Complete: func() bool { return complete }})
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := tokens.Issue("alice", 3)
	if err != nil {
		t.Fatal(err)
	}
	clear(ring.keys)
	complete = false
	if _, err := tokens.Verify(token); !errors.Is(err, ErrUndecided) || errors.Is(err, ErrTokenInvalid) {
		t.Fatalf("got %v before all keys are known", err)
	}
	complete = true
	if _, err := tokens.Verify(token); !errors.Is(err, ErrTokenInvalid) {
		t.Fatalf("got %v when all keys are known", err)
	}
}
