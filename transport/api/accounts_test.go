package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// A login that fails says neither by its answer nor by its steps whether the
// user exists: the password is hashed in both cases.
func TestLoginSaysNoMoreThanItMust(t *testing.T) {
	w := newWorld(t, nil)
	var answers []string
	for _, user := range []string{"alice", "nobody"} {
		before := w.hashed()
		out := w.do("POST", "/v1/devices", `{"user":"`+user+`","password":"wrong horse"}`)
		if n := w.hashed() - before; n != 1 {
			t.Errorf("%s: %d hashes", user, n)
		}
		if out.Code != 401 || len(w.asked) != 1 {
			t.Errorf("%s: %d %s, asked %v", user, out.Code, out.Body, w.asked)
		}
		answers = append(answers, fmt.Sprint(out.Header(), out.Body))
	}
	if answers[0] != answers[1] {
		t.Errorf("a wrong password: %s\nan unknown user: %s", answers[0], answers[1])
	}
	w.script = func(q *nodepb.Ask) (*nodepb.Answer, error) {
		if q.GetGetCredentials() != nil { // an account without a password
			return &nodepb.Answer{Body: &nodepb.Answer_Credentials{Credentials: &nodepb.Credentials{}}}, nil
		}
		return nil, nil
	}
	if out := w.do("POST", "/v1/devices", `{"user":"alice","password":"wrong horse"}`); out.Code != 401 {
		t.Errorf("no password: %d %s", out.Code, out.Body)
	}
}

