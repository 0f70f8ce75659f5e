package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// What each call asks of which actor, and what it replies.
func TestCalls(t *testing.T) {
	w := newWorld(t, nil)
	linked := `{"user":"alice","asker":"alice","device":1,"getDevices":{}}`
	credentials := `{"user":"alice","getCredentials":{}}`
	for _, c := range []struct {
		method, path, body string
		headers            []string
		asked              []string // HASH stands for alice's
		status             int
		want               string // * at the end matches anything
	}{
		{"POST", "/v1/users", `{"user":"bob","name":"Bob","password":"correct horse"}`, []string{"Authorization:"},
			[]string{`{"user":"bob","register":{"name":"Bob","password":"$argon2id$*`}, 201, `{"user":"bob"}`},
		{"POST", "/v1/users", `{"user":"alice","password":"correct horse"}`, nil,
			[]string{`{"user":"alice","register":{"password":"$argon2id$*`}, 409, `{"type":"about:blank","title":"Conflict","status":409,"detail":"user: the name is taken","code":"already_exists","retryable":false}`},
		{"POST", "/v1/devices", `{"user":"alice","password":"correct horse","deviceName":"phone"}`, []string{"Authorization:"},
			[]string{credentials, `{"user":"alice","linkDevice":{"name":"phone","password":"HASH"}}`}, 201, `{"user":"alice","device":3,"token":"*`},
		{"POST", "/v1/tokens", ``, nil, []string{linked}, 201, `{"user":"alice","device":1,"token":"*`},
		{"POST", "/v1/tokens", `{}`, nil, []string{linked}, 201, `{"user":"alice","device":1,"token":"*`},
		{"POST", "/v1/tokens", `{"user":"alice","device":2,"password":"correct horse"}`, []string{"Authorization:"},
			[]string{credentials, `{"user":"alice","asker":"alice","device":2,"getDevices":{}}`}, 201, `{"user":"alice","device":2,"token":"*`},
		{"POST", "/v1/tokens", `{"user":"alice","device":9,"password":"correct horse"}`, []string{"Authorization:"},
			[]string{credentials, `{"user":"alice","asker":"alice","device":9,"getDevices":{}}`}, 401, `*"reason":"device_unlinked"*`},

		{"GET", "/v1/devices", ``, nil, []string{linked}, 200,
			`{"devices":[{"device":1,"name":"phone","linkedAt":"1970-01-01T00:00:01Z","current":true},{"device":2,"linkedAt":"1970-01-01T00:00:02Z"}]}`},
		{"DELETE", "/v1/devices/2", ``, nil, []string{`{"user":"alice","asker":"alice","device":1,"unlinkDevice":{"device":2}}`}, 204, ``},

		{"POST", "/v1/messages", `{"id":"` + idText + `","to":{"user":"carol"},"payload":"aGVsbG8="}`, nil,
			[]string{linked, `{"user":"carol","asker":"alice","device":1,"send":{"origin":{"user":"alice","device":1},"to":"carol","after":"99","id":"AZNbPm8sek6dGyw9Tl9qew==","kind":1,"payload":"aGVsbG8=","others":[2],"copy":true}}`},
			200, `{"id":"` + idText + `","conversation":{"user":"carol"},"order":"4","time":"5"}`},
		{"POST", "/v1/messages", `{"to":{"user":"carol"},"kind":"IMAGE","ttl":"2s"}`, []string{`Idempotency-Key: "` + strings.ToUpper(idText) + `"`},
			[]string{linked, `*"kind":2,"ttl":"2000","others":[2],"copy":true}}`}, 200, `{"id":"` + idText + `",*`},
		{"POST", "/v1/messages", `{"id":"` + idText + `","to":{"user":"dave"}}`, nil, []string{linked, `*`}, 404, `*"code":"not_found"*`},
		{"POST", "/v1/messages", `{"id":"` + idText + `","to":{"group":"g_1"}}`, nil, nil, 403, `*"detail":"to.group: you are not a member"*`},
		{"GET", "/v1/messages", ``, nil, []string{`{"user":"alice","asker":"alice","device":1,"list":{"limit":100}}`}, 200, `{"messages":[],"next":"0","end":true}`},
		{"GET", "/v1/messages?after=7&limit=3&conversation=user:+49151&id=" + idText, ``, nil,
			[]string{`{"user":"alice","asker":"alice","device":1,"list":{"after":"7","limit":3,"peer":"+49151","id":"AZNbPm8sek6dGyw9Tl9qew=="}}`}, 200, `{"messages":[],"next":"7","end":true}`},
		{"GET", "/v1/messages?conversation=%2b49151", ``, nil, []string{`*"peer":"+49151"*`}, 200, `*`},
		{"POST", "/v1/messages/ack", `{"seq":"5"}`, nil, []string{`{"user":"alice","asker":"alice","device":1,"ackUpTo":{"seq":"5"}}`}, 204, ``},

		{"GET", "/v1/users/carol", ``, nil, []string{linked, `{"user":"carol","asker":"alice","device":1,"getProfile":{}}`}, 200, `{"user":"carol","name":"Carol"}`},
		{"GET", "/v1/users/dave", ``, nil, []string{linked, `*`}, 404, `*"code":"not_found"*`},
		{"GET", "/v1/users/alice", ``, nil, []string{linked, `{"user":"alice","asker":"alice","device":1,"getProfile":{}}`}, 200, `{"user":"alice","name":"Carol","privacy":{"lastSeen":"EVERYONE"}}`},
		{"PATCH", "/v1/users/alice", `{"about":"","privacy":{"lastSeen":"CONTACTS"},"name":null}`, nil,
			[]string{`{"user":"alice","asker":"alice","device":1,"patchProfile":{"about":"","lastSeen":"CONTACTS"}}`}, 200,
			`{"user":"alice","name":"Alice","online":true,"lastSeen":"1970-01-01T00:00:01.5Z","privacy":{"lastSeen":"EVERYONE"}}`},
		{"DELETE", "/v1/users/alice", `{"password":"correct horse"}`, nil,
			[]string{linked, credentials, `{"user":"alice","asker":"alice","device":1,"deleteAccount":{"password":"HASH"}}`}, 204, ``},
		{"PUT", "/v1/users/alice/password", `{"old":"correct horse","new":"battery staple"}`, nil,
			[]string{linked, credentials, `{"user":"alice","asker":"alice","device":1,"setPassword":{"old":"HASH","new":"$argon2id$*`}, 204, ``},
		{"PUT", "/v1/users/alice/blocks/carol", ``, nil, []string{`{"user":"alice","asker":"alice","device":1,"setBlock":{"user":"carol","blocked":true}}`}, 204, ``},
		{"DELETE", "/v1/users/alice/blocks/carol", ``, nil, []string{`{"user":"alice","asker":"alice","device":1,"setBlock":{"user":"carol"}}`}, 204, ``},
		{"GET", "/v1/nodes", ``, []string{"Authorization:"}, nil, 200, `{"nodes":[{"node":"n1","url":"ws://example.com/v1/ws"}]}`},
		{"GET", "/healthz", ``, []string{"Authorization:"}, nil, 200, `{"status":"ok"}`},
		{"GET", "/readyz", ``, []string{"Authorization:"}, nil, 200, `{"status":"ready"}`},
	} {
		out := w.do(c.method, c.path, c.body, c.headers...)
		name := c.method + " " + c.path + " " + c.body
		if out.Code != c.status || !like(c.want, out.Body.String()) {
			t.Errorf("%s\n got  %d %s\n want %d %s", name, out.Code, out.Body, c.status, c.want)
		}
		if len(w.asked) != len(c.asked) {
			t.Errorf("%s asked %q", name, w.asked)
			continue
		}
		for i, asked := range w.asked {
			if !like(c.asked[i], asked) {
				t.Errorf("%s\n asked %s\n want  %s", name, asked, c.asked[i])
			}
		}
	}
}

