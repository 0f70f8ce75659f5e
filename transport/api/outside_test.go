package api

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/auth"
	"github.com/rookery-im/rookery/transport/auth/keyset"
	"github.com/rookery-im/rookery/transport/auth/webhook"
)

// issuer is an outside issuer with one key.
type issuer struct {
	w       *world
	private ed25519.PrivateKey
	key     *keyset.Key
	unknown error // what a key that is not known gives
}

func (i *issuer) Lookup(id string) (*keyset.Key, error) {
	if id == i.key.ID && i.unknown == nil {
		return i.key, nil
	}
	return nil, i.unknown
}
func (i *issuer) Trusts(*keyset.Key) bool { return i.unknown == nil }

// outsideWorld is a world whose tokens an outside issuer signs.
func outsideWorld(t *testing.T) (*world, *issuer) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	set, _, err := keyset.Parse(fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"o1","x":%q}]}`, base64.RawURLEncoding.EncodeToString(pub)))
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{private: priv, key: set["o1"]}
	w := newWorld(t, func(c *Config) {
		own := &keys{auth.Key{ID: "k1", Private: priv, Public: pub}}
		if c.Tokens, err = auth.NewTokens(auth.TokensConfig{
			Cluster: "c1", Keys: own, Now: c.Now, Issuer: &auth.Issuer{Name: "https://issuer.example", Keys: i},
		}); err != nil {
			t.Fatal(err)
		}
	})
	i.w = w
	w.script = linkAnybody
	return w, i
}

// linkAnybody has accounts that were just made go on.
func linkAnybody(q *nodepb.Ask) (*nodepb.Answer, error) {
	if q.GetLinkDevice() != nil {
		return &nodepb.Answer{Body: &nodepb.Answer_Linked{Linked: &nodepb.Linked{Device: 3}}}, nil
	}
	return nil, nil
}

// bearer is a header with a token of the issuer's, for a user and no device
// unless rest says more.
func (i *issuer) bearer(user, rest string) string {
	return "Authorization: Bearer " + i.token(user, rest)
}

func (i *issuer) token(user, rest string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","kid":"o1"}`)) + "." + base64.RawURLEncoding.EncodeToString(
		fmt.Appendf(nil, `{"iss":"https://issuer.example","sub":%q,"exp":%d%s}`, user, i.w.clock.now.Add(time.Minute).Unix(), rest))
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.private, []byte(text)))
}

