package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/persistence/store"
	"github.com/rookery-im/rookery/transport/api"
	"github.com/rookery-im/rookery/transport/auth"
	"github.com/rookery-im/rookery/transport/conns"
	"github.com/rookery-im/rookery/transport/ws"
)

// openHTTP makes the handlers of both addresses.
func (n *Node) openHTTP(metrics *auth.Metrics) error {
	registrar, err := n.registrar()
	if err != nil {
		return err
	}
	n.api, err = api.New(api.Config{
		Backend: n.rest, Tokens: n.tokens, Passwords: n.password, Ready: n, Mode: api.Mode(n.cfg.Registration), Invites: invites{n}, Registrar: registrar,
		Node: n.dir.Node(), URL: n.cfg.PublicURL, Nodes: n.places, Origins: n.cfg.Origins, AccountsPerSecond: n.cfg.Login.PerSecond, AccountsBurst: n.cfg.Login.Burst,
		RequestsPerSecond: n.cfg.Requests.PerSecond, RequestsBurst: n.cfg.Requests.Burst, Concurrent: n.cfg.ConcurrentRequests,
		Waiting: api.Waiting{Polls: n.cfg.Polls, Streams: n.streams}, Now: n.clock.due,
		Log: n.cfg.Log.With("part", "api"), Metrics: api.NewMetrics(n.registry), AuthMetrics: metrics,
	})
	if err != nil {
		return err
	}
	n.clients = n.server(n.paths(n.api))
	n.conns.Guard(n.clients)
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

// paths sends each request to whom it is for. A ServeMux would redirect from
// paths with double slashes or dots, and what answers those is the API.
func (n *Node) paths(rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.EscapedPath(); {
		case !n.cfg.Place.forClients() && forClients(path):
			ws.Refuse(w, 0, fault.Unavailable, "this node takes no clients: it has not the role "+control.RoleGateway+"; GET "+nodesPath+" names those that have it")
		case path == conns.Path:
			get(w, r, n.upgrade)
		case path == conns.EchoPath && n.cfg.Echo:
			get(w, r, n.conns.Echo)
		default:
			rest.ServeHTTP(w, r)
		}
	})
}

// nodesPath is where every node says where clients may connect.
const nodesPath = "/v1/nodes"

func forClients(path string) bool { return strings.HasPrefix(path, "/v1/") && path != nodesPath }

// upgrade takes no connection that could not be served.
func (n *Node) upgrade(w http.ResponseWriter, r *http.Request) {
	if n.draining.Load() {
		ws.Refuse(w, 0, fault.Unavailable, errDraining.Error())
		return
	}
	n.conns.Upgrade(w, r)
}

// get lets GET through, and HEAD, as a ServeMux does.
func get(w http.ResponseWriter, r *http.Request, h http.HandlerFunc) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		h(w, r)
		return
	}
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
		// OPTIONS * is a path like any other that there is not.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(n.cfg.Log.With("part", "http").Handler(), slog.LevelDebug),
	}
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
	n.running.Go(func() { n.keepTimes(ctx) })
	if n.keys != nil {
		n.running.Go(func() { n.keys.Run(ctx) })
	}
	return n.introduce()
}

func (n *Node) serveOn(s *http.Server, serve func() error) {
	defer n.running.Done()
	if err := serve(); !errors.Is(err, http.ErrServerClosed) && !n.draining.Load() {
		n.fail(wrap("serve", err))
		n.conns.Post(func() {})
	}
}

// keepTimes keeps the time of day now and then, for the next start to compare
// its clock with.
func (n *Node) keepTimes(ctx context.Context) {
	t := time.NewTicker(keepEvery)
	defer t.Stop()
	for {
		n.keepTime()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (n *Node) keepTime() {
	if n.clock == nil { // it did not come so far
		return
	}
	n.keeping.Lock()
	defer n.keeping.Unlock()
	if seen, ok := n.clock.keep(); ok {
		if err := n.dir.SetSeen(seen); err != nil {
			n.cfg.Log.Warn("the time is not kept; the next start compares its clock with an older one", "err", err)
		}
	}
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
			_, err := n.store.Maintain(ctx)
			switch {
			case ctx.Err() != nil:
			case errors.Is(err, store.ErrDamaged), errors.Is(err, store.ErrBroken):
				// The next compaction could lose rows for good.
				n.fail(wrap("housekeeping", err))
				n.conns.Post(func() {})
			case err != nil:
				n.cfg.Log.Warn("housekeeping of the store", "err", err)
			}
		}
	}
}