// like matches a text with a pattern in which * stands for anything.
func like(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, parts[0]) || !strings.HasSuffix(text, parts[len(parts)-1]) {
		return false
	}
	return strings.Contains(text, parts[len(parts)/2])
}

// What is refused before anybody is asked, and the field that is named.
func TestRefusals(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.AccountsBurst = 1000 })
	send := func(rest string) string { return `{"id":"` + idText + `","to":{"user":"carol"}` + rest + `}` }
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		detail             string
	}{
		{"POST", "/v1/users", ``, nil, 400, "user: must not be empty"},
		{"POST", "/v1/users", `{"user":"g_x","password":"correct horse"}`, nil, 400, "user: must not begin with g_"},
		{"POST", "/v1/users", `{"user":"bob","password":"short"}`, nil, 400, "password: must be 8 to 256 bytes"},
		{"POST", "/v1/users", `{"user":"bob","password":7}`, nil, 400, "password: must be a string"},
		{"POST", "/v1/users", `{"user":"bob","password":"correct horse","admin":true}`, nil, 400, "admin: unknown field"},
		{"POST", "/v1/users", `{"user":"bob","User":"carol"}`, nil, 400, "User: unknown field"},
		{"POST", "/v1/users", `{"user":"bob","user":"carol"}`, nil, 400, "user: is given twice"},
		{"POST", "/v1/users", `{"user":"bob"} x`, nil, 400, "body: is not valid JSON"},
		{"POST", "/v1/users", `{"user":"bob"}{}`, nil, 400, "body: is not valid JSON"},
		{"POST", "/v1/users", `[]`, nil, 400, "body: must be a JSON object"},
		{"POST", "/v1/users", `{"user":` + deep + `}`, nil, 400, "body: is nested deeper than 32"},
		{"POST", "/v1/users", "{\"user\":\"bob\",\"name\":\"\xff\"}", nil, 400, "name: is not valid UTF-8"},
		{"POST", "/v1/users", `{"user":"bob","name":"\ud800"}`, nil, 400, "name: must be a string"},
		{"POST", "/v1/users", `{"user":"bob","password":"correct horse","name":"` + strings.Repeat("x", 129) + `"}`, nil, 400, "name: must be at most 128 bytes"},
		{"POST", "/v1/users", `{"name":"` + strings.Repeat("x", limits.Body) + `"}`, nil, 413, "body: has more than 524288 bytes"},
		{"POST", "/v1/users", `{}`, []string{"Content-Type:"}, 400, "Content-Type: must be application/json"},
		{"POST", "/v1/users", `{}`, []string{"Content-Type:", "Content-Type: text/plain"}, 400, "Content-Type: must be application/json"},
		{"POST", "/v1/users", `{}`, []string{"Content-Type:", "Content-Type: application/json; charset=latin1"}, 400, "Content-Type: must have no charset but utf-8"},
		{"POST", "/v1/devices", `{"user":"alice","password":"x","deviceName":"` + strings.Repeat("x", 65) + `"}`, nil, 400, "deviceName: must be at most 64 bytes"},
		{"POST", "/v1/devices", `{"user":"alice"}`, nil, 400, "password: must be given"},
		{"POST", "/v1/devices", `{"user":"a b","password":"x"}`, nil, 400, "user: may hold only"},
		{"POST", "/v1/tokens", `{"user":"alice","password":"x"}`, nil, 400, "device: must be given"},
		{"POST", "/v1/tokens", ``, []string{"Authorization:"}, 401, "Authorization: a bearer token is needed"},

		{"GET", "/v1/devices", ``, []string{"Authorization:"}, 401, "Authorization: a bearer token is needed"},
		{"GET", "/v1/devices", ``, []string{"Authorization:", "Authorization: Basic eA=="}, 401, `Authorization: must be "Bearer" and a token`},
		{"GET", "/v1/devices", ``, []string{"Authorization:", "Authorization: Bearer x.y.z"}, 401, "Authorization: the token is not valid: it is malformed"},
		{"GET", "/v1/devices", ``, []string{"Authorization: Bearer x"}, 401, `Authorization: must be "Bearer" and a token`},
		{"DELETE", "/v1/devices/x", ``, nil, 400, "id: must be a device id"},
		{"DELETE", "/v1/devices/0", ``, nil, 400, "id: must be a device id"},

		{"POST", "/v1/messages", ``, nil, 400, "body: is not valid JSON"},
		{"POST", "/v1/messages", `7`, nil, 400, "body: is not a JSON object"},
		{"POST", "/v1/messages", `{"to":{"user":"carol"}}`, nil, 400, "id: must be a UUID"},
		{"POST", "/v1/messages", send(`,"bogus":1`), nil, 400, "bogus: unknown field"},
		{"POST", "/v1/messages", send(`,"replyTo":"x"`), nil, 400, "replyTo: must be a UUID"},
		{"POST", "/v1/messages", send(`,"payloads":[{"user":"carol","device":1,"x":1}]`), nil, 400, "payloads[0].x: unknown field"},
		{"POST", "/v1/messages", send(`,"payload":"` + strings.Repeat("AAAA", limits.Payload/3+1) + `"`), nil, 413, "payload: has 65538 bytes"},
		{"POST", "/v1/messages", send(``), []string{"Idempotency-Key: 01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7c"}, 400, "id: is not the Idempotency-Key"},
		{"POST", "/v1/messages", send(``), []string{"Idempotency-Key: x"}, 400, "Idempotency-Key: must be a UUID"},
		{"POST", "/v1/messages", send(``), []string{"Idempotency-Key: " + idText, "Idempotency-Key: " + idText}, 400, "Idempotency-Key: is given twice"},
		{"POST", "/v1/messages", `{"x":` + deep + `}`, nil, 400, "x is nested deeper than 32"},
		{"GET", "/v1/messages?wait=30", ``, nil, 400, `wait: must be a duration, such as 30s, of at most 60s`},
		{"GET", "/v1/messages?wait=-1s", ``, nil, 400, `wait: must be`},
		{"GET", "/v1/messages?wait=60001ms", ``, nil, 400, `wait: must be`},
		{"GET", "/v1/messages?wait=99999999999999999999h", ``, nil, 400, `wait: must be`},
		{"GET", "/v1/messages?wait=1s&wait=1s", ``, nil, 400, `wait: is given twice`},
		{"GET", "/v1/messages?wait=", ``, nil, 400, `wait: must be`},
		{"GET", "/v1/events?after=3", ``, nil, 400, `"after": unknown parameter`},
		{"GET", "/v1/events?token=secret", ``, nil, 400, `"token": unknown parameter`},
		{"GET", "/v1/events?heartbeat=fast", ``, nil, 400, `heartbeat: must be a duration`},
		{"GET", "/v1/events?heartbeat=1s&heartbeat=2s", ``, nil, 400, `heartbeat: is given twice`},
		{"GET", "/v1/events", ``, []string{"Accept: application/json"}, 400, `Accept: must allow text/event-stream`},
		{"GET", "/v1/events", ``, []string{"Accept: text/event-stream;q=0"}, 400, `Accept: must allow text/event-stream`},
		{"GET", "/v1/events", ``, []string{"Last-Event-ID: 7a"}, 400, `Last-Event-ID: must be the id of an event, which is a seq`},
		{"GET", "/v1/events", ``, []string{"Last-Event-ID: -1"}, 400, `Last-Event-ID: must be`},
		{"GET", "/v1/events", ``, []string{"Last-Event-ID: 18446744073709551616"}, 400, `Last-Event-ID: must be`},
		{"GET", "/v1/events", ``, []string{"Last-Event-ID: 1", "Last-Event-ID: 1"}, 400, `Last-Event-ID: is given twice`},
		{"GET", "/v1/events", ``, []string{"Authorization:"}, 401, `Authorization: a bearer token is needed`},
		{"GET", "/v1/messages?limit=257", ``, nil, 400, "limit: must be 1 to 256"},
		{"GET", "/v1/messages?limit=0", ``, nil, 400, "limit: must be 1 to 256"},
		{"GET", "/v1/messages?after=-1", ``, nil, 400, "after: must be a seq"},
		{"GET", "/v1/messages?after=1&after=2", ``, nil, 400, "after: is given twice"},
		{"GET", "/v1/messages?id=x", ``, nil, 400, "id: must be a UUID"},
		{"GET", "/v1/messages?conversation=a/b", ``, nil, 400, "conversation.user: may hold only"},
		{"GET", "/v1/messages?conversation=group:g_1", ``, nil, 403, "conversation.group: you are not a member"},
		{"GET", "/v1/messages?a=%zz", ``, nil, 400, "query: is not well-formed"},
		{"POST", "/v1/messages/ack", `{"seq":"-1"}`, nil, 400, "seq: must be a whole number of 64 bits"},
		{"POST", "/v1/messages/ack", `{}`, nil, 400, "seq: must be given"},

		{"GET", "/v1/users/a%2Fb", ``, nil, 400, "id: may hold only"},
		{"PATCH", "/v1/users/carol", `{}`, nil, 403, "id: is another user"},
		{"PATCH", "/v1/users/alice", `{"privacy":{"lastSeen":"SOME"}}`, nil, 400, "privacy.lastSeen: must be one of EVERYONE, CONTACTS, NOBODY"},
		{"PATCH", "/v1/users/alice", `{"privacy":{"online":1}}`, nil, 400, "privacy.online: unknown field"},
		{"PATCH", "/v1/users/alice", `{"privacy":[]}`, nil, 400, "privacy: must be a JSON object"},
		{"PATCH", "/v1/users/alice", `{"picture":"` + strings.Repeat("x", 257) + `"}`, nil, 400, "picture: must be at most 256 bytes"},
		{"DELETE", "/v1/users/carol", ``, nil, 403, "id: is another user"},
		{"DELETE", "/v1/users/alice", ``, nil, 400, "password: must be given"},
		{"PUT", "/v1/users/carol/password", ``, nil, 403, "id: is another user"},
		{"PUT", "/v1/users/alice/password", `{"old":"correct horse","new":"x"}`, nil, 400, "new: must be 8 to 256 bytes"},
		{"PUT", "/v1/users/carol/blocks/bob", ``, nil, 403, "id: is another user"},
		{"PUT", "/v1/users/alice/blocks/g_x", ``, nil, 400, "user: must not begin with g_"},

		{"GET", "/v1/nothing", ``, nil, 404, "there is nothing at this path"},
		{"GET", "/", ``, nil, 404, "there is nothing at this path"},
		{"GET", "/v1/users/", ``, nil, 404, "there is nothing at this path"},
		{"PUT", "/v1/messages", ``, nil, 405, "PUT is not among the methods of this path: GET, HEAD, POST"},
	} {
		out := w.do(c.method, c.path, c.body, c.headers...)
		var p problem
		if err := json.Unmarshal(out.Body.Bytes(), &p); err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
		}
		if out.Code != c.status || p.Status != c.status || !strings.HasPrefix(p.Detail, c.detail) || p.Retryable {
			t.Errorf("%s %s %.200s\n got  %d %s\n want %d %s", c.method, c.path, c.body, out.Code, out.Body, c.status, c.detail)
		}
		if len(w.asked) != 0 {
			t.Errorf("%s %s %.200s asked %v", c.method, c.path, c.body, w.asked)
		}
		if out.Code == 401 && out.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s %s: no challenge", c.method, c.path)
		}
		if out.Code == 405 && out.Header().Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
	if strings.Contains(w.log.String(), "Bearer") || strings.Contains(w.log.String(), "correct horse") {
		t.Errorf("a secret is logged: %s", w.log)
	}
}

