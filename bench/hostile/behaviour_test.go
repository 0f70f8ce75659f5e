//go:build e2e

package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/transport/ws"
)

// session is a polite client of a test's: one goroutine, frames in turn.
type session struct {
	t *testing.T
	*peer
	waiting []map[string]json.RawMessage
}

func connect(t *testing.T, s *server, token string) *session {
	t.Helper()
	f := &Field{Address: s.address, Subnet: 2}
	c, err := f.dial(t.Context(), 0, &Score{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p, err := upgrade(c, &Score{}, "")
	if err == nil {
		err = p.hello(token)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &session{t: t, peer: p}
}

// next gives the next frame that has one of the members, and passes over others.
func (s *session) next(members ...string) map[string]json.RawMessage {
	s.t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	for {
		for len(s.waiting) > 0 {
			f := s.waiting[0]
			s.waiting = s.waiting[1:]
			for _, m := range members {
				if _, ok := f[m]; ok {
					return f
				}
			}
		}
		op, b, err := s.frame()
		if err != nil || op == ws.Close {
			s.t.Fatalf("waiting for %v: %v %q %v", members, op, b, err)
		}
		if op != ws.Text {
			continue
		}
		for line := range strings.SplitSeq(string(b), "\n") {
			var f map[string]json.RawMessage
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				s.t.Fatal(err)
			}
			s.waiting = append(s.waiting, f)
		}
	}
}

func (s *session) say(format string, args ...any) {
	s.t.Helper()
	if err := s.text(fmt.Sprintf(format, args...)); err != nil {
		s.t.Fatal(err)
	}
}

// send gives the code of the refusal, or "" for sent.
func (s *session) send(to string) string {
	s.t.Helper()
	s.say("%s", sendText(to, []byte("hello")))
	f := s.next("sent", "error")
	var e struct{ Code string }
	if err := json.Unmarshal(f["error"], &e); f["error"] != nil && err != nil {
		s.t.Fatal(err)
	}
	return e.Code
}

// A token opens nothing that is not its device's, at hello and in REST; and
// what is refused says nothing of others.
func TestTokensOfOthers(t *testing.T) {
	s, elsewhere := startServer(t), startServer(t)
	alice, mallory := s.users("alice", 1, 1)[0], s.users("mallory", 1, 1)[0]
	foreign := elsewhere.users("alice", 1, 1)[0].Tokens[0]
	parts, own := strings.Split(alice.Tokens[0], "."), strings.Split(mallory.Tokens[0], ".")
	tokens := map[string]string{
		"another cluster's":          foreign,
		"garbled":                    alice.Tokens[0][:len(alice.Tokens[0])-6] + "AAAAAA",
		"another's claims, own sign": parts[0] + "." + parts[1] + "." + own[2],
		"no signature":               parts[0] + "." + parts[1] + ".",
		"no algorithm":               "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + ".",
		"a break in it":              alice.Tokens[0][:len(alice.Tokens[0])-9] + "\n" + alice.Tokens[0][len(alice.Tokens[0])-9:],
		"twice":                      alice.Tokens[0] + "." + alice.Tokens[0],
	}
	f := &Field{Address: s.address, Subnet: 3}
	for _, name := range slices.Sorted(maps.Keys(tokens)) {
		score := &Score{}
		err := f.open(t.Context(), 0, score, "", func(p *peer) error {
			text, err := json.Marshal(map[string]any{"hello": map[string]string{"token": tokens[name]}})
			if err != nil {
				return err
			}
			if err := p.text(string(text)); err != nil {
				return err
			}
			return p.drain()
		})
		if !strings.Contains(fmt.Sprint(err), "closed with 4101") {
			t.Errorf("%s: at hello: %v", name, err)
		}
		if strings.ContainsAny(tokens[name], "\n") {
			continue // no header may hold it
		}
		for _, call := range []string{"GET /v1/messages", "GET /v1/devices", "GET /v1/users/" + alice.Name, "DELETE /v1/devices/1"} {
			method, path, _ := strings.Cut(call, " ")
			if status, answer := f.caller(0, score).ask(t.Context(), method, path, tokens[name], nil); status != http.StatusUnauthorized || strings.Contains(fmt.Sprint(answer), alice.Name) {
				t.Errorf("%s: %s: %d %v", name, call, status, answer)
			}
		}
	}
	// A good token does not act for another either.
	for _, call := range []string{"PATCH /v1/users/" + alice.Name, "DELETE /v1/users/" + alice.Name, "PUT /v1/users/" + alice.Name + "/password", "PUT /v1/users/" + alice.Name + "/blocks/" + mallory.Name} {
		method, path, _ := strings.Cut(call, " ")
		if status, answer := f.caller(0, &Score{}).ask(t.Context(), method, path, mallory.Tokens[0], map[string]any{}); status != http.StatusForbidden && status != http.StatusBadRequest {
			t.Errorf("%s: %d %v", call, status, answer)
		}
	}
	if code := connect(t, s, alice.Tokens[0]).send(mallory.Name); code != "" {
		t.Errorf("alice herself: %s", code)
	}
}

// Acks and reads of what was never delivered, and of others' conversations,
// change nothing: no receipt comes of them, and what waits goes on waiting.
func TestAcksAndReadsOfOthers(t *testing.T) {
	s := startServer(t)
	u := s.users("user", 3, 1)
	alice, bob, mallory := u[0], u[1], u[2]
	a := connect(t, s, alice.Tokens[0])
	for range 3 {
		if code := a.send(bob.Name); code != "" {
			t.Fatal(code)
		}
	}
	m := connect(t, s, mallory.Tokens[0])
	for _, frame := range []string{
		`{"ref":1,"ack":{"seq":"1"}}`, `{"ref":1,"ack":{"seq":"18446744073709551615"}}`, `{"ref":1,"ack":{}}`,
		fmt.Sprintf(`{"ref":1,"read":{"conversation":{"user":%q},"order":"1"}}`, alice.Name),
		fmt.Sprintf(`{"ref":1,"read":{"conversation":{"user":%q},"order":"18446744073709551615"}}`, bob.Name),
		fmt.Sprintf(`{"ref":1,"read":{"conversation":{"user":%q},"order":"1"}}`, mallory.Name),
		`{"ref":1,"read":{"conversation":{"user":"nobody-at-all"},"order":"1"}}`,
	} {
		m.say("%s", frame)
		if e := string(m.next("error")["error"]); !strings.Contains(e, `"invalid_argument"`) || strings.Contains(e, `"retryable":true`) {
			t.Errorf("%s: %s", frame, e)
		}
	}
	b := connect(t, s, bob.Tokens[0])
	b.say(`{"ref":9,"ack":{"seq":"99"}}`)
	for order, refused := 1, false; order <= 3 || !refused; {
		f := b.next("deliver", "error") // in whichever order
		if f["error"] != nil {
			refused = true
			continue
		}
		var d struct{ Order, Seq string }
		if err := json.Unmarshal(f["deliver"], &d); err != nil || d.Order != fmt.Sprint(order) {
			t.Fatalf("%+v, %v: want order %d", d, err, order)
		}
		order++
	}
	// Had any of it counted, a receipt would stand in alice's mailbox before this.
	if code := a.send(mallory.Name); code != "" {
		t.Fatal(code)
	}
	status, page := (&Field{Address: s.address, Subnet: 2}).caller(0, &Score{}).ask(t.Context(), "GET", "/v1/messages?after=0", alice.Tokens[0], nil)
	if list, ok := page["messages"].([]any); status != http.StatusOK || !ok || len(list) != 0 {
		t.Errorf("alice's mailbox: %d %v", status, page)
	}
}

// One sender fills a share of a mailbox and no more: others go on, and when the
// owner has taken everything the sender goes on as well.
func TestSenderFillsItsShare(t *testing.T) {
	s := startServer(t, "--rate-sends", "1000000/1000000")
	u := s.users("user", 3, 1)
	bob, spammer, alice := u[0], u[1], u[2]
	accepted, refused := 0, ""
	spam := connect(t, s, spammer.Tokens[0])
	const share = limits.MailboxEntries / limits.SenderShare
	for accepted <= share && refused == "" {
		if refused = spam.send(bob.Name); refused == "" {
			accepted++
		}
	}
	if refused != "mailbox_full" || accepted != share {
		t.Fatalf("%q after %d accepted, want mailbox_full after %d", refused, accepted, share)
	}
	if code := connect(t, s, alice.Tokens[0]).send(bob.Name); code != "" {
		t.Errorf("alice is refused: %s", code)
	}
	b := connect(t, s, bob.Tokens[0])
	got, last := 0, ""
	for got < accepted+1 {
		var d struct{ Seq string }
		if err := json.Unmarshal(b.next("deliver")["deliver"], &d); err != nil {
			t.Fatal(err)
		}
		got, last = got+1, d.Seq
	}
	b.say(`{"ack":{"seq":%q}}`, last)
	s.eventually("the spammer may send again", func() error {
		again := connect(t, s, spammer.Tokens[0]) // a new session owes nothing
		if code := again.send(bob.Name); code != "" {
			return fmt.Errorf("refused: %s", code)
		}
		return nil
	})
}

// While one address floods logins and registrations, somebody at another
// registers and logs in, and hashing takes no more memory than its workers'.
func TestLoginFloodLeavesOthersTheirLogin(t *testing.T) {
	s := startServer(t)
	f := &Field{Address: s.address, Subnet: 4, Victim: "victim", Attackers: s.users("attacker", 4, 1)}
	score := &Score{}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		_ = calls(32, func(ctx context.Context, c *caller, i, round int) { logins(ctx, c, i, round) })(ctx, &Field{Address: f.Address, Subnet: 4, Victim: f.Victim, Attackers: f.Attackers}, score)
	})
	defer func() { cancel(); running.Wait() }()
	s.eventually("the flood is on", func() error {
		if score.Errors.Load() < 50 {
			return fmt.Errorf("%d answers", score.Errors.Load())
		}
		return nil
	})
	honest := (&Field{Address: s.address, Subnet: 5}).caller(0, &Score{})
	begin := time.Now()
	s.eventually("registered", func() error {
		if status, answer := honest.ask(ctx, "POST", "/v1/users", "", map[string]any{"user": "honest", "name": "Honest", "password": "correct horse"}); status != http.StatusCreated {
			return fmt.Errorf("%d %v", status, answer)
		}
		return nil
	})
	s.eventually("logged in", func() error {
		if status, answer := honest.ask(ctx, "POST", "/v1/devices", "", map[string]any{"user": "honest", "password": "correct horse", "deviceName": "x"}); status != http.StatusCreated {
			return fmt.Errorf("%d %v", status, answer)
		}
		return nil
	})
	_, most := s.memory()
	t.Logf("registered and logged in within %v, while %v; at most %.0f MB resident", time.Since(begin), score, most)
	if most > 250 {
		t.Errorf("%.0f MB resident", most)
	}
	honest.http.CloseIdleConnections()
}

