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
	"github.com/rookery-im/rookery/internal/limits"
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
	var out made
	err := n.onControl(r.Context(), func(done func(error)) {
		n.control.CreateInvite(n.cfg.InviteLife, func(code string, expires time.Time, err error) {
			out = made{code, expires}
			done(err)
		})
	})
	if err != nil {
		say(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	say(w, http.StatusCreated, out)
}

func (n *Node) rotateKey(w http.ResponseWriter, r *http.Request) {
	if err := n.onControl(r.Context(), n.control.RotateKey); err != nil {
		say(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// onControl runs an operation of group 0 on the loop and waits for its end.
func (n *Node) onControl(ctx context.Context, op func(done func(error))) error {
	ctx, cancel := context.WithTimeout(ctx, limits.AnswerTimeout)
	defer cancel()
	end := make(chan error, 1)
	if !n.conns.Post(func() { op(func(err error) { end <- err }) }) {
		return errBusy
	}
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
		return errUnknown
	}
}

// invites are group 0's, as the API wants them.
type invites struct{ n *Node }

func (i invites) Check(ctx context.Context, code, user string) error {
	return i.ask(ctx, func(done func(error)) { i.n.control.CheckInvite(code, user, done) })
}

func (i invites) Redeem(ctx context.Context, code, user string) error {
	return i.ask(ctx, func(done func(error)) { i.n.control.Redeem(code, user, done) })
}

func (i invites) ask(ctx context.Context, op func(done func(error))) error {
	err := i.n.onControl(ctx, op)
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