// Where an outside issuer signs the tokens, one of its own stands in for the
// password, and there is nothing that has to do with passwords.
func TestOutsideIssuer(t *testing.T) {
	w, i := outsideWorld(t)
	const none = "Authorization:"
	device := `,"device":1`
	for _, c := range []struct {
		name, call, body string
		header           string // instead of a token of Rookery's
		status           int
		says             string
		asked            string // the questions, in order
	}{
		{"register", "POST /v1/users", `{"user":"bob","password":"correct horse"}`, none, 403, fault.ReasonOutsideIssuer, ""},
		{"log in by password", "POST /v1/devices", `{"user":"alice","password":"correct horse"}`, none, 403, fault.ReasonOutsideIssuer, ""},
		{"by both", "POST /v1/devices", `{"password":"correct horse"}`, i.bearer("alice", ""), 403, fault.ReasonOutsideIssuer, ""},
		{"a token by password", "POST /v1/tokens", `{"user":"alice","password":"correct horse","device":1}`, none, 403, fault.ReasonOutsideIssuer, ""},
		{"change the password", "PUT /v1/users/alice/password", `{"old":"correct horse","new":"battery staple"}`, "", 403, fault.ReasonOutsideIssuer, ""},
		{"delete by password", "DELETE /v1/users/alice", `{"password":"correct horse"}`, "", 403, fault.ReasonOutsideIssuer, ""},

		{"link a device", "POST /v1/devices", `{"deviceName":"phone"}`, i.bearer("alice", ""), 201, `"device":3`, "getCredentials linkDevice"},
		{"with the user named", "POST /v1/devices", `{"user":"alice"}`, i.bearer("alice", ""), 201, `"user":"alice"`, "getCredentials linkDevice"},
		{"with another named", "POST /v1/devices", `{"user":"bob"}`, i.bearer("alice", ""), 403, "user:", ""},
		{"without a body", "POST /v1/devices", ``, i.bearer("alice", ""), 201, `"device":3`, "getCredentials linkDevice"},
		{"first use", "POST /v1/devices", `{}`, i.bearer("bob", ""), 201, `"user":"bob"`, "getCredentials register linkDevice"},
		{"by nothing", "POST /v1/devices", `{"user":"alice"}`, none, 401, "bearer", ""},
		{"by one's own token", "POST /v1/devices", `{"user":"alice"}`, "", 401, "issuer", ""},
		{"by a device's", "POST /v1/devices", `{"user":"alice"}`, i.bearer("alice", device), 401, "issuer", ""},
		{"by a bad one", "POST /v1/devices", `{}`, i.bearer("alice", `,"nbf":99999999999`), 401, "not valid yet", ""},

		{"a token for a device", "POST /v1/tokens", `{"device":2}`, i.bearer("alice", ""), 201, `"device":2`, "getDevices"},
		{"for none that is linked", "POST /v1/tokens", `{"device":9}`, i.bearer("alice", ""), 401, fault.ReasonDeviceUnlinked, "getDevices"},
		{"for another's", "POST /v1/tokens", `{"device":1}`, i.bearer("carol", ""), 401, fault.ReasonDeviceUnlinked, "getDevices"},
		{"for no device", "POST /v1/tokens", ``, i.bearer("alice", ""), 401, fault.ReasonNoDevice, ""},
		{"for the device of the token", "POST /v1/tokens", ``, i.bearer("alice", device), 201, `"device":1`, "getDevices"},
		{"by the old one", "POST /v1/tokens", ``, "", 201, `"device":1`, "getDevices"},

		{"a call by the issuer's token", "GET /v1/devices", ``, i.bearer("alice", device), 200, `"devices"`, "getDevices"},
		{"for a device that is not linked", "GET /v1/devices", ``, i.bearer("alice", `,"device":9`), 401, fault.ReasonDeviceUnlinked, "getDevices"},
		{"by one without a device", "GET /v1/devices", ``, i.bearer("alice", ""), 401, fault.ReasonNoDevice, ""},

		{"delete", "DELETE /v1/users/alice", `{"token":"` + i.token("alice", "") + `"}`, "", 204, "", "getDevices getCredentials deleteAccount"},
		{"delete without proof", "DELETE /v1/users/alice", `{}`, "", 400, "token:", ""},
		{"delete by a token too long", "DELETE /v1/users/alice", `{"token":"` + strings.Repeat("x", limits.Token+1) + `"}`, "", 400, "token:", ""},
		{"delete by a device's token", "DELETE /v1/users/alice", `{"token":"` + i.token("alice", device) + `"}`, "", 403, fault.ReasonWrongPassword, "getDevices"},
		{"delete by another's token", "DELETE /v1/users/alice", `{"token":"` + i.token("carol", "") + `"}`, "", 403, fault.ReasonWrongPassword, "getDevices"},
	} {
		method, path, _ := strings.Cut(c.call, " ")
		headers := []string{none, c.header}
		if c.header == "" {
			headers = nil
		}
		out := w.do(method, path, c.body, headers...)
		var asked []string
		for _, q := range w.asked {
			var question map[string]json.RawMessage
			if err := json.Unmarshal([]byte(q), &question); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"getCredentials", "register", "linkDevice", "getDevices", "deleteAccount", "setPassword"} {
				if question[name] != nil {
					asked = append(asked, name)
				}
			}
		}
		if out.Code != c.status || !strings.Contains(out.Body.String(), c.says) || strings.Join(asked, " ") != c.asked {
			t.Errorf("%s: %d %s, asked %v", c.name, out.Code, out.Body, w.asked)
		}
	}
	if n := w.hashed(); n != 1 {
		t.Errorf("%d passwords were hashed", n-1)
	}
	if strings.Contains(w.log.String(), "eyJ") {
		t.Errorf("a token in the log: %s", w.log)
	}
}

