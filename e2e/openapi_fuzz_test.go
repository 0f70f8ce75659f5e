//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rookery-im/rookery/e2e/openapitest"
)

// What docs/openapi.yaml allows and what it does not, as nobody would write it
// by hand: requests that fit, and ones that are broken in one place, drawn from
// its schemas and sent byte for byte. Each is answered in time and as the
// document says; one that does not fit is refused by the name of its field and
// changes nothing; and when all is over the server is as it was.
//
// E2E_CHECKS bounds the run. A failure is shrunk, and shown with the seed that
// replays it: -rapid.seed.
func TestOpenAPIFuzz(t *testing.T) {
	f := newFuzz(t)
	before := f.load()
	f.checks(checks(t, 300))
	rapid.Check(t, f.requests)
	f.calm(before)
}

// checks is how many of them to run.
func checks(t *testing.T, n int) int {
	t.Helper()
	text := os.Getenv("E2E_CHECKS")
	if text == "" {
		return n
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("E2E_CHECKS: %v", err)
	}
	return n
}

// fuzz is the scene: alice asks, the state that is watched is hers and bob's.
type fuzz struct {
	t      *testing.T
	server *server
	spec   *openapitest.Spec
	line   *openapitest.Line
	admin  *http.Client
	walk   *walk
	alice  string // token
	bob    string
	pools  openapitest.Pools
	dirty  bool // something was accepted since the state was last seen at rest
}

func newFuzz(t *testing.T) *fuzz {
	t.Helper()
	w := &walk{t: t, witness: witness(t)}
	w.server = startServer(t, "--rate-login", "1000000/1000000", "--fruitless-per-address", "1000000", "--rate-requests", "1000000/1000000")
	w.enter()
	f := &fuzz{t: t, server: w.server, walk: w, spec: w.witness.Spec, alice: w.alice, bob: w.bob}
	// An answer comes within 5 s; a busy machine needs one more.
	f.line = &openapitest.Line{Address: w.server.address, Patience: 6 * time.Second}
	t.Cleanup(f.line.Close)
	socket := w.server.args[slices.Index(w.server.args, "--admin")+1]
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	f.admin = &http.Client{Transport: transport}
	for range 3 {
		w.ask(t, 200, "POST /v1/messages", f.bob, `{"id":"`+newID()+`","to":{"user":"alice"},"payload":"aGVsbG8="}`)
	}
	f.pools = openapitest.Pools{
		"id": {"alice", "alice", "alice", "bob", "nobody"}, "user": {"alice", "bob", "nobody"}, "device": {"1", "2", "99"},
		"unlinkDevice.id": {"2", "3", "4", "99"}, "send.id": {}, "listMessages.id": {}, "register.user": {},
		"login.password": {password, "not the password"}, "renewToken.password": {password, "not the password"},
		"setPassword.old": {"not the password"}, "deleteAccount.password": {"not the password"},
		"conversation": {"bob", "user:bob", "nobody"}, "after": {"0", "1"}, "seq": {"1", "2", "99999"}, "group": {"g_x"},
		"!wait": {"0s", "0.01s", "20ms"}, "Last-Event-ID": {"0", "1", "displaced"},
		"!ttl": {"3600s", "86400.5s"}, // nothing may expire meanwhile
	}
	return f
}

// checks tells rapid how many to run, and to leave no files behind: they would
// replay draws, not the server's state.
func (f *fuzz) checks(n int) {
	f.t.Helper()
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa(n), "rapid.nofailfile": "true", "rapid.shrinktime": "20s"} {
		if err := flag.Set(name, value); err != nil {
			f.t.Fatal(err)
		}
	}
}

// requests is one check: a few requests, and what they left.
func (f *fuzz) requests(t *rapid.T) {
	f.authorise(t)
	before, refused := f.settled(t), 0
	for range rapid.IntRange(1, 12).Draw(t, "requests") {
		call := rapid.SampledFrom(f.spec.Calls).Draw(t, "call")
		var r *openapitest.Request
		if rapid.IntRange(0, 3).Draw(t, "sound") == 0 {
			r = f.spec.Sound(t, call, f.pools)
		} else {
			r = f.spec.Damaged(t, call, f.pools)
		}
		x, err := f.line.Exchange(r, f.alice)
		if err != nil {
			t.Fatalf("%s (%s): %v\n%s", call.Name, r.Fault, err, x)
		}
		f.judge(t, r, x)
		if x.Status >= 400 {
			refused++
			continue
		}
		if call.Method != http.MethodGet {
			f.authorise(t) // it may have unlinked this very device
			f.dirty = true
			before, refused = f.settled(t), 0
		}
	}
	if refused == 0 {
		return
	}
	if after := f.state(t); after != before {
		t.Fatalf("%d refused requests changed something:\n%s\n%s", refused, before, after)
	}
}