// Every call of an unlinked device is refused, and changes nothing.
func TestUnlinkedDevice(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range [][3]string{
		{"POST", "/v1/tokens", ``},
		{"GET", "/v1/devices", ``},
		{"DELETE", "/v1/devices/2", ``},
		{"POST", "/v1/messages", `{"id":"` + idText + `","to":{"user":"carol"}}`},
		{"POST", "/v1/messages", `{"id":"` + idText + `","to":{"user":"alice"}}`},
		{"GET", "/v1/messages", ``},
		{"POST", "/v1/messages/ack", `{"seq":1}`},
		{"GET", "/v1/users/carol", ``},
		{"GET", "/v1/users/alice", ``},
		{"PATCH", "/v1/users/alice", `{}`},
		{"DELETE", "/v1/users/alice", `{"password":"correct horse"}`},
		{"PUT", "/v1/users/alice/password", `{"old":"correct horse","new":"battery staple"}`},
		{"PUT", "/v1/users/alice/blocks/carol", ``},
		{"DELETE", "/v1/users/alice/blocks/carol", ``},
	} {
		out := w.do(c[0], c[1], c[2], "Authorization:", "Authorization: Bearer "+w.token(7))
		if out.Code != 401 || !strings.Contains(out.Body.String(), fault.ReasonDeviceUnlinked) {
			t.Errorf("%v: %d %s", c, out.Code, out.Body)
		}
		if len(w.asked) != 1 {
			t.Errorf("%v went on to ask %v", c, w.asked)
		}
	}
}

