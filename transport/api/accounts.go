package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/auth"
	"github.com/rookery-im/rookery/transport/auth/webhook"
)

// limitAddress and limitUser count what is about accounts and passwords.
func (a *API) limitAddress(c *call) *nodepb.Fault {
	if ok, wait := a.addresses.Allow(auth.Client(c.from)); !ok {
		return limited(wait, "too many attempts from this address")
	}
	return nil
}

func (a *API) limitUser(user string) *nodepb.Fault {
	if ok, wait := a.users.Allow(user); !ok {
		return limited(wait, "too many attempts for this user")
	}
	return nil
}

// register: POST /v1/users.
func (a *API) register(c *call) (reply, *nodepb.Fault) {
	switch {
	case a.cfg.Tokens.Outside():
		return reply{}, outside("nobody registers here")
	case a.cfg.Mode == Closed:
		return reply{}, fault.New(fault.PermissionDenied, fault.ReasonClosed, "registration is closed")
	}
	if f := a.limitAddress(c); f != nil {
		return reply{}, f
	}
	var user, name, password, invite, proof string
	if f := c.read(fields{"user": &user, "name": &name, "password": &password, "invite": &invite, "proof": &proof}); f != nil {
		return reply{}, f
	}
	if err := ident.CheckUser(user); err != nil {
		return reply{}, invalid("user", err.Error())
	}
	if f := atMost("name", name, limits.Name); f != nil {
		return reply{}, f
	}
	if f := newPassword("password", password); f != nil {
		return reply{}, f
	}
	if f := atMost("proof", proof, limits.Proof); f != nil {
		return reply{}, f
	}
	if f := a.limitUser(user); f != nil {
		return reply{}, f
	}
	// Nobody without an invitation, or a word of the webhook's, gets as far as
	// the costly hash, or learns whether a name is taken; and a name that is
	// taken uses no invitation up.
	if f := a.invited(c, a.checkInvite, invite, user); f != nil {
		return reply{}, f
	}
	if f := a.approved(c, webhook.Registration{User: user, Name: name, Proof: proof, Address: c.address()}); f != nil {
		return reply{}, f
	}
	hash, err := a.cfg.Passwords.Hash(c.context(), c.from, password)
	if err != nil {
		return reply{}, a.passwordFault(c, err)
	}
	if f := a.invited(c, a.redeemInvite, invite, user); f != nil {
		return reply{}, f
	}
	_, f := a.confirm(c, &nodepb.Ask{User: user, Body: &nodepb.Ask_Register{Register: &nodepb.Register{Name: name, Password: hash}}})
	if f != nil {
		return reply{}, f
	}
	return object(http.StatusCreated, struct {
		User string `json:"user"`
	}{user})
}

// checkInvite finds an invitation good, and the name free.
func (a *API) checkInvite(c *call, code, user string) (*nodepb.Fault, error) {
	if err := a.cfg.Invites.Check(c.context(), code, user); err != nil {
		return nil, err
	}
	taken, f := a.taken(c, user)
	if taken {
		f = nameTaken()
	}
	return f, nil
}

func nameTaken() *nodepb.Fault { return fault.New(fault.AlreadyExists, "", "user: the name is taken") }

// taken says whether a user exists.
func (a *API) taken(c *call, user string) (bool, *nodepb.Fault) {
	_, exists, f := a.credentials(c, user)
	return exists, f
}

// credentials is the PHC string of a user's password, and whether the user exists.
func (a *API) credentials(c *call, user string) (string, bool, *nodepb.Fault) {
	answer, f := a.ask(c, reads, &nodepb.Ask{User: user, Body: &nodepb.Ask_GetCredentials{GetCredentials: &nodepb.GetCredentials{}}})
	if f.GetCode() == string(fault.NotFound) {
		return "", false, nil
	}
	return answer.GetCredentials().GetPassword(), f == nil, f
}

func (a *API) redeemInvite(c *call, code, user string) (*nodepb.Fault, error) {
	return nil, a.cfg.Invites.Redeem(c.context(), code, user)
}

