package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// caller asks the REST API from one address.
type caller struct {
	f    *Field
	s    *Score
	http *http.Client
}

func (f *Field) caller(i int, s *Score) *caller {
	d := net.Dialer{LocalAddr: f.source(i), KeepAlive: -1}
	return &caller{f: f, s: s, http: &http.Client{
		Transport: &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: 8},
		Timeout:   20 * time.Second,
	}}
}

// ask gives the status and the answer, nil where there is none.
func (c *caller) ask(ctx context.Context, method, path, token string, body any) (int, map[string]any) {
	var text []byte
	switch b := body.(type) {
	case nil:
	case string:
		text = []byte(b)
	default:
		var err error
		if text, err = json.Marshal(b); err != nil {
			return 0, nil
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.f.Address+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil
	}
	if text != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	c.s.Frames.Add(1)
	c.s.Sent.Add(int64(len(text)))
	res, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() == nil {
			c.s.Ended.Add(1)
			breathe(ctx, 50*time.Millisecond)
		}
		return 0, nil
	}
	var answer map[string]any
	err = json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&answer)
	if err = errors.Join(err, res.Body.Close()); err != nil && res.StatusCode < 300 && !errors.Is(err, io.EOF) {
		c.s.Code("unreadable %d", res.StatusCode)
	}
	if res.StatusCode >= 400 {
		c.s.Errors.Add(1)
	}
	c.s.Code("http %d", res.StatusCode)
	return res.StatusCode, answer
}

// calls has n callers do a thing again and again.
func calls(n int, do func(ctx context.Context, c *caller, i, round int)) func(context.Context, *Field, *Score) error {
	return func(ctx context.Context, f *Field, s *Score) error {
		return f.hold(ctx, n, s, func(ctx context.Context, i int) error {
			c := f.caller(i, s)
			defer c.http.CloseIdleConnections()
			for round := 0; ctx.Err() == nil; round++ {
				do(ctx, c, i, round)
			}
			return nil
		})
	}
}

// registrations registers new users as fast as it is let.
func registrations(ctx context.Context, c *caller, i, round int) {
	c.ask(ctx, "POST", "/v1/users", "", map[string]any{"user": fmt.Sprintf("flood-%d-%d-%d", c.f.Subnet, i, round), "name": "x", "password": "correct horse"})
}

// logins guesses passwords, of the victim and of nobody.
func logins(ctx context.Context, c *caller, i, round int) {
	user := c.f.Victim
	if round%2 == 0 {
		user = stranger()
	}
	c.ask(ctx, "POST", "/v1/devices", "", map[string]any{"user": user, "password": fmt.Sprintf("guess %d %d", i, round), "deviceName": "x"})
}

// refreshes asks for fresh tokens without an end.
func refreshes(ctx context.Context, c *caller, i, _ int) {
	c.ask(ctx, "POST", "/v1/tokens", device(c.f, i), nil)
}

// profiles rewrites a profile.
func profiles(ctx context.Context, c *caller, i, round int) {
	u := c.f.Attackers[i%len(c.f.Attackers)]
	c.ask(ctx, "PATCH", "/v1/users/"+u.Name, u.Tokens[0], map[string]any{"name": fmt.Sprint("n", round), "about": strings.Repeat("a", 512)})
}

// blocks blocks another stranger each time.
func blocks(ctx context.Context, c *caller, i, _ int) {
	u := c.f.Attackers[i%len(c.f.Attackers)]
	c.ask(ctx, "PUT", "/v1/users/"+u.Name+"/blocks/"+stranger(), u.Tokens[0], nil)
}

// giants posts bodies as large as they may be, that mean nothing.
func giants(ctx context.Context, c *caller, i, round int) {
	c.ask(ctx, "POST", []string{"/v1/users", "/v1/devices", "/v1/messages"}[round%3], device(c.f, i), badJSON(c.f, i, round))
}
