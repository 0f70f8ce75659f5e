package api

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
	"github.com/rookery-im/rookery/transport/events"
)

// parking is a backend that has what a test puts there, and parks what finds
// nothing until it is woken. It counts what it is asked.
type parking struct {
	mu      sync.Mutex // for those who ask at once
	entries []*storepb.Entry
	wake    chan struct{}
	asked   int
	parked  int
	left    atomic.Int32 // given up while parked
	fault   *nodepb.Fault
}

func (p *parking) Ask(ctx context.Context, q *nodepb.Ask) (*nodepb.Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.fault != nil {
		return &nodepb.Answer{Body: &nodepb.Answer_Fault{Fault: p.fault}}, nil
	}
	list := q.GetList()
	page := &nodepb.Page{After: list.GetAfter(), UpTo: list.GetAfter(), End: true}
	found := false
	for _, e := range p.entries {
		if e.GetSeq() > list.GetAfter() {
			found, page.UpTo = true, e.GetSeq()
			if list.GetPeer() == "" || list.GetPeer() == e.GetReceipt().GetPeer() {
				page.Entries = append(page.Entries, e)
			}
		}
	}
	if found || list.GetPark() == nil {
		return &nodepb.Answer{Body: &nodepb.Answer_Page{Page: page}}, nil
	}
	p.parked++
	defer func() { p.parked-- }()
	p.mu.Unlock()
	defer p.mu.Lock() // before what is deferred above
	select {
	case <-p.wake:
		return &nodepb.Answer{Body: &nodepb.Answer_Woken{Woken: &nodepb.Woken{}}}, nil
	case <-ctx.Done():
		p.left.Add(1)
		return nil, ctx.Err()
	}
}

func (p *parking) add(seq uint64, peer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries = append(p.entries, &storepb.Entry{Seq: seq, Body: &storepb.Entry_Receipt{Receipt: &storepb.Receipt{Peer: peer, By: peer}}})
}

// pollWorld is an API over such a backend.
func pollWorld(t *testing.T, change func(*Config)) (*world, *parking) {
	p := &parking{wake: make(chan struct{})}
	w := newWorld(t, func(c *Config) {
		c.Backend = p
		if change != nil {
			change(c)
		}
	})
	return w, p
}

// begin a request, whose answer comes later.
func (w *world) begin(ctx context.Context, method, path string) <-chan *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+w.token(1))
	out := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		rec := httptest.NewRecorder()
		w.api.ServeHTTP(rec, r)
		out <- rec
	}()
	return out
}

const pageOf7 = `{"messages":[{"receipt":{"seq":"7","conversation":{"user":"bob"},"by":"bob"}}],"next":"7","end":true}`

func TestPollIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := pollWorld(t, nil)
		out := w.begin(t.Context(), "GET", "/v1/messages?after=3&wait=30s")
		synctest.Wait()
		if p.parked != 1 || p.asked != 1 || len(w.api.places) != 0 {
			t.Fatalf("%d parked, asked %d times, %d places taken", p.parked, p.asked, len(w.api.places))
		}
		time.Sleep(10 * time.Second)
		p.add(7, "bob")
		p.wake <- struct{}{}
		if got := (<-out).Body.String(); got != pageOf7 {
			t.Errorf("got %s", got)
		}
		if p.asked != 2 {
			t.Errorf("asked %d times, not once more when woken", p.asked)
		}
		// What is there already needs no waiting.
		if got := (<-w.begin(t.Context(), "GET", "/v1/messages?after=3&wait=30s")).Body.String(); got != pageOf7 {
			t.Errorf("got %s", got)
		}
	})
}

