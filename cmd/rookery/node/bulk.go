package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// bulkAtOnce bounds the users of one request that are being made at a time.
const bulkAtOnce = 128

// bulkUser is one user to be made. Devices is 1 where left out; without a
// password nobody can log in by one, and only the tokens in the answer serve.
type bulkUser struct {
	User     string `json:"user"`
	Name     string `json:"name"`
	Devices  int    `json:"devices"`
	Password string `json:"password"`
}

// bulkMade is what became of it: Devices as far as they were linked, and Error
// where it went no further.
type bulkMade struct {
	User    string       `json:"user"`
	Devices []bulkDevice `json:"devices,omitempty"`
	Error   *bulkError   `json:"error,omitempty"`
}

type bulkDevice struct {
	Device    uint32    `json:"device"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
}

type bulkError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// createUsers makes users with devices, whoever may register: the admin
// address is the operator's. One that fails stops no other.
func (n *Node) createUsers(w http.ResponseWriter, r *http.Request) {
	users, err := readBulk(http.MaxBytesReader(w, r.Body, limits.BulkBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		say(w, http.StatusRequestEntityTooLarge, map[string]string{"error": fmt.Sprintf("body: has more than %d bytes", limits.BulkBody)})
		return
	case err != nil:
		say(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	if err := n.tokens.Ready(); err != nil { // else devices would be linked that get no token
		say(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	proof := issue(n.tokens.Issue)
	switch asked := r.URL.Query().Get("proof"); {
	case asked == "":
	case asked == standInProof && n.passes != nil:
		proof = n.passes.issue
	default:
		say(w, http.StatusBadRequest, map[string]string{"error": "proof: this node has only tokens, which are what you get where it is left out"})
		return
	}
	made := make([]bulkMade, len(users))
	places := make(chan struct{}, bulkAtOnce)
	var running sync.WaitGroup
	for i, u := range users {
		places <- struct{}{}
		running.Go(func() {
			made[i] = n.makeUser(r.Context(), u, proof)
			<-places
		})
	}
	running.Wait()
	say(w, http.StatusOK, map[string]any{"users": made})
}

// readBulk reads the body and names every fault in it, before anything is made.
func readBulk(body io.Reader) ([]bulkUser, error) {
	var in struct {
		Users []bulkUser `json:"users"`
	}
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if len(in.Users) == 0 || len(in.Users) > limits.BulkUsers {
		return nil, fmt.Errorf("users: %d, must be from 1 to %d", len(in.Users), limits.BulkUsers)
	}
	var errs []error
	for i := range in.Users {
		u := &in.Users[i]
		if u.Devices == 0 {
			u.Devices = 1
		}
		check := func(ok bool, format string, args ...any) {
			if !ok {
				errs = append(errs, fmt.Errorf("users[%d].%s", i, fmt.Sprintf(format, args...)))
			}
		}
		if err := ident.CheckUser(u.User); err != nil {
			check(false, "user: %v", err)
		}
		check(len(u.Name) <= limits.Name, "name: has more than %d bytes", limits.Name)
		check(u.Devices > 0 && u.Devices <= limits.Devices, "devices: %d, must be from 1 to %d", u.Devices, limits.Devices)
		check(u.Password == "" || len(u.Password) >= limits.PasswordMin && len(u.Password) <= limits.PasswordMax,
			"password: must be %d to %d bytes, or left out", limits.PasswordMin, limits.PasswordMax)
	}
	return in.Users, errors.Join(errs...)
}

// issue makes the proof that somebody is a device, and says when it expires.
type issue func(user string, device uint32) (string, time.Time, error)

// makeUser registers a user and links its devices one after the other, since
// their numbers are given in that order.
func (n *Node) makeUser(ctx context.Context, u bulkUser, proof issue) bulkMade {
	made := bulkMade{User: u.User}
	hash := ""
	if u.Password != "" {
		var err error
		if hash, err = n.password.Hash(ctx, netip.IPv6Loopback(), u.Password); err != nil {
			made.Error = &bulkError{string(fault.Unavailable), err.Error()}
			return made
		}
	}
	_, made.Error = n.askOf(ctx, &nodepb.Ask{User: u.User, Body: &nodepb.Ask_Register{Register: &nodepb.Register{Name: u.Name, Password: hash}}})
	for i := 0; i < u.Devices && made.Error == nil; i++ {
		var answer *nodepb.Answer
		answer, made.Error = n.askOf(ctx, &nodepb.Ask{User: u.User, Body: &nodepb.Ask_LinkDevice{
			LinkDevice: &nodepb.LinkDevice{Name: fmt.Sprintf("device %d", i+1), Password: hash},
		}})
		if made.Error != nil {
			break
		}
		device := answer.GetLinked().GetDevice()
		token, expires, err := proof(u.User, device)
		if err != nil {
			made.Error = &bulkError{string(fault.Internal), "the token could not be signed"}
			break
		}
		made.Devices = append(made.Devices, bulkDevice{device, token, expires})
	}
	return made
}

// askOf puts one question and waits for its answer.
func (n *Node) askOf(ctx context.Context, q *nodepb.Ask) (*nodepb.Answer, *bulkError) {
	ctx, cancel := context.WithTimeout(ctx, limits.AnswerTimeout)
	defer cancel()
	answer, err := n.rest.Ask(ctx, q)
	if err != nil {
		return nil, &bulkError{string(fault.Unavailable), "no answer in time: it may or may not have happened"}
	}
	if f := answer.GetFault(); f != nil {
		return nil, &bulkError{f.GetCode(), f.GetMessage()}
	}
	return answer, nil
}

// about says which process this is and how it runs, for tools on the same machine.
func (n *Node) about(w http.ResponseWriter, _ *http.Request) {
	limit := n.cfg.Session.Limits
	rate := func(perSecond float64, burst int) map[string]any {
		return map[string]any{"perSecond": perSecond, "burst": burst}
	}
	data, err := filepath.Abs(n.cfg.Data)
	if err != nil { // the working directory has gone
		data = n.cfg.Data
	}
	say(w, http.StatusOK, map[string]any{
		"node": n.dir.Node(), "version": n.cfg.Version, "go": runtime.Version(), "pid": os.Getpid(), "data": data,
		"listen": n.Addr(), "tls": n.TLS(), "registration": n.cfg.Registration, "checkpointEvery": n.cfg.CheckpointEvery.String(),
		"connections": n.cfg.Connections,
		"rates": map[string]any{
			"sends": rate(limit.Sends.PerSecond, limit.Sends.Burst), "frames": rate(limit.Frames.PerSecond, limit.Frames.Burst),
			"login": rate(n.cfg.Login.PerSecond, n.cfg.Login.Burst),
		},
	})
}
