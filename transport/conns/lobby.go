package conns

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-im/rookery/internal/limits"
)

// lobby is where connections stand of which the server waits for something
// before it can serve them: a request line, headers, a body, the next request.
// A slow-loris has nothing else to do than to stand here. Past the bounds of
// the lobby those leave, without a word, who have stood there longest; an
// honest request needs a moment. What is being served counts elsewhere.
//
// A body is read here, as a whole, before its handler is called: so a handler
// never waits for a client, and what handlers hold nobody can sit on.
type lobby struct {
	// Immutable.
	most, ofAddress, bodies int
	room                    func() int // descriptors that WebSockets leave; nil: no matter
	evicted                 prometheus.Counter
	now                     func() time.Time

	mu     sync.Mutex
	all    map[net.Conn]*visitor
	queue  *list.List // of *visitor, who has stood longest first
	byAddr map[netip.Addr]*list.List
	held   int // bytes of bodies
}

// visitor is one connection, from its accept to its end or its upgrade.
type visitor struct {
	conn net.Conn
	addr netip.Addr // not valid where it is a proxy's, or there is none
	// Guarded by the lobby's mu.
	place, ofAddr *list.Element // nil while it is served
	since         time.Time     // it stands in this place
	held          int
}

type visitorKey struct{}

func newLobby(most, ofAddress, bodies int, evicted prometheus.Counter) *lobby {
	return &lobby{
		most: most, ofAddress: ofAddress, bodies: bodies, evicted: evicted,
		now: time.Now, all: map[net.Conn]*visitor{}, queue: list.New(), byAddr: map[netip.Addr]*list.List{},
	}
}

// Guard puts the lobby in front of a server, and has those wait whose requests
// come to nothing. What the server has of its own
// for the same purpose is replaced.
func (c *Conns) Guard(s *http.Server) {
	s.ConnState = c.lobby.state
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, visitorKey{}, c.lobby.enter(conn)) // net/http calls it before any state
	}
	s.Handler = c.patiently(c.lobby.handler(s.Handler))
}

// state hears from net/http.
func (l *lobby) state(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateIdle:
		l.end(l.wait(l.find(conn), 0))
	case http.StateHijacked, http.StateClosed:
		l.leave(conn)
	}
}

func (l *lobby) find(conn net.Conn) *visitor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[conn]
}

func (l *lobby) enter(conn net.Conn) *visitor {
	v := &visitor{conn: conn, addr: standing(conn)}
	l.mu.Lock()
	l.all[conn] = v
	l.mu.Unlock()
	l.end(l.wait(v, 0))
	return v
}

// standing is the address that a connection counts for. To ask a proxy's for
// its address would be to wait for its header, and a proxy has many clients.
func standing(conn net.Conn) netip.Addr {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn() // of TLS
	}
	if _, proxy := conn.(*proxied); proxy {
		return netip.Addr{}
	}
	a, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return household(a.Addr())
}

// wait has the visitor stand in the queue, at its end unless it stands there
// already, and hold so many bytes more. Whoever has to leave for it is returned.
func (l *lobby) wait(v *visitor, bytes int) (victims []*visitor) {
	if v == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[v.conn] != v {
		return nil
	}
	v.held += bytes
	l.held += bytes
	if v.place == nil {
		v.place, v.since = l.queue.PushBack(v), l.now()
		if v.addr.IsValid() {
			of := l.byAddr[v.addr]
			if of == nil {
				of = list.New()
				l.byAddr[v.addr] = of
			}
			if v.ofAddr = of.PushBack(v); of.Len() > l.ofAddress {
				victims = append(victims, l.forgetLocked(of.Front()))
			}
		}
	}
	for l.queue.Len() > l.mostLocked() {
		victims = append(victims, l.forgetLocked(l.queue.Front()))
	}
	for e := l.queue.Front(); e != nil && l.held > l.bodies; {
		next := e.Next()
		if e.Value.(*visitor).held > 0 {
			victims = append(victims, l.forgetLocked(e))
		}
		e = next
	}
	return victims
}

// lobbyGrace is how long somebody stands in a full lobby before anybody is let
// in who would take the place: when many come at once, as after a restart, those
// next in turn are not turned away for those behind them, who wait in the
// kernel's queue meanwhile.
const lobbyGrace = 500 * time.Millisecond

