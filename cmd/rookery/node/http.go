package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/transport/api"
	"github.com/rookery-im/rookery/transport/auth"
	"github.com/rookery-im/rookery/transport/conns"
	"github.com/rookery-im/rookery/transport/session"
	"github.com/rookery-im/rookery/transport/ws"
)

// openHTTP makes the handlers of both addresses.
func (n *Node) openHTTP(metrics *auth.Metrics) error {
	a, err := api.New(api.Config{
		Backend: n.rest, Tokens: n.tokens, Passwords: n.password, Ready: n, Mode: api.Mode(n.cfg.Registration), Invites: invites{n},
		Node: n.dir.Node(), Origins: n.cfg.Origins, AccountsPerSecond: n.cfg.Login.PerSecond, AccountsBurst: n.cfg.Login.Burst,
		Log: n.cfg.Log.With("part", "api"), Metrics: api.NewMetrics(n.registry), AuthMetrics: metrics,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", a)
	mux.HandleFunc("GET "+conns.Path, n.upgrade)
	mux.HandleFunc(conns.Path, onlyGet)
	if n.cfg.Echo {
		mux.HandleFunc("GET "+conns.EchoPath, n.conns.Echo)
		mux.HandleFunc(conns.EchoPath, onlyGet)
	}
	n.clients = n.server(mux)
	if n.TLS() {
		if n.clients.TLSConfig, err = conns.TLS(n.cfg.TLSCert, n.cfg.TLSKey, n.cfg.Log.With("part", "tls")); err != nil {
			return err
		}
		// WebSocket has no place in HTTP/2 as net/http speaks it.
		n.clients.TLSConfig.NextProtos = []string{"http/1.1"}
	}
	n.admin = n.server(n.adminMux())
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return nil
}

// upgrade takes no connection that could not be served.
func (n *Node) upgrade(w http.ResponseWriter, r *http.Request) {
	if n.draining.Load() {
		w.Header().Set("Retry-After", "1")
		ws.Refuse(w, 0, fault.Unavailable, errDraining.Error())
		return
	}
	n.conns.Upgrade(w, r)
}

// onlyGet answers what is not a GET on a path of WebSockets.
func onlyGet(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	ws.Refuse(w, http.StatusMethodNotAllowed, fault.NotFound, r.Method+" is not among the methods of this path: GET, HEAD")
}

func (n *Node) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(n.cfg.Log.With("part", "http").Handler(), slog.LevelDebug),
	}
}

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
		say(w, http.StatusOK, map[string]string{"status": "ready"})
	})
	mux.HandleFunc("POST /v1/invites", n.createInvite)
	mux.HandleFunc("POST /v1/keys", n.rotateKey)
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
		n.control.CreateInvite(0, func(code string, expires time.Time, err error) {
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

func (i invites) Redeem(ctx context.Context, code, user string) error {
	err := i.n.onControl(ctx, func(done func(error)) { i.n.control.Redeem(code, user, done) })
	if errors.Is(err, control.ErrInvite) {
		return fmt.Errorf("%w: %w", api.ErrInvite, err)
	}
	return err
}

// serve listens on both addresses.
func (n *Node) serve() error {
	var err error
	if n.listen, err = net.Listen("tcp", n.cfg.Listen); err != nil {
		return wrap("listen for clients", err)
	}
	if n.manage, err = listenAdmin(n.cfg.Admin); err != nil {
		return errors.Join(wrap("listen for administration", err), n.listen.Close())
	}
	clients := n.conns.Listen(n.listen)
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.running.Add(3)
	go n.serveOn(n.admin, func() error { return n.admin.Serve(n.manage) })
	go n.serveOn(n.clients, func() error {
		if n.TLS() {
			return n.clients.ServeTLS(clients, "", "")
		}
		return n.clients.Serve(clients)
	})
	go n.housekeep(ctx)
	return nil
}

func (n *Node) serveOn(s *http.Server, serve func() error) {
	defer n.running.Done()
	if err := serve(); !errors.Is(err, http.ErrServerClosed) && !n.draining.Load() {
		n.fail(wrap("serve", err))
		n.conns.Post(func() {})
	}
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

// housekeep lets Badger tidy up.
func (n *Node) housekeep(ctx context.Context) {
	defer n.running.Done()
	t := time.NewTicker(upkeep)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := maintain(ctx, n.store); err != nil {
				n.cfg.Log.Warn("housekeeping of the store", "err", err)
			}
		}
	}
}

// Drain stops accepting, sends every client away, spread over time, and ends
// the node within the drain timeout.
func (n *Node) Drain() error {
	n.draining.Store(true)
	until := time.Now().Add(n.cfg.DrainTimeout * 9 / 10) // the rest is for closing the data
	if err := n.conns.StopAccepting(); err != nil {
		n.cfg.Log.Warn("stop accepting", "err", err)
	}
	n.sendAway(until.Add(-n.cfg.DrainTimeout / 3))
	// What has no session hears of it as well: the echo endpoint's.
	n.conns.Post(func() { n.conns.CloseSome(math.MaxInt, session.CloseRestart, errDraining.Error()) })
	n.endRequests(until.Add(-n.cfg.DrainTimeout / 5))
	n.settle(until)
	n.end()
	return n.close()
}

// endRequests waits for requests to end, and cuts those that do not: a client
// that sends half a request must not make an orderly end a failed one.
func (n *Node) endRequests(until time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	for _, s := range []*http.Server{n.clients, n.admin} {
		err := s.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			n.cfg.Log.Warn("requests that did not end in time are cut")
			err = s.Close()
		}
		if err != nil {
			n.cfg.Log.Warn("end a server", "err", err)
		}
	}
}

// sendAway closes the connections in batches, and tells each when to come back.
func (n *Node) sendAway(until time.Time) {
	const batches = 20
	list := make(chan []uint64, 1)
	if !n.conns.Post(func() { list <- n.sessions.Connections() }) {
		return
	}
	var open []uint64
	select {
	case open = <-list:
	case <-n.done:
		return
	}
	pause := time.Until(until) / batches
	if len(open) <= batches {
		pause = 0
	}
	size := (len(open) + batches - 1) / batches
	for i := 0; len(open) > 0; i++ {
		batch := open[:min(size, len(open))]
		open = open[len(batch):]
		n.conns.Post(func() {
			for j, c := range batch {
				n.sessions.GoAway(c, time.Second+time.Duration(j%50)*100*time.Millisecond)
			}
		})
		if len(open) > 0 {
			select {
			case <-time.After(pause):
			case <-n.done:
				return
			}
		}
	}
}

// settle waits until the connections have gone and nothing is in flight.
func (n *Node) settle(until time.Time) {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for time.Now().Before(until) {
		idle := make(chan bool, 1)
		if n.conns.Len() == 0 && n.conns.Post(func() { idle <- n.quiet() }) {
			select {
			case ok := <-idle:
				if ok {
					return
				}
			case <-n.done:
				return
			}
		}
		select {
		case <-t.C:
		case <-n.done:
			return
		}
	}
}

// quiet says that no shard has anything to write; loop only.
func (n *Node) quiet() bool {
	for _, s := range n.shards {
		if s.Pending() {
			return false
		}
	}
	return n.set.Idle() && len(n.router.queue) == 0
}