// A question without an answer: the client has to know whether it may have
// happened, and when to come back.
func TestNoAnswer(t *testing.T) {
	w := newWorld(t, nil)
	lose := func(kind string) {
		w.script = func(q *nodepb.Ask) (*nodepb.Answer, error) {
			if strings.Contains(fmt.Sprintf("%T", q.GetBody()), kind) {
				return nil, errLost
			}
			return nil, nil
		}
	}
	send := `{"id":"` + idText + `","to":{"user":"carol"}}`
	for _, c := range []struct{ lost, method, path, body, reason string }{
		{"Send", "POST", "/v1/messages", send, "outcome_unknown"},
		{"GetDevices", "POST", "/v1/messages", send, ""},
		{"Register", "POST", "/v1/users", `{"user":"bob","password":"correct horse"}`, "outcome_unknown"},
		{"GetCredentials", "POST", "/v1/devices", `{"user":"alice","password":"correct horse"}`, ""},
		{"LinkDevice", "POST", "/v1/devices", `{"user":"alice","password":"correct horse"}`, "outcome_unknown"},
		{"SetPassword", "PUT", "/v1/users/alice/password", `{"old":"correct horse","new":"battery staple"}`, "outcome_unknown"},
		{"PatchProfile", "PATCH", "/v1/users/alice", `{}`, "outcome_unknown"},
		{"AckUpTo", "POST", "/v1/messages/ack", `{"seq":1}`, "outcome_unknown"},
		{"GetProfile", "GET", "/v1/users/carol", ``, ""},
		{"List", "GET", "/v1/messages", ``, ""},
	} {
		lose(c.lost)
		out := w.do(c.method, c.path, c.body)
		var p problem
		_ = json.Unmarshal(out.Body.Bytes(), &p)
		if out.Code != 503 || p.Code != "unavailable" || p.Reason != c.reason || !p.Retryable || out.Header().Get("Retry-After") != "1" {
			t.Errorf("%s lost: %d %s", c.lost, out.Code, out.Body)
		}
	}
	w.script = func(q *nodepb.Ask) (*nodepb.Answer, error) {
		if q.GetSend() != nil {
			return done(), nil
		}
		return nil, nil
	}
	if out := w.do("POST", "/v1/messages", send); out.Code != 503 || !strings.Contains(out.Body.String(), "outcome_unknown") {
		t.Errorf("a send answered by something else: %d %s", out.Code, out.Body)
	}
	w.script = func(*nodepb.Ask) (*nodepb.Answer, error) { return &nodepb.Answer{}, nil }
	if out := w.do("GET", "/v1/devices", ``); out.Code != 500 {
		t.Errorf("an answer of another kind: %d %s", out.Code, out.Body)
	}
}

