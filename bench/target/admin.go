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

// Collect has the node collect its garbage.
func (a *Admin) Collect(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/debug/pprof/heap?gc=1", nil)
	if err != nil {
		return fmt.Errorf("target: collect: %w", err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("target: collect: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("target: collect: %s", resp.Status), err)
	}
	return nil
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

// MakeUsers makes n users called prefix and a number, with some devices each.
func (a *Admin) MakeUsers(ctx context.Context, prefix string, n, devices int, progress func(made int)) ([]User, error) {
	type want struct {
		User    string `json:"user"`
		Devices int    `json:"devices"`
	}
	users := make([]User, 0, n)
	for len(users) < n {
		var ask struct {
			Users []want `json:"users"`
		}
		for i := len(users); i < min(n, len(users)+bulkMost); i++ {
			ask.Users = append(ask.Users, want{fmt.Sprintf("%s%d", prefix, i), devices})
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
		if err := a.do(ctx, http.MethodPost, "/v1/users:bulk", ask, &made); err != nil {
			return nil, err
		}
		for _, u := range made.Users {
			if u.Error != nil {
				return nil, fmt.Errorf("target: make user %s: %s: %s", u.User, u.Error.Code, u.Error.Message)
			}
			user := User{Name: u.User}
			for _, d := range u.Devices {
				user.Devices = append(user.Devices, Device{d.Device, d.Token})
			}
			users = append(users, user)
		}
		progress(len(users))
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