// invited runs a step of what an invitation is needed for, where one is.
func (a *API) invited(c *call, step func(c *call, code, user string) (*nodepb.Fault, error), code, user string) *nodepb.Fault {
	if a.cfg.Mode != Invite {
		return nil
	}
	refused := fault.New(fault.PermissionDenied, fault.ReasonInvite, "invite: a valid invitation is needed")
	if code == "" {
		return refused
	}
	f, err := step(c, code, user)
	switch {
	case errors.Is(err, ErrInvite):
		return refused
	case err != nil:
		a.cfg.Log.Warn("invitation could not be redeemed", "err", err)
		return fault.New(fault.Unavailable, fault.ReasonOutcomeUnknown, "the invitation could not be checked; repeat the same request")
	}
	return f
}

// newPassword judges a password that is to be set.
func newPassword(field, password string) *nodepb.Fault {
	if len(password) < limits.PasswordMin || len(password) > limits.PasswordMax {
		return invalid(field, fmt.Sprintf("must be %d to %d bytes", limits.PasswordMin, limits.PasswordMax))
	}
	return nil
}

// passwordFault is why a password was not looked at. Nothing has changed then.
func (a *API) passwordFault(c *call, err error) *nodepb.Fault {
	switch {
	case errors.Is(err, auth.ErrClientBusy):
		return limited(time.Second, err.Error())
	case errors.Is(err, auth.ErrHash):
		a.cfg.Log.Error("a stored password hash is damaged", "route", c.r.Pattern)
		return fault.New(fault.Internal, "", "the password cannot be checked")
	default:
		return fault.New(fault.Unavailable, "", "too many password checks are waiting")
	}
}

// notRight is the one answer to a login that fails, whichever part is wrong.
func notRight() *nodepb.Fault {
	return fault.New(fault.Unauthenticated, "", "user or password: not right")
}

// verify checks a login and gives the PHC string that the password fits. An
// unknown user takes the same steps and the same time as a wrong password.
func (a *API) verify(c *call, user, password string) (string, *nodepb.Fault) {
	if err := ident.CheckUser(user); err != nil {
		return "", invalid("user", err.Error())
	}
	if password == "" {
		return "", invalid("password", "must be given")
	}
	if f := atMost("password", password, limits.PasswordMax); f != nil {
		return "", f
	}
	if f := a.limitUser(user); f != nil {
		return "", f
	}
	hash, _, f := a.credentials(c, user)
	if f != nil {
		return "", f
	}
	right, err := a.cfg.Passwords.Verify(c.context(), c.from, hash, password)
	if err != nil {
		return "", a.passwordFault(c, err)
	}
	if !right {
		return "", notRight()
	}
	return hash, nil
}

// issued is the reply that holds a token.
func (a *API) issued(user string, device uint32) (reply, *nodepb.Fault) {
	token, expires, err := a.cfg.Tokens.Issue(user, device)
	switch {
	case errors.Is(err, auth.ErrNoKey):
		return reply{}, fault.New(fault.Unavailable, "", "there is no key to sign tokens with yet")
	case err != nil:
		a.cfg.Log.Error("token could not be issued", "err", err)
		return reply{}, fault.New(fault.Internal, "", "the token could not be signed")
	}
	return object(http.StatusCreated, struct {
		User      string    `json:"user"`
		Device    uint32    `json:"device"`
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expiresAt"`
	}{user, device, token, expires})
}

// login: POST /v1/devices, by password or by a token of the outside issuer's.
func (a *API) login(c *call) (reply, *nodepb.Fault) {
	if err := a.cfg.Tokens.Ready(); err != nil { // else a device would be linked that gets no token
		return reply{}, fault.New(fault.Unavailable, "", "%v", err)
	}
	if f := a.limitAddress(c); f != nil {
		return reply{}, f
	}
	var user, password, name string
	if f := c.read(fields{"user": &user, "password": &password, "deviceName": &name}); f != nil {
		return reply{}, f
	}
	if f := atMost("deviceName", name, limits.DeviceName); f != nil {
		return reply{}, f
	}
	var hash string
	var f *nodepb.Fault
	if a.cfg.Tokens.Outside() {
		user, hash, f = a.admit(c, user, password)
	} else {
		hash, f = a.verify(c, user, password)
	}
	if f != nil {
		return reply{}, f
	}
	answer, f := a.ask(c, writes, &nodepb.Ask{User: user, Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: name, Password: hash}}})
	if f != nil {
		return reply{}, f
	}
	if answer.GetLinked() == nil {
		return reply{}, a.unexpected(c, writes)
	}
	return a.issued(user, answer.GetLinked().GetDevice())
}