// What the actor refuses reaches the client whole.
func TestFaultsPassThrough(t *testing.T) {
	w := newWorld(t, nil)
	mismatch := fault.New(fault.FailedPrecondition, fault.ReasonDevicesMismatch, "payloads: they do not match")
	mismatch.Missing = []*nodepb.DeviceRef{{User: "carol", Device: 2}}
	mismatch.Extra = []*nodepb.DeviceRef{{User: "carol", Device: 1}}
	full := fault.New(fault.MailboxFull, "", "to.user: the mailbox is full")
	full.RetryAfterMs = 1500
	for _, c := range []struct {
		fault *nodepb.Fault
		want  string
	}{
		{mismatch, `{"type":"about:blank","title":"Conflict","status":409,"detail":"payloads: they do not match","code":"failed_precondition","reason":"devices_mismatch","retryable":false,"missing":[{"user":"carol","device":2}],"extra":[{"user":"carol","device":1}]}`},
		{full, `{"type":"about:blank","title":"Insufficient Storage","status":507,"detail":"to.user: the mailbox is full","code":"mailbox_full","retryable":true,"retryAfterMs":1500}`},
	} {
		w.script = func(q *nodepb.Ask) (*nodepb.Answer, error) {
			if q.GetSend() == nil {
				return nil, nil
			}
			return &nodepb.Answer{Body: &nodepb.Answer_Fault{Fault: c.fault}}, nil
		}
		if out := w.do("POST", "/v1/messages", `{"id":"`+idText+`","to":{"user":"carol"}}`); out.Body.String() != c.want {
			t.Errorf("got  %s\nwant %s", out.Body, c.want)
		}
	}
}

