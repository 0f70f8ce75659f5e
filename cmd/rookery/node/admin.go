package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/council"
	"github.com/rookery-im/rookery/internal/limits"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
	"github.com/rookery-im/rookery/transport/api"
)

func (n *Node) adminMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, map[string]string{"status": "ok"}) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := n.Ready(); err != nil {
			say(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "reason": err.Error()})
			return
		}
		state := map[string]string{"status": "ready"}
		if warning := n.clock.warning(); warning != "" {
			state["warning"] = warning
		}
		say(w, http.StatusOK, state)
	})
	mux.HandleFunc("POST /v1/invites", n.createInvite)
	mux.HandleFunc("POST /v1/keys", n.rotateKey)
	mux.HandleFunc("GET /v1/status", n.sayStatus)
	mux.HandleFunc("DELETE /v1/nodes/{node}", n.removeNode)
	mux.HandleFunc("POST /v1/users:bulk", n.createUsers)
	mux.HandleFunc("GET /v1/about", n.about)
	mux.HandleFunc("POST /v1/clock:accept", func(w http.ResponseWriter, _ *http.Request) {
		n.clock.accept()
		n.keepTime()
		w.WriteHeader(http.StatusNoContent)
	})
	if n.passes != nil {
		mux.HandleFunc("POST "+standInPath, n.carryStandIns)
	}
	return mux
}

func say(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever asked may have gone
}

// createInvite makes an invitation; the code is in the answer and nowhere else.
func (n *Node) createInvite(w http.ResponseWriter, r *http.Request) {
	type made struct {
		Code      string    `json:"code"`
		ExpiresAt time.Time `json:"expiresAt"`
	}
	life := n.cfg.InviteLife
	a, err := n.ask(r.Context(), &controlpb.Ask{Body: &controlpb.Ask_Invite{Invite: &controlpb.NewInvite{Life: uint64(life.Milliseconds())}}}) //nolint:gosec // above 0
	if err != nil {
		sayError(w, err)
		return
	}
	say(w, http.StatusCreated, made{a.GetInvite(), time.UnixMilli(int64(a.GetExpires()))}) //nolint:gosec // a time
}

func (n *Node) rotateKey(w http.ResponseWriter, r *http.Request) {
	if _, err := n.ask(r.Context(), &controlpb.Ask{Body: &controlpb.Ask_Rotate{Rotate: &controlpb.Nothing{}}}); err != nil {
		sayError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// sayError says why group 0 did not do something.
func sayError(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable
	var r *council.Refusal
	if errors.As(err, &r) {
		status = http.StatusConflict
		if errors.Is(err, control.ErrNoMember) {
			status = http.StatusNotFound
		}
	}
	say(w, status, map[string]string{"error": err.Error()})
}

// ask group 0, wherever its leader is, and wait for the answer.
func (n *Node) ask(ctx context.Context, ask *controlpb.Ask) (*controlpb.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.AnswerTimeout+time.Second)
	defer cancel()
	type end struct {
		answer *controlpb.Answer
		err    error
	}
	ended := make(chan end, 1)
	put := func() {
		n.cluster.council.Ask(ask, limits.AnswerTimeout, func(a *controlpb.Answer, err error) { ended <- end{a, council.Verdict(a, err)} })
	}
	if !n.conns.Post(put) {
		return nil, errBusy
	}
	select {
	case e := <-ended:
		return e.answer, e.err
	case <-ctx.Done():
		return nil, errUnknown
	}
}

// invites are group 0's, as the API wants them.
type invites struct{ n *Node }

func (i invites) Check(ctx context.Context, code, user string) error {
	return i.ask(ctx, &controlpb.Ask{Body: &controlpb.Ask_Check{Check: &controlpb.Redemption{Code: code, User: user}}})
}

func (i invites) Redeem(ctx context.Context, code, user string) error {
	return i.ask(ctx, &controlpb.Ask{Body: &controlpb.Ask_Redeem{Redeem: &controlpb.Redemption{Code: code, User: user}}})
}

func (i invites) ask(ctx context.Context, ask *controlpb.Ask) error {
	_, err := i.n.ask(ctx, ask)
	if errors.Is(err, control.ErrInvite) {
		return fmt.Errorf("%w: %w", api.ErrInvite, err)
	}
	return err
}

// listenAdmin listens on an address, or a socket file that only its owner may use.
func listenAdmin(admin string) (net.Listener, error) {
	if !strings.ContainsRune(admin, '/') {
		return net.Listen("tcp", admin)
	}
	if info, err := os.Lstat(admin); err == nil && info.Mode()&fs.ModeSocket != 0 {
		// Left behind by a process that was killed: nobody answers there.
		if c, err := net.Dial("unix", admin); err == nil {
			return nil, errors.Join(fmt.Errorf("socket %s is in use", admin), c.Close())
		}
		if err := os.Remove(admin); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", admin)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(admin, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