// token: POST /v1/tokens, by the old one, or where there is a body by password
// or by a token of the outside issuer's.
func (a *API) token(c *call) (reply, *nodepb.Fault) {
	var user, password string
	var device uint32
	if c.r.ContentLength == 0 {
		if f := a.authenticate(c); f != nil {
			return reply{}, f
		}
	} else {
		if f := a.limitAddress(c); f != nil {
			return reply{}, f
		}
		if f := c.read(fields{"user": &user, "password": &password, "device": &device}); f != nil {
			return reply{}, f
		}
		switch {
		case user == "" && password == "" && device == 0: // {} is as good as nothing
			if f := a.authenticate(c); f != nil {
				return reply{}, f
			}
		case device == 0:
			return reply{}, invalid("device", "must be given")
		case a.cfg.Tokens.Outside():
			proven, f := a.prove(c, user, password)
			if f != nil {
				return reply{}, f
			}
			c.asker = asker{user: proven, device: device}
		default:
			if _, f := a.verify(c, user, password); f != nil {
				return reply{}, f
			}
			c.asker = asker{user: user, device: device}
		}
	}
	if _, f := a.linked(c); f != nil {
		return reply{}, f
	}
	return a.issued(c.asker.user, c.asker.device)
}

// reverify checks the password of somebody whose token is good already. A
// wrong one is no reason to throw the token away, hence not unauthenticated.
func (a *API) reverify(c *call, field, password string) (string, *nodepb.Fault) {
	if f := a.limitAddress(c); f != nil {
		return "", f
	}
	if password == "" {
		return "", invalid(field, "must be given")
	}
	if _, f := a.linked(c); f != nil {
		return "", f
	}
	hash, f := a.verify(c, c.asker.user, password)
	if f.GetCode() == string(fault.Unauthenticated) {
		f = fault.New(fault.PermissionDenied, fault.ReasonWrongPassword, "%s: not right", field)
	}
	return hash, f
}

// setPassword: PUT /v1/users/{id}/password.
func (a *API) setPassword(c *call) (reply, *nodepb.Fault) {
	if f := c.oneself(); f != nil {
		return reply{}, f
	}
	if a.cfg.Tokens.Outside() {
		return reply{}, outside("there are no passwords here")
	}
	var old, replacement string
	if f := c.read(fields{"old": &old, "new": &replacement}); f != nil {
		return reply{}, f
	}
	if f := newPassword("new", replacement); f != nil {
		return reply{}, f
	}
	oldHash, f := a.reverify(c, "old", old)
	if f != nil {
		return reply{}, f
	}
	newHash, err := a.cfg.Passwords.Hash(c.context(), c.from, replacement)
	if err != nil {
		return reply{}, a.passwordFault(c, err)
	}
	q := c.own()
	q.Body = &nodepb.Ask_SetPassword{SetPassword: &nodepb.SetPassword{Old: oldHash, New: newHash}}
	return a.confirm(c, q)
}

// deleteAccount: DELETE /v1/users/{id}, with the password once more, or a token
// of the outside issuer's.
func (a *API) deleteAccount(c *call) (reply, *nodepb.Fault) {
	if f := c.oneself(); f != nil {
		return reply{}, f
	}
	var password, token string
	if f := c.read(fields{"password": &password, "token": &token}); f != nil {
		return reply{}, f
	}
	if f := atMost("token", token, limits.Token); f != nil {
		return reply{}, f
	}
	var hash string
	var f *nodepb.Fault
	switch {
	case a.cfg.Tokens.Outside():
		hash, f = a.reprove(c, token, password)
	case password == "" && token != "":
		f = fault.New(fault.PermissionDenied, fault.ReasonWrongPassword, "token: no outside issuer signs tokens here")
	default:
		hash, f = a.reverify(c, "password", password)
	}
	if f != nil {
		return reply{}, f
	}
	q := c.own()
	q.Body = &nodepb.Ask_DeleteAccount{DeleteAccount: &nodepb.DeleteAccount{Password: hash}}
	return a.confirm(c, q)
}
