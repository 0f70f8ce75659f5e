package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rookery-im/rookery/client"
)

// Everything that a program can ask for, of a real node. The parts share it,
// and have users of their own.
func TestNode(t *testing.T) {
	n := newNode(t, "--rate-login", "1000/1000")
	for name, test := range map[string]func(*testing.T, *node){
		"two people talk":           talk,
		"the same in JSON":          talkJSON,
		"what is not stored":        ephemera,
		"every field arrives":       fields,
		"several devices":           devices,
		"profiles":                  profiles,
		"blocks":                    blocks,
		"passwords":                 passwords,
		"an account is deleted":     deletion,
		"tokens from outside":       source,
		"displaced":                 displaced,
		"a store is one user's":     otherUser,
		"wrong from the start":      wrongPassword,
		"payloads that are too big": tooLarge,
		"messages that are wrong":   wrong,
	} {
		t.Run(name, func(t *testing.T) {
			part := *n
			part.t = t
			test(t, &part)
		})
	}
}

func talk(t *testing.T, n *node) { exchange(t, n, client.Protobuf, "alice", "bob") }

func talkJSON(t *testing.T, n *node) { exchange(t, n, client.JSON, "j-alice", "j-bob") }

func exchange(t *testing.T, n *node, enc client.Encoding, from, to string) {
	a, b := n.person(from), n.person(to)
	a.Encoding, b.Encoding = enc, enc
	alice, bob := open(t, a), open(t, b)
	sent, err := alice.Send(t.Context(), client.Text(to, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	m := next[*client.Message](t, bob)
	if m.ID != sent.ID || m.From != (client.Device{User: from, Device: 1}) || string(m.Payload) != "hello" || m.Order != sent.Order || m.Time != sent.Time || m.Kind != client.KindText {
		t.Errorf("sent %+v, got %+v", sent, m)
	}
	if sent.Order != 1 || sent.Duplicate || sent.To != client.With(to) || sent.Time.Wall().IsZero() {
		t.Errorf("%+v", sent)
	}
	if err := bob.Read(t.Context(), m.Conversation, m.Order); err != nil {
		t.Fatal(err)
	}
	if err := bob.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	for {
		r := next[*client.Receipt](t, alice)
		if r.DeliveredUpTo == 1 && r.ReadUpTo == 1 && r.By == to && r.Conversation == client.With(to) {
			break
		}
	}
	// The same id is the same message.
	again, err := alice.Send(t.Context(), client.Draft{ID: sent.ID, To: client.With(to), Payload: []byte("something else")})
	if err != nil || !again.Duplicate || again.Order != sent.Order || again.Time != sent.Time {
		t.Errorf("sent again: %+v, %v", again, err)
	}
}

func ephemera(t *testing.T, n *node) {
	alice, bob := open(t, n.person("e-alice")), open(t, n.person("e-bob"))
	next[*client.Drained](t, alice)
	next[*client.Drained](t, bob)
	if err := alice.Watch(t.Context(), "e-bob"); err != nil {
		t.Fatal(err)
	}
	if p := next[*client.Presence](t, alice); p.User != "e-bob" {
		t.Errorf("%+v", p)
	}
	eventually(t, "typing comes through", func() error { return alice.Typing(t.Context(), client.With("e-bob"), true) })
	if e := next[*client.Typing](t, bob); e.From.User != "e-alice" || !e.On || e.Conversation != client.With("e-alice") {
		t.Errorf("%+v", e)
	}
	if err := alice.Signal(t.Context(), client.With("e-bob"), []byte("ring")); err != nil {
		t.Fatal(err)
	}
	if e := next[*client.Signal](t, bob); string(e.Bytes) != "ring" || e.From.User != "e-alice" {
		t.Errorf("%+v", e)
	}
	// What is refused and nobody waits for.
	if err := alice.Watch(t.Context(), "not a user id"); err != nil {
		t.Fatal(err)
	}
	if e := next[*client.Refused](t, alice); e.What != "watch" || !errors.Is(e.Err, client.ErrInvalidArgument) {
		t.Errorf("%+v", e)
	}
	if err := alice.Typing(t.Context(), client.Conversation{}, true); !errors.Is(err, client.ErrInvalidArgument) {
		t.Error(err)
	}
}

func fields(t *testing.T, n *node) {
	alice, bob := open(t, n.person("f-alice")), open(t, n.person("f-bob"))
	first, err := alice.Send(t.Context(), client.Text("f-bob", "first"))
	if err != nil {
		t.Fatal(err)
	}
	d := client.Draft{
		ID: "01935B3E-7C1A-7000-8000-5A3F1C9D2E41", To: client.With("f-bob"), Kind: client.KindControl, Payload: []byte{0, 255},
		ReplyTo: first.ID, TTL: 3600e9, Push: client.PushUrgent,
	}
	if _, err := alice.Send(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	next[*client.Message](t, bob)
	m := next[*client.Message](t, bob)
	if m.ID != strings.ToLower(d.ID) || m.Kind != d.Kind || !bytes.Equal(m.Payload, d.Payload) || m.ReplyTo != d.ReplyTo || m.Order != 2 {
		t.Errorf("%+v", m)
	}
	own := client.Draft{To: client.With("f-bob"), Kind: client.KindEncrypted, Payloads: []client.DevicePayload{{Device: client.Device{User: "f-bob", Device: 1}, Payload: []byte("for him")}}}
	if _, err := alice.Send(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	if m := next[*client.Message](t, bob); string(m.Payload) != "for him" {
		t.Errorf("%+v", m)
	}
	for _, bad := range []client.Draft{{}, {To: client.Conversation{User: "a", Group: "g_b"}}, {ID: "42", To: client.With("f-bob")}, {To: client.With("f\xffbob")}} {
		if _, err := alice.Queue(t.Context(), bad); err == nil {
			t.Errorf("queued: %+v", bad)
		}
	}
	if _, err := alice.Send(t.Context(), client.Draft{To: client.InGroup("g_climbing")}); err == nil {
		t.Error("a group took a message: there are none yet")
	}
}

func devices(t *testing.T, n *node) {
	cfg := n.person("d-alice")
	phone := open(t, cfg)
	next[*client.Drained](t, phone)
	cfg.DeviceName = "tablet"
	tablet := open(t, cfg)
	if e := next[*client.DevicesChanged](t, phone); len(e.Linked) != 1 || e.Linked[0].Name != "tablet" || e.Linked[0].Device != 2 {
		t.Errorf("%+v", e)
	}
	n.person("d-bob")
	if _, err := phone.Send(t.Context(), client.Text("d-bob", "from the phone")); err != nil {
		t.Fatal(err)
	}
	if m := next[*client.Message](t, tablet); m.From != phone.Status().Self || m.Conversation != client.With("d-bob") {
		t.Errorf("%+v", m)
	}
	list, err := phone.Devices(t.Context())
	if err != nil || len(list) != 2 || !list[0].Current || list[1].Current || list[1].LinkedAt.IsZero() {
		t.Errorf("%+v %v", list, err)
	}
	if err := phone.Unlink(t.Context(), 9); !errors.Is(err, client.ErrNotFound) {
		t.Error(err)
	}
	if err := phone.Unlink(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	stopsWith(t, tablet, client.ErrUnlinked)
}

// stopsWith waits for the end of a client.
func stopsWith(t *testing.T, c *client.Client, want error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := c.Receive(ctx, func(context.Context, client.Event) error { return nil })
	if !errors.Is(err, want) {
		t.Errorf("it stopped with %v, not %v", err, want)
	}
}

func profiles(t *testing.T, n *node) {
	alice := open(t, n.person("p-alice"))
	n.person("p-bob")
	name, about, nobody := "Alice Liddell", "Climbing", client.Nobody
	p, err := alice.UpdateProfile(t.Context(), client.ProfileChange{Name: &name, About: &about, LastSeenFor: &nobody})
	if err != nil || p.Name != name || p.About != about || p.LastSeenFor != nobody {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := alice.Profile(t.Context(), "p-bob"); err != nil || p.User != "p-bob" || p.Name != "p-bob" || p.LastSeenFor != "" {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := alice.Profile(t.Context(), "p-carol"); !errors.Is(err, client.ErrNotFound) {
		t.Error(err)
	}
}

func blocks(t *testing.T, n *node) {
	alice, bob := open(t, n.person("b-alice")), open(t, n.person("b-bob"))
	if err := bob.Block(t.Context(), "b-alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Send(t.Context(), client.Text("b-bob", "dropped")); err != nil {
		t.Fatal(err)
	}
	if err := bob.Unblock(t.Context(), "b-alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Send(t.Context(), client.Text("b-bob", "seen")); err != nil {
		t.Fatal(err)
	}
	if m := next[*client.Message](t, bob); string(m.Payload) != "seen" {
		t.Errorf("%s", m.Payload)
	}
}

func passwords(t *testing.T, n *node) {
	cfg := n.person("w-alice")
	alice := open(t, cfg)
	err := alice.ChangePassword(t.Context(), "wrong horse", "battery staple")
	var said *client.Error
	if !errors.As(err, &said) || said.Code != client.ErrPermissionDenied || said.Reason != client.ReasonWrongPassword || said.Retryable {
		t.Errorf("%v", err)
	}
	if err := alice.ChangePassword(t.Context(), "correct horse", "battery staple"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Open(t.Context(), cfg); !errors.Is(err, client.ErrUnauthenticated) {
		t.Error(err)
	}
	cfg.Password = "battery staple"
	open(t, cfg)
	if err := client.Register(t.Context(), cfg, "again"); !errors.Is(err, client.ErrAlreadyExists) {
		t.Error(err)
	}
}

func deletion(t *testing.T, n *node) {
	alice := open(t, n.person("x-alice"))
	next[*client.Drained](t, alice)
	if err := alice.DeleteAccount(t.Context(), "correct horse"); err != nil {
		t.Fatal(err)
	}
	stopsWith(t, alice, client.ErrUnlinked)
}

// token logs in by itself, as an outside issuer would give a token.
func (n *node) token(t *testing.T, user string) string {
	t.Helper()
	resp, err := http.Post(n.url()+"/v1/devices", "application/json", strings.NewReader(fmt.Sprintf(`{"user":%q,"password":"correct horse"}`, user)))
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer.Token
}

func source(t *testing.T, n *node) {
	n.person("o-alice")
	n.person("o-bob")
	token := n.token(t, "o-alice")
	asked := 0
	cfg := client.Config{URL: n.url(), TokenSource: func(context.Context) (string, error) {
		asked++
		if asked == 1 {
			return "a token that ran out", nil
		}
		return token, nil
	}}
	alice := open(t, cfg)
	if _, err := alice.Send(t.Context(), client.Text("o-bob", "hello")); err != nil {
		t.Fatal(err)
	}
	if self := alice.Status().Self; self != (client.Device{User: "o-alice", Device: 1}) || asked != 2 {
		t.Errorf("%v, after %d tokens", self, asked)
	}
	cfg.TokenSource = func(context.Context) (string, error) {
		return "", fmt.Errorf("%w: the issuer knows no such user", client.ErrUnauthenticated)
	}
	stopsWith(t, open(t, cfg), client.ErrUnauthenticated)
}

func displaced(t *testing.T, n *node) {
	n.person("v-alice")
	token := n.token(t, "v-alice")
	cfg := client.Config{URL: n.url(), User: "v-alice", TokenSource: func(context.Context) (string, error) { return token, nil }}
	first := open(t, cfg)
	next[*client.Drained](t, first)
	second := open(t, cfg)
	stopsWith(t, first, client.ErrDisplaced)
	next[*client.Drained](t, second)
}

func otherUser(t *testing.T, n *node) {
	path := filepath.Join(t.TempDir(), "store")
	for _, user := range []string{"s-alice", "s-bob"} {
		cfg := n.person(user)
		store, err := client.OpenFileStore(path)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Store = store
		c, err := client.Open(t.Context(), cfg)
		if user == "s-alice" {
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !errors.Is(err, client.ErrOtherUser) {
			t.Error(err)
		}
	}
	reopen(t, path) // an Open that failed has closed it
}

func wrongPassword(t *testing.T, n *node) {
	cfg := n.person("q-alice")
	cfg.Password = "wrong horse"
	if _, err := client.Open(t.Context(), cfg); !errors.Is(err, client.ErrUnauthenticated) {
		t.Error(err)
	}
	_, err := client.Open(t.Context(), client.Config{URL: "chat.example.org", QueueLimit: -1, Backoff: -1})
	for _, word := range []string{"URL", "User", "QueueLimit", "Backoff"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s is not named: %v", word, err)
		}
	}
}

// A message above the server's bounds is refused by itself, and takes neither
// the connection nor those behind it.
func tooLarge(t *testing.T, n *node) {
	alice, bob := open(t, n.person("l-alice")), open(t, n.person("l-bob"))
	for _, size := range []int{65<<10 + 1, 400 << 10, 2 << 20} {
		_, err := alice.Queue(t.Context(), client.Draft{To: client.With("l-bob"), Payload: make([]byte, size)})
		if err == nil { // it was queued before the bounds were known
			err = next[*client.Settled](t, alice).Err
		}
		if !errors.Is(err, client.ErrPayloadTooLarge) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if _, err := alice.Send(t.Context(), client.Draft{To: client.With("l-bob"), Payload: make([]byte, 64<<10)}); err != nil {
		t.Fatal(err)
	}
	if m := next[*client.Message](t, bob); len(m.Payload) != 64<<10 || m.Order != 1 {
		t.Errorf("%d bytes, order %d", len(m.Payload), m.Order)
	}
}

// Whatever a program puts into a draft, the message is refused by itself: the
// client goes on, and so does the next run of its store.
func wrong(t *testing.T, n *node) {
	n.person("g-bob")
	for name, enc := range map[string]client.Encoding{"protobuf": client.Protobuf, "json": client.JSON} {
		cfg := n.person("g-" + name)
		cfg.Encoding = enc
		alice := open(t, cfg)
		next[*client.Drained](t, alice)
		bob := client.With("g-bob")
		many := make([]client.DevicePayload, 20_000)
		for i := range many {
			many[i].Device = client.Device{User: "g-bob", Device: uint32(i)}
		}
		for what, d := range map[string]client.Draft{
			"kind":          {To: bob, Kind: 200},
			"push":          {To: bob, Push: 99},
			"negative ttl":  {To: bob, TTL: -1},
			"reply":         {To: bob, ReplyTo: "not an id"},
			"user":          {To: client.With("nobody at all")},
			"long user":     {To: client.With(strings.Repeat("x", 100_000))},
			"group":         {To: client.InGroup("bob")},
			"device":        {To: bob, Payloads: []client.DevicePayload{{Device: client.Device{User: "", Device: 0}}}},
			"many devices":  {To: bob, Payloads: many},
			"reply as long": {To: bob, ReplyTo: strings.Repeat("x", 600<<10)},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			_, err := alice.Send(ctx, d)
			cancel()
			var refused *client.Error
			if !errors.As(err, &refused) || refused.Retryable {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		if sent, err := alice.Send(t.Context(), client.Draft{To: bob}); err != nil || sent.Order == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
