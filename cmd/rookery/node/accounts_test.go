package node

import (
	"strings"
	"testing"
)

func TestAccountFaults(t *testing.T) {
	valid := func() Config {
		c := DefaultConfig()
		c.Data, c.Listen, c.Admin = "x", "x", "x"
		c.Issuer.Name, c.Issuer.Keys = "https://issuer.example", "https://issuer.example/keys"
		return c
	}
	for want, change := range map[string]func(*Config){
		"": func(*Config) {},
		"registration: \"ask\" is none of open, invite, closed, webhook": func(c *Config) { c.Registration, c.Issuer = "ask", defaultIssuer() },
		"registration, registration-webhook: a URL to ask is needed":     func(c *Config) { c.Registration, c.Issuer = "webhook", defaultIssuer() },
		"registration-webhook-secret-file: a file with a secret":         func(c *Config) { c.Registration, c.Issuer = "webhook", defaultIssuer() },
		"but registration is open":                                       func(c *Config) { c.Webhook.URL = "https://x" },
		"registration-webhook: http is for a loopback address only":      func(c *Config) { c.Registration, c.Webhook = "webhook", Webhook{"http://x", "x"} },
		"issuer, issuer-keys: keys are given, but no issuer":             func(c *Config) { c.Issuer.Name = "" },
		"issuer, issuer-audience: an audience is given, but no issuer":   func(c *Config) { c.Issuer.Name, c.Issuer.Audience = "", "x" },
		"issuer: \"rookery\" is the issuer of Rookery's own":             func(c *Config) { c.Issuer.Name = "rookery" },
		"registration, issuer: invite has no meaning":                    func(c *Config) { c.Registration = "invite" },
		"issuer, issuer-keys: a file or URL is needed":                   func(c *Config) { c.Issuer.Keys = "" },
		"issuer-keys: http is for a loopback address only":               func(c *Config) { c.Issuer.Keys = "http://issuer.example/keys" },
		"the claim \"exp\" has a meaning of its own":                     func(c *Config) { c.Issuer.UserClaim = "exp" },
		"issuer-device-claim: a name is needed":                          func(c *Config) { c.Issuer.DeviceClaim = "" },
		"issuer-keys-max-age: -1ns is not above 0":                       func(c *Config) { c.Issuer.KeysMaxStale = -1 },
	} {
		c := valid()
		change(&c)
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