// An account that is made at the same moment by somebody else is used; one
// whose making has no answer is not.
func TestFirstUse(t *testing.T) {
	w, i := outsideWorld(t)
	made := false
	w.script = func(q *nodepb.Ask) (*nodepb.Answer, error) {
		switch {
		case q.GetRegister() != nil && !made:
			made = true
			return refused(fault.AlreadyExists, "", "user: the name is taken"), nil
		case q.GetGetCredentials() != nil && made:
			return &nodepb.Answer{Body: &nodepb.Answer_Credentials{Credentials: &nodepb.Credentials{Password: "old"}}}, nil
		}
		return linkAnybody(q)
	}
	if out := w.do("POST", "/v1/devices", ``, "Authorization:", i.bearer("bob", "")); out.Code != 201 || !strings.Contains(w.asked[len(w.asked)-1], `"old"`) {
		t.Errorf("made by another: %d %s, asked %v", out.Code, out.Body, w.asked)
	}
	w.script = func(q *nodepb.Ask) (*nodepb.Answer, error) {
		if q.GetRegister() != nil {
			return nil, errLost
		}
		return nil, nil
	}
	if out := w.do("POST", "/v1/devices", ``, "Authorization:", i.bearer("dave", "")); out.Code != 503 || !strings.Contains(out.Body.String(), fault.ReasonOutcomeUnknown) {
		t.Errorf("no answer: %d %s", out.Code, out.Body)
	}
	w.script = func(q *nodepb.Ask) (*nodepb.Answer, error) {
		if q.GetRegister() != nil {
			return refused(fault.AlreadyExists, "", "user: the name is taken"), nil
		}
		return nil, nil
	}
	if out := w.do("POST", "/v1/devices", ``, "Authorization:", i.bearer("erin", "")); out.Code != 503 {
		t.Errorf("there and not there: %d %s", out.Code, out.Body)
	}
}

// While the issuer's keys are not known its tokens are neither good nor bad,
// and Rookery's own stay good.
func TestIssuerWithoutKeys(t *testing.T) {
	w, i := outsideWorld(t)
	i.unknown = keyset.ErrUndecided
	for _, c := range [][3]string{{"POST", "/v1/devices", ``}, {"POST", "/v1/tokens", `{"device":1}`}, {"POST", "/v1/tokens", ``}, {"GET", "/v1/devices", ``}} {
		if out := w.do(c[0], c[1], c[2], "Authorization:", i.bearer("alice", `,"device":1`)); out.Code != 503 || !strings.Contains(out.Body.String(), `"retryable":true`) || len(w.asked) != 0 {
			t.Errorf("%v: %d %s", c, out.Code, out.Body)
		}
	}
	if out := w.do("DELETE", "/v1/users/alice", `{"token":"`+i.token("alice", "")+`"}`); out.Code != 503 {
		t.Errorf("delete: %d %s", out.Code, out.Body)
	}
	if out := w.do("GET", "/v1/devices", ``); out.Code != 200 {
		t.Errorf("one's own token: %d %s", out.Code, out.Body)
	}
}

// Attempts by token count as those by password do.
func TestOutsideRateLimits(t *testing.T) {
	w, i := outsideWorld(t)
	for n := range 50 {
		if out := w.do("POST", "/v1/devices", ``, "Authorization:", i.bearer("alice", `,"nbf":99999999999`)); out.Code != 401 {
			t.Fatalf("attempt %d: %d %s", n, out.Code, out.Body)
		}
	}
	if out := w.do("POST", "/v1/devices", ``, "Authorization:", i.bearer("alice", "")); out.Code != 429 {
		t.Errorf("attempt 51: %d %s", out.Code, out.Body)
	}
	if out := w.do("DELETE", "/v1/users/alice", `{"token":"x"}`); out.Code != 429 {
		t.Errorf("delete: %d %s", out.Code, out.Body)
	}
}

// Devices linked for one user count, from wherever they are.
func TestOutsideUserRate(t *testing.T) {
	w, i := outsideWorld(t)
	for n := range 51 {
		r := httptest.NewRequest("POST", "/v1/devices", nil)
		r.Header.Set("Authorization", "Bearer "+i.token("alice", ""))
		r.RemoteAddr = fmt.Sprintf("198.51.100.%d:1", n)
		out := httptest.NewRecorder()
		w.api.ServeHTTP(out, r)
		if want := map[bool]int{true: 201, false: 429}[n < 50]; out.Code != want {
			t.Fatalf("device %d: %d %s", n, out.Code, out.Body)
		}
	}
}

// registrar plays the webhook.
type registrar struct {
	verdict webhook.Verdict
	err     error
	asked   []webhook.Registration
}

func (r *registrar) Ask(_ context.Context, q webhook.Registration) (webhook.Verdict, error) {
	r.asked = append(r.asked, q)
	return r.verdict, r.err
}