// A page shows the frames of the WebSocket, and where the next one begins even
// where nothing of this one was for the device or passed the filter.
func TestListMessages(t *testing.T) {
	w := newWorld(t, nil)
	message := &storepb.Entry_Message{Message: &storepb.Message{From: "carol", Device: 1, Peer: "carol", Order: 1, Time: 2, Kind: 1}}
	page := &nodepb.Page{After: 3, UpTo: 20, Entries: []*storepb.Entry{
		{Seq: 4, Body: message},
		{Seq: 5, Skip: 1, Body: message},
		{Seq: 6, Body: &storepb.Entry_Receipt{Receipt: &storepb.Receipt{Peer: "carol", By: "carol", Delivered: 1}}},
		{Seq: 7, Body: &storepb.Entry_DeviceEvent{DeviceEvent: &storepb.DeviceEvent{Unlinked: []uint32{2}}}},
	}}
	w.script = func(*nodepb.Ask) (*nodepb.Answer, error) {
		return &nodepb.Answer{Body: &nodepb.Answer_Page{Page: page}}, nil
	}
	out := w.do("GET", "/v1/messages?after=3", ``)
	want := `{"messages":[{"deliver":{"seq":"4","from":{"user":"carol","device":1},"conversation":{"user":"carol"},"order":"1","time":"2","kind":"TEXT"}},` +
		`{"receipt":{"seq":"6","conversation":{"user":"carol"},"by":"carol","deliveredUpTo":"1"}},{"deviceEvent":{"seq":"7","unlinked":[2]}}],"next":"20","end":false}`
	if out.Code != 200 || out.Body.String() != want {
		t.Errorf("got  %d %s\nwant %s", out.Code, out.Body, want)
	}
	if !json.Valid(out.Body.Bytes()) {
		t.Error("not JSON")
	}
}