// The token that a login gives is good, for the device that was linked.
func TestTokens(t *testing.T) {
	w := newWorld(t, nil)
	out := w.do("POST", "/v1/devices", `{"user":"alice","password":"correct horse"}`)
	var got struct {
		Token     string
		ExpiresAt time.Time
	}
	if err := json.Unmarshal(out.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if want := w.clock.now.Add(limits.TokenLife); !got.ExpiresAt.Equal(want) {
		t.Errorf("expires %v, want %v", got.ExpiresAt, want)
	}
	claims, err := w.api.cfg.Tokens.Verify(got.Token)
	if err != nil || claims.User != "alice" || claims.Device != 3 {
		t.Errorf("%+v, %v", claims, err)
	}

	old := w.token(1)
	w.clock.now = w.clock.now.Add(limits.TokenLife)
	for _, path := range []string{"/v1/devices", "/v1/tokens"} {
		method := map[string]string{"/v1/devices": "GET", "/v1/tokens": "POST"}[path]
		out = w.do(method, path, ``, "Authorization:", "Authorization: Bearer "+old)
		if out.Code != 401 || !strings.Contains(out.Body.String(), fault.ReasonTokenExpired) || len(w.asked) != 0 {
			t.Errorf("%s with an expired token: %d %s", path, out.Code, out.Body)
		}
	}

	good := w.token(1)
	key := w.keys.key
	w.keys.key.ID, w.asked = "", nil
	r := httptest.NewRequest("POST", "/v1/devices", strings.NewReader(`{"user":"alice","password":"correct horse"}`))
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	if rec.Code != 503 || len(w.asked) != 0 {
		t.Errorf("no signing key: %d %s, asked %v", rec.Code, rec.Body, w.asked)
	}
	w.keys.key = key
	if out := w.do("POST", "/v1/tokens", ``, "Authorization:", "Authorization: Bearer "+good); out.Code != 201 {
		t.Errorf("with the key again: %d %s", out.Code, out.Body)
	}
}

// A wrong password beside a good token leaves the token alone.
func TestWrongPasswordIsNoReasonToLogOut(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range [][3]string{
		{"PUT", "/v1/users/alice/password", `{"old":"wrong horse","new":"battery staple"}`},
		{"DELETE", "/v1/users/alice", `{"password":"wrong horse"}`},
	} {
		out := w.do(c[0], c[1], c[2])
		if out.Code != 403 || !strings.Contains(out.Body.String(), `"reason":"wrong_password"`) || len(w.asked) != 2 {
			t.Errorf("%v: %d %s, asked %v", c, out.Code, out.Body, w.asked)
		}
	}
}

type invites map[string]string // code: user it was redeemed for

func (i invites) Redeem(ctx context.Context, code, user string) error {
	if err := i.Check(ctx, code, user); err != nil {
		return err
	}
	i[code] = user
	return nil
}

func (i invites) Check(_ context.Context, code, user string) error {
	if code == "broken" {
		return errors.New("no leader")
	}
	if by, ok := i[code]; !ok || by != "" && by != user {
		return fmt.Errorf("check: %w", ErrInvite)
	}
	return nil
}

func TestRegistrationModes(t *testing.T) {
	body := func(user, rest string) string {
		return `{"user":"` + user + `","password":"correct horse"` + rest + `}`
	}
	w := newWorld(t, func(c *Config) { c.Mode = Closed })
	if out := w.do("POST", "/v1/users", body("bob", "")); out.Code != 403 || !strings.Contains(out.Body.String(), fault.ReasonClosed) {
		t.Errorf("closed: %d %s", out.Code, out.Body)
	}

	w = newWorld(t, func(c *Config) { c.Mode, c.Invites = Invite, invites{"good": ""} })
	for _, c := range []struct {
		user, rest string
		status     int
		reason     string
		asked      int
	}{
		{"bob", ``, 403, fault.ReasonInvite, 0},
		{"bob", `,"invite":"bad"`, 403, fault.ReasonInvite, 0},
		{"alice", `,"invite":"bad"`, 403, fault.ReasonInvite, 0}, // says nothing of who exists
		{"bob", `,"invite":"broken"`, 503, fault.ReasonOutcomeUnknown, 0},
		{"alice", `,"invite":"good"`, 409, "already_exists", 1}, // the name is taken: the invitation is not used up
		{"bob", `,"invite":"good"`, 201, "", 2},
		{"bob", `,"invite":"good"`, 201, "", 2}, // the answer was lost: repeat
		{"dave", `,"invite":"good"`, 403, fault.ReasonInvite, 0},
	} {
		out := w.do("POST", "/v1/users", body(c.user, c.rest))
		if out.Code != c.status || !strings.Contains(out.Body.String(), c.reason) || len(w.asked) != c.asked {
			t.Errorf("%s%s: %d %s, asked %v", c.user, c.rest, out.Code, out.Body, w.asked)
		}
	}
}

// Attempts are counted by address and by user; the answer says how long to wait.
func TestRateLimits(t *testing.T) {
	attempt := func(w *world, address, user string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/v1/devices", strings.NewReader(`{"user":"`+user+`","password":"wrong horse"}`))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = address
		out := httptest.NewRecorder()
		w.api.ServeHTTP(out, r)
		return out
	}
	for _, c := range []struct {
		name          string
		address, user func(i int) string
	}{
		{"address", func(i int) string { return fmt.Sprintf("192.0.2.1:%d", 1000+i) }, func(i int) string { return fmt.Sprint("user", i) }},
		{"network", func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i+1) }, func(i int) string { return fmt.Sprint("user", i) }},
		{"user", func(i int) string { return fmt.Sprintf("198.51.100.%d:1", i) }, func(int) string { return "alice" }},
	} {
		w := newWorld(t, nil)
		for i := range 50 {
			if out := attempt(w, c.address(i), c.user(i)); out.Code != 401 {
				t.Fatalf("%s: attempt %d: %d %s", c.name, i, out.Code, out.Body)
			}
		}
		out := attempt(w, c.address(50), c.user(50))
		if out.Code != 429 || out.Header().Get("Retry-After") != "1" || !strings.Contains(out.Body.String(), `"retryAfterMs":200`) {
			t.Errorf("%s: attempt 51: %d %v %s", c.name, out.Code, out.Header(), out.Body)
		}
		w.clock.now = w.clock.now.Add(200 * time.Millisecond)
		if out := attempt(w, c.address(51), c.user(51)); out.Code != 401 {
			t.Errorf("%s: 200 ms later: %d %s", c.name, out.Code, out.Body)
		}
	}

	w := newWorld(t, func(c *Config) { c.RequestsPerSecond, c.RequestsBurst = 1, 2 })
	for _, want := range []int{200, 200, 429} {
		if out := w.do("GET", "/v1/devices", ``); out.Code != want {
			t.Errorf("requests of one device: %d %s, want %d", out.Code, out.Body, want)
		}
	}
	if out := w.do("GET", "/v1/devices", ``, "Authorization:", "Authorization: Bearer "+w.token(2)); out.Code != 200 {
		t.Errorf("another device: %d %s", out.Code, out.Body)
	}
}

// stalled is a backend that never answers.
type stalled struct{}

func (stalled) Ask(ctx context.Context, _ *nodepb.Ask) (*nodepb.Answer, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// An answer comes within limits.AnswerTimeout of the request, come what may.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Backend = stalled{} })
		begin := time.Now()
		out := w.do("POST", "/v1/messages", `{"id":"`+idText+`","to":{"user":"carol"}}`)
		if took := time.Since(begin); out.Code != 503 || took != limits.AnswerTimeout {
			t.Errorf("%d after %v: %s", out.Code, took, out.Body)
		}
	})
}