func (f *fuzz) judge(t *rapid.T, r *openapitest.Request, x *openapitest.Exchange) {
	if notHTTP(x) {
		if x.Status != http.StatusBadRequest || x.AnswerHeader.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Fatalf("no HTTP, and not answered as that:\n%s", x)
		}
		return
	}
	if faults := f.spec.Judge(t.Context(), x); len(faults) > 0 {
		t.Fatalf("%s, broken by %q at %q: %v\n%s", r.Call.Name, r.Fault, r.Field, errors.Join(faults...), x)
	}
	if p, ok := x.Problem(); ok && p.Code == "invalid_argument" && !strings.Contains(p.Detail, r.Field) {
		t.Fatalf("%s, broken by %q: %q does not name %q\n%s", r.Call.Name, r.Fault, p.Detail, r.Field, x)
	}
}

// notHTTP says that the request is refused by whoever reads HTTP, for its path
// or a header.
func notHTTP(x *openapitest.Exchange) bool {
	if _, err := http.NewRequest(x.Method, "http://x"+x.Target, nil); err != nil {
		return true
	}
	for _, values := range x.Header {
		for _, v := range values {
			if strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
				return true
			}
		}
	}
	return false
}

// authorise sees to it that alice's token is good.
func (f *fuzz) authorise(t *rapid.T) {
	if x := f.get(t, f.alice, "/v1/devices"); x.Status == http.StatusOK {
		return
	}
	f.alice = f.walk.login(f.t, "alice")
}

// settled is the state once what was accepted has reached everybody: receipts
// and copies come a little later.
func (f *fuzz) settled(t *rapid.T) string {
	now := f.state(t)
	for f.dirty {
		tick := time.NewTimer(60 * time.Millisecond)
		<-tick.C
		before := now
		now = f.state(t)
		f.dirty = now != before
	}
	return now
}

// state is what requests that are refused may not change.
func (f *fuzz) state(t *rapid.T) string {
	var b strings.Builder
	for _, who := range [][2]string{{f.alice, "alice"}, {f.bob, "bob"}} {
		for _, path := range []string{"/v1/users/" + who[1], "/v1/devices", "/v1/messages?limit=256"} {
			x := f.get(t, who[0], path)
			if x.Status != http.StatusOK {
				t.Fatalf("state: %s", x)
			}
			// Whether somebody is there changes without any request.
			b.Write(seen.ReplaceAll(x.Answer, nil))
			b.WriteByte('\n')
		}
	}
	return b.String()
}

var seen = regexp.MustCompile(`"lastSeen":"[0-9][^"]*",?|"online":true,?`)

func (f *fuzz) get(t *rapid.T, token, target string) *openapitest.Exchange {
	path, query, _ := strings.Cut(target, "?")
	r := &openapitest.Request{Method: http.MethodGet, Path: path}
	if name, value, ok := strings.Cut(query, "="); ok {
		r.Query = [][2]string{{name, value}}
	}
	x, err := f.line.Exchange(r, token)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return x
}

// load is what the server holds.
type load struct{ goroutines, megabytes int }

func (f *fuzz) load() load {
	f.t.Helper()
	answer, err := f.admin.Get("http://admin/debug/pprof/goroutine?debug=1")
	if err != nil {
		f.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	var l load
	if _, err := fmt.Sscanf(string(text), "goroutine profile: total %d", &l.goroutines); err != nil {
		f.t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.server.process.Process.Pid))
	if err != nil {
		f.t.Fatal(err)
	}
	_, rss, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes := 0
	if _, err := fmt.Sscan(rss, &kilobytes); err != nil {
		f.t.Fatal(err)
	}
	l.megabytes = kilobytes >> 10
	return l
}

// calm waits for the server to be as it was: no goroutine more, and not much
// memory. What is stored by then may be there.
func (f *fuzz) calm(before load) {
	f.t.Helper()
	f.line.Close()
	if !f.server.alive() {
		f.t.Fatal("the server has ended")
	}
	const goroutines, megabytes = 8, 300
	eventually(f.t, "the server is as it was", func() error {
		if now := f.load(); now.goroutines > before.goroutines+goroutines || now.megabytes > before.megabytes+megabytes {
			return fmt.Errorf("%+v before, %+v now", before, now)
		}
		return nil
	})
	f.t.Logf("%+v before, %+v after", before, f.load())
}
