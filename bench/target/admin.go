package target

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Admin talks to a node's admin address.
type Admin struct {
	base string
	http *http.Client
}

// NewAdmin takes host:port, or the path of a socket file.
func NewAdmin(address string) *Admin {
	t := &http.Transport{}
	a := &Admin{"http://" + address, &http.Client{Transport: t, Timeout: 2 * time.Minute}}
	if strings.ContainsRune(address, '/') {
		a.base = "http://admin"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", address)
		}
	}
	return a
}

// About is what a node says of itself.
type About struct {
	Node            string          `json:"node"`
	Version         string          `json:"version"`
	Go              string          `json:"go"`
	PID             int             `json:"pid"`
	Data            string          `json:"data"`
	Listen          string          `json:"listen"`
	CheckpointEvery string          `json:"checkpointEvery"`
	Rates           map[string]Rate `json:"rates"`
}

// Rate is a limit in force.
type Rate struct {
	PerSecond float64 `json:"perSecond"`
	Burst     float64 `json:"burst"`
}

func (a *Admin) do(ctx context.Context, method, path string, body, into any) error {
	var r io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("target: %s: %w", path, err)
		}
		r = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, r)
	if err != nil {
		return fmt.Errorf("target: %s: %w", path, err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("target: %s: %w", path, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("target: %s %s: %s %.200s", method, path, resp.Status, data)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("target: %s: %w", path, err)
	}
	return nil
}

// About the node.
func (a *Admin) About(ctx context.Context) (about About, err error) {
	err = a.do(ctx, http.MethodGet, "/v1/about", nil, &about)
	return about, err
}

// Ready says whether the node serves; the error says why not.
func (a *Admin) Ready(ctx context.Context) error {
	return a.do(ctx, http.MethodGet, "/readyz", nil, nil)
}

// Collections are what a node's collector has done since its start.
type Collections struct {
	Count int
	// Pauses are of the last 256, the newest at (Count-1)%256: how long each had
	// the program stopped, all its stops together.
	Pauses []time.Duration
}

// Longest pause of those since an earlier look, of which the last 256 are known.
func (c Collections) Longest(since Collections) time.Duration {
	longest := time.Duration(0)
	for i := max(since.Count, c.Count-len(c.Pauses)); i < c.Count; i++ {
		longest = max(longest, c.Pauses[i%len(c.Pauses)])
	}
	return longest
}

// Collect has the node collect its garbage.
func (a *Admin) Collect(ctx context.Context) (c Collections, err error) {
	// The profile says more of the collector than the metrics do.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/debug/pprof/heap?gc=1&debug=1", nil)
	if err != nil {
		return c, fmt.Errorf("target: collect: %w", err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return c, fmt.Errorf("target: collect: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return c, errors.Join(fmt.Errorf("target: collect: %s", resp.Status), err)
	}
	return parseCollections(string(data))
}

// parseCollections reads the end of Go's heap profile as text.
func parseCollections(profile string) (c Collections, err error) {
	if at := strings.LastIndex(profile, "# runtime.MemStats"); at >= 0 {
		profile = profile[at:]
	}
	for line := range strings.Lines(profile) {
		name, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "#")), " = ")
		switch name {
		case "NumGC":
			c.Count, err = strconv.Atoi(value)
		case "PauseNs":
			for _, field := range strings.Fields(strings.Trim(value, "[]")) {
				ns, bad := strconv.ParseInt(field, 10, 64)
				err = errors.Join(err, bad)
				c.Pauses = append(c.Pauses, time.Duration(ns))
			}
		}
		if err != nil {
			return c, fmt.Errorf("target: collect: %w", err)
		}
	}
	if c.Count == 0 || len(c.Pauses) == 0 {
		return c, errors.New("target: collect: the node does not say what its collector did")
	}
	return c, nil
}

// User that was made.
type User struct {
	Name    string
	Devices []Device
}

// Device of it.
type Device struct {
	Number uint32
	Token  string
}

// bulkMost is how many users one request makes; a node takes so many.
const bulkMost = 1000

// bulkAtOnce is how many such requests are under way: a node works on a part of
// the users of each at a time, and waits for its disk between.
const bulkAtOnce = 4

// Proof is what a device of a user that is made shows in its hello.
type Proof string

// The proofs: a token, or what serves a stand-in as one.
const (
	Tokens Proof = ""
	Passes Proof = "?proof=stand-in"
)