// lobbyLook is how often a full lobby is looked at.
const lobbyLook = 5 * time.Millisecond

// admit waits until somebody may be let in, or until closed.
func (l *lobby) admit(closed <-chan struct{}) {
	for l.young() > 0 {
		timer := time.NewTimer(lobbyLook)
		select {
		case <-timer.C:
		case <-closed:
			timer.Stop()
			return
		}
	}
}

// young is how long nobody may be let in, where none leaves before.
func (l *lobby) young() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queue.Len() < l.mostLocked() {
		return 0
	}
	return lobbyGrace - l.now().Sub(l.queue.Front().Value.(*visitor).since)
}

// lobbyMin may stand in the lobby however few descriptors are left.
const lobbyMin = 128

// mostLocked is how many may stand: fewer where descriptors run short, since
// the log and the store need some as well.
func (l *lobby) mostLocked() int {
	if l.room == nil {
		return l.most
	}
	served := len(l.all) - l.queue.Len()
	return min(l.most, max(l.room()-served, lobbyMin))
}

func (l *lobby) forgetLocked(e *list.Element) *visitor {
	v := e.Value.(*visitor)
	l.outLocked(v)
	l.held -= v.held
	v.held = 0
	delete(l.all, v.conn)
	return v
}

// outLocked takes the visitor out of the queue.
func (l *lobby) outLocked(v *visitor) {
	if v.place == nil {
		return
	}
	l.queue.Remove(v.place)
	v.place = nil
	if v.ofAddr != nil {
		of := l.byAddr[v.addr]
		if of.Remove(v.ofAddr); of.Len() == 0 {
			delete(l.byAddr, v.addr)
		}
		v.ofAddr = nil
	}
}

// serve takes the visitor out of the queue while it is served; false says that
// it had to leave before.
func (l *lobby) serve(v *visitor) bool {
	if v == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[v.conn] != v {
		return false
	}
	l.outLocked(v)
	return true
}

// drop gives back what the visitor's body held.
func (l *lobby) drop(v *visitor) {
	if v == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held -= v.held
	v.held = 0
}

func (l *lobby) leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.all[conn]; v != nil {
		l.outLocked(v)
		l.held -= v.held
		v.held = 0
		delete(l.all, conn)
	}
}

// end closes those who have to leave: beneath TLS, which would want to say goodbye.
func (l *lobby) end(victims []*visitor) {
	for _, v := range victims {
		l.evicted.Inc()
		conn := v.conn
		if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = t.NetConn()
		}
		_ = conn.Close() // nobody was promised anything
	}
}

// handler reads bodies in the lobby, and serves outside of it.
func (l *lobby) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, _ := r.Context().Value(visitorKey{}).(*visitor)
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = l.read(v, r.Body)
		}
		if !l.serve(v) {
			return // the connection is gone: there is nobody to answer
		}
		defer l.drop(v)
		next.ServeHTTP(w, r)
	})
}

// bodyPiece is how much of a body is read before it is counted.
const bodyPiece = 4 << 10

// read takes as much of a body as a handler may want, and a byte more, so that
// what is too long is still found to be. What comes after that, an error
// included, is left to the handler.
func (l *lobby) read(v *visitor, body io.ReadCloser) io.ReadCloser {
	var got []byte
	for len(got) <= limits.Body {
		if cap(got)-len(got) < bodyPiece {
			bigger := make([]byte, len(got), max(2*cap(got), bodyPiece))
			l.end(l.wait(v, cap(bigger)-cap(got)))
			copy(bigger, got)
			got = bigger
		}
		n, err := body.Read(got[len(got):min(cap(got), limits.Body+1)])
		got = got[:len(got)+n]
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.EOF
			}
			return &readBody{bytes.NewReader(got), body, err}
		}
	}
	return &readBody{bytes.NewReader(got), body, nil}
}

// readBody is a body of which the beginning, or all, is here.
type readBody struct {
	here *bytes.Reader
	body io.ReadCloser
	err  error // after what is here; nil where the rest is to be read
}

func (b *readBody) Read(p []byte) (int, error) {
	if b.here.Len() > 0 {
		return b.here.Read(p)
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.body.Read(p)
}

func (b *readBody) Close() error { return b.body.Close() }
