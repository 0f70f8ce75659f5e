package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// context is the request's, with the deadline for the answer, which runs from
// the first call of this: when the body has been read.
func (c *call) context() context.Context {
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithTimeout(c.r.Context(), limits.AnswerTimeout)
	}
	return c.ctx
}

func (c *call) done() {
	if c.cancel != nil {
		c.cancel()
	}
}

// known lets only those through who bring a valid token, and not too often.
// Whether the device is still linked is for the user's actor to say.
func (a *API) known(h handler) handler {
	return func(c *call) (reply, *nodepb.Fault) {
		if f := a.authenticate(c); f != nil {
			return reply{}, f
		}
		return h(c)
	}
}

func (a *API) authenticate(c *call) *nodepb.Fault {
	token, f := bearer(c.r)
	if f != nil {
		return f
	}
	claims, err := a.cfg.Tokens.Verify(token)
	if err != nil {
		return tokenFault("Authorization", err)
	}
	c.asker, c.until = asker{user: claims.User, device: claims.Device}, claims.Expires
	if ok, wait := a.devices.Allow(c.asker); !ok {
		return limited(wait, "this device asks too often")
	}
	return nil
}

func bearer(r *http.Request) (string, *nodepb.Fault) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", fault.New(fault.Unauthenticated, "", "Authorization: a bearer token is needed")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", fault.New(fault.Unauthenticated, "", `Authorization: must be "Bearer" and a token`)
	}
	return token, nil
}

func limited(wait time.Duration, message string) *nodepb.Fault {
	f := fault.New(fault.RateLimited, "", "%s", message)
	f.RetryAfterMs = uint32(max(1, (wait+time.Millisecond-1)/time.Millisecond))
	return f
}

// effect says what a question may do, and so what it means when no answer comes.
type effect uint8

const (
	reads  effect = iota // asking again is harmless
	writes               // the outcome is not known
)

// ask puts a question and gives its answer, or the fault.
func (a *API) ask(c *call, e effect, q *nodepb.Ask) (*nodepb.Answer, *nodepb.Fault) {
	answer, err := a.cfg.Backend.Ask(c.context(), q)
	if err != nil {
		a.cfg.Log.Warn("question to a user was not answered", "route", c.r.Pattern, "err", err)
		if e == writes {
			return nil, outcomeUnknown()
		}
		return nil, fault.New(fault.Unavailable, "", "no answer in time")
	}
	if f := answer.GetFault(); f != nil {
		return nil, f
	}
	return answer, nil
}

// own is a question of the asker to its own actor, which checks that the
// device is linked before anything else.
func (c *call) own() *nodepb.Ask {
	return &nodepb.Ask{User: c.asker.user, Asker: c.asker.user, Device: c.asker.device}
}

// linked checks that the asker's device still is, where the question to come
// goes to another user, and gives the asker's devices.
func (a *API) linked(c *call) (*nodepb.DeviceList, *nodepb.Fault) {
	q := c.own()
	q.Body = &nodepb.Ask_GetDevices{GetDevices: &nodepb.GetDevices{}}
	answer, f := a.ask(c, reads, q)
	if f != nil {
		return nil, f
	}
	if answer.GetDevices() == nil {
		return nil, a.unexpected(c, reads)
	}
	return answer.GetDevices(), nil
}

func outcomeUnknown() *nodepb.Fault {
	return fault.New(fault.Unavailable, fault.ReasonOutcomeUnknown, "no answer in time: it may or may not have happened")
}

// unexpected is the fault of an answer to another question, which is a bug of
// ours. Even then an error that is not outcome_unknown promises that nothing
// has happened.
func (a *API) unexpected(c *call, e effect) *nodepb.Fault {
	a.cfg.Log.Error("answer does not fit the question", "route", c.r.Pattern)
	if e == writes {
		return outcomeUnknown()
	}
	return fault.New(fault.Internal, "", "the answer does not fit the question")
}

// confirm puts a question whose answer is Done.
func (a *API) confirm(c *call, q *nodepb.Ask) (reply, *nodepb.Fault) {
	answer, f := a.ask(c, writes, q)
	if f != nil {
		return reply{}, f
	}
	if answer.GetDone() == nil {
		return reply{}, a.unexpected(c, writes)
	}
	return reply{status: http.StatusNoContent}, nil
}

// oneself is the user in the path, where it must be the asker.
func (c *call) oneself() *nodepb.Fault {
	id, f := c.pathUser("id")
	if f == nil && id != c.asker.user {
		f = fault.New(fault.PermissionDenied, "", "id: is another user")
	}
	return f
}

func (c *call) pathUser(name string) (string, *nodepb.Fault) {
	id := c.r.PathValue(name)
	if err := ident.CheckUser(id); err != nil {
		return "", invalid(name, err.Error())
	}
	return id, nil
}

// object is a reply of plain fields.
func object(status int, v any) (reply, *nodepb.Fault) {
	body, err := json.Marshal(v)
	if err != nil {
		return reply{}, fault.New(fault.Internal, "", "the answer cannot be written")
	}
	return reply{status: status, body: body}, nil
}
