package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/rookery-im/rookery/client/internal/core"
)

const (
	restTimeout = 15 * time.Second // one call; the server answers within 5 s
	restBody    = 1 << 20          // bytes of an answer
)

const pathTokens = "/v1/tokens"

// rest makes calls.
type rest struct {
	http  *http.Client
	nodes *nodes
}

// problem is an error as the server sends it.
type problem struct {
	Detail       string      `json:"detail"`
	Code         Code        `json:"code"`
	Reason       string      `json:"reason"`
	Retryable    bool        `json:"retryable"`
	RetryAfterMs uint32      `json:"retryAfterMs"`
	Missing      []deviceRef `json:"missing"`
	Extra        []deviceRef `json:"extra"`
}

type deviceRef struct {
	User   string `json:"user"`
	Device uint32 `json:"device"`
}

// do makes one call, at another node where one does not answer. in and out may be nil.
func (r *rest) do(ctx context.Context, method, path, token string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, restTimeout)
	defer cancel()
	return r.nodes.each(ctx, repeatable(method, path), func(ctx context.Context, b base) error {
		return r.at(ctx, b, method, path, token, body, out)
	})
}

// at makes a call at one node.
func (r *rest) at(ctx context.Context, b base, method, path, token string, in []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, b.rest(path), bytes.NewReader(in))
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return noAnswer{err}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, restBody))
	if err != nil {
		return noAnswer{fmt.Errorf("read the answer: %w", err)}
	}
	if resp.StatusCode >= 300 {
		return problemOf(resp, data)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if d, ok := out.(dated); ok {
		server, err := http.ParseTime(resp.Header.Get("Date"))
		if err != nil {
			server = time.Now()
		}
		d.at(server)
	}
	return nil
}

// problemOf reads an error. What is between may answer instead of the server.
func problemOf(resp *http.Response, data []byte) error {
	var p problem
	if err := json.Unmarshal(data, &p); err != nil || p.Code == "" {
		return fmt.Errorf("unexpected answer: %s", resp.Status)
	}
	e := &Error{Code: p.Code, Reason: p.Reason, Message: p.Detail, Retryable: p.Retryable, RetryAfter: time.Duration(p.RetryAfterMs) * time.Millisecond}
	for _, d := range p.Missing {
		e.Missing = append(e.Missing, Device(d))
	}
	for _, d := range p.Extra {
		e.Extra = append(e.Extra, Device(d))
	}
	return e
}