// Time is up after wait, or when the token ends; then it is looked once more:
// a word that was lost on the way costs time only.
func TestPollEndsWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := pollWorld(t, nil)
		start := time.Now()
		got := (<-w.begin(t.Context(), "GET", "/v1/messages?after=3&wait=30s"))
		if took := time.Since(start); took != 30*time.Second || got.Code != 200 || got.Body.String() != `{"messages":[],"next":"3","end":true}` {
			t.Errorf("after %v: %d %s", took, got.Code, got.Body)
		}
		if p.asked != 2 || p.left.Load() != 1 {
			t.Errorf("asked %d times, left %d", p.asked, p.left.Load())
		}

		out := w.begin(t.Context(), "GET", "/v1/messages?after=3&wait=30s")
		synctest.Wait()
		p.add(7, "bob") // and nobody says so
		if got := (<-out).Body.String(); got != pageOf7 {
			t.Errorf("what was missed: %s", got)
		}

		p.entries = nil
		start = time.Now()
		r := httptest.NewRequest("GET", "/v1/messages?wait=30s", nil)
		r.Header.Set("Authorization", "Bearer "+w.token(1))
		w.clock.now = w.clock.now.Add(limits.TokenLife - 5*time.Second)
		w.api.ServeHTTP(httptest.NewRecorder(), r)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("a poll went on for %v with a token good for 5 s", took)
		}
	})
}

// What does not fit the filter is not looked at twice.
func TestPollWithAFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := pollWorld(t, nil)
		p.add(4, "carol")
		out := w.begin(t.Context(), "GET", "/v1/messages?conversation=bob&wait=30s")
		for seq := range uint64(3) {
			synctest.Wait()
			if p.parked != 1 {
				t.Fatal("not parked again")
			}
			p.add(5+seq, map[uint64]string{2: "bob"}[seq])
			p.wake <- struct{}{}
		}
		if got := (<-out).Body.String(); got != pageOf7 {
			t.Errorf("got %s", got)
		}
		if p.asked != 7 { // 4 is seen, parked; twice something else, parked again; found
			t.Errorf("asked %d times", p.asked)
		}
	})
}

func TestPollThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := pollWorld(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		out := w.begin(ctx, "GET", "/v1/messages?wait=30s")
		synctest.Wait()
		start := time.Now()
		cancel()
		got := <-out
		if time.Since(start) > 0 || p.left.Load() != 1 || p.asked != 1 || got.Body.Len() > 0 || len(w.api.polls) > 0 {
			t.Errorf("left %d, asked %d, said %q", p.left.Load(), p.asked, got.Body)
		}
	})
}

// Those that wait end with a drain, later ones do not wait.
func TestPollWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := pollWorld(t, nil)
		out := w.begin(t.Context(), "GET", "/v1/messages?wait=30s")
		synctest.Wait()
		start := time.Now()
		w.api.Drain()
		for range 2 {
			got := <-out
			if time.Since(start) > 0 || got.Code != 503 || got.Header().Get("Retry-After") == "" || !strings.Contains(got.Body.String(), "going away") {
				t.Errorf("after %v: %d %s", time.Since(start), got.Code, got.Body)
			}
			out = w.begin(t.Context(), "GET", "/v1/messages?wait=30s")
		}
		<-out
		p.add(7, "bob")
		if got := (<-w.begin(t.Context(), "GET", "/v1/messages?wait=30s")).Body.String(); got != pageOf7 {
			t.Errorf("what is there: %s", got)
		}
	})
}

func TestPollFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := pollWorld(t, nil)
		p.fault = fault.New(fault.Unauthenticated, fault.ReasonDeviceUnlinked, "not linked")
		if got := <-w.begin(t.Context(), "GET", "/v1/messages?wait=30s"); got.Code != 401 {
			t.Errorf("unlinked: %d %s", got.Code, got.Body)
		}
		p.fault = nil
		out := w.begin(t.Context(), "GET", "/v1/messages?wait=30s")
		synctest.Wait()
		p.fault = fault.New(fault.Unavailable, "", "the shard has no leader")
		p.wake <- struct{}{}
		if got := <-out; got.Code != 503 {
			t.Errorf("leader lost: %d %s", got.Code, got.Body)
		}
		p.fault = nil
		if got := <-w.begin(t.Context(), "HEAD", "/v1/messages?wait=30s"); got.Code != 200 || p.left.Load() != 0 {
			t.Errorf("HEAD: %d, parked %d times", got.Code, p.left.Load())
		}
		if got := <-w.begin(t.Context(), "GET", "/v1/messages?wait=0"); got.Code != 200 || p.left.Load() != 0 {
			t.Errorf("wait=0: %d, parked %d times", got.Code, p.left.Load())
		}
	})
}

