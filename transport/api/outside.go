package api

import (
	"errors"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/auth"
	"github.com/rookery-im/rookery/transport/auth/webhook"
)

// outside is the fault of what only accounts with passwords have.
func outside(what string) *nodepb.Fault {
	return fault.New(fault.PermissionDenied, fault.ReasonOutsideIssuer, "%s: an outside issuer signs the tokens", what)
}

// tokenFault is why a token is not accepted.
func tokenFault(field string, err error) *nodepb.Fault {
	switch {
	case errors.Is(err, auth.ErrTokenExpired):
		return fault.New(fault.Unauthenticated, fault.ReasonTokenExpired, "%s: %v", field, err)
	case errors.Is(err, auth.ErrNoDevice):
		return fault.New(fault.Unauthenticated, fault.ReasonNoDevice, "%s: %v", field, err)
	case errors.Is(err, auth.ErrUndecided):
		return fault.New(fault.Unavailable, "", "%s: the keys that tokens are checked with are not known yet; try again", field)
	default:
		return fault.New(fault.Unauthenticated, "", "%s: %v", field, err)
	}
}

// prove gives the user whom the issuer's token in the header proves. The body
// may name the user once more, and no password.
func (a *API) prove(c *call, user, password string) (string, *nodepb.Fault) {
	if password != "" {
		return "", outside("password")
	}
	token, f := bearer(c.r)
	if f != nil {
		return "", f
	}
	proven, err := a.cfg.Tokens.Prove(token)
	if err != nil {
		return "", tokenFault("Authorization", err)
	}
	if user != "" && user != proven {
		return "", fault.New(fault.PermissionDenied, "", "user: is not the user of the token")
	}
	return proven, a.limitUser(proven)
}

// admit gives the user whom the issuer's token proves, with the PHC string of
// an account from the time before there was an issuer. It makes the account
// where there is none.
func (a *API) admit(c *call, user, password string) (proven, hash string, f *nodepb.Fault) {
	if proven, f = a.prove(c, user, password); f != nil {
		return "", "", f
	}
	for range 2 { // the second time where somebody else has just made it
		hash, exists, f := a.credentials(c, proven)
		if f != nil || exists {
			return proven, hash, f
		}
		_, f = a.confirm(c, &nodepb.Ask{User: proven, Body: &nodepb.Ask_Register{Register: &nodepb.Register{}}})
		if f.GetCode() != string(fault.AlreadyExists) {
			return proven, "", f
		}
	}
	return "", "", fault.New(fault.Unavailable, "", "the account is being made and deleted at once; try again")
}

// reprove asks for a token of the issuer's beside the one of a device: what
// cannot be taken back needs more than a device's token.
func (a *API) reprove(c *call, token, password string) (string, *nodepb.Fault) {
	if f := a.limitAddress(c); f != nil {
		return "", f
	}
	switch {
	case password != "":
		return "", outside("password")
	case token == "":
		return "", invalid("token", "must be given: one of the issuer, for this user and no device")
	}
	if _, f := a.linked(c); f != nil {
		return "", f
	}
	if f := a.limitUser(c.asker.user); f != nil {
		return "", f
	}
	proven, err := a.cfg.Tokens.Prove(token)
	switch {
	case errors.Is(err, auth.ErrUndecided):
		return "", tokenFault("token", err)
	case err != nil:
		return "", fault.New(fault.PermissionDenied, fault.ReasonWrongPassword, "token: %v", err)
	case proven != c.asker.user:
		return "", fault.New(fault.PermissionDenied, fault.ReasonWrongPassword, "token: is another user's")
	}
	hash, _, f := a.credentials(c, proven)
	return hash, f
}

// approved asks the webhook, in mode Webhook. It is asked about names that are
// taken too, and told so: what it answers decides who learns that they are.
func (a *API) approved(c *call, r webhook.Registration) *nodepb.Fault {
	if a.cfg.Mode != Webhook {
		return nil
	}
	var f *nodepb.Fault
	if r.Taken, f = a.taken(c, r.User); f != nil {
		return f
	}
	verdict, err := a.cfg.Registrar.Ask(c.context(), r)
	switch {
	case errors.Is(err, webhook.ErrBusy):
		return fault.New(fault.Unavailable, "", "too many registrations at once; try again")
	case err != nil:
		a.cfg.Log.Warn("the registration webhook did not decide", "user", r.User, "err", err)
		return fault.New(fault.Unavailable, "", "it cannot be decided at the moment who may register; try again")
	case !verdict.Allow && verdict.Message != "":
		return fault.New(fault.PermissionDenied, fault.ReasonRefused, "%s", verdict.Message)
	case !verdict.Allow:
		return fault.New(fault.PermissionDenied, fault.ReasonRefused, "the registration was refused")
	case r.Taken:
		return nameTaken()
	}
	return nil
}

// address is where the client comes from, as text; empty where that is not known.
func (c *call) address() string {
	if !c.from.IsValid() {
		return ""
	}
	return c.from.Unmap().String()
}
