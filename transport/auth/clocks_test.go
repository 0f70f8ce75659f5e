package auth

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Somebody set the clock by a day, and nobody knows which of the two times is
// right: neither a token that is good by one of them is refused, nor is one
// made that is over by the other.
func TestTokensOfTwoClocks(t *testing.T) {
	early := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	late := &clock{now: early.now.Add(24 * time.Hour)}
	o := newOutsider(t)
	tokens, err := NewTokens(TokensConfig{
		Cluster: "c1", Keys: &keyring{signing: "k1", keys: map[string]Key{"k1": key(t, "k1")}}, Now: early.Now, Stamp: late.Now,
		Issuer: &Issuer{Name: issuerName, Audience: "rookery", Keys: o},
	})
	if err != nil {
		t.Fatal(err)
	}
	own, expires, err := tokens.Issue("alice", 3)
	if err != nil || !expires.Equal(late.now.Add(24*time.Hour)) {
		t.Errorf("issued until %v, %v", expires, err)
	}
	outside := func(begins, ends time.Time) string {
		return mint(t, jwt.SigningMethodEdDSA, o.private["ed"], map[string]any{"kid": "ed"}, map[string]any{
			"iss": issuerName, "aud": "rookery", "sub": "alice", "device": 3, "nbf": begins.Unix(), "exp": ends.Unix(),
		})
	}
	for what, token := range map[string]string{
		"one's own":                 own,
		"of the earlier time alone": outside(early.now.Add(-time.Minute), early.now.Add(time.Minute)),
		"of the later time alone":   outside(late.now.Add(-time.Minute), late.now.Add(time.Minute)),
	} {
		for range 2 { // the second is remembered
			if _, err := tokens.Verify(token); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	for what, token := range map[string]string{
		"over by both":    outside(early.now.Add(-time.Hour), early.now),
		"not yet by both": outside(late.now.Add(time.Minute), late.now.Add(time.Hour)),
	} {
		if _, err := tokens.Verify(token); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}