func TestReadinessAndLoad(t *testing.T) {
	notReady := &readiness{err: fmt.Errorf("shard 7 has no leader")}
	w := newWorld(t, func(c *Config) { c.Ready, c.Concurrent = notReady, 1 })
	out := w.do("GET", "/readyz", ``)
	if out.Code != 503 || !strings.Contains(out.Body.String(), "shard 7 has no leader") {
		t.Errorf("%d %s", out.Code, out.Body)
	}
	w.api.places <- struct{}{}
	if out := w.do("GET", "/v1/devices", ``); out.Code != 503 || len(w.asked) != 0 {
		t.Errorf("more requests than places: %d %s", out.Code, out.Body)
	}
	if out := w.do("GET", "/healthz", ``); out.Code != 200 {
		t.Errorf("a busy node is taken for a dead one: %d %s", out.Code, out.Body)
	}
	if out := w.do("GET", "/readyz", ``); !strings.Contains(out.Body.String(), "shard 7") {
		t.Errorf("a busy node does not say whether it is ready: %d %s", out.Code, out.Body)
	}
	<-w.api.places
	if out := w.do("GET", "/v1/devices", ``); out.Code != 200 {
		t.Errorf("after that: %d %s", out.Code, out.Body)
	}
}

// A path is what it says: nobody is sent from one to another.
func TestUncleanPaths(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"//v1/nodes", "/v1//nodes", "/v1/../v1/nodes", "/v1/./nodes", "/v1/nodes/", "/v1/nodes/.", "/v1/users/..", "/v1/nodes//"} {
		if out := w.do("GET", path, ``); out.Code != 404 {
			t.Errorf("%s: %d %v", path, out.Code, out.Header())
		}
	}
	// A user may be called so, and is asked for by name.
	if out := w.do("GET", "/v1/users/%2E%2E", ``); out.Code != 404 || !strings.Contains(out.Body.String(), "no such user") || len(w.asked) != 2 {
		t.Errorf("%d %s, asked %v", out.Code, out.Body, w.asked)
	}
}

