package auth

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
)

// signed is a token over any header and claims, with the right key.
func signed(k Key, header, claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(k.Private, []byte(text)))
}

// FuzzVerify: no text becomes a token by itself, no change of a good one is
// good, and what is said of it repeats nothing of it.
func FuzzVerify(f *testing.F) {
	tokens, _, _ := newTokens(f)
	good, _, err := tokens.Issue("alice", 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("", uint(0), byte(0))
	f.Add("a.b.c", uint(4), byte(1))
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.", uint(130), byte(255))
	f.Add(strings.Repeat(".", 3000), uint(1), byte('='))
	f.Fuzz(func(t *testing.T, text string, at uint, change byte) {
		changed := []byte(good)
		changed[at%uint(len(changed))] ^= change
		for _, token := range []string{text, string(changed), good + text, text + good} {
			_, err := tokens.Verify(token)
			switch {
			case token == good:
				if err != nil {
					t.Fatal(err)
				}
			case !errors.Is(err, ErrTokenInvalid):
				t.Fatalf("%q: %v", token, err)
			case len(err.Error()) > 200 || len(token) > 16 && strings.Contains(err.Error(), token[:16]):
				t.Fatalf("%q: the error repeats it: %v", token, err)
			}
		}
	})
}

// FuzzClaims: whatever stands in a token that is signed with the right key, it
// names a user and a device and has not expired, or it is refused.
func FuzzClaims(f *testing.F) {
	tokens, ring, c := newTokens(f)
	const header = `{"alg":"EdDSA","kid":"k1","typ":"JWT"}`
	for _, claims := range []string{
		`{"iss":"c1","sub":"alice","dev":1,"exp":1900000000}`,
		`{"iss":"c1","sub":"alice","dev":1,"exp":1e400}`,
		`{"iss":"c1","sub":"alice","dev":4294967296,"exp":1900000000}`,
		`{"iss":"c1","sub":"g_x","dev":1,"exp":1900000000.5}`,
		`{"iss":["c1"],"sub":null,"dev":"1","exp":"1900000000","nbf":9e99}`,
		`{"iss":"c1","sub":"alice","sub":"bob","dev":1,"exp":9223372036854775807}`,
	} {
		f.Add(header, claims)
	}
	f.Add(`{"alg":"none","kid":"k1"}`, `{}`)
	f.Add(`{"alg":"EdDSA","kid":["k1"],"crit":["x"],"x":1}`, `{}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		token := signed(ring.keys["k1"], header, claims)
		got, err := tokens.Verify(token)
		if err != nil {
			if !errors.Is(err, ErrTokenInvalid) && !errors.Is(err, ErrTokenExpired) {
				t.Fatal(err)
			}
			return
		}
		if got.User == "" || strings.HasPrefix(got.User, "g_") || got.Device == 0 || !got.Expires.After(c.now) {
			t.Fatalf("%s: %+v", claims, got)
		}
		if again, err := tokens.Verify(token); err != nil || again != got {
			t.Fatalf("the second time: %+v, %v", again, err)
		}
		c.now = got.Expires.Add(time.Second)
		defer func(was time.Time) { c.now = was }(time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC))
		if got.Expires.Year() < 9999 {
			if _, err := tokens.Verify(token); !errors.Is(err, ErrTokenExpired) {
				t.Fatalf("after its time: %v", err)
			}
		}
	})
}