// Devices that are linked and unlinked without an end never get a number
// twice, and leave nothing behind that grows.
func TestDeviceChurn(t *testing.T) {
	s := startServer(t, "--rate-login", "10000/10000", "--password-workers", "2")
	f := &Field{Address: s.address, Subnet: 6}
	c := f.caller(0, &Score{})
	defer c.http.CloseIdleConnections()
	login := map[string]any{"user": "churner", "password": "correct horse", "deviceName": "x"}
	if status, answer := c.ask(t.Context(), "POST", "/v1/users", "", map[string]any{"user": "churner", "name": "x", "password": "correct horse"}); status != http.StatusCreated {
		t.Fatalf("%d %v", status, answer)
	}
	seen := map[float64]bool{}
	const rounds = 60
	var keep string
	for i := range rounds {
		status, answer := c.ask(t.Context(), "POST", "/v1/devices", "", login)
		number, _ := answer["device"].(float64)
		token, _ := answer["token"].(string)
		if status != http.StatusCreated || seen[number] || number == 0 {
			t.Fatalf("round %d: %d %v", i, status, answer)
		}
		seen[number] = true
		if i == 0 {
			keep = token
			continue
		}
		if status, answer := c.ask(t.Context(), "DELETE", fmt.Sprintf("/v1/devices/%.0f", number), keep, nil); status != http.StatusNoContent {
			t.Fatalf("unlink: %d %v", status, answer)
		}
		if status, _ := c.ask(t.Context(), "GET", "/v1/devices", token, nil); status != http.StatusUnauthorized {
			t.Fatalf("the token of an unlinked device: %d", status)
		}
	}
	status, answer := c.ask(t.Context(), "GET", "/v1/devices", keep, nil)
	if list, _ := answer["devices"].([]any); status != http.StatusOK || len(list) != 1 {
		t.Errorf("%d %v", status, answer)
	}
	// The events of all of it wait for the one device that is left.
	status, answer = c.ask(t.Context(), "GET", "/v1/messages?after=0&limit=256", keep, nil)
	if list, _ := answer["messages"].([]any); status != http.StatusOK || len(list) > 2*rounds {
		t.Errorf("%d, %d entries", status, len(list))
	}
	for range limits.Devices {
		status, answer = c.ask(t.Context(), "POST", "/v1/devices", "", login)
	}
	if status != http.StatusConflict || answer["reason"] != "too_many_devices" {
		t.Errorf("device %d: %d %v", limits.Devices+1, status, answer)
	}
}

// A send past what may be in flight is not refused: the server reads no more
// until there is room, and does not take that for silence.
func TestSendsPastInFlight(t *testing.T) {
	s := startServer(t, "--rate-sends", "1000000/1000000")
	u := s.users("user", 2, 1)
	a := connect(t, s, u[0].Tokens[0])
	const sends = 4 * limits.InFlight
	var b strings.Builder
	ids := map[string]bool{}
	for range sends {
		id := uuid.NewString()
		ids[id] = true
		fmt.Fprintf(&b, "{\"send\":{\"id\":%q,\"to\":{\"user\":%q}}}\n", id, u[1].Name)
		if b.Len() > limits.Message/2 || len(ids)%limits.FrameCount == 0 {
			a.say("%s", b.String())
			b.Reset()
		}
	}
	if b.Len() > 0 {
		a.say("%s", b.String())
	}
	for range sends {
		f := a.next("sent", "error")
		var sent struct{ ID string }
		if err := json.Unmarshal(f["sent"], &sent); err != nil || !ids[sent.ID] {
			t.Fatalf("%s", f["error"])
		}
		delete(ids, sent.ID)
	}
}