func TestCORS(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Origins = []string{"https://chat.example.org"} })
	preflight := func(origin string) http.Header {
		return w.do("OPTIONS", "/v1/messages", ``, "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,idempotency-key").Header()
	}
	h := preflight("https://chat.example.org")
	if h.Get("Access-Control-Allow-Origin") != "https://chat.example.org" || h.Get("Access-Control-Allow-Headers") == "" {
		t.Errorf("preflight: %v", h)
	}
	if h := preflight("https://evil.example.org"); h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %v", h)
	}
	out := w.do("GET", "/v1/nodes", ``, "Origin: https://chat.example.org")
	if out.Code != 200 || out.Header().Get("Access-Control-Allow-Origin") == "" || out.Header().Get("Access-Control-Expose-Headers") != "Retry-After" {
		t.Errorf("call: %d %v", out.Code, out.Header())
	}
	if out := newWorld(t, nil).do("GET", "/v1/nodes", ``, "Origin: https://chat.example.org"); out.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("no origins: %v", out.Header())
	}
}

func TestConfigSaysEverything(t *testing.T) {
	_, err := New(Config{Mode: Invite, Origins: []string{"chat.example.org", "https://x/"}, Concurrent: -1})
	for _, want := range []string{"Backend", "Tokens", "Passwords", "Ready", "Node", "Invites", `"chat.example.org"`, `"https://x/"`, "Concurrent"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// FuzzBodies: whatever the body, a request is answered, and 5xx only by what
// the backend does.
func FuzzBodies(f *testing.F) {
	f.Add(uint8(0), []byte(`{"user":"bob","name":"Bob","password":"correct horse"}`))
	f.Add(uint8(1), []byte(`{"id":"`+idText+`","to":{"user":"carol"},"payload":"aGVsbG8="}`))
	f.Add(uint8(2), []byte(`{"seq":"5"}`))
	f.Add(uint8(3), []byte(`{"name":"x","privacy":{"lastSeen":"NOBODY"}}`))
	f.Add(uint8(3), []byte(`{"name":"\ud83d\ude00","privacy":null}`))
	calls := [][2]string{{"POST", "/v1/users"}, {"POST", "/v1/messages"}, {"POST", "/v1/messages/ack"}, {"PATCH", "/v1/users/alice"}}
	w := newWorld(f, func(c *Config) { c.AccountsPerSecond, c.AccountsBurst, c.RequestsBurst = 1, 1<<30, 1<<30 })
	token := w.token(1)
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		c := calls[int(which)%len(calls)]
		r := httptest.NewRequest(c[0], c[1], strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		out := httptest.NewRecorder()
		w.api.ServeHTTP(out, r)
		if out.Code >= 500 {
			t.Fatalf("%v: %d %s", c, out.Code, out.Body)
		}
		if out.Body.Len() > 0 && !json.Valid(out.Body.Bytes()) {
			t.Fatalf("%v: %s", c, out.Body)
		}
		w.asked = nil
	})
}

// As many copies wait for a device of the sender's as may: nothing is sent.
func TestCopiesFull(t *testing.T) {
	w := newWorld(t, nil)
	devices := []*storepb.DeviceRow{{Device: 1}, {Device: 2}}
	sent := false
	w.script = func(q *nodepb.Ask) (*nodepb.Answer, error) {
		sent = sent || q.GetSend() != nil
		if q.GetGetDevices() == nil {
			return nil, nil
		}
		return &nodepb.Answer{Body: &nodepb.Answer_Devices{Devices: &nodepb.DeviceList{Devices: devices, Full: true}}}, nil
	}
	send := `{"id":"` + idText + `","to":{"user":"carol"}}`
	if out := w.do("POST", "/v1/messages", send); out.Code != 507 || !strings.Contains(out.Body.String(), "own_copies") || sent {
		t.Errorf("%d %s, sent %v", out.Code, out.Body, sent)
	}
	devices = devices[:1]
	if out := w.do("POST", "/v1/messages", send); out.Code != 200 {
		t.Errorf("the only device: %d %s", out.Code, out.Body)
	}
}