type tokenAnswer struct {
	User      string    `json:"user"`
	Device    uint32    `json:"device"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
	now       time.Time // by the server
}

// dated are answers that must be read by the server's clock: this machine's
// may be hours off.
type dated interface{ at(server time.Time) }

func (t *tokenAnswer) at(server time.Time) { t.now = server }

func (t tokenAnswer) core() core.Token {
	in := core.Token{User: t.User, Device: t.Device, Token: t.Token}
	if !t.ExpiresAt.IsZero() {
		in.Life = t.ExpiresAt.Sub(t.now)
	}
	return in
}

// login links a new device.
func (r *rest) login(ctx context.Context, cfg Config) (core.Token, error) {
	var t tokenAnswer
	err := r.do(ctx, http.MethodPost, "/v1/devices", "", map[string]any{"user": cfg.User, "password": cfg.Password, "deviceName": cfg.DeviceName}, &t)
	if err != nil {
		return core.Token{}, fmt.Errorf("log in: %w", err)
	}
	return t.core(), nil
}

// ask gets a token for the core, by the means it chose.
func (c *Client) ask(e core.Ask) {
	in := c.answerTo(e)
	select {
	case c.results <- in:
	case <-c.done:
	}
}

// look asks a node which nodes there are, for the core. What cannot be followed
// from here is left out. Where nobody says, nothing is lost.
func (c *Client) look(e core.Look) {
	at := c.url
	if e.Alternate != "" {
		var err error
		if at, err = parseBase(e.Alternate); err != nil {
			return // it was dialled, so it is one
		}
	}
	var answer struct {
		Nodes []core.Place `json:"nodes"`
	}
	ctx, cancel := context.WithTimeout(c.ctx, restTimeout)
	defer cancel()
	if err := c.rest.at(ctx, at, http.MethodGet, "/v1/nodes", "", nil, &answer); err != nil {
		c.log.Debug("which nodes there are is not known", "err", err)
		return
	}
	in := core.Nodes{Places: slices.DeleteFunc(answer.Nodes, func(p core.Place) bool {
		_, err := c.url.alternate(p.URL)
		return err != nil
	})}
	urls := make([]string, len(in.Places))
	for i, p := range in.Places {
		urls[i] = p.URL
	}
	c.rest.nodes.learn(urls)
	select {
	case c.results <- in:
	case <-c.done:
	}
}

func (c *Client) answerTo(e core.Ask) core.Input {
	var t tokenAnswer
	var err error
	switch e.Means {
	case core.BySource:
		t.Token, err = c.cfg.TokenSource(c.ctx)
		if err == nil && t.Token == "" {
			err = errors.New("the TokenSource gave an empty token")
		}
	case core.ByLogin:
		var token core.Token
		if token, err = c.rest.login(c.ctx, c.cfg); err == nil {
			return token
		}
	case core.ByPassword:
		err = c.rest.do(c.ctx, http.MethodPost, pathTokens, "", map[string]any{"user": c.cfg.User, "device": e.Device, "password": c.cfg.Password}, &t)
	case core.ByToken:
		err = c.rest.do(c.ctx, http.MethodPost, pathTokens, e.Token, nil, &t)
	}
	if err == nil {
		return t.core()
	}
	no := core.NoToken{Means: e.Means, Refused: errors.Is(err, ErrUnauthenticated), Err: fmt.Errorf("get a token: %w", err)}
	var said *Error
	if errors.As(err, &said) {
		no.Gone = said.Reason == ReasonDeviceUnlinked
		no.After = said.RetryAfter
	}
	return no
}

// Register makes an account: of cfg it takes URL, User, Password, Invite and
// HTTPClient. name is what others see. ErrAlreadyExists where the user is taken.
func Register(ctx context.Context, cfg Config, name string) error {
	own := cfg.HTTPClient == nil
	cfg = cfg.withDefaults()
	if own {
		defer cfg.HTTPClient.CloseIdleConnections()
	}
	u, err := cfg.validate()
	if err != nil {
		return fmt.Errorf("client: register: %w", err)
	}
	in := map[string]any{"user": cfg.User, "name": name, "password": cfg.Password}
	if cfg.Invite != "" {
		in["invite"] = cfg.Invite
	}
	if err := (&rest{http: cfg.HTTPClient, nodes: newNodes(u)}).do(ctx, http.MethodPost, "/v1/users", "", in, nil); err != nil {
		return fmt.Errorf("client: register: %w", err)
	}
	return nil
}

// call makes a call as this device.
func (c *Client) call(ctx context.Context, what, method, path string, in, out any) error {
	token := ""
	_, err := c.request(ctx, request{look: func(m *core.Machine) { token = m.Bearer() }})
	if err == nil && token == "" && c.cfg.TokenSource != nil {
		token, err = c.cfg.TokenSource(ctx)
	}
	if err == nil && token == "" {
		err = ErrUnauthenticated
	}
	if err == nil {
		err = c.rest.do(ctx, method, path, token, in, out)
	}
	if err != nil {
		return fmt.Errorf("client: %s: %w", what, err)
	}
	return nil
}

// self is the path of the user's own resources. With a TokenSource and no
// User, who that is is known from the first welcome on.
func (c *Client) self() string { return "/v1/users/" + url.PathEscape(c.Status().Self.User) }

// Devices lists the user's devices.
func (c *Client) Devices(ctx context.Context) ([]DeviceInfo, error) {
	var out struct {
		Devices []struct {
			Device   uint32    `json:"device"`
			Name     string    `json:"name"`
			LinkedAt time.Time `json:"linkedAt"`
			Current  bool      `json:"current"`
		} `json:"devices"`
	}
	if err := c.call(ctx, "devices", http.MethodGet, "/v1/devices", nil, &out); err != nil {
		return nil, err
	}
	list := make([]DeviceInfo, len(out.Devices))
	for i, d := range out.Devices {
		list[i] = DeviceInfo(d)
	}
	return list, nil
}

// Unlink ends a device of the user: its tokens and sessions at once. Unlinking
// the client's own is logging out: it stops with ErrUnlinked.
func (c *Client) Unlink(ctx context.Context, device uint32) error {
	return c.call(ctx, "unlink", http.MethodDelete, "/v1/devices/"+strconv.FormatUint(uint64(device), 10), nil, nil)
}

// Privacy says who may see when a user was last online.
type Privacy string

// The choices. Contacts are those with whom there is a conversation both ways.
const (
	Everyone Privacy = "EVERYONE"
	Contacts Privacy = "CONTACTS"
	Nobody   Privacy = "NOBODY"
)

// Profile is what one may see of a user.
type Profile struct {
	User, Name, Picture, About string
	Online                     bool
	// LastSeen is zero where it is not shown.
	LastSeen time.Time
	// LastSeenFor is shown to oneself only.
	LastSeenFor Privacy
}

// ProfileChange says what to change of one's own profile; nil stays as it is.
type ProfileChange struct {
	Name, Picture, About *string
	LastSeenFor          *Privacy
}

type profileAnswer struct {
	User     string    `json:"user"`
	Name     string    `json:"name"`
	Picture  string    `json:"picture"`
	About    string    `json:"about"`
	Online   bool      `json:"online"`
	LastSeen time.Time `json:"lastSeen"`
	Privacy  struct {
		LastSeen Privacy `json:"lastSeen"`
	} `json:"privacy"`
}

func (p profileAnswer) profile() Profile {
	return Profile{User: p.User, Name: p.Name, Picture: p.Picture, About: p.About, Online: p.Online, LastSeen: p.LastSeen, LastSeenFor: p.Privacy.LastSeen}
}

// Profile gets a user's profile. ErrNotFound where there is none that one may see.
func (c *Client) Profile(ctx context.Context, user string) (Profile, error) {
	var p profileAnswer
	err := c.call(ctx, "profile", http.MethodGet, "/v1/users/"+url.PathEscape(user), nil, &p)
	return p.profile(), err
}

// UpdateProfile changes one's own profile and returns it.
func (c *Client) UpdateProfile(ctx context.Context, change ProfileChange) (Profile, error) {
	in := map[string]any{}
	for name, value := range map[string]*string{"name": change.Name, "picture": change.Picture, "about": change.About} {
		if value != nil {
			in[name] = *value
		}
	}
	if change.LastSeenFor != nil {
		in["privacy"] = map[string]any{"lastSeen": *change.LastSeenFor}
	}
	var p profileAnswer
	err := c.call(ctx, "update profile", http.MethodPatch, c.self(), in, &p)
	return p.profile(), err
}

// Block hides oneself from a user, and drops what that user sends.
func (c *Client) Block(ctx context.Context, user string) error {
	return c.call(ctx, "block", http.MethodPut, c.self()+"/blocks/"+url.PathEscape(user), nil, nil)
}

// Unblock ends a block.
func (c *Client) Unblock(ctx context.Context, user string) error {
	return c.call(ctx, "unblock", http.MethodDelete, c.self()+"/blocks/"+url.PathEscape(user), nil, nil)
}

// ChangePassword replaces the password; devices stay linked. A wrong old one
// is ErrPermissionDenied with ReasonWrongPassword.
func (c *Client) ChangePassword(ctx context.Context, old, replacement string) error {
	return c.call(ctx, "change password", http.MethodPut, c.self()+"/password", map[string]any{"old": old, "new": replacement}, nil)
}

// DeleteAccount removes the user with all devices and what waits for them.
// The client stops.
func (c *Client) DeleteAccount(ctx context.Context, password string) error {
	return c.call(ctx, "delete account", http.MethodDelete, c.self(), map[string]any{"password": password}, nil)
}
