package node

import (
	"context"
	"fmt"
	"time"

	"github.com/rookery-im/rookery/transport/api"
	"github.com/rookery-im/rookery/transport/auth"
	"github.com/rookery-im/rookery/transport/auth/callout"
	"github.com/rookery-im/rookery/transport/auth/keyset"
	"github.com/rookery-im/rookery/transport/auth/webhook"
)

// ownIssuer is the iss of the tokens that Rookery signs.
const ownIssuer = "rookery"

// Issuer is an outside issuer of tokens; none where Name is empty.
type Issuer struct {
	// Name is the iss of its tokens, Audience what their aud must hold.
	Name, Audience string
	// Keys is a file or URL of its key set.
	Keys string
	// UserClaim and DeviceClaim name the claims that name user and device.
	UserClaim, DeviceClaim string
	// KeysMaxStale is how long the last key set is used that could be read.
	KeysMaxStale time.Duration
}

// Webhook is asked who may register, where Registration is "webhook".
type Webhook struct{ URL, SecretFile string }

func defaultIssuer() Issuer {
	return Issuer{UserClaim: auth.DefaultUserClaim, DeviceClaim: auth.DefaultDeviceClaim, KeysMaxStale: keyset.DefaultMaxStale}
}

// checkAccounts checks who may have an account.
func (c Config) checkAccounts(check func(ok bool, settings, problem string, args ...any)) {
	modes := map[string]bool{"open": true, "invite": true, "closed": true, "webhook": true}
	check(modes[c.Registration], "registration", "%q is none of open, invite, closed, webhook", c.Registration)

	asked := c.Registration == "webhook"
	check(!asked || c.Webhook.URL != "", "registration,registration-webhook", "a URL to ask is needed where registration is webhook")
	check(!asked || c.Webhook.SecretFile != "", "registration,registration-webhook-secret-file", "a file with a secret is needed where registration is webhook")
	check(asked || c.Webhook == Webhook{}, "registration,registration-webhook,registration-webhook-secret-file", "there is something of a webhook, but registration is %s", c.Registration)
	if c.Webhook.URL != "" {
		_, err := callout.Parse(c.Webhook.URL)
		check(err == nil, "registration-webhook", "%v", err)
	}

	i := c.Issuer
	if i.Name == "" {
		check(i.Keys == "", "issuer,issuer-keys", "keys are given, but no issuer")
		check(i.Audience == "", "issuer,issuer-audience", "an audience is given, but no issuer")
		return
	}
	check(i.Name != ownIssuer, "issuer", "%q is the issuer of Rookery's own tokens", ownIssuer)
	check(c.Registration == "open", "registration,issuer", "%s has no meaning where an issuer signs the tokens: accounts are made by first use", c.Registration)
	check(i.Keys != "", "issuer,issuer-keys", "a file or URL is needed where there is an issuer")
	if keyset.IsURL(i.Keys) {
		_, err := callout.Parse(i.Keys)
		check(err == nil, "issuer-keys", "%v", err)
	}
	check(i.UserClaim != "" && i.DeviceClaim != "", "issuer-user-claim,issuer-device-claim", "a name is needed")
	err := auth.CheckClaims(i.UserClaim, i.DeviceClaim)
	check(err == nil, "issuer-user-claim,issuer-device-claim", "%v", err)
	check(i.KeysMaxStale > 0, "issuer-keys-max-age", "%v is not above 0", i.KeysMaxStale)
}

// openIssuer makes what checks an outside issuer's tokens; nil where there is
// none. A key set from a URL is fetched later: see serve.
func (n *Node) openIssuer() (*auth.Issuer, error) {
	i := n.cfg.Issuer
	if i.Name == "" {
		return nil, nil
	}
	log := n.cfg.Log.With("part", "issuer")
	if i.Audience == "" {
		log.Warn("issuer-audience is not set: what the issuer signs for any other service is accepted, too")
	}
	var err error
	n.keys, err = keyset.New(context.Background(), keyset.Config{
		From: i.Keys, MaxStale: i.KeysMaxStale, Log: log, Metrics: keyset.NewMetrics(n.registry),
	})
	if err != nil {
		return nil, fmt.Errorf("issuer-keys: %w", err)
	}
	return &auth.Issuer{Name: i.Name, Audience: i.Audience, UserClaim: i.UserClaim, DeviceClaim: i.DeviceClaim, Keys: n.keys}, nil
}

// registrar makes what is asked who may register; nil where nobody is.
func (n *Node) registrar() (api.Registrar, error) {
	if n.cfg.Registration != "webhook" {
		return nil, nil
	}
	w, err := webhook.New(webhook.Config{
		URL: n.cfg.Webhook.URL, SecretFile: n.cfg.Webhook.SecretFile, Metrics: webhook.NewMetrics(n.registry),
	})
	if err != nil {
		return nil, fmt.Errorf("registration-webhook: %w", err)
	}
	return w, nil
}