// MakeUsers makes n users called prefix and a number, with some devices each.
func (a *Admin) MakeUsers(ctx context.Context, prefix string, n, devices int, proof Proof, progress func(made int)) ([]User, error) {
	users := make([]User, n)
	errs := make([]error, (n+bulkMost-1)/bulkMost)
	places := make(chan struct{}, bulkAtOnce)
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		made    int
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for k := range errs {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			from, to := k*bulkMost, min(n, (k+1)*bulkMost)
			if errs[k] = a.makeSome(ctx, prefix, from, users[from:to], devices, proof); errs[k] != nil {
				cancel() // the others'
				return
			}
			mu.Lock()
			defer mu.Unlock()
			made += to - from
			progress(made)
		})
	}
	running.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return nil, err
		}
	}
	return users, errors.Join(errs...)
}

// A node that is asked for a million may have to write some out before it takes
// more: it is asked again for those that it refused.
const (
	bulkTries = 60
	bulkPause = 500 * time.Millisecond
)

// makeSome makes users called prefix and a number, from one on.
func (a *Admin) makeSome(ctx context.Context, prefix string, from int, users []User, devices int, proof Proof) error {
	wanted := make([]int, len(users)) // into users
	for i := range users {
		wanted[i] = i
	}
	for try := range bulkTries {
		names := make([]string, len(wanted))
		for k, i := range wanted {
			names[k] = fmt.Sprintf("%s%d", prefix, from+i)
			if try > 0 { // the first may be taken: what was refused was not always not done
				names[k] += fmt.Sprintf("-%d", try)
			}
		}
		made, err := a.askFor(ctx, names, devices, proof)
		if err != nil {
			return err
		}
		refused := wanted[:0]
		for k, i := range wanted {
			if made[k] == nil {
				refused = append(refused, i)
				continue
			}
			users[i] = *made[k]
		}
		if wanted = refused; len(wanted) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(bulkPause):
		}
	}
	return fmt.Errorf("target: the node is unavailable: %d users are not made after %d tries", len(wanted), bulkTries)
}

// askFor makes users by one request; those are nil for which the node was
// unavailable.
func (a *Admin) askFor(ctx context.Context, names []string, devices int, proof Proof) ([]*User, error) {
	type want struct {
		User    string `json:"user"`
		Devices int    `json:"devices"`
	}
	var ask struct {
		Users []want `json:"users"`
	}
	for _, name := range names {
		ask.Users = append(ask.Users, want{name, devices})
	}
	var made struct {
		Users []struct {
			User    string
			Devices []struct {
				Device uint32
				Token  string
			}
			Error *struct{ Code, Message string }
		}
	}
	if err := a.do(ctx, http.MethodPost, "/v1/users:bulk"+string(proof), ask, &made); err != nil {
		return nil, err
	}
	if len(made.Users) != len(names) {
		return nil, fmt.Errorf("target: %d users were asked for, and %d made", len(names), len(made.Users))
	}
	users := make([]*User, len(names))
	for i, u := range made.Users {
		switch {
		case u.Error != nil && u.Error.Code == "unavailable":
			continue
		case u.Error != nil:
			return nil, fmt.Errorf("target: make user %s: %s: %s", u.User, u.Error.Code, u.Error.Message)
		}
		users[i] = &User{Name: u.User}
		for _, d := range u.Devices {
			users[i].Devices = append(users[i].Devices, Device{d.Device, d.Token})
		}
	}
	return users, nil
}

// Metrics of a node: every series by its name with labels, as it is written,
// and the sum of all series of a name by the name alone.
type Metrics map[string]float64

// Metrics reads them all.
func (a *Admin) Metrics(ctx context.Context) (Metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("target: metrics: %w", err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("target: metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("target: metrics: %s", resp.Status)
	}
	return ParseMetrics(resp.Body)
}

// ParseMetrics reads Prometheus' text format, as far as a node writes it.
func ParseMetrics(r io.Reader) (Metrics, error) {
	m := Metrics{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if at < 0 {
			continue
		}
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("target: metrics: %.80q: %w", line, err)
		}
		series := line[:at]
		m[series] += v
		if name, _, labelled := strings.Cut(series, "{"); labelled {
			m[name] += v
		}
	}
	return m, lines.Err()
}