func TestWebhookRegistration(t *testing.T) {
	r := &registrar{}
	w := newWorld(t, func(c *Config) { c.Mode, c.Registrar = Webhook, r })
	if out := w.do("DELETE", "/v1/users/alice", `{"token":"x"}`); out.Code != 403 || !strings.Contains(out.Body.String(), fault.ReasonWrongPassword) || len(w.asked) != 0 {
		t.Errorf("a token where there is no issuer: %d %s", out.Code, out.Body)
	}
	const body = `{"user":"bob","name":"Bob","password":"correct horse","proof":"123456"}`
	for _, c := range []struct {
		name, body string
		verdict    webhook.Verdict
		err        error
		status     int
		says       string
		asked      int // questions to the user
		hashed     uint64
		webhook    string // what the webhook saw
	}{
		{"allowed", body, webhook.Verdict{Allow: true}, nil, 201, "bob", 2, 1, "{bob Bob 123456 192.0.2.1 false}"},
		{"refused", body, webhook.Verdict{Message: "The code is wrong."}, nil, 403, `"detail":"The code is wrong."`, 1, 0, "{bob Bob 123456 192.0.2.1 false}"},
		{"refused without a word", body, webhook.Verdict{}, nil, 403, fault.ReasonRefused, 1, 0, "{bob Bob 123456 192.0.2.1 false}"},
		{"no verdict", body, webhook.Verdict{}, fmt.Errorf("%w: status 500", webhook.ErrUnavailable), 503, `"retryable":true`, 1, 0, "{bob Bob 123456 192.0.2.1 false}"},
		{"too many", body, webhook.Verdict{}, webhook.ErrBusy, 503, "too many", 1, 0, "{bob Bob 123456 192.0.2.1 false}"},
		{"taken and allowed", strings.Replace(body, "bob", "alice", 1), webhook.Verdict{Allow: true}, nil, 409, "already_exists", 1, 0, "{alice Bob 123456 192.0.2.1 true}"},
		{"taken and refused", strings.Replace(body, "bob", "alice", 1), webhook.Verdict{}, nil, 403, fault.ReasonRefused, 1, 0, "{alice Bob 123456 192.0.2.1 true}"},
		{"no user id", strings.Replace(body, "bob", "g_x", 1), webhook.Verdict{Allow: true}, nil, 400, "user", 0, 0, ""},
		{"a short password", strings.Replace(body, "correct horse", "short", 1), webhook.Verdict{Allow: true}, nil, 400, "password", 0, 0, ""},
		{"a long proof", strings.Replace(body, "123456", strings.Repeat("x", limits.Proof+1), 1), webhook.Verdict{Allow: true}, nil, 400, "proof", 0, 0, ""},
	} {
		r.verdict, r.err, r.asked = c.verdict, c.err, nil
		before := w.hashed()
		out := w.do("POST", "/v1/users", c.body)
		saw := ""
		if len(r.asked) == 1 {
			saw = fmt.Sprint(r.asked[0])
		}
		if out.Code != c.status || !strings.Contains(out.Body.String(), c.says) || len(w.asked) != c.asked || w.hashed()-before != c.hashed || saw != c.webhook {
			t.Errorf("%s: %d %s, asked %v, the webhook %v", c.name, out.Code, out.Body, w.asked, r.asked)
		}
	}
	for _, hidden := range []string{"123456", "correct horse"} {
		if strings.Contains(w.log.String(), hidden) {
			t.Errorf("%q is in the log: %s", hidden, w.log)
		}
	}
	// A refusal and a taken name look alike to whom the webhook refuses.
	r.verdict, r.err = webhook.Verdict{}, nil
	free := w.do("POST", "/v1/users", body).Body.String()
	if taken := w.do("POST", "/v1/users", strings.Replace(body, "bob", "alice", 1)).Body.String(); taken != free {
		t.Errorf("a taken name: %s, a free one: %s", taken, free)
	}
	// Rates come first.
	for range 60 {
		w.do("POST", "/v1/users", body)
	}
	r.asked = nil
	if out := w.do("POST", "/v1/users", body); out.Code != 429 || len(r.asked) != 0 {
		t.Errorf("past the rate: %d %s, the webhook %v", out.Code, out.Body, r.asked)
	}
}

func TestModesThatDoNotGo(t *testing.T) {
	w, _ := outsideWorld(t)
	for _, c := range []Config{{Mode: Webhook}, {Mode: Invite, Tokens: w.api.cfg.Tokens, Invites: invites{}}, {Mode: Closed, Tokens: w.api.cfg.Tokens}, {Mode: "ask"}} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "Registrar is missing") && !strings.Contains(err.Error(), "Mode") {
			t.Errorf("%s: %v", c.Mode, err)
		}
	}
}
