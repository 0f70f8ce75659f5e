package api

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
	"github.com/rookery-im/rookery/transport/auth"
	"github.com/rookery-im/rookery/transport/frames"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	idText   = "01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b"
	password = "correct horse"
)

// world is an API over a backend that a test scripts: alice has devices 1 and
// 2, carol none, nobody else exists. It records the questions it is asked.
type world struct {
	t     testing.TB
	api   *API
	clock *clock
	keys  *keys
	log   *bytes.Buffer
	hash  string
	reg   *prometheus.Registry

	mu    sync.Mutex
	asked []string
	// script answers before the defaults do.
	script func(*nodepb.Ask) (*nodepb.Answer, error)
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

type keys struct{ key auth.Key }

func (k *keys) Signing() (auth.Key, bool)         { return k.key, k.key.ID != "" }
func (k *keys) Lookup(id string) (auth.Key, bool) { return k.key, id == k.key.ID }

type readiness struct{ err error }

func (r *readiness) Ready() error { return r.err }

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, log: new(bytes.Buffer),
		reg: prometheus.NewRegistry(), keys: &keys{auth.Key{ID: "k1", Private: priv, Public: pub}},
	}
	tokens, err := auth.NewTokens(auth.TokensConfig{Cluster: "c1", Keys: w.keys, Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	passwords, err := auth.NewPasswords(auth.PasswordsConfig{Params: auth.Params{Memory: 8, Time: 1, Threads: 1, Salt: 16, Hash: 32}, Metrics: auth.NewMetrics(w.reg)})
	if err != nil {
		t.Fatal(err)
	}
	if w.hash, err = passwords.Hash(t.Context(), address(httptest.NewRequest("GET", "/", nil)), password); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Backend: w, Tokens: tokens, Passwords: passwords, Ready: &readiness{}, Node: "n1", Now: w.clock.Now,
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	if w.api, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func done() *nodepb.Answer { return &nodepb.Answer{Body: &nodepb.Answer_Done{Done: &nodepb.Done{}}} }

func refused(code fault.Code, reason, message string) *nodepb.Answer {
	return &nodepb.Answer{Body: &nodepb.Answer_Fault{Fault: fault.New(code, reason, "%s", message)}}
}

// Ask implements Backend.
func (w *world) Ask(_ context.Context, q *nodepb.Ask) (*nodepb.Answer, error) {
	text, err := frames.AppendJSON(nil, q)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.asked = append(w.asked, strings.ReplaceAll(string(text), w.hash, "HASH"))
	w.mu.Unlock()
	if w.script != nil {
		if a, err := w.script(q); a != nil || err != nil {
			return a, err
		}
	}
	exists := q.GetUser() == "alice" || q.GetUser() == "carol"
	linked := q.GetAsker() == "alice" && (q.GetDevice() == 1 || q.GetDevice() == 2)
	switch {
	case q.GetRegister() != nil && exists:
		return refused(fault.AlreadyExists, "", "user: the name is taken"), nil
	case q.GetRegister() != nil:
		return done(), nil
	case !exists:
		return refused(fault.NotFound, "", "there is no such user"), nil
	case q.GetGetCredentials() != nil:
		return &nodepb.Answer{Body: &nodepb.Answer_Credentials{Credentials: &nodepb.Credentials{Password: w.hash}}}, nil
	case q.GetLinkDevice() != nil:
		return &nodepb.Answer{Body: &nodepb.Answer_Linked{Linked: &nodepb.Linked{Device: 3}}}, nil
	case q.GetSend() != nil:
		return &nodepb.Answer{Body: &nodepb.Answer_Sent{Sent: &nodepb.Sent{Order: 4, Time: 5}}}, nil
	case q.GetGetProfile() != nil:
		return profileOf(&storepb.Profile{Name: "Carol"}, 0), nil
	case !linked || q.GetAsker() != q.GetUser():
		return refused(fault.Unauthenticated, fault.ReasonDeviceUnlinked, "this device is not linked"), nil
	case q.GetGetDevices() != nil:
		return &nodepb.Answer{Body: &nodepb.Answer_Devices{Devices: &nodepb.DeviceList{
			Devices: []*storepb.DeviceRow{{Device: 1, Name: "phone", Linked: 1000}, {Device: 2, Linked: 2000}}, Time: 99,
		}}}, nil
	case q.GetPatchProfile() != nil:
		return profileOf(&storepb.Profile{Name: "Alice"}, 1500), nil
	case q.GetList() != nil:
		return &nodepb.Answer{Body: &nodepb.Answer_Page{Page: &nodepb.Page{End: true}}}, nil
	default:
		return done(), nil
	}
}

func profileOf(p *storepb.Profile, seen uint64) *nodepb.Answer {
	return &nodepb.Answer{Body: &nodepb.Answer_Profile{Profile: &nodepb.ProfileView{Profile: p, Online: seen > 0, LastSeen: seen}}}
}

var errLost = errors.New("the shard went away")

// hashed is how many passwords were hashed so far.
func (w *world) hashed() uint64 {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "rookery_auth_password_seconds" {
			return family.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	w.t.Fatal("hashes are not counted")
	return 0
}

// token is one of alice's.
func (w *world) token(device uint32) string {
	w.t.Helper()
	token, _, err := w.api.cfg.Tokens.Issue("alice", device)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// do sends a request as alice's device 1; headers are "Name: value", and an
// empty value leaves the header out.
func (w *world) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	w.asked = nil
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+w.token(1))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if value == "" {
			r.Header.Del(strings.TrimSuffix(name, ":"))
			continue
		}
		r.Header.Add(name, value)
	}
	out := httptest.NewRecorder()
	w.api.ServeHTTP(out, r)
	if out.Code >= 400 && out.Header().Get("Content-Type") != "application/problem+json" && r.Method != http.MethodOptions {
		w.t.Errorf("%s %s: an error as %q", method, path, out.Header().Get("Content-Type"))
	}
	return out
}
