package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/rs/cors"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/auth"
)

// API serves the REST calls. It starts no goroutine.
type API struct {
	// immutable
	cfg       Config
	mux       *http.ServeMux
	handler   http.Handler
	addresses *auth.Limiter[netip.Prefix] // accounts: logins, registrations, password checks
	users     *auth.Limiter[string]       // likewise, by the user they are about
	devices   *auth.Limiter[asker]        // authenticated requests
	places    chan struct{}
	decoding  chan struct{}   // a place for each long body that is decoded at once
	polls     chan struct{}   // those that wait; they have no place
	serving   context.Context // ended by Drain
	drain     context.CancelFunc
}

// asker is who a token was issued to.
type asker struct {
	user   string
	device uint32
}

// New makes an API.
func New(cfg Config) (*API, error) {
	cfg.fill()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &API{
		cfg: cfg, mux: http.NewServeMux(), places: make(chan struct{}, cfg.Concurrent),
		decoding: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)), polls: make(chan struct{}, cfg.Waiting.polls()),
	}
	a.serving, a.drain = context.WithCancel(context.Background())
	limiter := func(name string) auth.LimiterConfig {
		return auth.LimiterConfig{Name: name, PerSecond: cfg.AccountsPerSecond, Burst: cfg.AccountsBurst, Now: cfg.Now, Metrics: cfg.AuthMetrics}
	}
	requests := limiter("api_device")
	requests.PerSecond, requests.Burst = cfg.RequestsPerSecond, cfg.RequestsBurst
	var errs [3]error
	a.addresses, errs[0] = auth.NewLimiter[netip.Prefix](limiter("api_address"))
	a.users, errs[1] = auth.NewLimiter[string](limiter("api_user"))
	a.devices, errs[2] = auth.NewLimiter[asker](requests)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	for pattern, h := range a.routes() {
		a.mux.Handle(pattern, a.serve(pattern, h))
	}
	for pattern, h := range a.probes() {
		a.mux.Handle(pattern, a.answer(pattern, h))
	}
	a.handler = http.HandlerFunc(a.route)
	if len(cfg.Origins) > 0 {
		a.handler = cors.New(cors.Options{
			AllowedOrigins: cfg.Origins,
			AllowedMethods: []string{"GET", "POST", "PUT", "PATCH", "DELETE"},
			AllowedHeaders: []string{"Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"},
			ExposedHeaders: []string{"Retry-After"},
			MaxAge:         600,
		}).Handler(a.handler)
	}
	return a, nil
}

// routes is everything there is; docs/openapi.yaml describes the same.
func (a *API) routes() map[string]handler {
	return map[string]handler{
		"POST /v1/users":   a.register,
		"POST /v1/devices": a.login,
		"POST /v1/tokens":  a.token,
		"GET /v1/nodes":    a.nodes,

		"GET /v1/devices":         a.known(a.listDevices),
		"DELETE /v1/devices/{id}": a.known(a.unlinkDevice),

		"POST /v1/messages":     a.known(a.send),
		"GET /v1/messages":      a.known(a.listMessages),
		"POST /v1/messages/ack": a.known(a.ack),
		"GET /v1/events":        a.known(a.events),

		"GET /v1/users/{id}":                  a.known(a.profile),
		"PATCH /v1/users/{id}":                a.known(a.patchProfile),
		"DELETE /v1/users/{id}":               a.known(a.deleteAccount),
		"PUT /v1/users/{id}/password":         a.known(a.setPassword),
		"PUT /v1/users/{id}/blocks/{user}":    a.known(a.block),
		"DELETE /v1/users/{id}/blocks/{user}": a.known(a.unblock),
	}
}

// Drain ends requests that wait, with what they have: nothing, and the advice
// to ask another node. Later ones do not wait.
func (a *API) Drain() { a.drain() }

// ServeHTTP answers everything under /v1 but the WebSocket, and the probes.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// route is the mux, but that its own answers are problems as well.
func (a *API) route(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h, pattern := a.mux.Handler(r)
	if pattern != "" && !redirected(r) {
		a.mux.ServeHTTP(w, r)
		return
	}
	var own verdict
	h.ServeHTTP(&own, r)
	f := fault.New(fault.NotFound, "", "there is nothing at this path")
	status := http.StatusNotFound
	if allow := own.Header().Get("Allow"); allow != "" {
		status = http.StatusMethodNotAllowed
		f.Message = fmt.Sprintf("%s is not among the methods of this path: %s", r.Method, allow)
		w.Header().Set("Allow", allow)
	}
	a.cfg.Metrics.requests.WithLabelValues("none", f.GetCode()).Inc()
	writeProblem(w, f, status)
}

// verdict takes in what the mux would answer, for its headers.
type verdict struct{ header http.Header }

func (v *verdict) Header() http.Header {
	if v.header == nil {
		v.header = make(http.Header)
	}
	return v.header
}
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }
func (v *verdict) WriteHeader(int)             {}

// call is one request on its way.
type call struct {
	r      *http.Request
	w      http.ResponseWriter
	from   netip.Addr // where it comes from; not valid for a socket file
	asker  asker      // set by known
	until  time.Time  // when the asker's token expires; likewise
	ctx    context.Context
	cancel context.CancelFunc
	long   chan struct{} // API.decoding
	leave  func()        // gives up the place among those that are served at once
	waited bool          // how long it took says nothing of the node
}

// reply is what a handler has to say; a nil body is none, and a status of 0
// says that everything is said.
type reply struct {
	status int
	body   []byte
}

type handler func(*call) (reply, *nodepb.Fault)

// serve is the frame of every route.
func (a *API) serve(route string, h handler) http.Handler {
	seconds := a.cfg.Metrics.seconds.WithLabelValues(route)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		select {
		case a.places <- struct{}{}:
		default:
			a.finish(w, route, reply{}, fault.New(fault.Unavailable, "", "too many requests at once"))
			return
		}
		a.cfg.Metrics.active.Inc()
		c := &call{r: r, w: w, from: address(r), long: a.decoding, leave: sync.OnceFunc(func() {
			<-a.places
			a.cfg.Metrics.active.Dec()
		})}
		defer c.leave()
		defer c.done()
		out, f := h(c)
		a.finish(w, route, out, f)
		if !c.waited {
			seconds.Observe(time.Since(begin).Seconds())
		}
	})
}

func (a *API) finish(w http.ResponseWriter, route string, out reply, f *nodepb.Fault) {
	if f != nil {
		a.cfg.Metrics.requests.WithLabelValues(route, f.GetCode()).Inc()
		writeProblem(w, f, fault.Code(f.GetCode()).Status())
		return
	}
	a.cfg.Metrics.requests.WithLabelValues(route, "ok").Inc()
	if out.status == 0 {
		return
	}
	if out.body != nil {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(out.body) // a client that has gone needs no answer
}

// address of the client. What proxies say of it is not read.
func address(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr()
}
