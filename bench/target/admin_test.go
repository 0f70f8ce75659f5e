package target

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMetrics(t *testing.T) {
	m, err := ParseMetrics(strings.NewReader(`# HELP a b
# TYPE syncs counter
syncs 12
bytes_total{direction="in"} 1.5e+03
bytes_total{direction="out"} 500
go_gc_duration_seconds{quantile="1"} 0.002
spaced{label="a b"} 3
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"syncs": 12, "bytes_total": 2000, `bytes_total{direction="in"}`: 1500, `go_gc_duration_seconds{quantile="1"}`: 0.002, "spaced": 3, "absent": 0,
	} {
		if m[name] != want {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
	if _, err := ParseMetrics(strings.NewReader("a b c\n")); err == nil {
		t.Error("a value that is no number is taken")
	}
}

// What the collector did is in the profile as Go writes it, and pauses from
// before are told from those since.
func TestCollections(t *testing.T) {
	var profile strings.Builder
	look := func() Collections {
		t.Helper()
		profile.Reset()
		runtime.GC()
		if err := pprof.Lookup("heap").WriteTo(&profile, 1); err != nil {
			t.Fatal(err)
		}
		c, err := parseCollections(profile.String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := look()
	after := look()
	if after.Count <= before.Count || after.Longest(before) <= 0 || after.Longest(after) != 0 {
		t.Errorf("%d collections, then %d, the longest %v", before.Count, after.Count, after.Longest(before))
	}
	ring := Collections{Count: 5, Pauses: []time.Duration{5, 2, 3, 4}} // the fifth has taken the first's place
	if got := ring.Longest(Collections{Count: 3}); got != 5 {
		t.Errorf("the longest of the fourth and fifth is %v", got)
	}
	if got := ring.Longest(Collections{Count: 1}); got != 5 {
		t.Errorf("the longest of all but the first is %v", got)
	}
	if _, err := parseCollections("nothing"); err == nil {
		t.Error("a profile without an end is taken")
	}
}

// Users are made a thousand at a time, over a socket file as well; one that
// cannot be made is an error.
func TestMakeUsers(t *testing.T) {
	var mu sync.Mutex // of asked
	var asked []int
	taken, busy := "", ""
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Users []struct {
				User    string
				Devices int
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.URL.Path != "/v1/users:bulk" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		mu.Lock()
		asked = append(asked, len(in.Users))
		mu.Unlock()
		var out []any
		for _, u := range in.Users {
			if u.User == taken {
				out = append(out, map[string]any{"user": u.User, "error": map[string]string{"code": "already_exists", "message": "taken"}})
				continue
			}
			if u.User == busy {
				out = append(out, map[string]any{"user": u.User, "error": map[string]string{"code": "unavailable", "message": "again"}})
				continue
			}
			var devices []any
			for d := range u.Devices {
				devices = append(devices, map[string]any{"device": d + 1, "token": fmt.Sprintf("%s/%d", u.User, d+1)})
			}
			out = append(out, map[string]any{"user": u.User, "devices": devices})
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"users": out}); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	a := NewAdmin(path)
	made := 0
	users, err := a.MakeUsers(t.Context(), "x", 2500, 2, Tokens, func(n int) { made = n })
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(asked)
	if fmt.Sprint(asked) != "[500 1000 1000]" || made != 2500 || len(users) != 2500 {
		t.Errorf("asked %v, made %d", asked, made)
	}
	if u := users[2499]; u.Name != "x2499" || len(u.Devices) != 2 || u.Devices[1] != (Device{2, "x2499/2"}) {
		t.Errorf("got %+v", u)
	}
	busy = "x3"
	if users, err = a.MakeUsers(t.Context(), "x", 5, 1, Tokens, func(int) {}); err != nil {
		t.Fatal(err)
	}
	// Refused, and asked for once more by a name that cannot be taken.
	if u := users[3]; u.Name != "x3-1" || len(u.Devices) != 1 || users[4].Name != "x4" {
		t.Errorf("got %+v", users)
	}
	taken = "x7"
	if _, err := a.MakeUsers(t.Context(), "x", 10, 1, Tokens, func(int) {}); err == nil || !strings.Contains(err.Error(), "already_exists") {
		t.Errorf("got %v", err)
	}
}

// A node of somebody else's is never killed.
func TestGiven(t *testing.T) {
	ready := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
			w.WriteHeader(ready)
		case "/metrics":
			fmt.Fprintf(w, "process_cpu_seconds_total 123456\nprocess_resident_memory_bytes 4096\n")
		default:
			fmt.Fprintf(w, `{"pid":%d,"version":"v1"}`, os.Getpid())
		}
	}))
	defer s.Close()
	admin := strings.TrimPrefix(s.URL, "http://")
	n, err := Given(t.Context(), "127.0.0.1:1", admin, 0)
	if err != nil || n.About.PID != os.Getpid() || n.Own() {
		t.Fatalf("%+v, %v", n, err)
	}
	// This process is not the one that has used so much.
	if n.Here {
		t.Error("somebody else's process is taken for the node's")
	}
	m, err := n.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := n.Process(m); err != nil || p.CPU != 123456*time.Second || p.Resident != 4096 {
		t.Errorf("%+v, %v", p, err)
	}
	if told, err := Given(t.Context(), "127.0.0.1:1", admin, os.Getpid()); err != nil || !told.Here {
		t.Errorf("who says which process it is, knows: %v", err)
	}
	if err := n.Kill(); !errors.Is(err, errNotOwn) {
		t.Errorf("kill: %v", err)
	}
	if err := n.Start(t.Context()); !errors.Is(err, errNotOwn) {
		t.Errorf("start: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	ready = http.StatusServiceUnavailable
	if _, err := Given(t.Context(), "127.0.0.1:1", admin, 7); err == nil {
		t.Error("a node that is not ready is measured")
	}
}