// So many wait, and no more; nor do they take the places of those that do not.
func TestPollsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := pollWorld(t, func(c *Config) { c.Waiting.Polls, c.Concurrent = 3, 1 })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 3 {
			w.begin(ctx, "GET", "/v1/messages?wait=30s")
			synctest.Wait()
		}
		if p.parked != 3 {
			t.Fatalf("%d parked", p.parked)
		}
		if got := <-w.begin(ctx, "GET", "/v1/messages?wait=30s"); got.Code != 503 || !strings.Contains(got.Body.String(), "as many requests wait") {
			t.Errorf("one more: %d %s", got.Code, got.Body)
		}
		if got := <-w.begin(ctx, "GET", "/v1/messages"); got.Code != 200 {
			t.Errorf("without wait: %d %s", got.Code, got.Body)
		}
		cancel()
		synctest.Wait()
		if p.parked != 0 || len(w.api.polls) != 0 {
			t.Errorf("%d parked, %d counted", p.parked, len(w.api.polls))
		}
	})
}

// A backend that neither parks nor finds anything is a bug, and no reason to
// ask it for ever.
func TestPollThatIsNotParked(t *testing.T) {
	w := newWorld(t, nil) // it answers with an empty page, parked or not
	if got := w.do("GET", "/v1/messages?wait=30s", ""); got.Code != 500 || len(w.asked) != 1 {
		t.Errorf("%d %s, asked %d times", got.Code, got.Body, len(w.asked))
	}
}

// streams takes down what it is asked for.
type streams struct {
	from  netip.Addr
	hello events.Hello
	fault *nodepb.Fault
	api   *API
	held  int // places taken meanwhile
}

func (s *streams) Serve(w http.ResponseWriter, _ *http.Request, from netip.Addr, hello events.Hello) *nodepb.Fault {
	s.from, s.hello, s.held = from, hello, len(s.api.places)
	if s.fault != nil {
		return s.fault
	}
	if _, err := w.Write([]byte("event: welcome\n\n")); err != nil {
		return fault.New(fault.Internal, "", "%v", err)
	}
	return nil
}

func TestEvents(t *testing.T) {
	s := &streams{}
	w := newWorld(t, func(c *Config) { c.Waiting.Streams = s })
	s.api = w.api
	out := w.do("GET", "/v1/events?heartbeat=45s", "", "Last-Event-ID: 12", "Accept: text/html, text/*;q=0.1")
	if out.Code != 200 || !bytes.HasPrefix(out.Body.Bytes(), []byte("event: welcome")) {
		t.Errorf("%d %s", out.Code, out.Body)
	}
	want := events.Hello{User: "alice", Device: 1, After: 12, Heartbeat: 45 * time.Second, Expires: s.hello.Expires}
	if s.hello != want || s.held != 0 || s.from.String() != "192.0.2.1" {
		t.Errorf("asked for %+v from %v, %d places taken", s.hello, s.from, s.held)
	}
	if left := s.hello.Expires.Sub(w.clock.now); left <= 0 || left > limits.TokenLife {
		t.Errorf("the token is good for %v", left)
	}
	s.hello = events.Hello{}
	for name, test := range map[string]struct {
		method string
		header string
		status int
	}{
		"displaced": {"GET", "Last-Event-ID: displaced", 204},
		"HEAD":      {"HEAD", "Accept: text/event-stream", 200},
	} {
		out := w.do(test.method, "/v1/events", "", test.header)
		if out.Code != test.status || s.hello.User != "" || out.Body.Len() > 0 {
			t.Errorf("%s: %d %s, served %+v", name, out.Code, out.Body, s.hello)
		}
	}
	// An empty id is none: so browsers have it.
	if out := w.do("GET", "/v1/events", "", "Last-Event-ID:"); out.Code != 200 || s.hello.After != 0 {
		t.Errorf("no id: %d, after %d", out.Code, s.hello.After)
	}
	s.fault = fault.New(fault.InvalidArgument, "", "Last-Event-ID: it is beyond the last entry of the mailbox")
	if out := w.do("GET", "/v1/events", ""); out.Code != 400 {
		t.Errorf("%d %s", out.Code, out.Body)
	}
	w = newWorld(t, nil)
	if out := w.do("GET", "/v1/events", ""); out.Code != 503 {
		t.Errorf("without streams: %d %s", out.Code, out.Body)
	}
}
