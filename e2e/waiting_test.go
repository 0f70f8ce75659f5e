//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// admin is a client of the admin socket.
func (s *server) admin() *http.Client {
	socket := s.args[slices.Index(s.args, "--admin")+1]
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

// ready asks at the admin socket, which speaks no TLS.
func (s *server) ready() error {
	response, err := s.admin().Get("http://admin/readyz")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// people makes users over the admin address, each with so many devices; the
// tokens are by user/device.
func (s *server) people(devices int, users ...string) map[string]string {
	s.t.Helper()
	type one struct {
		User    string `json:"user"`
		Devices int    `json:"devices"`
	}
	var body struct {
		Users []one `json:"users"`
	}
	for _, u := range users {
		body.Users = append(body.Users, one{u, devices})
	}
	response, err := s.admin().Post("http://admin/v1/users:bulk", "application/json", strings.NewReader(compact(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var made struct {
		Users []struct {
			User    string `json:"user"`
			Devices []struct {
				Device uint32 `json:"device"`
				Token  string `json:"token"`
			} `json:"devices"`
		} `json:"users"`
	}
	text, err := io.ReadAll(response.Body)
	if err != nil || json.Unmarshal(text, &made) != nil {
		s.t.Fatalf("%s %s %v", response.Status, text, err)
	}
	tokens := map[string]string{}
	for _, u := range made.Users {
		for _, d := range u.Devices {
			tokens[fmt.Sprintf("%s/%d", u.User, d.Device)] = d.Token
		}
	}
	if len(tokens) != devices*len(users) {
		s.t.Fatalf("%d tokens: %.200s", len(tokens), text)
	}
	return tokens
}

// client of one device; its connections end with the test.
func (s *server) client(token string) *rest {
	c := newRest(s.address, token)
	s.t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// send a message, which must be accepted.
func (c *rest) send(t *testing.T, to, text string) sentFrame {
	t.Helper()
	var sent sentFrame
	body := fmt.Sprintf(`{"id":%q,"to":{"user":%q},"payload":%q}`, newID(), to, base64.StdEncoding.EncodeToString([]byte(text)))
	if err := c.call(t.Context(), "POST", "/v1/messages", body, &sent); err != nil {
		t.Fatal(err)
	}
	return sent
}

// stream is a stream of events that a test reads as it comes.
type stream struct {
	t      *testing.T
	events chan event
	end    chan error
	stop   context.CancelFunc
}

func (s *server) stream(token, after string) *stream {
	ctx, cancel := context.WithCancel(s.t.Context())
	st := &stream{t: s.t, events: make(chan event, 64), end: make(chan error, 1), stop: cancel}
	c := s.client(token)
	go func() {
		st.end <- c.events(ctx, after, func(e event) error {
			select {
			case st.events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		close(st.events)
	}()
	s.t.Cleanup(cancel)
	return st
}

// next event, which must have the name.
func (st *stream) next(name string) event {
	st.t.Helper()
	select {
	case e, ok := <-st.events:
		if !ok {
			st.t.Fatalf("the stream ended, instead of %s: %v", name, <-st.end)
		}
		if e.name != name {
			st.t.Fatalf("got %+v, want %s", e, name)
		}
		return e
	case <-time.After(patience):
		st.t.Fatalf("no %s came", name)
		return event{}
	}
}

// text of the next event, which must be a deliver.
func (st *stream) text() string {
	st.t.Helper()
	f, err := st.next("deliver").frame()
	if err != nil {
		st.t.Fatal(err)
	}
	return string(f.Deliver.Payload)
}

// closed wants the last event, and the end of the stream after it.
func (st *stream) closed(code int) event {
	st.t.Helper()
	e := st.next("close")
	if c, err := e.closing(); err != nil || c.Code != code {
		st.t.Fatalf("closed with %s, %v, want %d", e.data, err, code)
	}
	if e, more := <-st.events; more {
		st.t.Fatalf("%+v after the last event", e)
	}
	if err := <-st.end; !errors.Is(err, io.EOF) {
		st.t.Fatalf("the stream ended with %v", err)
	}
	return e
}

// begun is past welcome and drained.
func (st *stream) begun() *stream {
	st.t.Helper()
	st.next("welcome")
	st.next("drained")
	return st
}

// A poll that waits is answered as soon as something has committed.
func TestPollIsWokenAtOnce(t *testing.T) {
	s := startServer(t)
	tokens := s.people(1, "alice", "bob")
	alice, bob := s.client(tokens["alice/1"]), s.client(tokens["bob/1"])
	after, slowest := uint64(0), time.Duration(0)
	for i := range 20 {
		came := make(chan time.Time, 1)
		go func() {
			p, err := bob.poll(t.Context(), after, "30s")
			if err != nil || len(p.Messages) != 1 || !p.End {
				t.Errorf("poll: %+v, %v", p, err)
			}
			after = p.Next
			came <- time.Now()
		}()
		eventually(t, "the poll is parked", func() error { return s.metric("rookery_api_polls_parked", 1) })
		alice.send(t, "bob", fmt.Sprint(i))
		sent := time.Now()
		slowest = max(slowest, (<-came).Sub(sent))
		if err := bob.ack(t.Context(), after); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("at the latest %v after the sender had its answer", slowest)
	if slowest > time.Second {
		t.Error("that is not at once")
	}
}

// metric wants a value of one of the server's.
func (s *server) metric(name string, want float64) error {
	got, err := s.measure(name)
	if err == nil && got != want {
		err = fmt.Errorf("%s is %v", name, got)
	}
	return err
}

func (s *server) measure(name string) (float64, error) {
	response, err := s.admin().Get("http://admin/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("%s is not among the metrics", name)
}

// resident memory of the server, in bytes.
func (s *server) resident() int {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.process.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// live is what of the server's heap is in use, in bytes: it collects first.
func (s *server) live() int {
	s.t.Helper()
	response, err := s.admin().Get("http://admin/debug/pprof/heap?gc=1")
	if err != nil {
		s.t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		s.t.Fatal(err)
	}
	bytes, err := s.measure("go_memstats_heap_alloc_bytes")
	if err != nil {
		s.t.Fatal(err)
	}
	return int(bytes)
}

// A thousand polls wait at once, then hundreds of streams: what each costs,
// that requests which do not wait are served meanwhile, and that all of it is
// given back when the clients go without a word.
func TestThousandWait(t *testing.T) {
	for kind, gauge := range map[string]string{"poll": "rookery_api_polls_parked", "stream": "rookery_events_streams"} {
		t.Run(kind, func(t *testing.T) {
			const users, polls = 500, 2
			s := startServer(t)
			var names []string
			for i := range users {
				names = append(names, fmt.Sprintf("user%d", i))
			}
			tokens := s.people(1, names...)
			before, heap := s.resident(), s.live()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var waiting sync.WaitGroup
			transport := &http.Transport{MaxIdleConnsPerHost: -1}
			n := 0
			for _, token := range tokens {
				c := &rest{base: "http://" + s.address, token: token, http: &http.Client{Transport: transport}}
				if kind == "stream" {
					n++
					waiting.Go(func() { _ = c.events(ctx, "", func(event) error { return nil }) })
					continue
				}
				for range polls {
					n++
					waiting.Go(func() { _, _ = c.poll(ctx, 0, "60s") })
				}
			}
			eventually(t, "they wait", func() error { return s.metric(gauge, float64(n)) })
			each := (s.resident() - before) / n
			t.Logf("%d of kind %s: %d bytes resident each, %d of them on the heap", n, kind, each, (s.live()-heap)/n)
			if each > 64<<10 {
				t.Errorf("a %s costs %d bytes", kind, each)
			}
			s.client(tokens["user2/1"]).send(t, "user3", "hello")
			cancel()
			waiting.Wait()
			eventually(t, "they are gone", func() error { return s.metric(gauge, 0) })
		})
	}
}

// What ends a device ends what waits for it.
func TestWaitingOfWhoIsUnlinked(t *testing.T) {
	s := startServer(t)
	tokens := s.people(2, "alice", "bob")
	parked := func(token string) chan error {
		out := make(chan error, 1)
		go func() {
			_, err := s.client(token).poll(t.Context(), 0, "30s")
			out <- err
		}()
		eventually(t, "the poll is parked", func() error { return s.metric("rookery_api_polls_parked", 1) })
		return out
	}
	alice, bob := s.client(tokens["alice/1"]), s.client(tokens["bob/2"])
	// Blocked: nothing comes, nobody is told.
	if err := bob.ack(t.Context(), 1); problemCode(err) != "" { // of the devices' event
		t.Fatal(err)
	}
	unlinked := parked(tokens["bob/2"])
	if err := bob.call(t.Context(), "PUT", "/v1/users/bob/blocks/alice", "", nil); err != nil {
		t.Fatal(err)
	}
	alice.send(t, "bob", "unheard")
	st := s.stream(tokens["bob/1"], "")
	st.next("welcome")
	st.next("deviceEvent")
	st.next("drained")
	start := time.Now()
	select {
	case err := <-unlinked:
		t.Fatalf("a blocked message ended a poll: %v", err)
	default:
	}
	if err := s.client(tokens["bob/1"]).call(t.Context(), "DELETE", "/v1/devices/2", "", nil); err != nil {
		t.Fatal(err)
	}
	if err := <-unlinked; problemCode(err) != "unauthenticated" || time.Since(start) > 5*time.Second {
		t.Errorf("unlinked, after %v: %v", time.Since(start), err)
	}
	st.next("deviceEvent")
	if err := s.client(tokens["bob/1"]).call(t.Context(), "DELETE", "/v1/devices/1", "", nil); err != nil {
		t.Fatal(err)
	}
	st.closed(4103)
	if err := bob.events(t.Context(), "", func(event) error { return nil }); problemCode(err) != "unauthenticated" {
		t.Errorf("a stream of an unlinked device: %v", err)
	}
}

// An account that goes takes its waiters along.
func TestWaitingOfADeletedAccount(t *testing.T) {
	s := startServer(t)
	base := "http://" + s.address
	post := func(path string, body any) (out struct{ Token string }) {
		t.Helper()
		r, err := http.Post(base+path, "application/json", bytes.NewBufferString(compact(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if err := json.NewDecoder(r.Body).Decode(&out); err != nil || r.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s, %v", path, r.Status, err)
		}
		return out
	}
	post("/v1/users", map[string]any{"user": "carol", "name": "Carol", "password": password})
	token := post("/v1/devices", map[string]any{"user": "carol", "password": password, "deviceName": "x"}).Token
	c := s.client(token)
	polled := make(chan error, 1)
	go func() {
		_, err := c.poll(t.Context(), 0, "30s")
		polled <- err
	}()
	st := s.stream(token, "").begun()
	eventually(t, "the poll is parked", func() error { return s.metric("rookery_api_polls_parked", 1) })
	// A changed password ends neither.
	if err := c.call(t.Context(), "PUT", "/v1/users/carol/password", compact(map[string]any{"old": password, "new": password + "!"}), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.call(t.Context(), "DELETE", "/v1/users/carol", compact(map[string]any{"password": password + "!"}), nil); err != nil {
		t.Fatal(err)
	}
	st.closed(4103)
	if err := <-polled; problemCode(err) != "unauthenticated" {
		t.Errorf("the poll: %v", err)
	}
}

// A drain ends what waits, at once and with a word.
func TestDrainOfWhatWaits(t *testing.T) {
	s := startServer(t)
	tokens := s.people(1, "alice", "bob")
	polled := make(chan error, 1)
	go func() {
		_, err := s.client(tokens["alice/1"]).poll(t.Context(), 0, "30s")
		polled <- err
	}()
	st := s.stream(tokens["bob/1"], "").begun()
	eventually(t, "the poll is parked", func() error { return s.metric("rookery_api_polls_parked", 1) })
	start := time.Now()
	s.stop()
	took := time.Since(start)
	if err := <-polled; problemCode(err) != "unavailable" {
		t.Errorf("the poll: %v", err)
	}
	if e := st.next("goAway"); e.retry == "" {
		t.Errorf("%+v", e)
	}
	st.closed(1012)
	t.Logf("ended after %v", took)
	if took > 5*time.Second {
		t.Error("the drain waited for them")
	}
}

// The time that a server has for reading a request is none for waiting, in
// plain and in TLS, and clients of every kind are served.
func TestWaitingIsLong(t *testing.T) {
	cert, key := selfSigned(t)
	for name, flags := range map[string][]string{"plain": nil, "TLS": {"--tls-cert", cert, "--tls-key", key}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, flags...)
			dial := s.dialer(len(flags) > 0)
			s.start()
			eventually(t, "the server is ready", s.ready)
			tokens := s.people(1, "alice", "bob")
			speak := func(request string) *bufio.Reader {
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				if _, err := io.WriteString(c, request); err != nil {
					t.Fatal(err)
				}
				return bufio.NewReader(c)
			}
			auth := func(user string) string {
				return "Host: x\r\nAuthorization: Bearer " + tokens[user+"/1"] + "\r\n"
			}
			// Pipelined: the poll, and what follows on the same connection.
			poll := speak("GET /v1/messages?wait=34s HTTP/1.1\r\n" + auth("alice") + "\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			old := speak("GET /v1/events?heartbeat=10s HTTP/1.0\r\n" + auth("bob") + "\r\n")
			start := time.Now()
			for _, want := range []string{`{"messages":[],"next":"0","end":true}`, `"status"`} {
				res, err := http.ReadResponse(poll, nil)
				if err != nil {
					t.Fatalf("after %v: %v", time.Since(start), err)
				}
				text, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != 200 || !strings.Contains(string(text), want) {
					t.Errorf("after %v: %s %s %v", time.Since(start), res.Status, text, err)
				}
				if took := time.Since(start); took < 33*time.Second {
					t.Errorf("the poll ended after %v", took)
				}
			}
			res, err := http.ReadResponse(old, nil)
			if err != nil || res.StatusCode != 200 || len(res.TransferEncoding) > 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			got := make([]byte, 0, 4096)
			for want := ":\n\n:\n\n:\n\n"; !strings.HasSuffix(string(got), want); {
				part := make([]byte, 512)
				n, err := res.Body.Read(part)
				if err != nil {
					t.Fatalf("%v after %q", err, got)
				}
				got = append(got, part[:n]...)
			}
		})
	}
}
